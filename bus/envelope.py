"""DSSE envelopes: what is signed, how it is packed, and the detached body beside it.

The signature covers exactly the DSSE v1 pre-authentication encoding (PAE) of payload type and
payload. The payload is the header; the body travels in the attachment and is bound to the header
by a commitment over a random nonce and the plaintext. Dropping nonce and body leaves a tombstone
that still verifies.
"""

from base64 import b64encode
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta, Struct
from msgspec.structs import replace

from bus import refusals
from bus.identifiers import DIGEST_BYTES, SIGNATURE_BYTES, KeyId
from bus.instants import Instant, instant_from_text
from bus.messages import codec
from bus.messages.catalogue import (
    KIND_BY_PAYLOAD_TYPE,
    BodyRule,
    RecordRule,
    Statement,
    StatementKind,
    kind_of,
)
from bus.messages.header import Closed, Header
from bus.refusals import EnvelopeRefused

ENVELOPE_BYTES_MAX: Final = 256 * 1024
PAYLOAD_TYPE_CHARACTERS_MAX: Final = 100
NONCE_BYTES: Final = DIGEST_BYTES
_COMMITMENT_PREFIX: Final = b"i247.body.v1\x00"


class Signature(Closed, frozen=True):
    """`keyid` is a hint; which key counts is decided by the registry."""

    keyid: KeyId
    sig: Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]


class Plain(Closed, frozen=True, tag_field="scheme", tag="plain"):
    """A body in clear. The nonce's length is checked in its own step."""

    nonce: bytes
    body: bytes


