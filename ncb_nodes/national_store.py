"""The tables that a bureau has beside those of every party: acts, attention, receipts, sets."""

from typing import Final, Self

from msgspec import Struct

from bus.instants import Instant
from bus.retraction_sets import FIRST_HASH
from bus.storage.database import Database
from bus.storage.records import RecordKey

SCHEMA: Final = """
CREATE TABLE attention (source TEXT, record_id TEXT, PRIMARY KEY (source, record_id)) WITHOUT ROWID;
CREATE TABLE actions (
    source TEXT NOT NULL, record_id TEXT NOT NULL, digest BLOB NOT NULL, acted_at INTEGER NOT NULL,
    PRIMARY KEY (source, record_id, digest)
) WITHOUT ROWID;
CREATE TABLE doubts (digest BLOB PRIMARY KEY, doubted_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE receipts (retraction TEXT PRIMARY KEY, receipt TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE labels (label TEXT PRIMARY KEY, record_id TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX versions_unmarked ON versions (stored_at)
    WHERE review_number = 0 AND known = 1 AND erased_at IS NULL AND state = 'unregistered';
"""


class RetractionSetState(Struct, frozen=True):
    """How far this bureau has followed the retraction sets sent to it.

    `issued_at` is None until the last page of a first set has come.
    """

    number: int = 0
    issued_at: Instant | None = None
    running_hash: bytes = FIRST_HASH

    @classmethod
    def kept_in(cls, database: Database) -> Self:
        """Read the state from the store."""
        row = database.meta("retraction_set")
        if row is None:
            return cls()
        number, issued_at, chained = str(row).split(":")
        issued = int(issued_at) if issued_at else None
        return cls(int(number), issued, bytes.fromhex(chained))

    def keep_in(self, database: Database) -> None:
        """Write the state to the store."""
        issued_at = "" if self.issued_at is None else self.issued_at
        text = f"{self.number}:{issued_at}:{self.running_hash.hex()}"
        database.set_meta("retraction_set", text)


class NationalStore:
    """A bureau's own tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def call_attention(self, key: RecordKey) -> None:
        """Have the next tick look whether to act on a record."""
        self._database.execute(
            "INSERT OR IGNORE INTO attention VALUES (?, ?)", (key.source, key.record_id)
        )

    def records_for_attention(self) -> list[RecordKey]:
        """Return the records to look at, in the order of their keys."""
        rows = self._database.execute(
            "SELECT source, record_id FROM attention ORDER BY source, record_id"
        )
        return [RecordKey(*row) for row in rows]

    def needs_attention(self) -> bool:
        """Tell whether a tick has records to look at."""
        return self._database.execute("SELECT 1 FROM attention LIMIT 1").fetchone() is not None

    def clear_attention(self) -> None:
        """Note that all were looked at."""
        self._database.execute("DELETE FROM attention")

    def first_act(self, key: RecordKey, digest: bytes, now: Instant) -> bool:
        """Note an act on a version; tell whether it is the first one."""
        added = self._database.execute(
            "INSERT OR IGNORE INTO actions VALUES (?, ?, ?, ?)",
            (key.source, key.record_id, digest, now),
        )
        return added.rowcount > 0

    def unmarked_since(self, before: Instant) -> list[tuple[RecordKey, bytes, str]]:
        """Return versions without a review mark that came up to an instant and raise a doubt."""
        rows = self._database.execute(
            "SELECT source, record_id, digest, message_id FROM versions WHERE review_number = 0"
            " AND known = 1 AND erased_at IS NULL AND state = 'unregistered' AND stored_at <= ?"
            " AND source != ? AND digest NOT IN (SELECT digest FROM doubts)"
            " ORDER BY source, message_id",
            (before, self._database.party),
        )
        return [(RecordKey(row[0], row[1]), row[2], row[3]) for row in rows.fetchall()]

    def oldest_unmarked(self) -> Instant | None:
        """Return when the oldest version came that lacks its mark and was not doubted yet."""
        (oldest,) = self._database.execute(
            "SELECT min(stored_at) FROM versions WHERE review_number = 0 AND known = 1 AND"
            " erased_at IS NULL AND state = 'unregistered' AND source != ?"
            " AND digest NOT IN (SELECT digest FROM doubts)",
            (self._database.party,),
        ).fetchone()
        return int(oldest) if oldest is not None else None

    def note_doubt(self, digest: bytes, now: Instant) -> None:
        """Remember that a version was doubted, so that it is doubted once."""
        self._database.execute("INSERT OR IGNORE INTO doubts VALUES (?, ?)", (digest, now))

    def keep_receipt(self, retraction: str, receipt: str) -> None:
        """Remember which receipt answers a retraction, for repeats."""
        self._database.execute(
            "INSERT OR REPLACE INTO receipts VALUES (?, ?)", (retraction, receipt)
        )

    def receipt_for(self, retraction: str) -> str | None:
        """Return the message id of the receipt that answered a retraction."""
        row = self._database.execute(
            "SELECT receipt FROM receipts WHERE retraction = ?", (retraction,)
        ).fetchone()
        return row[0] if row else None

    def keep_label(self, label: str, record_id: str) -> None:
        """Remember under which name a scenario speaks of an own record."""
        self._database.execute("INSERT INTO labels VALUES (?, ?)", (label, record_id))

    def record_labelled(self, label: str) -> str | None:
        """Return the own record that a scenario speaks of by a name."""
        row = self._database.execute(
            "SELECT record_id FROM labels WHERE label = ?", (label,)
        ).fetchone()
        return row[0] if row else None
