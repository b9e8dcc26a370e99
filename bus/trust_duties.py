"""What every party does with the authority's statements: who takes part, whose keys count.

They change the registry and nothing else. On start the registry is computed again from the
statements kept in the inbox, so no second copy of it can disagree.
"""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from bus import refusals
from bus.messages import codec
from bus.messages.authority import CertificatesBody, KeyAnnouncement, KeyRevocation, Membership
from bus.messages.catalogue import KINDS
from bus.messages.header import Header
from bus.messages.retraction import RetractionSet
from bus.pki.certificates import CertificateRefused, SigningCertificate, verify_leaf
from bus.refusals import EnvelopeRefused
from bus.registry import Registry
from bus.storage.inbox import Outcome
from bus.turn import Effect, Stores, Turn
from bus.verification import VerifiedMessage

_REGISTRY_ROWS: Final = (
    "SELECT message_type, payload, digest FROM inbox WHERE source = 'AUTH' AND message_type IN"
    " ('key_announcement', 'membership', 'key_revocation')"
    " OR source = 'IPSG' AND message_type = 'retraction_set' ORDER BY message_id"
)
"""All that ever changed the registry; retraction sets repeat revocations to who was away."""


def apply_membership(turn: Turn, message: VerifiedMessage) -> Effect:
    """Put a newer membership in force; an older or equal number is refused as stale."""
    if not isinstance(message.statement, Membership):
        raise TypeError(message.kind.message_type)
    if message.statement.claims.number <= turn.registry.membership_number:
        raise EnvelopeRefused(refusals.MEMBERSHIP_STALE)
    turn.registry = _with_membership(turn.registry, message.statement)
    return Effect(Outcome.APPLIED)


def apply_key_announcement(turn: Turn, message: VerifiedMessage) -> Effect:
    """Add the announced keys; one certificate that does not verify refuses the whole."""
    if not isinstance(message.statement, KeyAnnouncement):
        raise TypeError(message.kind.message_type)
    if not isinstance(message.body, CertificatesBody):
        raise EnvelopeRefused(refusals.BODY_MISSING)
    number = message.statement.claims.number
    if number <= turn.registry.announcement_number:
        raise EnvelopeRefused(refusals.MEMBERSHIP_STALE, "announcement")
    leaves = _verified_leaves(message.body, turn.root_der)
    turn.registry = turn.registry.announced(leaves, number)
    turn.stores.records.keep_body(
        message.digest, None, message.nonce or b"", message.body_octets or b""
    )
    return Effect(Outcome.APPLIED)


def apply_key_revocation(turn: Turn, message: VerifiedMessage) -> Effect:
    """Let a key count no longer for what arrives from now on."""
    if not isinstance(message.statement, KeyRevocation):
        raise TypeError(message.kind.message_type)
    claims = message.statement.claims
    key_id = claims.key.hex()
    if key_id in turn.registry.revoked:
        return Effect(Outcome.NO_EFFECT)
    turn.registry = turn.registry.with_revoked(key_id, claims.number)
    return Effect(Outcome.APPLIED)


HANDLERS: Final[Mapping[type[Header], Callable[[Turn, VerifiedMessage], Effect]]] = {
    Membership: apply_membership,
    KeyAnnouncement: apply_key_announcement,
    KeyRevocation: apply_key_revocation,
}


def restored_registry(stores: Stores, first: Registry, root_der: bytes) -> Registry:
    """Compute the registry from the statements that were taken up before."""
    registry = first
    for message_type, payload, digest in stores.database.execute(_REGISTRY_ROWS).fetchall():
        statement = msgspec.msgpack.decode(payload, type=KINDS[message_type].header)
        match statement:
            case Membership():
                registry = _with_membership(registry, statement)
            case KeyAnnouncement():
                kept = stores.records.body(digest)
                body = codec.decode(_CERTIFICATES, kept[1]) if kept else CertificatesBody([])
                leaves = _verified_leaves(body, root_der)
                registry = registry.announced(leaves, statement.claims.number)
            case KeyRevocation():
                registry = registry.with_revoked(
                    statement.claims.key.hex(), statement.claims.number
                )
            case RetractionSet():
                for key in statement.claims.revoked_keys:
                    registry = registry.with_revoked(key.hex(), statement.claims.number)
    return registry


_CERTIFICATES: Final = msgspec.msgpack.Decoder(CertificatesBody)


def _with_membership(registry: Registry, statement: Membership) -> Registry:
    claims = statement.claims
    return registry.with_membership(
        claims.number, claims.members, claims.zones, sealed=claims.sealed
    )


def _verified_leaves(body: CertificatesBody, root_der: bytes) -> list[SigningCertificate]:
    try:
        return [verify_leaf(der, root_der) for der in body.certificates]
    except CertificateRefused as refused:
        raise EnvelopeRefused(refusals.BODY_MALFORMED, "certificate") from refused
