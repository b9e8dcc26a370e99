"""Verification: octets in, verified message or a catalogued refusal out.

The steps, cheap ones first. Each names the attack that it stops.

1.  Form of the octets: at most 256 KiB, one msgpack value, shortest encodings, no key twice, no
    unknown or missing key, bounded nesting. *Length bombs, parser differences, smuggled fields.*
2.  Exactly one signature. *Choosing among signatures, stripped and second signatures.*
3.  The signed type string names a known statement and equals the header's type. *Type confusion.*
4.  Addressees sorted and single, the secretariat among them where it must be; the record belongs
    to the source where only a source may speak; days and hours exist, and only what may expire
    does. *Hiding from review; taking another's record; a retraction that dies out.*
5.  The body is the one the header commits to, its nonce 32 octets, its form right, its scheme the
    one that the membership asks for. *Altered attachment; a moved boundary between nonce and
    body; a body in clear where bodies are to be sealed.*
6.  The user validated by the broker equals the signed source, and the routing key agrees.
    *Publishing in another's name; leading mail astray by headers.*
7.  This party is among the signed addressees. *Replay to another addressee.*
8.  The key is announced, belongs to the source, and its role may say this. *Another's key; a
    decision signed by a bureau.*
9.  The key was valid when the statement was issued, and is not revoked. It is valid now as well,
    unless secretariat, Commission or authority say what never expires (ADR 0012).
    *Expired and stolen keys, backdating.*
10. The signature verifies over the PAE. *Forgery.*
11. Not issued in the future; not expired on arrival. *Post- and backdating.*
12. The message id is new, or a repeat of the same octets. *Replay, equivocation.*

Steps 1 to 5 are `bus.envelope.open_envelope`. Steps 1 to 5 and 10 depend on nothing but the
octets and the key, so their results may be kept (`EnvelopeCache`); all others are carried out for
each party anew.
"""

from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from typing import Final, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Struct

from bus import refusals
from bus.envelope import OpenedEnvelope, Plain, open_envelope, pre_authentication_encoding
from bus.identifiers import AUTHORITY, Role
from bus.instants import MINUTE, Instant
from bus.messages.catalogue import Statement, StatementKind
from bus.messages.header import Closed
from bus.pki.certificates import SigningCertificate
from bus.refusals import EnvelopeRefused
from bus.registry import Registry

CLOCK_SKEW_MAX: Final = 5 * MINUTE
CACHED_ENVELOPES_MAX: Final = 2_048


K = TypeVar("K")
V = TypeVar("V")


class Arrival(Enum):
    """Whether a verified message is new to this party."""

    FIRST = "first"
    REPEAT = "repeat"


class Evidence(Struct, frozen=True):
    """What the transport says of a delivery: untrusted hints that must equal the claims."""

    user_id: str | None
    routing_key: str


class VerifiedMessage(Struct, frozen=True, gc=False):
    """A statement that passed every step. The only form in which handlers see a message."""

    statement: Statement
    kind: StatementKind
    digest: bytes
    payload: bytes
    key_id: str
    signature: bytes
    nonce: bytes | None
    body_octets: bytes | None
    body: Closed | None
    arrival: Arrival


class EnvelopeCache:
    """Keeps the pure part of verification for octets that many parties of one process receive.

    What it keeps are copies of bodies, which no erasure reaches: its owner clears it before
    anybody may count on a deletion. `entries_max` 0 keeps nothing.
    """

    def __init__(self, entries_max: int = CACHED_ENVELOPES_MAX) -> None:
        self._entries_max = entries_max
        self._opened: OrderedDict[bytes, OpenedEnvelope] = OrderedDict()
        self._signed: OrderedDict[tuple[bytes, str], bool] = OrderedDict()

    def open(self, octets: bytes) -> OpenedEnvelope:
        """Return `open_envelope(octets)`, kept for the exact octets."""
        opened = self._opened.get(octets)
        if opened is None:
            opened = open_envelope(octets)
            _keep(self._opened, octets, opened, self._entries_max)
        return opened

    def is_signed(self, opened: OpenedEnvelope, leaf: SigningCertificate) -> bool:
        """Return whether the signature verifies, kept by digest, signature and key."""
        key = (opened.proof, leaf.key_id)
        answer = self._signed.get(key)
        if answer is None:
            answer = signature_verifies(opened, leaf)
            _keep(self._signed, key, answer, self._entries_max)
        return answer

    def __len__(self) -> int:
        """Return how many opened envelopes are kept."""
        return len(self._opened)

    def clear(self) -> None:
        """Forget everything."""
        self._opened.clear()
        self._signed.clear()


def _keep(entries: OrderedDict[K, V], key: K, value: V, entries_max: int) -> None:
    entries[key] = value
    if len(entries) > entries_max:
        entries.popitem(last=False)


def signature_verifies(opened: OpenedEnvelope, leaf: SigningCertificate) -> bool:
    """Step 10, and nothing else: the Ed25519 signature over the PAE."""
    envelope = opened.envelope
    try:
        Ed25519PublicKey.from_public_bytes(leaf.public_key_raw).verify(
            opened.signature.sig,
            pre_authentication_encoding(envelope.payload_type, envelope.payload),
        )
    except InvalidSignature:
        return False
    return True


