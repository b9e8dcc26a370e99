"""The scan finds a canary in every form and place that it promises to look at."""

import gzip
import sqlite3
import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from simulation.canaries import canaries_of
from simulation.evidence.store_copies import StoreCopy, copy_store, page_bytes
from simulation.residue.canary_search import CanarySearch
from simulation.residue.scan import (
    DeadCanary,
    ScanResult,
    Sighting,
    Surface,
    SurfaceKind,
    scan,
)

CANARIES = canaries_of("7")
DEAD = CANARIES.of_version("gone", 1)
LIVE = CANARIES.of_version("kept", 1)
DEAD_CANARIES = {DEAD: DeadCanary(DEAD, "gone", "gone", "XA", "r")}
PAGE_BYTES = 4_096
LONG_VALUE_BYTES = 12_000


def _scan(*surfaces: Surface, **stores: StoreCopy) -> ScanResult:
    return scan(CANARIES, DEAD_CANARIES, stores, surfaces)


def _log(octets: bytes) -> Surface:
    return Surface(SurfaceKind.LOG, "XA", "log", octets)


def _database(*commands: tuple[str, tuple[object, ...]]) -> bytes:
    """Return the image of a database that does not overwrite what it deletes."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.execute("PRAGMA secure_delete = OFF")
        database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        for command, values in commands:
            database.execute(command, values)
        return database.serialize()


@pytest.mark.parametrize(
    ("encode", "encoding"),
    [
        pytest.param(lambda text: text, "raw", id="raw"),
        pytest.param(lambda text: text.hex().encode(), "hex", id="hex"),
        pytest.param(lambda text: text.hex().upper().encode(), "hex upper case", id="HEX"),
        pytest.param(lambda text: b64encode(b"abc" + text), "base64 at offset 0", id="base64 0"),
        pytest.param(lambda text: b64encode(b"abcd" + text), "base64 at offset 1", id="base64 1"),
        pytest.param(lambda text: b64encode(b"ab" + text), "base64 at offset 2", id="base64 2"),
        pytest.param(
            lambda text: urlsafe_b64encode(b"\xfb\xff" + text + b"\xff\xfe").rstrip(b"="),
            "base64 at offset 2",
            id="URL-safe without padding",
        ),
        pytest.param(lambda text: text.decode().encode("utf-16-le"), "UTF-16 LE", id="UTF-16 LE"),
        pytest.param(lambda text: text.decode().encode("utf-16-be"), "UTF-16 BE", id="UTF-16 BE"),
        pytest.param(lambda text: gzip.compress(b"x" * 9_000 + text), "raw in gzip", id="gzip"),
        pytest.param(lambda text: zlib.compress(text, 9), "raw in zlib", id="zlib 9"),
        pytest.param(lambda text: zlib.compress(text, 1), "raw in zlib", id="zlib 1"),
        pytest.param(
            lambda text: zlib.compress(gzip.compress(text.hex().encode())),
            "hex in gzip in zlib",
            id="hex in gzip in zlib",
        ),
    ],
)
def test_canary_is_found_in_every_form(encode: Callable[[bytes], bytes], encoding: str) -> None:
    """Whatever surrounds it, a dead canary is seen in the form in which it lies there."""
    surface = _log(b"{before " + encode(DEAD.encode()) + b" after}")
    result = _scan(surface)
    assert Sighting(DEAD, SurfaceKind.LOG, "XA", "log", encoding) in result.sightings
    assert {sighting.canary for sighting in result.sightings} == {DEAD}


def test_canaries_of_live_bodies_and_of_other_runs_are_no_sighting() -> None:
    """The marker alone says nothing: live bodies carry it as well."""
    other = canaries_of("8").of_version("gone", 1)
    octets = f"{LIVE} {other} {CANARIES.marker} {DEAD[:-1]} {DEAD[:-1]}g".encode()
    assert _scan(_log(octets)).sightings == frozenset()


def test_octets_that_only_look_compressed_are_passed_over() -> None:
    """A broken member yields what could be inflated before the break."""
    whole = gzip.compress(DEAD.encode() + bytes(range(256)) * 400, 1)
    broken = b"\x1f\x8b\x08 none " + b"\x78\x9c none " + whole[: len(whole) // 2]
    assert [find.encoding for find in CanarySearch(CANARIES).finds(broken)] == ["raw in gzip"]


def test_octets_left_in_the_free_pages_of_a_database_are_found() -> None:
    """No query sees a dropped table's pages; the scan reads the image itself."""
    image = _database(
        ("CREATE TABLE bodies (body BLOB)", ()),
        ("INSERT INTO bodies VALUES (?)", (f"FILE/{DEAD}".encode(),)),
        ("DROP TABLE bodies", ()),
    )
    result = _scan(XA=StoreCopy(image))
    assert result.sightings == {Sighting(DEAD, SurfaceKind.DATABASE, "XA", "store", "raw")}


