"""Carrying out retractions: to every holder in the ledger, repeated to the silent ones."""

from bus.envelope import open_envelope
from bus.holdings import erase_record, erase_version
from bus.instants import instant_to_text
from bus.messages.correspondence import EnvelopeBody
from bus.messages.header import Version
from bus.messages.retraction import Retraction, RetractionAction, RetractionClaims
from bus.standing import fold
from bus.statements import Draft
from bus.storage.records import RecordKey
from bus.turn import Turn
from secretariat.case_store import CaseStore
from secretariat.retraction import Campaign, ObligationState, RetractionLedger
from secretariat.review import ReviewSettings
from secretariat.set_office import SetOffice


class RetractionOffice:
    """Orders retractions and reminds those who stay silent."""

    def __init__(self, settings: ReviewSettings) -> None:
        self._settings = settings

    def delete_everywhere(self, turn: Turn, key: RecordKey, digest: bytes, cause: str) -> None:
        """End a record at all holders, the secretariat's own copy first.

        Where it was ended before, only holders that became known since are told.
        """
        ledger = RetractionLedger(turn.stores.database)
        asked = ledger.asked_to_delete(key)
        late = [member for member in _holders(turn, key) if member not in asked]
        if ledger.was_ended(key) and not late:
            return
        self._order(turn, key, digest, RetractionAction.DELETE, cause, late)
        erase_record(turn, key)
        SetOffice(turn.stores.database).note_ended(key, turn.now)

    def replace_everywhere(
        self, turn: Turn, key: RecordKey, old: bytes, replacement: bytes, envelope: bytes
    ) -> None:
        """Put a compliant version in the place of a rejected one at all holders.

        It goes to those to whom its source addressed it. Who holds the old version otherwise is
        sent an update that carries nothing, by which it loses the record.
        """
        signed = open_envelope(envelope, header_only=True).statement.addressees
        holders, update = _holders(turn, key), RetractionAction.UPDATE
        readers = [member for member in holders if member in signed or member == key.source]
        others = [member for member in holders if member not in readers]
        self._order(turn, key, old, update, "replaced", readers, (replacement, envelope))
        if others:
            self._order(turn, key, old, update, "not_addressed", others)
        erase_version(turn, key, old)

    def _order(
        self,
        turn: Turn,
        key: RecordKey,
        digest: bytes,
        action: RetractionAction,
        cause: str,
        members: list[str],
        replacement: tuple[bytes, bytes] | None = None,
    ) -> None:
        cases, ledger = CaseStore(turn.stores.database), RetractionLedger(turn.stores.database)
        number = cases.next_number(key)
        deadline = turn.now + self._settings.retraction_deadline
        issued = turn.issue(
            Draft(
                Retraction,
                tuple(members),
                RetractionClaims(number, action, instant_to_text(deadline)),
                subject=f"{key.source}:{key.record_id}:{number}",
                record=Version(key.source, key.record_id, digest),
                body=EnvelopeBody(replacement[1]) if replacement else None,
            )
        )
        if replacement is not None or action is RetractionAction.DELETE:
            before = turn.stores.records.standing(key)
            carried = replacement[0] if replacement else None
            after = fold(before, issued.statement, issued.digest, carried)
            turn.stores.records.put(key, before, after, turn.now)
        ledger.open_campaign(
            Campaign(issued.message_id, key, digest, number, action, cause, turn.now, deadline),
            members,
            turn.now + self._settings.retraction_repeat,
        )

    def remind(self, turn: Turn) -> None:
        """Repeat retractions to silent holders, and name those past their deadline."""
        ledger = RetractionLedger(turn.stores.database)
        for owed in ledger.to_repeat(turn.now):
            turn.stores.outbox.send_again(owed.message_id, owed.member, turn.now)
            ledger.repeated(owed, turn.now + self._settings.retraction_repeat)
            late = owed.state is ObligationState.OWED and turn.now >= owed.deadline
            if late:
                ledger.name_overdue(owed, turn.now)
            turn.note(
                "holder_named_overdue" if late else "retraction_repeated_to_holder",
                message_id=owed.message_id,
                source=owed.key.source,
                record_id=owed.key.record_id,
                detail={"holder": owed.member},
            )


def _holders(turn: Turn, key: RecordKey) -> list[str]:
    """Return the members that hold a record; a code that is no member's can sign nothing."""
    holders = CaseStore(turn.stores.database).holders(key)
    return [code for code in holders if code in turn.registry.members]
