"""Which messages were taken up, and what became of each: idempotency, evidence, tombstones.

A row is written only after verification, in the transaction of what the message changed, and it
is kept as long as the tombstone. It holds the signed header, never a body.
"""

from enum import StrEnum
from typing import Final

import msgspec

from bus.instants import Instant
from bus.messages.catalogue import KINDS
from bus.messages.header import Header
from bus.storage.database import Database
from bus.verification import VerifiedMessage

SCHEMA: Final = """
CREATE TABLE inbox (
    source TEXT NOT NULL, message_id TEXT NOT NULL, digest BLOB NOT NULL,
    message_type TEXT NOT NULL, record_source TEXT, record_id TEXT,
    payload BLOB NOT NULL, key_id TEXT NOT NULL, signature BLOB NOT NULL,
    outcome TEXT NOT NULL, received_at INTEGER NOT NULL, carrier TEXT,
    PRIMARY KEY (source, message_id)
);
CREATE TABLE quarantine (
    seq INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, code TEXT NOT NULL,
    digest BLOB NOT NULL, octets INTEGER NOT NULL, fault TEXT NOT NULL, origin TEXT,
    message_type TEXT, message_id TEXT, source TEXT, record_source TEXT, record_id TEXT
);
"""


_INSERT: Final = "INSERT INTO inbox VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Outcome(StrEnum):
    """The first outcome of a message at one addressee."""

    APPLIED = "applied"
    NO_EFFECT = "no_effect"
    WAITING = "waiting"
    """It concerns a record that this party has not seen."""
    WITHHELD = "withheld"
    """Its data were not stored: the record had ended before it came."""


class Inbox:
    """The table of messages taken up, keyed by (source, message id)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._buffer = database.buffered(_INSERT)
        self._rows = self._buffer.rows
        self._gathered: dict[tuple[str, str], tuple[int, bytes]] = {}
        """Where the rows of this transaction lie that are not written yet."""

    def known_digest(self, source: str, message_id: str) -> bytes | None:
        """Return the digest kept for a message, or None for one that is new."""
        gathered = self._gathered.get((source, message_id))
        if gathered is not None:
            position, digest = gathered
            if position < len(self._rows) and self._rows[position][2] is digest:
                return digest
        row = self._database.execute(
            "SELECT digest FROM inbox WHERE source = ? AND message_id = ?", (source, message_id)
        ).fetchone()
        return row[0] if row else None

    def header(self, source: str, message_id: str) -> Header | None:
        """Return the header of a message that was taken up, or None for one that was not."""
        self.flush()
        row = self._database.execute(
            "SELECT message_type, payload FROM inbox WHERE source = ? AND message_id = ?",
            (source, message_id),
        ).fetchone()
        if row is None:
            return None
        message_type, payload = row
        return msgspec.msgpack.decode(payload, type=KINDS[message_type].header)

    def flush(self) -> None:
        """Write the rows of this transaction, so that a query sees them."""
        self._buffer.flush()

    def add(
        self,
        message: VerifiedMessage,
        outcome: Outcome,
        now: Instant,
        carrier: str | None = None,
    ) -> None:
        """Keep a message's header and outcome; `carrier` is the id of one that carried it."""
        statement, record = message.statement, message.statement.record
        if not self._rows:
            self._gathered.clear()
        self._gathered[statement.source, statement.message_id] = len(self._rows), message.digest
        self._rows.append(
            (
                statement.source,
                statement.message_id,
                message.digest,
                message.kind.message_type,
                record.source if record else None,
                record.record_id if record else None,
                message.payload,
                message.key_id,
                message.signature,
                outcome,
                now,
                carrier,
            ),
        )


class Quarantine:
    """What was refused: code, digest, size and those header fields that pass their forms."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        now: Instant,
        code: str,
        digest: bytes,
        octets: int,
        fault: str,
        origin: str | None,
        fields: dict[str, str | None],
    ) -> None:
        """Keep what is safe to keep of a refused delivery; never its attachment."""
        self._database.execute(
            "INSERT INTO quarantine VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                now,
                code,
                digest,
                octets,
                fault,
                origin,
                fields.get("message_type"),
                fields.get("message_id"),
                fields.get("source"),
                fields.get("record_source"),
                fields.get("record_id"),
            ),
        )
