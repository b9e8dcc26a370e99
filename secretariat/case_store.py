"""The secretariat's own tables: cases, numbers, holders, campaigns, sets and closed cases."""

from typing import Final

from msgspec import Struct

from bus.instants import Instant
from bus.storage.database import Database
from bus.storage.records import RecordKey
from secretariat.review import OPEN_STATES, CaseState, moved

SCHEMA: Final = """
CREATE TABLE cases (
    case_id TEXT PRIMARY KEY, source TEXT NOT NULL, record_id TEXT NOT NULL, digest BLOB NOT NULL,
    message_id TEXT NOT NULL, state TEXT NOT NULL, opened_at INTEGER NOT NULL, due_at INTEGER,
    asked INTEGER NOT NULL DEFAULT 0, outcome TEXT, ground TEXT, rule TEXT, decided_at INTEGER
) WITHOUT ROWID;
CREATE UNIQUE INDEX cases_version ON cases (digest);
CREATE INDEX cases_open ON cases (state, due_at)
    WHERE state IN ('queued', 'under_review', 'awaiting_information');
CREATE INDEX cases_record ON cases (source, record_id);
CREATE TABLE submissions (
    source TEXT NOT NULL, message_id TEXT NOT NULL, record_id TEXT NOT NULL,
    digest BLOB PRIMARY KEY
) WITHOUT ROWID;
CREATE TABLE endings (
    source TEXT NOT NULL, record_id TEXT NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (source, record_id)
) WITHOUT ROWID;
CREATE TABLE numbers (
    source TEXT NOT NULL, record_id TEXT NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (source, record_id)
) WITHOUT ROWID;
CREATE TABLE holders (
    source TEXT NOT NULL, record_id TEXT NOT NULL, member TEXT NOT NULL,
    via TEXT NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (source, record_id, member)
) WITHOUT ROWID;
CREATE TABLE doubters (
    source TEXT NOT NULL, record_id TEXT NOT NULL, digest BLOB NOT NULL, member TEXT NOT NULL,
    PRIMARY KEY (source, record_id, digest, member)
) WITHOUT ROWID;
CREATE TABLE closed_cases (person_key TEXT, source TEXT, PRIMARY KEY (person_key, source))
    WITHOUT ROWID;
"""


class Case(Struct, frozen=True):
    """One version under review."""

    case_id: str
    key: RecordKey
    digest: bytes
    message_id: str
    state: CaseState
    opened_at: Instant
    due_at: Instant | None
    asked: bool


_CASE: Final = (
    "SELECT case_id, source, record_id, digest, message_id, state, opened_at, due_at, asked"
    " FROM cases"
)


def _case(row: tuple[object, ...]) -> Case:
    case_id, source, record_id, digest, message_id, state, opened_at, due_at, asked = row
    return Case(
        str(case_id),
        RecordKey(str(source), str(record_id)),
        bytes(digest) if isinstance(digest, bytes) else b"",
        str(message_id),
        CaseState(str(state)),
        int(str(opened_at)),
        int(str(due_at)) if due_at is not None else None,
        bool(asked),
    )


