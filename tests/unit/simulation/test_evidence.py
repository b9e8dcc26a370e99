"""Evidence is read from whatever is left; what is not there is named, and loses nothing else."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bus.errors import StoreUnreadable
from simulation.evidence.reading import read_evidence
from simulation.evidence.store_copies import StoreCopy, copy_store, opened
from simulation.judgement.checkers import CHECKERS
from tests.unit.simulation.small_run import SmallRun, found, sql


def _truncated(copy: StoreCopy) -> StoreCopy:
    return StoreCopy(copy.image[: len(copy.image) // 2])


@pytest.mark.parametrize(
    ("spoilt", "line"),
    [
        (StoreCopy(b""), "store of XC cannot be read: it is no database"),
        (StoreCopy(b"SQLite format 3\x00 garbage"), "store of XC cannot be read"),
    ],
)
def test_octets_that_are_no_store_are_missing_evidence(
    small_run: SmallRun, spoilt: StoreCopy, line: str
) -> None:
    """One bad store is one line; all other parties are read and judged."""
    evidence = small_run.evidence(("XC", spoilt))
    assert [text for text in evidence.missing if text.startswith(line)] == list(evidence.missing)
    assert len(evidence.missing) == 1
    assert set(evidence.stores) == {"IPSG", "XA", "XB", "XD"}
    assert found(evidence) == {}


def test_store_that_is_cut_off_is_missing_evidence(small_run: SmallRun) -> None:
    """A database that opens and breaks while it is read is unreadable as a whole."""
    evidence = small_run.evidence(("XC", _truncated(small_run.stores["XC"])))
    assert len(evidence.missing) == 1
    assert "XC" not in evidence.stores


def test_store_of_another_party_or_format_is_missing_evidence(small_run: SmallRun) -> None:
    """A copy under the wrong name would be judged by the wrong policy."""
    mixed_up = ("XC", small_run.stores["XD"])
    older = small_run.tampered("XA", sql("PRAGMA user_version = 99"))
    evidence = small_run.evidence(mixed_up, older)
    assert evidence.missing == (
        "store of XA cannot be read: it has format version 99; this release reads 1",
        "store of XC cannot be read: it belongs to XD",
    )


def test_party_without_a_store_is_missing_evidence(small_run: SmallRun) -> None:
    """Without the secretariat much cannot be judged, and no checker fails over it."""
    stores = {party: copy for party, copy in small_run.stores.items() if party != "IPSG"}
    evidence = read_evidence(small_run.facts, stores, missing=["XD did not heal"])
    assert evidence.missing == ("XD did not heal", "store of IPSG is not there")
    assert found(evidence) == {}
    assert CHECKERS["retraction_complete"](evidence).exercised == 0


def test_gap_in_a_history_is_missing_evidence(small_run: SmallRun) -> None:
    """Rows that are gone are named by their numbers."""
    holed = small_run.tampered("XD", sql("DELETE FROM history WHERE seq IN (3, 4)"))
    missing = small_run.evidence(holed).missing
    assert "history of XD has no rows 3 to 4" in missing


def test_message_that_no_history_tells_of_is_missing_evidence(small_run: SmallRun) -> None:
    """The last rows of a history leave no gap; the inbox still gives them away."""
    silenced = small_run.tampered("XD", sql("UPDATE history SET event = '' WHERE seq = 5"))
    missing = small_run.evidence(silenced).missing
    assert missing == ("history of XD does not tell of 1 messages in its inbox",)


def test_store_file_is_read_together_with_its_write_ahead_log(
    small_run: SmallRun, tmp_path: Path
) -> None:
    """What was committed lately lies in the log alone."""
    path = tmp_path / "XA.sqlite"
    path.write_bytes(small_run.stores["XA"].image)
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("UPDATE meta SET value = 'seen' WHERE key = 'retraction_set'")
        copy = copy_store(path)
    assert copy.wal
    with opened("XA", copy) as store:
        assert store.execute("SELECT value FROM meta WHERE key = 'retraction_set'").fetchone() == (
            "seen",
        )
    with opened("XA", StoreCopy(copy.image)) as store:
        assert store.execute("SELECT value FROM meta WHERE key = 'retraction_set'").fetchone() != (
            "seen",
        )


def test_store_file_that_is_not_there_cannot_be_copied(tmp_path: Path) -> None:
    """The reason is one line with the path."""
    with pytest.raises(StoreUnreadable, match=r"XA\.sqlite cannot be copied: No such file"):
        copy_store(tmp_path / "XA.sqlite")


def test_evidence_of_bodies_holds_no_personal_data(small_run: SmallRun) -> None:
    """Of a body only its commitment is read, so that evidence can be shown and kept."""
    store = small_run.evidence().stores["XA"]
    text = repr((store.bodies, store.inbox, store.outbox, store.history)).encode()
    assert small_run.facts.canaries.marker.encode() in small_run.stores["XA"].image
    assert small_run.facts.canaries.marker.encode() not in text
    assert store.bodies


def test_record_is_named_by_its_label_where_it_has_one(small_run: SmallRun) -> None:
    """A person reads labels; a record that nobody named keeps its key."""
    evidence = small_run.evidence()
    assert evidence.name_of("XA", small_run.record_id("icons")) == "icons"
    assert evidence.name_of("XA", "r") == "XA/r"
    assert evidence.name_of("", "forged") == "forged"
    assert evidence.name_of("", "") == "no record"
