"""What is signed and how it is packed: PAE, digests, commitments, tombstones, the exported form."""

import json
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as DSSEEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

from bus import refusals
from bus.envelope import (
    ENVELOPE_BYTES_MAX,
    NONCE_BYTES,
    PAYLOAD_TYPE_CHARACTERS_MAX,
    Plain,
    SignedEnvelope,
    as_json,
    body_commitment,
    digest_of_delivery,
    open_envelope,
    pack,
    pre_authentication_encoding,
    statement_digest,
)
from bus.messages.alerts import Diffusion
from bus.messages.catalogue import KINDS
from bus.messages.correspondence import Doubt, DoubtClaims, DoubtReason, EnvelopeBody
from bus.refusals import EnvelopeRefused
from bus.statements import IssuedStatement
from tests.assets.make_golden_envelope import GOLDEN, golden
from tests.factories import case_file, diffusion, issued, packed, signer, version_of


def dsse_key(keyid: str) -> SSlibKey:
    """Return XA's public key as the other library holds it, under some key id."""
    return SSlibKey.from_crypto(signer("XA").key.public_key(), keyid=keyid)


def exported(statement: IssuedStatement) -> dict[str, Any]:
    """Return the JSON form as another program reads it."""
    read: dict[str, Any] = json.loads(json.dumps(as_json(statement.envelope)))
    return read


def test_pae_of_the_specifications_example_is_the_specifications_answer() -> None:
    """The DSSE protocol gives one worked example."""
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@given(st.text(max_size=30), st.binary(max_size=30))
def test_pae_says_where_type_and_payload_begin_and_end(payload_type: str, payload: bytes) -> None:
    """No two pairs share an encoding, since each can be read back from it."""
    encoded = pre_authentication_encoding(payload_type, payload)
    version, size, rest = encoded.split(b" ", 2)
    name, rest = rest[: int(size)], rest[int(size) + 1 :]
    length, found = rest.split(b" ", 1)
    assert (version, name.decode(), int(length), found) == (
        b"DSSEv1", payload_type, len(payload), payload,
    )  # fmt: skip


def test_statement_digest_is_the_hash_of_the_signed_octets() -> None:
    """The digest names type and payload, and nothing of signature or attachment."""
    envelope = diffusion().envelope
    encoded = pre_authentication_encoding(envelope.payload_type, envelope.payload)
    assert statement_digest(envelope.payload_type, envelope.payload) == sha256(encoded).digest()
    other = msgspec.structs.replace(envelope, signatures=[], attachment=None)
    assert other.digest == envelope.digest == diffusion().digest


def test_commitment_alone_does_not_fix_the_boundary_between_nonce_and_body() -> None:
    """This is why a nonce of any other length is refused before the commitment is looked at."""
    nonce, body = bytes(range(32)), b"body"
    moved = body_commitment(nonce + body[:1], body[1:])
    assert moved == body_commitment(nonce, body)
    assert body_commitment(nonce, body) == sha256(b"i247.body.v1\x00" + nonce + body).digest()


def test_opened_envelope_holds_what_was_sealed() -> None:
    """Sealing, packing and opening bring back statement, body and digest."""
    statement = diffusion()
    opened = open_envelope(packed(statement))
    assert opened.statement == statement.statement
    assert (opened.body, opened.digest) == (case_file(), statement.digest)
    assert isinstance(opened.statement, Diffusion)


def test_tombstone_still_verifies_after_nonce_and_body_are_gone() -> None:
    """Deleting drops the attachment; header and signature say who sent what and when."""
    envelope = diffusion().envelope
    tombstone = SignedEnvelope(envelope.payload_type, envelope.payload, envelope.signatures, None)
    key: Ed25519PublicKey = signer("XA").key.public_key()
    key.verify(
        tombstone.signatures[0].sig,
        pre_authentication_encoding(tombstone.payload_type, tombstone.payload),
    )
    assert tombstone.digest == envelope.digest
    assert b"CANARY" in pack(envelope)
    assert b"CANARY" not in pack(tombstone)


def test_exported_envelope_verifies_with_another_dsse_implementation() -> None:
    """The JSON form is standard DSSE over the very same octets."""
    statement = diffusion()
    envelope = DSSEEnvelope.from_dict(exported(statement))
    accepted = envelope.verify([dsse_key(signer("XA").key_id)], 1)
    assert list(accepted) == [statement.envelope.signatures[0].keyid]
    assert envelope.pae() == pre_authentication_encoding(
        statement.envelope.payload_type, statement.envelope.payload
    )