class Verifier:
    """Carries out the steps for one party.

    `known_digest` answers step 12: the digest kept for (source, message id), or None. Without a
    `cache` nothing is kept: alone in its process, a party has no use for copies of bodies.
    """

    def __init__(
        self,
        party: str,
        known_digest: Callable[[str, str], bytes | None],
        cache: EnvelopeCache | None = None,
    ) -> None:
        self._party = party
        self._known_digest = known_digest
        self._cache = cache if cache is not None else EnvelopeCache(entries_max=0)

    def verify(
        self, octets: bytes, evidence: Evidence, registry: Registry, now: Instant
    ) -> VerifiedMessage:
        """Return the verified message, or raise `EnvelopeRefused`."""
        opened = self._cache.open(octets)  # steps 1 to 5
        check_scheme(opened, registry)
        check_transport(opened, evidence, self._party)
        if self._party not in opened.statement.addressees:  # step 7
            raise EnvelopeRefused(refusals.NOT_ADDRESSED)
        self._check_authorship(opened, registry, now)
        check_time(opened, now)
        return _verified(opened, self._arrival(opened))

    def verify_inner(
        self, octets: bytes, registry: Registry, *, released: bool = False
    ) -> VerifiedMessage:
        """Verify an envelope that a verified message carries: steps 6, 7 and 12 are the carrier's.

        A key that has expired since still counts, as the carrier vouches for when the statement
        was made; one that was revoked counts where the secretariat has `released` the statement.
        """
        opened = self._cache.open(octets)
        self._check_authorship(opened, registry, opened.issued_at, released=released)
        return _verified(opened, Arrival.FIRST)

    def verify_inner_header(self, octets: bytes, registry: Registry) -> VerifiedMessage:
        """Verify a carried envelope as `verify_inner` does, but for its missing or damaged body."""
        opened = open_envelope(octets, header_only=True)
        self._check_authorship(opened, registry, opened.issued_at)
        return _verified(opened, Arrival.FIRST)

    def _check_authorship(
        self, opened: OpenedEnvelope, registry: Registry, now: Instant, *, released: bool = False
    ) -> None:
        leaf = entitled_key(opened, registry)
        if leaf.key_id in registry.revoked and not released:
            raise EnvelopeRefused(refusals.SIGNING_KEY_REVOKED)  # step 9
        check_key_time(opened, leaf, now)
        if not self._cache.is_signed(opened, leaf):  # step 10
            raise EnvelopeRefused(refusals.SIGNATURE_INVALID)

    def _arrival(self, opened: OpenedEnvelope) -> Arrival:
        """Step 12."""
        statement = opened.statement
        known = self._known_digest(statement.source, statement.message_id)
        if known is None:
            return Arrival.FIRST
        if known != opened.digest:
            raise EnvelopeRefused(refusals.EQUIVOCATION)
        return Arrival.REPEAT


def _verified(opened: OpenedEnvelope, arrival: Arrival) -> VerifiedMessage:
    attachment = opened.envelope.attachment
    return VerifiedMessage(
        statement=opened.statement,
        kind=opened.kind,
        digest=opened.digest,
        payload=opened.envelope.payload,
        key_id=opened.signature.keyid,
        signature=opened.signature.sig,
        nonce=getattr(attachment, "nonce", None),
        body_octets=getattr(attachment, "body", None),
        body=opened.body,
        arrival=arrival,
    )


def check_scheme(opened: OpenedEnvelope, registry: Registry) -> None:
    """Step 5: a sealed membership forbids plain bodies, but for the authority's own.

    Those hold no personal data, and are read before anybody has a key to seal to.
    """
    if not registry.sealed or opened.statement.source == AUTHORITY:
        return
    if isinstance(opened.envelope.attachment, Plain):
        raise EnvelopeRefused(refusals.ATTACHMENT_SCHEME_FORBIDDEN)


def check_transport(opened: OpenedEnvelope, evidence: Evidence, party: str) -> None:
    """Step 6: hints must equal the claims. The secretariat may release what others signed."""
    source = opened.statement.source
    if evidence.user_id is None:
        raise EnvelopeRefused(refusals.USER_MISSING)
    if evidence.user_id != source:
        raise EnvelopeRefused(refusals.USER_MISMATCH)
    if evidence.routing_key != f"{source}.{opened.kind.message_type}.{party}":
        raise EnvelopeRefused(refusals.ROUTING_KEY_MISMATCH)


def entitled_key(opened: OpenedEnvelope, registry: Registry) -> SigningCertificate:
    """Step 8: return the announced key, if it is the source's and its role may say this."""
    leaf = registry.keys.get(opened.signature.keyid)
    if leaf is None:
        raise EnvelopeRefused(refusals.SIGNING_KEY_UNKNOWN)
    if leaf.party != opened.statement.source:
        raise EnvelopeRefused(refusals.SIGNING_KEY_FOREIGN)
    if leaf.role not in opened.kind.signers:
        raise EnvelopeRefused(refusals.ROLE_FORBIDDEN)
    return leaf


def check_key_time(opened: OpenedEnvelope, leaf: SigningCertificate, now: Instant) -> None:
    """Step 9: the key was valid when the statement was issued, and still is.

    What never expires and no bureau says outlives its key: a retraction is repeated with the same
    octets for as long as it takes.
    """
    issued = opened.issued_at
    if issued < leaf.not_before:
        raise EnvelopeRefused(refusals.SIGNING_KEY_NOT_YET_VALID)
    outlives_key = leaf.role is not Role.NCB and not opened.kind.may_expire
    if (issued if outlives_key else max(issued, now)) > leaf.not_after:
        raise EnvelopeRefused(refusals.SIGNING_KEY_EXPIRED)


def check_time(opened: OpenedEnvelope, now: Instant) -> None:
    """Step 11: not from the future, and not expired; both with the clock skew allowed."""
    if opened.issued_at > now + CLOCK_SKEW_MAX:
        raise EnvelopeRefused(refusals.ISSUED_IN_FUTURE)
    if opened.expires_at is not None and opened.expires_at < now - CLOCK_SKEW_MAX:
        raise EnvelopeRefused(refusals.EXPIRED)
