"""Opening a store: one SQLite database per party, in memory or in a file of its own.

Deleted content is overwritten (`secure_delete`), and a file's write-ahead log is emptied after
each batch that erased something, so that a deletion reaches the disk and not only the table.

Tables with large rows are ordinary rowid tables, which SQLite fills about twice as fast as those
without; small ones go without a rowid. Rows of append-only tables are gathered and written in one
go just before the commit.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bus.errors import StoreUnreadable

FORMAT_VERSION: Final = 1
BUSY_TIMEOUT_SECONDS: Final = 10

_META_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""


class RowBuffer:
    """Rows of an append-only table that are written together just before the commit."""

    def __init__(self, connection: sqlite3.Connection, insert: str) -> None:
        self._connection = connection
        self._insert = insert
        self.rows: list[tuple[object, ...]] = []

    def flush(self) -> None:
        """Write what was gathered."""
        if self.rows:
            self._connection.executemany(self._insert, self.rows)
            self.rows.clear()


class Database:
    """One party's SQLite database, used by one thread at a time.

    `path` None keeps it in memory. Raises `StoreUnreadable` for a file that is no store of this
    party or of another format version.
    """

    def __init__(self, party: str, schemas: Sequence[str], path: Path | None = None) -> None:
        self.party = party
        self.path = path
        self._erased = False
        self._buffers: list[RowBuffer] = []
        try:
            self.connection = sqlite3.connect(
                path if path is not None else ":memory:",
                timeout=BUSY_TIMEOUT_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
            self.execute = self.connection.execute
            self._prepare(schemas)
        except sqlite3.Error as error:
            message = f"store of {party} at {path or 'memory'} cannot be opened: {error}"
            raise StoreUnreadable(message) from error

    def _prepare(self, schemas: Sequence[str]) -> None:
        self.execute("PRAGMA secure_delete = ON")
        if self.path is not None:
            self.execute("PRAGMA journal_mode = WAL")
            self.execute("PRAGMA synchronous = FULL")
        (version,) = self.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self.connection.executescript(
                f"BEGIN; {_META_SCHEMA} {' '.join(schemas)}"
                f" PRAGMA user_version = {FORMAT_VERSION}; COMMIT;"
            )
            self.set_meta("party", self.party)
            return
        if version != FORMAT_VERSION:
            message = (
                f"store {self.path} has format version {version}; this release reads "
                f"{FORMAT_VERSION}"
            )
            raise StoreUnreadable(message)
        if self.meta("party") != self.party:
            message = f"store {self.path} belongs to {self.meta('party')}, not to {self.party}"
            raise StoreUnreadable(message)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all or nothing; after an erasure the write-ahead log is emptied as well."""
        self.execute("BEGIN IMMEDIATE")
        committed = False
        try:
            yield
            self._write_rows()
            self.execute("COMMIT")
            committed = True
        finally:
            if not committed:
                self._forget_rows()
                self.execute("ROLLBACK")
        if self._erased:
            # A reader may hold the log open: then the next transaction tries again.
            self._erased = self.path is not None and self._log_is_busy()

    def _log_is_busy(self) -> bool:
        """Empty the write-ahead log; tell whether a reader kept that from being done."""
        (busy, *_) = self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return bool(busy)

    def buffered(self, insert: str) -> RowBuffer:
        """Return a buffer for the rows of an append-only table."""
        buffer = RowBuffer(self.connection, insert)
        self._buffers.append(buffer)
        return buffer

    def savepoint(self) -> None:
        """Mark a point of the transaction to which `roll_back` returns.

        What was gathered before is written first, so that undoing a message never takes along the
        rows of those before it, whenever a query within the savepoint has rows written.
        """
        self._write_rows()
        self.execute("SAVEPOINT message")

    def roll_back(self) -> None:
        """Undo everything since the savepoint, gathered rows included."""
        self.execute("ROLLBACK TO message")
        self._forget_rows()

    def release(self) -> None:
        """Keep what was done since the savepoint."""
        self.execute("RELEASE message")

    def _write_rows(self) -> None:
        for buffer in self._buffers:
            buffer.flush()

    def _forget_rows(self) -> None:
        for buffer in self._buffers:
            buffer.rows.clear()

    def content_erased(self) -> None:
        """Note that this transaction erases personal data."""
        self._erased = True

    def meta(self, key: str) -> object:
        """Return a single value kept under a name, or None."""
        row = self.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def set_meta(self, key: str, value: object) -> None:
        """Keep a single value under a name."""
        self.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def image(self) -> bytes:
        """Return the database as it lies in memory or on disk, free pages included."""
        return self.connection.serialize()

    def close(self) -> None:
        """Close; a file's write-ahead log is merged and removed by SQLite."""
        self.connection.close()