def test_other_implementation_matches_keys_by_our_key_id() -> None:
    """A verifier that selects keys by id has to know them under SHA-256 of the key's SPKI."""
    envelope = DSSEEnvelope.from_dict(exported(diffusion()))
    with pytest.raises(VerificationError):
        envelope.verify([dsse_key("0" * 64)], 1)
    spki_hash = exported(diffusion())["signatures"][0]["keyid"]
    assert spki_hash == signer("XA").key_id
    assert len(spki_hash) == 64


@pytest.mark.parametrize("field", ["payload", "payloadType"])
def test_altered_export_does_not_verify_elsewhere(field: str) -> None:
    """Type and payload are both under the signature."""
    fields = exported(diffusion())
    if field == "payload":
        fields[field] = b64encode(b64decode(fields[field]) + b"\xc0").decode()
    else:
        fields[field] = KINDS["message"].payload_type
    with pytest.raises(VerificationError):
        DSSEEnvelope.from_dict(fields).verify([dsse_key(signer("XA").key_id)], 1)


def test_golden_envelope_is_what_its_generator_makes() -> None:
    """The asset was not edited by hand, and the generator knows nothing of our code."""
    assert json.loads(GOLDEN.read_text()) == golden()


def test_golden_envelope_opens_and_names_every_value_alike() -> None:
    """A change of the wire shows here before it breaks stored statements of older releases."""
    asset = json.loads(GOLDEN.read_text())
    opened = open_envelope(bytes.fromhex(asset["envelope"]))
    attachment = opened.envelope.attachment
    assert isinstance(attachment, Plain)
    assert pack(opened.envelope).hex() == asset["envelope"]
    assert opened.digest.hex() == asset["statement_digest"]
    assert body_commitment(attachment.nonce, attachment.body).hex() == asset["body_commitment"]
    assert opened.body == case_file(file_reference="FILE/CANARY-golden")
    assert as_json(opened.envelope) == asset["dsse"]


def test_payload_types_are_ascii_short_and_different() -> None:
    """Some DSSE libraries count the type in characters, so octets and characters must agree."""
    types = [kind.payload_type for kind in KINDS.values()]
    assert all(each.isascii() and len(each) <= PAYLOAD_TYPE_CHARACTERS_MAX for each in types)
    assert len(set(types)) == len(types)


def doubt_of_size(size: int) -> bytes:
    """Return a packed doubt that has exactly `size` octets."""
    octets = b""
    padding = size
    while len(octets) != size:
        padding += size - len(octets) if octets else -1_000
        statement = issued(
            Doubt,
            "XB",
            ("IPSG",),
            DoubtClaims(DoubtReason.UNREGISTERED),
            record=version_of(diffusion()),
            body=EnvelopeBody(bytes(padding)),
        )
        octets = packed(statement)
    return octets


def test_envelope_of_the_greatest_size_opens_and_one_octet_more_does_not() -> None:
    """The limit counts the octets of the delivery, attachment included."""
    assert open_envelope(doubt_of_size(ENVELOPE_BYTES_MAX)).kind.message_type == "doubt"
    with pytest.raises(EnvelopeRefused) as caught:
        open_envelope(doubt_of_size(ENVELOPE_BYTES_MAX + 1))
    assert caught.value.refusal is refusals.ENVELOPE_TOO_LARGE


def test_delivery_is_accounted_for_by_statement_digest_or_by_its_octets() -> None:
    """An unreadable delivery has a name too, and trailing octets give it another one."""
    statement = diffusion()
    assert digest_of_delivery(packed(statement)) == statement.digest
    assert digest_of_delivery(b"\xff") == sha256(b"\xff").digest()
    extended = packed(statement) + b"\xc0"
    assert digest_of_delivery(extended) == sha256(extended).digest()


def test_nonce_has_the_length_of_a_digest() -> None:
    """The nonce hides the body as well as the hash that it enters can."""
    attachment = diffusion().envelope.attachment
    assert isinstance(attachment, Plain)
    assert len(attachment.nonce) == NONCE_BYTES == 32