class Sealed(Closed, frozen=True, tag_field="scheme", tag="hpke-v1"):
    """A body sealed to one recipient's key of one epoch (HPKE)."""

    recipient_key: Annotated[bytes, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
    enc: Annotated[bytes, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
    ciphertext: bytes


Attachment = Plain | Sealed


class SignedEnvelope(Closed, frozen=True):
    """What travels on the bus."""

    payload_type: Annotated[str, Meta(max_length=PAYLOAD_TYPE_CHARACTERS_MAX)]
    payload: bytes
    signatures: list[Signature]
    attachment: Attachment | None

    @property
    def digest(self) -> bytes:
        """The statement digest: SHA-256 of the signed octets."""
        return statement_digest(self.payload_type, self.payload)


class OpenedEnvelope(Struct, frozen=True, gc=False):
    """An envelope whose form is right. *Nothing in it is trusted yet*: see `bus.verification`.

    `issued_at` and `expires_at` are the header's texts, read. `proof` is digest and signature in
    one piece: what a kept signature check is looked up by.
    """

    statement: Statement
    kind: StatementKind
    envelope: SignedEnvelope
    digest: bytes
    proof: bytes
    issued_at: Instant
    expires_at: Instant | None
    body: Closed | None

    @property
    def signature(self) -> Signature:
        """The one signature."""
        return self.envelope.signatures[0]


_ENVELOPES: Final = msgspec.msgpack.Decoder(SignedEnvelope)
_HEADERS: Final[dict[str, msgspec.msgpack.Decoder[Any]]] = {
    payload_type: msgspec.msgpack.Decoder(kind.header)
    for payload_type, kind in KIND_BY_PAYLOAD_TYPE.items()
}
_BODIES: Final[dict[type[Closed], msgspec.msgpack.Decoder[Any]]] = {
    kind.body: msgspec.msgpack.Decoder(kind.body)
    for kind in KIND_BY_PAYLOAD_TYPE.values()
    if kind.body is not None
}


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return the DSSE v1 PAE, the octets that are signed."""
    name = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def statement_digest(payload_type: str, payload: bytes) -> bytes:
    """Return the SHA-256 of the PAE: the name of a statement, and of a version."""
    return sha256(pre_authentication_encoding(payload_type, payload)).digest()


def body_commitment(nonce: bytes, body: bytes) -> bytes:
    """Return what a header says of its detached body."""
    return sha256(_COMMITMENT_PREFIX + nonce + body).digest()


def seal(
    statement: Header, key: Ed25519PrivateKey, key_id: str, attachment: Attachment | None
) -> SignedEnvelope:
    """Sign a statement with a party's own key."""
    payload_type = kind_of(statement).payload_type
    payload = codec.encode(statement)
    signature = key.sign(pre_authentication_encoding(payload_type, payload))
    return SignedEnvelope(payload_type, payload, [Signature(key_id, signature)], attachment)


def pack(envelope: SignedEnvelope) -> bytes:
    """Return the wire form."""
    return codec.encode(envelope)


def as_json(envelope: SignedEnvelope) -> dict[str, object]:
    """Return the standard JSON DSSE form of the signed part, which other DSSE tools verify."""
    return {
        "payloadType": envelope.payload_type,
        "payload": b64encode(envelope.payload).decode(),
        "signatures": [
            {"keyid": signature.keyid, "sig": b64encode(signature.sig).decode()}
            for signature in envelope.signatures
        ],
    }


def digest_of_delivery(octets: bytes) -> bytes:
    """Return the name under which a delivery is accounted for, readable or not.

    It is the statement digest where the octets are an envelope, else the digest of the octets.
    """
    try:
        return msgspec.msgpack.decode(octets, type=SignedEnvelope).digest
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return sha256(octets).digest()


def open_envelope(octets: bytes, *, header_only: bool = False) -> OpenedEnvelope:
    """Carry out steps 1 to 5 of `bus.verification`: form only, no trust.

    Pure in its argument, so its result may be kept for the very same octets. With `header_only`
    step 5 and the attachment are left out: of a damaged body the header still says who sent what
    to whom. Raises `EnvelopeRefused`.
    """
    if len(octets) > ENVELOPE_BYTES_MAX:  # step 1: a length bomb is not even decoded
        raise EnvelopeRefused(refusals.ENVELOPE_TOO_LARGE, f"{len(octets)} octets")
    envelope = codec.decode(_ENVELOPES, octets, SignedEnvelope)
    if len(envelope.signatures) != 1:  # step 2: no choosing among signatures
        raise EnvelopeRefused(refusals.SIGNATURE_COUNT_WRONG, str(len(envelope.signatures)))
    kind = KIND_BY_PAYLOAD_TYPE.get(envelope.payload_type)  # step 3: no type confusion
    if kind is None:
        raise EnvelopeRefused(refusals.MESSAGE_TYPE_UNKNOWN)
    statement = codec.decode(_HEADERS[envelope.payload_type], envelope.payload, kind.header)
    _check_addressees(statement, kind)
    _check_record(statement, kind)
    if header_only:
        envelope = replace(envelope, attachment=None)
    body = None if header_only else _checked_body(statement, kind, envelope.attachment)
    digest = envelope.digest
    return OpenedEnvelope(
        statement=statement,
        kind=kind,
        envelope=envelope,
        digest=digest,
        proof=digest + envelope.signatures[0].sig,
        issued_at=_instant(statement.issued_at),
        expires_at=_expiry(statement, kind),
        body=body,
    )


def _instant(text: str) -> Instant:
    """Step 4: the day and hour exist."""
    try:
        return instant_from_text(text)
    except ValueError as error:
        raise EnvelopeRefused(refusals.FIELD_MALFORMED, "a day or hour that is none") from error


def _expiry(statement: Header, kind: StatementKind) -> Instant | None:
    """Step 4: retractions, decisions and revocations never expire; other types may."""
    if statement.expires_at is None:
        return None
    if not kind.may_expire:
        raise EnvelopeRefused(refusals.FIELD_MALFORMED, "expires_at")
    return _instant(statement.expires_at)


def _check_addressees(statement: Header, kind: StatementKind) -> None:
    """Step 4: one spelling of the same addressees, and no hiding from the secretariat."""
    addressees = statement.addressees
    if any(left >= right for left, right in pairwise(addressees)):
        raise EnvelopeRefused(refusals.ADDRESSEES_MALFORMED)
    if kind.addresses_secretariat and "IPSG" not in addressees:
        raise EnvelopeRefused(refusals.SECRETARIAT_NOT_ADDRESSED)


def _check_record(statement: Header, kind: StatementKind) -> None:
    """Step 4: nobody opens, amends or withdraws a record of another source."""
    record, rule = statement.record, kind.record
    if record is None:
        if rule not in (RecordRule.NONE, RecordRule.OPTIONAL_VERSION):
            raise EnvelopeRefused(refusals.RECORD_RULE_BROKEN, "no record")
        return
    if rule is RecordRule.NONE:
        raise EnvelopeRefused(refusals.RECORD_RULE_BROKEN, "unexpected record")
    if (record.statement_digest is None) != (rule is RecordRule.OPENS):
        raise EnvelopeRefused(refusals.RECORD_RULE_BROKEN, "statement_digest")
    if rule in (RecordRule.OPENS, RecordRule.OWN_VERSION) and record.source != statement.source:
        raise EnvelopeRefused(refusals.RECORD_OF_ANOTHER_SOURCE)


def _checked_body(
    statement: Header, kind: StatementKind, attachment: Attachment | None
) -> Closed | None:
    """Step 5: the body is the one committed to, and of the form its statement needs."""
    if statement.body_commitment is None:
        if kind.body_rule is BodyRule.REQUIRED:
            raise EnvelopeRefused(refusals.BODY_MISSING, "no commitment")
        if attachment is not None:
            raise EnvelopeRefused(refusals.BODY_UNEXPECTED)
        return None
    if kind.body is None:
        raise EnvelopeRefused(refusals.BODY_UNEXPECTED, "commitment")
    if attachment is None:
        raise EnvelopeRefused(refusals.BODY_MISSING)
    if isinstance(attachment, Sealed):  # no recipient key has been announced by anyone yet
        raise EnvelopeRefused(refusals.RECIPIENT_KEY_GONE)
    if len(attachment.nonce) != NONCE_BYTES:
        raise EnvelopeRefused(refusals.NONCE_LENGTH_WRONG, f"{len(attachment.nonce)} octets")
    if body_commitment(attachment.nonce, attachment.body) != statement.body_commitment:
        raise EnvelopeRefused(refusals.BODY_COMMITMENT_MISMATCH)
    return _decoded_body(kind.body, attachment.body)


def _decoded_body(form: type[Closed], octets: bytes) -> Closed:
    try:
        body = codec.decode(_BODIES[form], octets, form)
    except EnvelopeRefused as refused:
        raise EnvelopeRefused(refusals.BODY_MALFORMED, refused.refusal.code) from refused
    if not isinstance(body, form):
        raise EnvelopeRefused(refusals.BODY_MALFORMED)
    return body
