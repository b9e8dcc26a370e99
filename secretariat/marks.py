"""Marks and decisions that did not reach a holder, sent to it again when it doubts a version."""

from collections.abc import Iterator

from bus.envelope import open_envelope
from bus.holdings import apply
from bus.messages.header import Header, Version
from bus.messages.review import (
    ReviewDecision,
    ReviewDecisionClaims,
    ReviewOpened,
    ReviewOpenedClaims,
    ReviewOutcome,
)
from bus.statements import Draft
from bus.storage.records import RecordKey
from bus.turn import Turn
from secretariat.case_store import CaseStore


def answer_doubters(turn: Turn) -> None:
    """Tell every doubter of a known version how it stands; of an ended record, nothing."""
    cases = CaseStore(turn.stores.database)
    for key, digest, member in cases.doubters():
        if not turn.stores.records.standing(key).ended:
            _answer(turn, cases, key, digest, member)
    cases.clear_doubters()


def _answer(turn: Turn, cases: CaseStore, key: RecordKey, digest: bytes, member: str) -> None:
    """Send the octets that name the member; where none do, sign anew for it alone.

    A validation is signed anew for the version in force only, as the highest number puts in force.
    """
    said = [each for each in _statements_on(turn, key) if _names(each, digest)]
    marks = [each for each in said if isinstance(each, ReviewOpened)]
    validations = [
        each
        for each in said
        if isinstance(each, ReviewDecision) and each.claims.outcome is ReviewOutcome.VALIDATED
    ]
    if marks and not _sent_again(turn, marks, member):
        claims = ReviewOpenedClaims(cases.next_number(key), marks[-1].claims.case_id)
        _tell(turn, Draft(
            ReviewOpened, (member,), claims, subject=f"{digest.hex()}:{member}:{claims.number}",
            record=Version(key.source, key.record_id, digest),
        ))  # fmt: skip
    in_force = turn.stores.records.standing(key).in_force() == digest
    if validations and not _sent_again(turn, validations, member) and in_force:
        number = cases.next_number(key)
        _tell(turn, Draft(
            ReviewDecision, (member,),
            ReviewDecisionClaims(number, ReviewOutcome.VALIDATED, None),
            subject=f"{digest.hex()}:{member}:{number}",
            record=Version(key.source, key.record_id, digest),
        ))  # fmt: skip


def _statements_on(turn: Turn, key: RecordKey) -> Iterator[Header]:
    """Yield the marks and decisions on a record that were issued, the oldest first."""
    rows = turn.stores.database.execute(
        "SELECT message_id FROM outbox WHERE record_source = ? AND record_id = ?"
        " AND message_type IN ('review_opened', 'review_decision') ORDER BY issued_at, message_id",
        (key.source, key.record_id),
    )
    for (message_id,) in rows.fetchall():
        content = turn.stores.outbox.content(message_id)
        if content is not None:
            yield open_envelope(content, header_only=True).statement


def _names(statement: Header, digest: bytes) -> bool:
    return statement.record is not None and statement.record.statement_digest == digest


def _sent_again(
    turn: Turn, statements: list[ReviewOpened] | list[ReviewDecision], member: str
) -> bool:
    """Send the newest statement that is addressed to a member; tell whether there was one."""
    for statement in reversed(statements):
        if member in statement.addressees:
            turn.stores.outbox.send_again(statement.message_id, member, turn.now)
            return True
    return False


def _tell(turn: Turn, draft: Draft) -> None:
    issued = turn.issue(draft)
    apply(turn, issued.statement, issued.digest)
