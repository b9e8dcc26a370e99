"""Following the retraction sets: what a bureau that was away must know before it acts."""

from msgspec.structs import replace

from bus.identifiers import SECRETARIAT
from bus.instants import instant_from_text
from bus.messages.retraction import (
    RecordReference,
    RetractionSet,
    RetractionSetClaims,
    RetractionSetRequest,
    RetractionSetRequestClaims,
)
from bus.retraction_sets import running_hash
from bus.standing import Ending
from bus.statements import Draft
from bus.storage.inbox import Outcome
from bus.storage.records import RecordKey
from bus.turn import Effect, Turn
from bus.verification import VerifiedMessage
from ncb_nodes.conduct import Conduct
from ncb_nodes.national_grounds import keeps_on_national_grounds
from ncb_nodes.national_store import RetractionSetState
from ncb_nodes.receiving_policy import ReceivingPolicy


def follow(
    turn: Turn, message: VerifiedMessage, policy: ReceivingPolicy, conduct: Conduct
) -> Effect:
    """Apply one set. After a gap, or where the hash does not chain, ask for what is missing."""
    statement = message.statement
    if not isinstance(statement, RetractionSet):
        raise TypeError(message.kind.message_type)
    claims = statement.claims
    state = RetractionSetState.kept_in(turn.stores.database)
    if claims.number <= state.number:
        return Effect(Outcome.NO_EFFECT)
    _apply(turn, claims, policy, conduct)
    if not claims.full and not _continues(state, claims):
        _ask_for_more(turn, state, claims.number)
        return Effect(Outcome.WAITING)
    issued_at = instant_from_text(statement.issued_at) if claims.last_page else state.issued_at
    reached = RetractionSetState(claims.number, issued_at, claims.running_hash)
    reached.keep_in(turn.stores.database)
    return Effect(Outcome.APPLIED)


def _continues(state: RetractionSetState, claims: RetractionSetClaims) -> bool:
    chained = running_hash(
        state.running_hash, claims.number, claims.ended, claims.blocked, claims.revoked_keys
    )
    return claims.previous_number == state.number and claims.running_hash == chained


def _apply(
    turn: Turn, claims: RetractionSetClaims, policy: ReceivingPolicy, conduct: Conduct
) -> None:
    """Lower trust at once, gap or not: an ending or a block is never wrong to know."""
    for reference in claims.ended:
        _end(turn, reference, policy, conduct)
    for reference in claims.blocked:
        key = _key(reference)
        before = turn.stores.records.standing(key)
        turn.stores.records.put(key, before, replace(before, blocked=True), turn.now)
    for key_digest in claims.revoked_keys:
        if key_digest.hex() not in turn.registry.revoked:
            turn.registry = turn.registry.with_revoked(key_digest.hex(), claims.number)


def _end(turn: Turn, reference: RecordReference, policy: ReceivingPolicy, conduct: Conduct) -> None:
    """End a record; what national policy keeps is signed for when the retraction comes."""
    key = _key(reference)
    before = turn.stores.records.standing(key)
    if before.ended:
        return
    after = replace(before, ending=Ending.RETRACTION)
    turn.stores.records.put(key, before, after, turn.now)
    if not keeps_on_national_grounds(turn, policy, key):
        conduct.erase_record(turn, key)
    turn.note("record_ended_by_set", source=key.source, record_id=key.record_id, state="deleted")


def _key(reference: RecordReference) -> RecordKey:
    return RecordKey(reference.source, reference.record_id)


def _ask_for_more(turn: Turn, state: RetractionSetState, seen: int) -> None:
    turn.issue(
        Draft(
            RetractionSetRequest,
            (SECRETARIAT,),
            RetractionSetRequestClaims(state.number),
            subject=f"{state.number}:{seen}",
        )
    )
