"""Retraction sets: what has ended or is blocked, told to each member as numbered deltas."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from bus.instants import Instant
from bus.messages.retraction import (
    SET_ENTRIES_MAX,
    RecordReference,
    RetractionSet,
    RetractionSetClaims,
)
from bus.retraction_sets import FIRST_HASH, running_hash
from bus.statements import Draft
from bus.storage.database import Database
from bus.storage.records import RecordKey
from bus.turn import Turn

SCHEMA: Final = """
CREATE TABLE set_entries (
    position INTEGER PRIMARY KEY, source TEXT NOT NULL, record_id TEXT NOT NULL, at INTEGER NOT NULL
);
CREATE TABLE set_members (
    member TEXT PRIMARY KEY, number INTEGER NOT NULL, position INTEGER NOT NULL,
    running_hash BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE set_requests (member TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class Progress(Struct, frozen=True):
    """How far the sets to one member have come."""

    number: int = 0
    position: int = 0
    running_hash: bytes = FIRST_HASH


class SetOffice:
    """Keeps the log of endings and sends each member its part of it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._execute = database.connection.execute

    def note_ended(self, key: RecordKey, now: Instant) -> None:
        """Enter a record that has ended into the log."""
        self._execute(
            "INSERT INTO set_entries VALUES (NULL, ?, ?, ?)", (key.source, key.record_id, now)
        )

    def note_request(self, member: str) -> None:
        """Remember that a member asked for everything from the beginning."""
        self._execute("INSERT OR IGNORE INTO set_requests VALUES (?)", (member,))

    def has_requests(self) -> bool:
        """Tell whether a member waits for a full set."""
        return self._execute("SELECT 1 FROM set_requests LIMIT 1").fetchone() is not None

    def answer_requests(self, turn: Turn) -> None:
        """Send a full set to every member that asked."""
        members = self._execute("SELECT member FROM set_requests ORDER BY member").fetchall()
        self._execute("DELETE FROM set_requests")
        for (member,) in members:
            self._send(turn, member, full=True)

    def send_to_all(self, turn: Turn) -> None:
        """Send every member its delta, or the heartbeat; the first one is full."""
        for member in sorted(turn.registry.members):
            self._send(turn, member, full=self._progress(member).number == 0)

    def _progress(self, member: str) -> Progress:
        row = self._execute(
            "SELECT number, position, running_hash FROM set_members WHERE member = ?", (member,)
        ).fetchone()
        return Progress(*row) if row else Progress()

    def _send(self, turn: Turn, member: str, *, full: bool) -> None:
        progress = self._progress(member)
        entries, last = self._entries(member, 0 if full else progress.position)
        pages = [
            entries[start : start + SET_ENTRIES_MAX]
            for start in range(0, max(len(entries), 1), SET_ENTRIES_MAX)
        ]
        for index, page in enumerate(pages):
            first_of_full = full and index == 0
            is_last = index == len(pages) - 1
            progress = self._send_page(turn, member, progress, page, first_of_full, is_last)
        self._execute(
            "INSERT OR REPLACE INTO set_members VALUES (?, ?, ?, ?)",
            (member, progress.number, last, progress.running_hash),
        )

    def _send_page(
        self,
        turn: Turn,
        member: str,
        progress: Progress,
        page: Sequence[RecordReference],
        full: bool,  # noqa: FBT001
        last_page: bool,  # noqa: FBT001
    ) -> Progress:
        number = progress.number + 1
        chained = running_hash(progress.running_hash, number, page, (), ())
        turn.issue(
            Draft(
                RetractionSet,
                (member,),
                RetractionSetClaims(
                    number=number,
                    previous_number=progress.number,
                    full=full,
                    last_page=last_page,
                    ended=list(page),
                    blocked=[],
                    revoked_keys=[],
                    running_hash=chained,
                ),
                subject=f"{member}:{number}",
            )
        )
        return Progress(number, progress.position, chained)

    def _entries(self, member: str, after: int) -> tuple[list[RecordReference], int]:
        """Return what ended of the records that a member holds, and the log's last position."""
        (last,) = self._execute("SELECT coalesce(max(position), 0) FROM set_entries").fetchone()
        rows = self._execute(
            "SELECT e.source, e.record_id FROM set_entries e JOIN holders h"
            " ON h.source = e.source AND h.record_id = e.record_id AND h.member = ?"
            " WHERE e.position > ? ORDER BY e.position",
            (member, after),
        )
        return [RecordReference(*row) for row in rows], int(last)
