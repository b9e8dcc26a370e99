"""The duties of the secretariat: handlers record, the tick decides in a fixed order."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from bus import refusals
from bus.holdings import (
    carried_header,
    carried_version,
    end_by_withdrawal,
    erase_record,
    key_of,
    store_carried_version,
    store_version,
)
from bus.instants import Instant
from bus.messages import alerts, correspondence, retraction
from bus.messages.header import Header
from bus.messages.retraction import RetractionReceipt
from bus.participant import Handler
from bus.refusals import EnvelopeRefused
from bus.standing import Ending
from bus.storage.inbox import Outcome
from bus.storage.records import RecordKey
from bus.turn import Effect, Turn
from bus.verification import VerifiedMessage
from secretariat import case_store, set_office
from secretariat import retraction as ledger_schema
from secretariat.case_store import CaseStore
from secretariat.marks import answer_doubters
from secretariat.retraction import RetractionLedger
from secretariat.retraction_office import RetractionOffice
from secretariat.review import CaseState, ReviewSettings
from secretariat.review_desk import ReviewDesk
from secretariat.set_office import SetOffice


class SecretariatConfig(Struct, frozen=True):
    """What the secretariat is told at its start.

    `refugees` maps keyed digests of persons to the states of feared persecution.
    """

    review: ReviewSettings
    refugees: dict[str, list[str]]
    matching_key: bytes


class SecretariatDuties:
    """What the General Secretariat does with messages and time."""

    schemas: Sequence[str] = (case_store.SCHEMA, ledger_schema.SCHEMA, set_office.SCHEMA)

    def __init__(self, config: SecretariatConfig) -> None:
        self._settings = config.review
        self._office = RetractionOffice(config.review)
        refugees = {person: frozenset(states) for person, states in config.refugees.items()}
        self._desk = ReviewDesk(config.review, refugees, config.matching_key, self._office)
        self.handlers: Mapping[type[Header], Handler] = {
            alerts.Diffusion: _receive_version,
            alerts.Amendment: _receive_version,
            alerts.Withdrawal: _receive_withdrawal,
            correspondence.Hit: _receive_hit,
            correspondence.Doubt: _receive_doubt,
            correspondence.InformationReply: _receive_reply,
            correspondence.ConsultationReply: _receive_reply,
            retraction.RetractionReceipt: _receive_receipt,
            retraction.RetractionSetRequest: _receive_set_request,
        }
        self.repeat_handlers: Mapping[type[Header], Callable[[Turn, VerifiedMessage], None]] = {}

    def next_due(self, turn: Turn) -> Instant | None:
        """Return when a case, a reminder or the next retraction set is due."""
        database = turn.stores.database
        cases = CaseStore(database)
        if cases.has_submissions() or SetOffice(database).has_requests():
            return turn.now
        if cases.endings() or cases.doubters():
            return turn.now
        if cases.queue_length() and cases.reviewers_busy() < self._settings.reviewers:
            return turn.now
        instants = (cases.next_due(), RetractionLedger(database).next_due(), _next_set_at(turn))
        return min(instant for instant in instants if instant is not None)

    def open_work(self, turn: Turn) -> int:
        """Cases without a decision, and receipts still owed."""
        database = turn.stores.database
        return CaseStore(database).open_count() + RetractionLedger(database).unsettled()

    def tick(self, turn: Turn) -> None:
        """Do what is due, in one fixed order: sets, marks, withdrawals, reviews, reminders."""
        database = turn.stores.database
        sets = SetOffice(database)
        if turn.now >= _next_set_at(turn) and turn.registry.members:
            sets.send_to_all(turn)
            period = self._settings.retraction_set_period
            database.set_meta("next_set_at", (turn.now // period + 1) * period)
        sets.answer_requests(turn)
        self._desk.open_cases(turn)
        answer_doubters(turn)
        self._follow_endings(turn)
        self._desk.conclude(turn)
        self._desk.assign(turn)
        self._office.remind(turn)

    def _follow_endings(self, turn: Turn) -> None:
        """A withdrawal is retracted at every holder too, so that each signs for its copy.

        So is any ended record at a holder that has only now become known.
        """
        cases = CaseStore(turn.stores.database)
        for key, digest in cases.endings():
            for case in cases.open_cases_of(key):
                cases.move(case, CaseState.CLOSED, None)
            withdrawn = turn.stores.records.standing(key).ending is Ending.WITHDRAWAL
            cause = "withdrawn" if withdrawn else "found_later"
            self._office.delete_everywhere(turn, key, digest, cause)
        cases.clear_endings()


def _next_set_at(turn: Turn) -> Instant:
    return int(str(turn.stores.database.meta("next_set_at") or 0))


def _receive_version(turn: Turn, message: VerifiedMessage) -> Effect:
    """Record the copy and its holders; the tick opens the case."""
    change, effect = store_version(turn, message)
    _note_holders(turn, change.key, message.statement, "addressed")
    if change.after.ended:
        CaseStore(turn.stores.database).follow_ending(change.key, message.digest)
    if effect.outcome is Outcome.APPLIED:
        CaseStore(turn.stores.database).submit(
            change.key, message.digest, message.statement.message_id
        )
    return effect


def _note_holders(turn: Turn, key: RecordKey, statement: Header, via: str) -> None:
    members = [*statement.addressees, key.source]
    CaseStore(turn.stores.database).add_holders(key, members, via, turn.now)


def _receive_withdrawal(turn: Turn, message: VerifiedMessage) -> Effect:
    """End the record here; the tick has every holder sign for its copy."""
    change, effect = end_by_withdrawal(turn, message)
    erase_record(turn, change.key)
    _note_holders(turn, change.key, message.statement, "withdrawn")
    CaseStore(turn.stores.database).follow_ending(change.key, _named(message))
    return effect


def _named(message: VerifiedMessage) -> bytes:
    """Return the version that a statement names."""
    record = message.statement.record
    return record.statement_digest or b"" if record is not None else b""


def _note_disclosed(turn: Turn, message: VerifiedMessage, members: list[str], via: str) -> None:
    """Enter holders that a statement discloses; what has ended must end there too."""
    key, cases = key_of(message.statement), CaseStore(turn.stores.database)
    cases.add_holders(key, members, via, turn.now)
    if turn.stores.records.standing(key).ended:
        cases.follow_ending(key, _named(message))


def _receive_hit(turn: Turn, message: VerifiedMessage) -> Effect:
    """A hit discloses a holder; what it says of the person is for the source, and not kept.

    One that names no version known here discloses nothing: anybody can make up a digest.
    """
    standing = turn.stores.records.standing(key_of(message.statement))
    version = standing.versions.get(_named(message))
    if version is None or not version.known:
        return Effect(Outcome.NO_EFFECT)
    _note_disclosed(turn, message, [message.statement.source], "hit")
    return Effect(Outcome.APPLIED)


def _receive_doubt(turn: Turn, message: VerifiedMessage) -> Effect:
    """Open a case from the envelope that a holder brings.

    The source must have signed it, or anybody could have any record ended. Of a version that
    cannot be read, or whose message id the source gave to another statement, there is nothing to
    review: its case ends with a rejection and a retraction at all signed addressees.
    """
    inner = carried_version(turn, message) or carried_header(turn, message)
    if inner is None:
        raise EnvelopeRefused(refusals.INNER_ENVELOPE_REFUSED)
    statement = inner.statement
    members = [message.statement.source, statement.source, *statement.addressees]
    _note_disclosed(turn, message, members, "doubt")
    known = turn.stores.inbox.known_digest(statement.source, statement.message_id)
    if known == inner.digest:
        CaseStore(turn.stores.database).note_doubter(
            key_of(statement), inner.digest, message.statement.source
        )
        return Effect(Outcome.NO_EFFECT)
    if known is None and inner.body_octets is not None:
        effect = store_carried_version(turn, inner, message.statement.message_id)
        if effect.outcome is not Outcome.APPLIED:
            return effect
    CaseStore(turn.stores.database).submit(key_of(statement), inner.digest, statement.message_id)
    return Effect(Outcome.APPLIED)


def _receive_reply(turn: Turn, message: VerifiedMessage) -> Effect:
    """Keep an answer with its record; the review that waits for it ends on its own slot."""
    key = key_of(message.statement)
    if turn.stores.records.standing(key).ended:
        return Effect(Outcome.WITHHELD, "deleted")
    turn.stores.records.keep_body(
        message.digest, key, message.nonce or b"", message.body_octets or b""
    )
    return Effect(Outcome.APPLIED)


def _receive_receipt(turn: Turn, message: VerifiedMessage) -> Effect:
    """Discharge the holder, or note that it declines."""
    statement = message.statement
    if not isinstance(statement, RetractionReceipt):
        raise TypeError(message.kind.message_type)
    ledger = RetractionLedger(turn.stores.database)
    owed = ledger.obligation(statement.in_reply_to or "", statement.source)
    if owed is None or owed.key != key_of(statement):
        return Effect(Outcome.NO_EFFECT, statement.claims.outcome)
    before = owed.state
    if ledger.settle(owed, statement.claims.outcome, turn.now) is before:
        return Effect(Outcome.NO_EFFECT, statement.claims.outcome)
    return Effect(Outcome.APPLIED, statement.claims.outcome)


def _receive_set_request(turn: Turn, message: VerifiedMessage) -> Effect:
    """Have the tick send everything from the beginning."""
    SetOffice(turn.stores.database).note_request(message.statement.source)
    return Effect(Outcome.APPLIED)
