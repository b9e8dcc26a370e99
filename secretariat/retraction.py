"""The retraction ledger: who owes a receipt, until when, and what each has answered."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from bus.instants import Instant
from bus.messages.retraction import DISCHARGING, RetractionAction, RetractionOutcome
from bus.storage.database import Database
from bus.storage.records import RecordKey

SCHEMA: Final = """
CREATE TABLE campaigns (
    message_id TEXT PRIMARY KEY, source TEXT NOT NULL, record_id TEXT NOT NULL,
    digest BLOB NOT NULL, number INTEGER NOT NULL, action TEXT NOT NULL, cause TEXT NOT NULL,
    opened_at INTEGER NOT NULL, deadline INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX campaigns_record ON campaigns (source, record_id);
CREATE TABLE obligations (
    message_id TEXT NOT NULL, member TEXT NOT NULL, state TEXT NOT NULL,
    repeat_at INTEGER, overdue_at INTEGER, settled_at INTEGER, sent INTEGER NOT NULL,
    PRIMARY KEY (message_id, member)
) WITHOUT ROWID;
CREATE INDEX obligations_owed ON obligations (repeat_at) WHERE state IN ('owed', 'overdue');
"""


class ObligationState(StrEnum):
    """Where one holder stands with one retraction."""

    OWED = "owed"
    OVERDUE = "overdue"
    """Silent past the deadline; named, and reminded until it answers."""
    DISCHARGED = "discharged"
    DECLINED = "declined"
    SUPERSEDED = "superseded"
    """An update that its holder owed when the whole record went; the deletion is owed instead."""


class Campaign(Struct, frozen=True):
    """One retraction: what is to go, why, and when silence becomes overdue."""

    message_id: str
    key: RecordKey
    digest: bytes
    number: int
    action: str
    cause: str
    opened_at: Instant
    deadline: Instant


class Obligation(Struct, frozen=True):
    """What one holder owes for one retraction."""

    message_id: str
    member: str
    state: ObligationState
    key: RecordKey
    deadline: Instant
    action: RetractionAction


def state_after(
    state: ObligationState, action: RetractionAction, outcome: RetractionOutcome
) -> ObligationState:
    """Return where a holder stands after its receipt. A discharge is never undone by a decline.

    An answer that does not carry out what was ordered changes nothing.
    """
    if state in (ObligationState.DISCHARGED, ObligationState.SUPERSEDED):
        return state
    if outcome in DISCHARGING[action]:
        return ObligationState.DISCHARGED
    return ObligationState.DECLINED if outcome is RetractionOutcome.DECLINED else state


class RetractionLedger:
    """The secretariat's tables of retractions and receipts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._execute = database.connection.execute

    def open_campaign(self, campaign: Campaign, members: Sequence[str], repeat_at: Instant) -> None:
        """Enter a retraction and what each holder owes for it.

        A deletion supersedes the updates of the record: what they carry is gone.
        """
        if campaign.action == RetractionAction.DELETE:
            self._supersede_updates(campaign)
        self._execute(
            "INSERT INTO campaigns VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                campaign.message_id,
                campaign.key.source,
                campaign.key.record_id,
                campaign.digest,
                campaign.number,
                campaign.action,
                campaign.cause,
                campaign.opened_at,
                campaign.deadline,
            ),
        )
        self._database.connection.executemany(
            "INSERT INTO obligations VALUES (?, ?, 'owed', ?, NULL, NULL, 1)",
            [(campaign.message_id, member, repeat_at) for member in members],
        )

    def _supersede_updates(self, deletion: Campaign) -> None:
        self._execute(
            "UPDATE obligations SET state = 'superseded', settled_at = ?, repeat_at = NULL"
            " WHERE state IN ('owed', 'overdue') AND message_id IN (SELECT message_id"
            " FROM campaigns WHERE source = ? AND record_id = ? AND action = 'update')",
            (deletion.opened_at, deletion.key.source, deletion.key.record_id),
        )

    def was_ended(self, key: RecordKey) -> bool:
        """Tell whether a deleting retraction has gone out for a record."""
        row = self._execute(
            "SELECT 1 FROM campaigns WHERE source = ? AND record_id = ? AND action = 'delete'",
            (key.source, key.record_id),
        ).fetchone()
        return row is not None

    def asked_to_delete(self, key: RecordKey) -> frozenset[str]:
        """Return the holders to whom a deleting retraction of a record has gone out."""
        rows = self._execute(
            "SELECT member FROM obligations JOIN campaigns USING (message_id)"
            " WHERE source = ? AND record_id = ? AND action = 'delete'",
            (key.source, key.record_id),
        )
        return frozenset(row[0] for row in rows)

    def obligation(self, message_id: str, member: str) -> Obligation | None:
        """Return what a member owes for a retraction, if it was asked at all."""
        row = self._execute(
            f"{_OBLIGATION} WHERE message_id = ? AND member = ?",
            (message_id, member),
        ).fetchone()
        return _obligation(row) if row else None

    def settle(self, owed: Obligation, outcome: RetractionOutcome, now: Instant) -> ObligationState:
        """Enter a receipt and return where the holder stands now."""
        state = state_after(owed.state, owed.action, outcome)
        if state is owed.state:
            return state
        self._execute(
            "UPDATE obligations SET state = ?, settled_at = coalesce(settled_at, ?),"
            " repeat_at = NULL WHERE message_id = ? AND member = ?",
            (state, now, owed.message_id, owed.member),
        )
        return state

    def to_repeat(self, now: Instant) -> list[Obligation]:
        """Return the silent holders to whom a retraction is due to be repeated."""
        rows = self._execute(
            f"{_OBLIGATION} WHERE state IN ('owed', 'overdue')"
            " AND repeat_at <= ? ORDER BY o.message_id, member",
            (now,),
        )
        return [_obligation(row) for row in rows.fetchall()]

    def repeated(self, owed: Obligation, again_at: Instant) -> None:
        """Note that a retraction was repeated to a silent holder."""
        self._execute(
            "UPDATE obligations SET repeat_at = ?, sent = sent + 1 WHERE message_id = ?"
            " AND member = ?",
            (again_at, owed.message_id, owed.member),
        )

    def name_overdue(self, owed: Obligation, now: Instant) -> None:
        """Name a holder that was silent past the deadline."""
        self._execute(
            "UPDATE obligations SET state = 'overdue', overdue_at = ? WHERE message_id = ?"
            " AND member = ?",
            (now, owed.message_id, owed.member),
        )

    def next_due(self) -> Instant | None:
        """Return when the next repeat is due."""
        (due,) = self._execute(
            "SELECT min(repeat_at) FROM obligations WHERE state IN ('owed', 'overdue')"
        ).fetchone()
        return int(due) if due is not None else None

    def unsettled(self) -> int:
        """Return how many receipts are still owed."""
        (count,) = self._execute(
            "SELECT count(*) FROM obligations WHERE state IN ('owed', 'overdue')"
        ).fetchone()
        return int(count)


_OBLIGATION: Final = (
    "SELECT o.message_id, member, state, source, record_id, deadline, action FROM obligations o"
    " JOIN campaigns USING (message_id)"
)


def _obligation(row: tuple[str, str, str, str, str, int, str]) -> Obligation:
    message_id, member, state, source, record_id, deadline, action = row
    return Obligation(
        message_id,
        member,
        ObligationState(state),
        RecordKey(source, record_id),
        deadline,
        RetractionAction(action),
    )