@pytest.mark.parametrize("cut", [3, 10, 16, 17, 25, 29])
def test_canary_split_over_two_pages_is_found_after_its_row_was_deleted(cut: int) -> None:
    """A long value goes on on an overflow page, so a canary can lie in two pieces."""
    before = b"x" * (_octets_on_the_first_page() - cut)
    value = (before + DEAD.encode()).ljust(LONG_VALUE_BYTES, b"y")
    image = _database(
        ("CREATE TABLE bodies (body BLOB)", ()),
        ("INSERT INTO bodies VALUES (?)", (value,)),
        ("CREATE TABLE first_to_go (body BLOB)", ()),  # its page will list the free ones
        ("DROP TABLE first_to_go", ()),
        ("DROP TABLE bodies", ()),
    )
    assert DEAD.encode() not in image
    assert {sighting.canary for sighting in _scan(XA=StoreCopy(image)).sightings} == {DEAD}


def _octets_on_the_first_page() -> int:
    """Return how much of such a value SQLite keeps beside its row, by looking."""
    image = _database(
        ("CREATE TABLE bodies (body BLOB)", ()),
        ("INSERT INTO bodies VALUES (?)", (b"x" * LONG_VALUE_BYTES,)),
    )
    pages = [image[start : start + PAGE_BYTES] for start in range(0, len(image), PAGE_BYTES)]
    return pages[1].count(b"x")


def test_deleted_octets_in_a_write_ahead_log_are_found(tmp_path: Path) -> None:
    """The log keeps pages as they were before the deletion, until somebody empties it."""
    path = tmp_path / "store.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA secure_delete = ON")
        database.execute("CREATE TABLE bodies (body BLOB)")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("INSERT INTO bodies VALUES (?)", (DEAD.encode(),))
        database.execute("DELETE FROM bodies")
        copy = copy_store(path)
    assert DEAD.encode() not in copy.image
    assert _scan(XA=copy).sightings == {
        Sighting(DEAD, SurfaceKind.WRITE_AHEAD_LOG, "XA", "store", "raw")
    }


def test_file_that_is_no_database_is_scanned_all_the_same() -> None:
    """A store that nothing can open may still hold a copy."""
    result = _scan(XA=StoreCopy(b"garbage " + DEAD.encode()), XB=StoreCopy(b""))
    assert {sighting.node for sighting in result.sightings} == {"XA"}
    assert page_bytes(b"garbage") == 0


def test_copies_on_the_brokers_own_disk_are_counted_apart() -> None:
    """No member can erase there, so they are told and are nobody's violation."""
    disk = Surface(SurfaceKind.BROKER_DISK, "broker", "segment.1", DEAD.encode() * 2)
    result = _scan(disk)
    assert result.broker_disk_copies == 1
    assert result.sightings == frozenset()
    assert result.octets == 2 * len(DEAD)
