"""Applying verified statements to the records that a holder has; bureaus and secretariat alike."""

from collections.abc import Callable
from functools import partial
from typing import Final

from msgspec import Struct

from bus import refusals
from bus.identifiers import Role, role_of
from bus.messages.alerts import Amendment, Diffusion, Withdrawal
from bus.messages.catalogue import Statement
from bus.messages.correspondence import EnvelopeBody
from bus.messages.header import Header
from bus.messages.retraction import Retraction, RetractionAction
from bus.messages.review import Release
from bus.refusals import EnvelopeRefused
from bus.registry import Registry
from bus.standing import NOTHING_KNOWN, RecordState, Standing, fold
from bus.statements import IssuedStatement
from bus.storage.inbox import Outcome
from bus.storage.records import RecordKey, StoredVersion
from bus.turn import Effect, Turn
from bus.verification import VerifiedMessage

WAITING_RECORDS_PER_SOURCE_MAX: Final = 1_000
"""Records that a source may have ended here before any of their versions came."""


class Change(Struct, frozen=True):
    """A record's standing before and after a statement."""

    key: RecordKey
    before: Standing
    after: Standing

    @property
    def is_new_record(self) -> bool:
        """Whether no version of the record had come before."""
        return not any(version.known for version in self.before.versions.values())


def key_of(statement: Header) -> RecordKey:
    """Return the record that a statement is about; the catalogue guarantees that it names one."""
    if statement.record is None:
        raise EnvelopeRefused(refusals.RECORD_RULE_BROKEN, "no record")
    return RecordKey(statement.record.source, statement.record.record_id)


def apply(
    turn: Turn, statement: Statement | Header, digest: bytes, replacement: bytes | None = None
) -> Change:
    """Fold one verified statement into its record, and report a number used twice."""
    key = key_of(statement)
    _report_equivocation(turn, key, statement, digest)
    before = turn.stores.records.standing(key)
    after = fold(before, statement, digest, replacement)
    arrival = None
    if isinstance(statement, Diffusion | Amendment):
        arrival = StoredVersion(digest, statement.message_id, turn.now)
    turn.stores.records.put(key, before, after, turn.now, arrival)
    return Change(key, before, after)


def _report_equivocation(turn: Turn, key: RecordKey, statement: Header, digest: bytes) -> None:
    """Two different statements of one issuer under one number are told to whoever reads on."""
    number = getattr(getattr(statement, "claims", None), "number", None)
    if number is None or role_of(statement.source) is Role.NCB:
        return
    if turn.stores.records.number_taken(key, statement.source, number, digest):
        turn.note(
            "equivocation_found",
            message_id=statement.message_id,
            source=key.source,
            record_id=key.record_id,
            digest=digest,
        )


def store_version(turn: Turn, message: VerifiedMessage) -> tuple[Change, Effect]:
    """Take up a diffusion or amendment; of what was taken back no body is ever stored."""
    change = apply(turn, message.statement, message.digest)
    state = change.after.state_of(message.digest)
    taken_back = state in (RecordState.DELETED, RecordState.REJECTED)
    if taken_back or message.body_octets is None or message.nonce is None:
        return change, Effect(Outcome.WITHHELD, state)
    turn.stores.records.keep_body(message.digest, change.key, message.nonce, message.body_octets)
    return change, Effect(Outcome.APPLIED, state)


def keep_own_version(turn: Turn, issued: IssuedStatement) -> Change:
    """Enter a version that this party issued itself: the source is a holder too."""
    return apply(turn, issued.statement, issued.digest)


def end_by_withdrawal(turn: Turn, message: VerifiedMessage) -> tuple[Change, Effect]:
    """End a record on its source's word; what is not here yet will find a tombstone.

    Erasing what is here is the caller's part.
    """
    statement = message.statement
    if not isinstance(statement, Withdrawal):
        raise TypeError(message.kind.message_type)
    key = key_of(statement)
    known = turn.stores.records.standing(key) is not NOTHING_KNOWN
    if not known and _waits_for_too_much(turn, statement.source):
        raise EnvelopeRefused(refusals.TOO_MUCH_WAITING)
    change = apply(turn, statement, message.digest)
    outcome = Outcome.WAITING if change.is_new_record else Outcome.APPLIED
    return change, Effect(outcome, change.after.state_of(message.digest))


def _waits_for_too_much(turn: Turn, source: str) -> bool:
    return turn.stores.records.waiting_for(source) >= WAITING_RECORDS_PER_SOURCE_MAX


def erase_record(turn: Turn, key: RecordKey) -> int:
    """Erase every body of a record and note it; return how many there were."""
    erased = turn.stores.records.erase_record(key, turn.now)
    if erased:
        turn.note("record_erased", source=key.source, record_id=key.record_id, state="deleted")
    return erased


def erase_version(turn: Turn, key: RecordKey, digest: bytes) -> bool:
    """Erase one version's body and note it; tell whether there was one.

    Own statements that carry the version's envelope lose their bodies with it.
    """
    erased = turn.stores.records.erase_body(key, digest, turn.now)
    for carrier in turn.stores.outbox.carriers_of(key.source, key.record_id, digest):
        turn.stores.records.drop_body(carrier)
    if erased:
        turn.note(
            "version_erased",
            source=key.source,
            record_id=key.record_id,
            state="rejected",
            digest=digest,
        )
    return erased


def readable_replacement(turn: Turn, message: VerifiedMessage) -> VerifiedMessage | None:
    """Return the version that an update retraction carries, if it verifies and belongs there."""
    statement = message.statement
    if not isinstance(statement, Retraction) or not isinstance(message.body, EnvelopeBody):
        return None
    if statement.claims.action is not RetractionAction.UPDATE:
        return None
    inner = carried_version(turn, message)
    return inner if inner is not None and inner.body_octets is not None else None


def carried_version(turn: Turn, message: VerifiedMessage) -> VerifiedMessage | None:
    """Verify the envelope in a body: a version of the very record the carrier speaks of."""
    released = isinstance(message.statement, Release)
    return _carried(turn, message, partial(turn.verifier.verify_inner, released=released))


def carried_header(turn: Turn, message: VerifiedMessage) -> VerifiedMessage | None:
    """Verify the header of a carried version whose own body is missing or damaged."""
    return _carried(turn, message, turn.verifier.verify_inner_header)


def _carried(
    turn: Turn, message: VerifiedMessage, verify: Callable[[bytes, Registry], VerifiedMessage]
) -> VerifiedMessage | None:
    if not isinstance(message.body, EnvelopeBody):
        return None
    try:
        inner = verify(message.body.envelope, turn.registry)
    except EnvelopeRefused as refused:
        turn.note_message("inner_envelope_refused", message, refused.refusal.code)
        return None
    is_version = isinstance(inner.statement, Diffusion | Amendment)
    if not is_version or key_of(inner.statement) != key_of(message.statement):
        turn.note_message("inner_envelope_refused", message, refusals.INNER_ENVELOPE_REFUSED.code)
        return None
    return inner


def store_carried_version(turn: Turn, inner: VerifiedMessage, carrier: str) -> Effect:
    """Take up a version that came inside another statement, once."""
    statement = inner.statement
    if turn.stores.inbox.known_digest(statement.source, statement.message_id) is not None:
        return Effect(Outcome.NO_EFFECT)
    _, effect = store_version(turn, inner)
    turn.stores.inbox.add(inner, effect.outcome, turn.now, carrier)
    turn.note_message(f"{inner.kind.message_type}_{effect.outcome}", inner, effect.state)
    return effect
