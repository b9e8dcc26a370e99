"""Copies of stores, opened for the evidence and for the scan: the one place here that reads SQLite.

A copy is the database file as it lay there, and its write-ahead log beside it. Opening one never
touches the original: it is put together again in memory.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from msgspec import Struct

from bus.errors import StoreUnreadable
from bus.storage.database import FORMAT_VERSION

WAL_SUFFIX: Final = "-wal"
_HEADER_MAGIC: Final = b"SQLite format 3\x00"
_JOURNAL_BYTES: Final = slice(18, 20)
"""Where a database file says whether it uses a write-ahead log, which memory cannot have."""
_NO_WAL: Final = b"\x01\x01"
_PAGE_SIZE_BYTES: Final = slice(16, 18)
_LARGEST_PAGE: Final = 65_536
_HEADER_BYTES_MAX: Final = 9
"""Of one column in the header of a row; numbers count as long as they can be."""


class StoreCopy(Struct, frozen=True):
    """A store as it lay in memory or on disk, free pages included."""

    image: bytes
    wal: bytes = b""


def copy_store(path: Path) -> StoreCopy:
    """Return a copy of a store file and of its write-ahead log; raise `StoreUnreadable`."""
    try:
        wal = path.with_name(path.name + WAL_SUFFIX)
        return StoreCopy(path.read_bytes(), wal.read_bytes() if wal.exists() else b"")
    except OSError as error:
        message = f"store {path} cannot be copied: {error.strerror}"
        raise StoreUnreadable(message) from error


def page_bytes(image: bytes) -> int:
    """Return the page size of a database image, 0 for octets that are none."""
    if not image.startswith(_HEADER_MAGIC):
        return 0
    size = int.from_bytes(image[_PAGE_SIZE_BYTES], "big")
    return _LARGEST_PAGE if size == 1 else size


@contextmanager
def opened(party: str, copy: StoreCopy) -> Iterator[sqlite3.Connection]:
    """Open a copy of a party's store in memory.

    Raises `StoreUnreadable` for octets that are no store of this party and format version, also
    when that shows only while the block reads.
    """
    try:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(_for_memory(_merged(copy)))
            _check(connection, party)
            yield connection
    except (sqlite3.Error, StoreUnreadable) as error:
        message = f"store of {party} cannot be read: {error}"
        raise StoreUnreadable(message) from error


def values_on_several_pages(connection: sqlite3.Connection) -> Iterator[bytes]:
    """Yield the texts and blobs of all rows that may be too long for one page, each whole."""
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    tables = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
    for table, definition in tables.fetchall():
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
        lengths = " + ".join(f'coalesce(length(CAST("{name}" AS BLOB)), 0)' for name in columns)
        has_rowid = "WITHOUT ROWID" not in str(definition).upper()
        limit = _unsplit_bytes_max(page, has_rowid=has_rowid) - _HEADER_BYTES_MAX * len(columns)
        query = f'SELECT * FROM "{table}" WHERE {lengths} > ?'  # noqa: S608
        for row in connection.execute(query, (limit,)):
            yield from (value for value in map(_octets, row) if value)


def _unsplit_bytes_max(page: int, *, has_rowid: bool) -> int:
    """Return how long a row may be that SQLite keeps on one page, by its file format."""
    return page - 35 if has_rowid else (page - 12) * 64 // 255 - 23


def _octets(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else b""


def _for_memory(image: bytes) -> bytes:
    if not page_bytes(image):
        raise StoreUnreadable("it is no database")
    if image[_JOURNAL_BYTES] == _NO_WAL:
        return image
    return image[: _JOURNAL_BYTES.start] + _NO_WAL + image[_JOURNAL_BYTES.stop :]


def _merged(copy: StoreCopy) -> bytes:
    """Have SQLite apply a write-ahead log, in a folder of its own."""
    if not copy.wal:
        return copy.image
    with TemporaryDirectory(prefix="i247-store-") as folder:
        path = Path(folder) / "store.sqlite"
        path.write_bytes(copy.image)
        path.with_name(path.name + WAL_SUFFIX).write_bytes(copy.wal)
        with closing(sqlite3.connect(path)) as connection:
            return connection.serialize()


def _check(connection: sqlite3.Connection, party: str) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != FORMAT_VERSION:
        message = f"it has format version {version}; this release reads {FORMAT_VERSION}"
        raise StoreUnreadable(message)
    row = connection.execute("SELECT value FROM meta WHERE key = 'party'").fetchone()
    owner = row[0] if row else None
    if owner != party:
        message = f"it belongs to {owner}"
        raise StoreUnreadable(message)
