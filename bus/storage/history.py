"""What a party did and when: identifiers only, written in the transaction of the change told."""

from typing import Final

from bus.instants import Instant
from bus.storage.database import Database

SCHEMA: Final = """
CREATE TABLE history (
    seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, wall_ns INTEGER NOT NULL, event TEXT NOT NULL,
    message_id TEXT NOT NULL, source TEXT NOT NULL, record_id TEXT NOT NULL,
    state TEXT NOT NULL, digest BLOB, detail TEXT NOT NULL
);
"""
_INSERT: Final = "INSERT INTO history VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class History:
    """The append-only record of one party's events. `wall_ns` never enters a trace."""

    def __init__(self, database: Database) -> None:
        self._execute = database.connection.execute

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
        self._execute(
            _INSERT, (at, wall_ns, event, message_id, source, record_id, state, digest, detail)
        )
