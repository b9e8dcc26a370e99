"""Opening a store: one SQLite database per party, in memory or in a file of its own.

Deleted content is overwritten (`secure_delete`), and a file's write-ahead log is emptied after
each batch that erased something, so that a deletion reaches the disk and not only the table.
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


class Database:
    """One party's SQLite database, used by one thread at a time.

    `path` None keeps it in memory. Raises `StoreUnreadable` for a file that is no store of this
    party or of another format version.
    """

    def __init__(self, party: str, schemas: Sequence[str], path: Path | None = None) -> None:
        self.party = party
        self.path = path
        self._erased = False
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
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")
        if self._erased:
            self._erased = False
            if self.path is not None:
                self.execute("PRAGMA wal_checkpoint(TRUNCATE)")

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


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a store file, or a copy of one, without changing it; raise `StoreUnreadable`."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        message = f"store {path} cannot be read: {error}"
        raise StoreUnreadable(message) from error
    if version != FORMAT_VERSION:
        message = f"store {path} has format version {version}; this release reads {FORMAT_VERSION}"
        raise StoreUnreadable(message)
    return connection
