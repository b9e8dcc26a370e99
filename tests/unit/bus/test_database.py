"""A party's database: whose it is, all or nothing, and that what was erased is gone from disk."""

import random
import sqlite3
from pathlib import Path

import pytest

import bus.storage.database as module
from bus.errors import StoreUnreadable
from bus.storage import records
from bus.storage.database import FORMAT_VERSION, Database

SCHEMA = "CREATE TABLE notes (text TEXT);"
CANARY = b"CANARY-0123456789ab"


def opened(path: Path, party: str = "XB") -> Database:
    """Open a store with one table."""
    return Database(party, [SCHEMA], path)


def note(database: Database, text: str) -> None:
    """Write a text in a transaction of its own."""
    with database.transaction():
        database.execute("INSERT INTO notes VALUES (?)", (text,))


def erase(database: Database) -> None:
    """Erase all notes as personal data are erased."""
    with database.transaction():
        database.content_erased()
        database.execute("DELETE FROM notes")


def on_disk(path: Path) -> bytes:
    """Return everything that lies beside a store file, the write-ahead log included."""
    return b"".join(each.read_bytes() for each in sorted(path.parent.glob(f"{path.name}*")))


def test_store_keeps_its_content_when_it_is_opened_again(tmp_path: Path) -> None:
    """A restarted party finds what it committed."""
    path = tmp_path / "XB.sqlite"
    first = opened(path)
    note(first, "kept")
    first.set_meta("number", 5)
    first.close()
    again = opened(path)
    assert again.execute("SELECT text FROM notes").fetchall() == [("kept",)]
    assert (again.meta("number"), again.meta("unheard")) == (5, None)
    again.close()


def test_store_of_another_party_is_refused(tmp_path: Path) -> None:
    """Two parties never share a store, not even by a slip in a path."""
    path = tmp_path / "store.sqlite"
    opened(path, "XA").close()
    with pytest.raises(StoreUnreadable, match="belongs to XA, not to XB"):
        opened(path, "XB")


def test_store_of_another_format_version_is_refused(tmp_path: Path) -> None:
    """One line names both versions; nothing is guessed."""
    path = tmp_path / "XB.sqlite"
    opened(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    connection.close()
    with pytest.raises(StoreUnreadable, match=rf"format version {FORMAT_VERSION + 1}.*reads"):
        opened(path)


def test_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    """A text file in the place of a store is named and left alone."""
    path = tmp_path / "XB.sqlite"
    path.write_text("not a database " * 100)
    with pytest.raises(StoreUnreadable, match=r"XB\.sqlite"):
        opened(path)
    assert path.read_text().startswith("not a database")


def test_failed_transaction_leaves_nothing_behind() -> None:
    """Rows that were gathered to be written together go with the rest."""
    database = Database("XB", [SCHEMA])
    gathered = database.buffered("INSERT INTO notes VALUES (?)").rows

    def fail() -> None:
        with database.transaction():
            database.execute("INSERT INTO notes VALUES ('direct')")
            gathered.append(("gathered",))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    note(database, "later")
    assert database.execute("SELECT text FROM notes").fetchall() == [("later",)]


def test_rolled_back_message_takes_its_gathered_rows_with_it() -> None:
    """What came before it in the same transaction stays, gathered or not."""
    database = Database("XB", [SCHEMA])
    gathered = database.buffered("INSERT INTO notes VALUES (?)").rows
    with database.transaction():
        gathered.append(("before",))
        database.savepoint()
        gathered.append(("refused",))
        database.execute("INSERT INTO notes VALUES ('refused directly')")
        database.roll_back()
        gathered.append(("after",))
        database.release()
    assert database.execute("SELECT text FROM notes").fetchall() == [("before",), ("after",)]


def test_erased_content_is_gone_from_file_and_write_ahead_log(tmp_path: Path) -> None:
    """Deletion overwrites the pages and empties the log, while the store stays open."""
    path = tmp_path / "XB.sqlite"
    database = opened(path)
    for _ in range(50):
        note(database, CANARY.decode() * 20)
    assert CANARY in on_disk(path)
    erase(database)
    assert CANARY not in on_disk(path)
    assert CANARY not in database.image()
    database.close()


def test_deletion_that_is_not_declared_as_erasure_stays_in_the_log(tmp_path: Path) -> None:
    """The test above can fail: without the declaration the log keeps the old pages."""
    path = tmp_path / "XB.sqlite"
    database = opened(path)
    note(database, CANARY.decode())
    with database.transaction():
        database.execute("DELETE FROM notes")
    assert CANARY in on_disk(path)
    database.close()


def test_erasure_while_somebody_reads_reaches_the_disk_after_the_next_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader holds the log open; the emptying is made up for and not forgotten."""
    monkeypatch.setattr(module, "BUSY_TIMEOUT_SECONDS", 0.05)
    path = tmp_path / "XB.sqlite"
    database = opened(path)
    note(database, CANARY.decode())
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM notes").fetchall()
    erase(database)
    assert CANARY in on_disk(path)
    reader.close()
    note(database, "the next transaction")
    assert CANARY not in on_disk(path)
    database.close()


def test_store_in_memory_overwrites_what_was_erased() -> None:
    """An image of it holds free pages too."""
    database = Database("XB", [SCHEMA])
    note(database, CANARY.decode() * 20)
    assert CANARY in database.image()
    erase(database)
    assert CANARY not in database.image()


@pytest.mark.parametrize("seed", range(12))
def test_erased_bodies_leave_nothing_however_pages_are_filled_and_emptied(seed: int) -> None:
    """Rows of other bodies are never moved, so that no old copy of an erased one lies in a page."""
    chance = random.Random(seed)  # noqa: S311  (draws that can be repeated)
    database = Database("XA", (records.SCHEMA,))
    bodies = records.Records(database)
    live: list[tuple[records.RecordKey, bytes, bytes]] = []
    erased: list[bytes] = []
    for number in range(200):
        key, mark = records.RecordKey("XA", f"r{number}"), b"MARK%08d" % number
        digest, nonce = chance.randbytes(32), chance.randbytes(32)
        bodies.keep_body(digest, key, nonce, mark + chance.randbytes(chance.randint(60, 700)))
        live.append((key, digest, mark))
        if chance.random() < 0.6:
            key, digest, mark = live.pop(chance.randrange(len(live)))
            assert bodies.erase_body(key, digest, 0)
            erased.append(mark)
    image = database.image()
    assert [mark for mark in erased if mark in image] == []
    assert all(mark in image for _, _, mark in live)
