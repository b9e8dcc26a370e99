"""What a party did and when: identifiers only, written in the transaction of the change told."""

from typing import Final

from msgspec import Struct

from bus.instants import Instant
from bus.storage.database import Database

SCHEMA: Final = """
CREATE TABLE history (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, wall_ns INTEGER NOT NULL, event TEXT NOT NULL,
    message_id TEXT NOT NULL, source TEXT NOT NULL, record_id TEXT NOT NULL,
    state TEXT NOT NULL, digest BLOB, detail TEXT NOT NULL
);
"""
_SELECT: Final = "SELECT * FROM history WHERE seq > ? ORDER BY seq LIMIT ?"
_INSERT: Final = "INSERT INTO history VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class HistoryRow(Struct, frozen=True):
    """One event as it was written; `seq` numbers the events of one party."""

    seq: int
    at: Instant
    wall_ns: int
    event: str
    message_id: str
    source: str
    record_id: str
    state: str
    digest: bytes | None
    detail: str


class History:
    """The append-only record of one party's events. `wall_ns` never enters a trace."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows = database.buffered(_INSERT).rows

    def add(  # noqa: PLR0913  (the columns of one row)
        self,
        at: Instant,
        wall_ns: int,
        event: str,
        *,
        message_id: str = "",
        source: str = "",
        record_id: str = "",
        state: str = "",
        digest: bytes | None = None,
        detail: str = "",
    ) -> None:
        """Append one event, named noun then past verb."""
        self._rows.append(
            (at, wall_ns, event, message_id, source, record_id, state, digest, detail)
        )

    def rows_after(self, seq: int, limit: int) -> list[HistoryRow]:
        """Return committed events with a higher number, oldest first, at most `limit`."""
        rows = self._database.execute(_SELECT, (seq, limit)).fetchall()
        return [HistoryRow(*row) for row in rows]
