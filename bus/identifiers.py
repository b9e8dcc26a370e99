"""Validated values that name things on the wire: parties, records, messages, digests.

Every alias is an `Annotated` type that msgspec checks while it decodes, so a value of the wrong
form never gets further than the codec.
"""

import re
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta

from bus.instants import Instant

UUID_TEXT_CHARACTERS: Final = 36
DIGEST_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

SECRETARIAT: Final = "IPSG"
COMMISSION: Final = "CCF"
AUTHORITY: Final = "AUTH"

PARTY_CODE_PATTERN: Final = r"^(?:[A-Z]{2}|IPSG|CCF|AUTH)\Z"

NCBCode = Annotated[
    str, Meta(pattern=r"^[A-Z]{2}\Z", description="two capital letters of a member")
]
PartyCode = Annotated[
    str, Meta(pattern=PARTY_CODE_PATTERN, description="a member's code, IPSG, CCF or AUTH")
]
ZoneCode = Annotated[
    str,
    Meta(pattern=r"^Z-[A-Z]{3,8}\Z", description="a fictional zone of members, such as Z-NORTH"),
]
RecordId = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z",
        description="UUID, lower case",
    ),
]
MessageId = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z",
        description="UUIDv7, lower case",
    ),
]
TimestampText = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z\Z",
        description="RFC 3339 in UTC with milliseconds",
    ),
]
TraceParent = Annotated[
    str,
    Meta(
        pattern=r"^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]\Z",
        description="W3C Trace Context traceparent, version 00",
    ),
]
Digest = Annotated[
    bytes,
    Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES, description="32 raw bytes, SHA-256"),
]
KeyId = Annotated[
    str,
    Meta(pattern=r"^[0-9a-f]{64}\Z", description="lower-case hex SHA-256 of the public key info"),
]
Count = Annotated[int, Meta(ge=0, le=2**53 - 1, description="integer, 0 to 2^53-1")]
Number = Annotated[int, Meta(ge=1, le=2**53 - 1, description="integer, 1 to 2^53-1")]


class Role(StrEnum):
    """What a certified key may speak for; the registry decides it, never a message."""

    NCB = "ncb"
    SECRETARIAT = "secretariat"
    CCF = "ccf"
    AUTHORITY = "authority"


class QueueKind(StrEnum):
    """Each party has one queue for personal data and one for statements about it."""

    DATA = "data"
    STATEMENTS = "statements"


def role_of(party: str) -> Role:
    """Return the one role a party code can hold."""
    return {SECRETARIAT: Role.SECRETARIAT, COMMISSION: Role.CCF, AUTHORITY: Role.AUTHORITY}.get(
        party, Role.NCB
    )


def is_party_code(text: str) -> bool:
    """Tell whether `text` has the form of a party code."""
    return re.match(PARTY_CODE_PATTERN, text) is not None


class IdentifierSource:
    """Mints identifiers from a seed, so that a run with the same seed names things alike.

    Every draw is keyed by (seed, party, purpose, subject); there is no stream whose order could
    depend on the bus. Unseeded processes hand in a random seed.
    """

    def __init__(self, seed: str, party: str) -> None:
        self._prefix = f"{seed}\x1f{party}\x1f"

    def octets(self, purpose: str, subject: str, size: int = DIGEST_BYTES) -> bytes:
        """Return `size` (at most 32) octets that belong to this purpose and subject alone."""
        return sha256(f"{self._prefix}{purpose}\x1f{subject}".encode()).digest()[:size]

    def fraction(self, purpose: str, subject: str) -> float:
        """Return a number in [0, 1)."""
        return int.from_bytes(self.octets(purpose, subject, 7), "big") / float(1 << 56)

    def message_id(self, now: Instant, subject: str) -> str:
        """Return a UUIDv7 whose time part is `now`."""
        raw = bytearray(now.to_bytes(6, "big") + self.octets("message_id", subject, 10))
        raw[6] = 0x70 | raw[6] & 0x0F
        raw[8] = 0x80 | raw[8] & 0x3F
        return str(UUID(bytes=bytes(raw)))

    def record_id(self, subject: str) -> str:
        """Return a UUID of version 4 form."""
        return str(UUID(bytes=self.octets("record_id", subject, 16), version=4))

    def traceparent(self, subject: str) -> str:
        """Return a W3C traceparent whose trace belongs to `subject`."""
        raw = self.octets("trace", subject, 24)
        return f"00-{raw[:16].hex()}-{raw[16:].hex()}-01"