class CaseStore:
    """Cases, submissions waiting for one, numbers, holders and closed co-operation."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._execute = database.connection.execute

    def submit(self, key: RecordKey, digest: bytes, message_id: str) -> None:
        """Have the next tick open a case for a version."""
        self._execute(
            "INSERT OR IGNORE INTO submissions VALUES (?, ?, ?, ?)",
            (key.source, message_id, key.record_id, digest),
        )

    def submissions(self) -> list[tuple[RecordKey, bytes, str]]:
        """Return versions without a case, sorted by (source, message id)."""
        rows = self._execute("SELECT * FROM submissions ORDER BY source, message_id, digest")
        return [(RecordKey(row[0], row[2]), row[3], row[1]) for row in rows.fetchall()]

    def has_submissions(self) -> bool:
        """Tell whether versions wait for their case."""
        return self._execute("SELECT 1 FROM submissions LIMIT 1").fetchone() is not None

    def clear_submissions(self) -> None:
        """Note that every submission has its case."""
        self._execute("DELETE FROM submissions")

    def follow_ending(self, key: RecordKey, digest: bytes) -> None:
        """Have the next tick see to it that every holder is told that a record has ended."""
        self._execute(
            "INSERT OR IGNORE INTO endings VALUES (?, ?, ?)", (key.source, key.record_id, digest)
        )

    def endings(self) -> list[tuple[RecordKey, bytes]]:
        """Return the endings to follow, in the order of their records."""
        rows = self._execute("SELECT source, record_id, digest FROM endings ORDER BY 1, 2")
        return [(RecordKey(row[0], row[1]), row[2]) for row in rows.fetchall()]

    def clear_endings(self) -> None:
        """Note that every ending was followed."""
        self._execute("DELETE FROM endings")

    def note_doubter(self, key: RecordKey, digest: bytes, member: str) -> None:
        """Have the next tick tell a member how a version stands that is known here."""
        self._execute(
            "INSERT OR IGNORE INTO doubters VALUES (?, ?, ?, ?)",
            (key.source, key.record_id, digest, member),
        )

    def doubters(self) -> list[tuple[RecordKey, bytes, str]]:
        """Return the versions in doubt, each with who doubts it, in a fixed order."""
        rows = self._execute("SELECT * FROM doubters ORDER BY 1, 2, 3, 4").fetchall()
        return [(RecordKey(row[0], row[1]), row[2], row[3]) for row in rows]

    def clear_doubters(self) -> None:
        """Note that every doubter was answered."""
        self._execute("DELETE FROM doubters")

    def next_number(self, key: RecordKey) -> int:
        """Return the next of the secretariat's numbers on a record."""
        (number,) = self._execute(
            "INSERT INTO numbers VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET last = last + 1"
            " RETURNING last",
            (key.source, key.record_id),
        ).fetchone()
        return int(number)

    def open_case(
        self, case_id: str, key: RecordKey, digest: bytes, message_id: str, now: Instant
    ) -> bool:
        """Enter a new case; tell whether the version had none yet."""
        added = self._execute(
            "INSERT OR IGNORE INTO cases (case_id, source, record_id, digest, message_id, state,"
            " opened_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (case_id, key.source, key.record_id, digest, message_id, CaseState.QUEUED, now),
        )
        return added.rowcount > 0

    def case_of_version(self, digest: bytes) -> Case | None:
        """Return the case of a version as it stands now."""
        row = self._execute(f"{_CASE} WHERE digest = ?", (digest,)).fetchone()
        return _case(row) if row else None

    def cases_in(self, state: CaseState) -> list[Case]:
        """Return the cases in a state, the oldest first."""
        rows = self._execute(
            f"{_CASE} WHERE state = ? ORDER BY opened_at, source, message_id", (state,)
        )
        return [_case(row) for row in rows.fetchall()]

    def due_cases(self, now: Instant) -> list[Case]:
        """Return open cases on which something is due, in a fixed order."""
        rows = self._execute(
            f"{_CASE} WHERE state IN ('under_review', 'awaiting_information') AND due_at <= ?"
            " ORDER BY due_at, source, message_id",
            (now,),
        )
        return [_case(row) for row in rows.fetchall()]

    def cases_of(self, key: RecordKey) -> list[Case]:
        """Return all cases on a record, the oldest version first."""
        rows = self._execute(
            f"{_CASE} WHERE source = ? AND record_id = ? ORDER BY opened_at, message_id",
            (key.source, key.record_id),
        )
        return [_case(row) for row in rows.fetchall()]

    def open_cases_of(self, key: RecordKey) -> list[Case]:
        """Return the cases on a record that are not over."""
        return [case for case in self.cases_of(key) if case.state in OPEN_STATES]

    def next_due(self) -> Instant | None:
        """Return when the next case is due."""
        (due,) = self._execute(
            "SELECT min(due_at) FROM cases WHERE state IN ('under_review', 'awaiting_information')"
        ).fetchone()
        return int(due) if due is not None else None

    def open_count(self) -> int:
        """Return how many versions wait for a case or a decision."""
        (count,) = self._execute(
            "SELECT (SELECT count(*) FROM submissions) + (SELECT count(*) FROM cases"
            " WHERE state IN ('queued', 'under_review', 'awaiting_information'))"
        ).fetchone()
        return int(count)

    def queue_length(self) -> int:
        """Return how many cases wait for a reviewer."""
        (count,) = self._execute("SELECT count(*) FROM cases WHERE state = 'queued'").fetchone()
        return int(count)

    def reviewers_busy(self) -> int:
        """Return how many reviewers sit over a case."""
        (count,) = self._execute(
            "SELECT count(*) FROM cases WHERE state = 'under_review'"
        ).fetchone()
        return int(count)

    def move(
        self, case: Case, state: CaseState, due_at: Instant | None, *, asked: bool = False
    ) -> None:
        """Put a case into another state; raise `IllegalTransition` where that cannot be."""
        self._execute(
            "UPDATE cases SET state = ?, due_at = ?, asked = max(asked, ?) WHERE case_id = ?",
            (moved(case.state, state), due_at, asked, case.case_id),
        )

    def decide(
        self, case: Case, outcome: str, ground: str | None, rule: str | None, now: Instant
    ) -> None:
        """Enter a decision."""
        self._execute(
            "UPDATE cases SET state = ?, due_at = NULL, outcome = ?, ground = ?, rule = ?,"
            " decided_at = ? WHERE case_id = ?",
            (moved(case.state, CaseState.DECIDED), outcome, ground, rule, now, case.case_id),
        )

    def add_holders(self, key: RecordKey, members: list[str], via: str, now: Instant) -> None:
        """Enter parties that hold a record; the first way in which one was known stands."""
        self._database.connection.executemany(
            "INSERT OR IGNORE INTO holders VALUES (?, ?, ?, ?, ?)",
            [(key.source, key.record_id, member, via, now) for member in members],
        )

    def holders(self, key: RecordKey) -> list[str]:
        """Return who holds a record, sorted."""
        rows = self._execute(
            "SELECT member FROM holders WHERE source = ? AND record_id = ? ORDER BY member",
            (key.source, key.record_id),
        )
        return [row[0] for row in rows]

    def close_cooperation(self, person_key: str, source: str) -> None:
        """Close co-operation with a source on a person; this outlives the deleted data."""
        self._execute("INSERT OR IGNORE INTO closed_cases VALUES (?, ?)", (person_key, source))

    def closed_cases(self) -> frozenset[tuple[str, str]]:
        """Return the (person key, source) pairs on which co-operation is closed."""
        return frozenset(self._execute("SELECT person_key, source FROM closed_cases").fetchall())
