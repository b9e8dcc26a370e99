"""The running hash that chains the retraction sets sent to one member."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from bus.identifiers import DIGEST_BYTES
from bus.messages import codec
from bus.messages.retraction import RecordReference

FIRST_HASH: Final = bytes(DIGEST_BYTES)
"""The running hash before any set was sent."""


def running_hash(
    previous: bytes,
    number: int,
    ended: Sequence[RecordReference],
    blocked: Sequence[RecordReference],
    revoked_keys: Sequence[bytes],
) -> bytes:
    """Return SHA-256 over the previous hash and the msgpack of the set's own content."""
    content = codec.encode([number, ended, blocked, revoked_keys])
    return sha256(previous + content).digest()
