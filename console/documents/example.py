"""A worked example for `docs/protocol.md`: one small statement with every value on the way."""

from textwrap import wrap
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import to_builtins

from bus.envelope import Plain, pack, pre_authentication_encoding
from bus.identifiers import DIGEST_BYTES, IdentifierSource
from bus.instants import instant_from_text
from bus.messages.correspondence import Message, NoClaims, TextBody
from bus.pki.certificates import key_id_of
from bus.statements import Draft, Signer, sign

_ISSUED: Final = instant_from_text("2024-03-01T09:00:00.000Z")
_SECRET: Final = bytes(range(DIGEST_BYTES))
_LINE_CHARACTERS: Final = 92


def example_text() -> str:
    """Return the section with the example."""
    key = Ed25519PrivateKey.from_private_bytes(_SECRET)
    signer = Signer("XA", key_id_of(key.public_key()), key)
    draft = Draft(Message, ("XB",), NoClaims(), subject="example", body=TextBody("hello"))
    issued = sign(draft, signer, IdentifierSource("example", "XA"), 1, _ISSUED)
    envelope, attachment = issued.envelope, issued.envelope.attachment
    if not isinstance(attachment, Plain):
        raise TypeError(attachment)
    fields = to_builtins(issued.statement, builtin_types=(bytes,))
    values = {
        "private key (of this example only)": _SECRET,
        "public key": key.public_key().public_bytes_raw(),
        "keyid": bytes.fromhex(signer.key_id),
        "body": attachment.body,
        "nonce": attachment.nonce,
        "body_commitment": issued.statement.body_commitment or b"",
        "payload": envelope.payload,
        "PAE": pre_authentication_encoding(envelope.payload_type, envelope.payload),
        "statement digest": issued.digest,
        "sig": envelope.signatures[0].sig,
        "the envelope as it travels": pack(envelope),
    }
    header = "\n".join(f"    {name}: {_shown(value)}" for name, value in fields.items())
    octets = "\n\n".join(f"{name}:\n\n{_hex_lines(value)}" for name, value in values.items())
    return (
        "## 11. Example\n\n"
        "A `message` from XA to XB with the body `{text: hello}`. The header, binary in hex:\n\n"
        f"{header}\n\n"
        "And every value on the way, in hex; Ed25519 is deterministic, so a client that is right"
        f" gets the same.\n\n{octets}\n"
    )


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return "nil" if value is None else str(value)


def _hex_lines(octets: bytes) -> str:
    return "\n".join(f"    {line}" for line in wrap(octets.hex(), _LINE_CHARACTERS))
