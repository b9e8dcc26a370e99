"""From a draft to a signed envelope: what a party wants to say, with everything handed in."""

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from bus.envelope import NONCE_BYTES, Plain, SignedEnvelope, body_commitment, seal
from bus.identifiers import IdentifierSource
from bus.instants import Instant, instant_to_text
from bus.messages import codec
from bus.messages.header import Closed, Header, Version


class Signer(Struct, frozen=True):
    """A party and its signing key; the key never leaves the process that loaded it."""

    party: str
    key_id: str
    key: Ed25519PrivateKey


class Draft(Struct, frozen=True):
    """What is to be said and to whom.

    `subject` names the occasion, such as the id of the message answered: message id, nonce and
    trace are drawn for it. `held_back` delays the mail to single recipients until an instant.
    """

    header: type[Header]
    addressees: tuple[str, ...]
    claims: Closed
    subject: str
    record: Version | None = None
    body: Closed | None = None
    in_reply_to: str | None = None
    traceparent: str | None = None
    expires_at: Instant | None = None
    held_back: Mapping[str, Instant] = {}


class IssuedStatement(Struct, frozen=True):
    """A statement that this party has signed."""

    message_id: str
    digest: bytes
    statement: Header
    envelope: SignedEnvelope


def sign(
    draft: Draft, signer: Signer, identifiers: IdentifierSource, sequence: int, now: Instant
) -> IssuedStatement:
    """Mint what the draft leaves open, commit to its body, and sign."""
    name = draft.header.__struct_config__.tag
    subject = f"{name}:{draft.subject}"
    message_id = identifiers.message_id(now, subject)
    attachment = None
    if draft.body is not None:
        nonce = identifiers.octets("nonce", subject, NONCE_BYTES)
        attachment = Plain(nonce, codec.encode(draft.body))
    fields: dict[str, Any] = {
        "message_id": message_id,
        "source": signer.party,
        "addressees": sorted(set(draft.addressees)),
        "sequence": sequence,
        "issued_at": instant_to_text(now),
        "expires_at": instant_to_text(draft.expires_at) if draft.expires_at is not None else None,
        "record": draft.record,
        "in_reply_to": draft.in_reply_to,
        "traceparent": draft.traceparent or identifiers.traceparent(subject),
        "body_commitment": (
            body_commitment(attachment.nonce, attachment.body) if attachment else None
        ),
        "claims": draft.claims,
    }
    statement = draft.header(**fields)
    envelope = seal(statement, signer.key, signer.key_id, attachment)
    return IssuedStatement(message_id, envelope.digest, statement, envelope)
