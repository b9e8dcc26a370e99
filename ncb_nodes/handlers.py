"""What a bureau does with each verified message. Handlers record; acting waits for the tick."""

from bus import refusals
from bus.holdings import (
    Change,
    apply,
    carried_version,
    end_by_withdrawal,
    key_of,
    readable_replacement,
    store_carried_version,
    store_version,
)
from bus.identifiers import SECRETARIAT
from bus.messages.header import Version
from bus.messages.retraction import (
    Retraction,
    RetractionOutcome,
    RetractionReceipt,
    RetractionReceiptClaims,
)
from bus.messages.review import ReviewOutcome
from bus.refusals import EnvelopeRefused
from bus.standing import RecordState
from bus.statements import Draft
from bus.storage.inbox import Outcome
from bus.storage.records import RecordKey
from bus.turn import Effect, Turn
from bus.verification import VerifiedMessage
from ncb_nodes.conduct import Conduct
from ncb_nodes.national_grounds import keeps_on_national_grounds
from ncb_nodes.national_store import NationalStore
from ncb_nodes.receiving_policy import ReceivingPolicy


class BureauHandlers:
    """The handlers of one bureau, over its policy and conduct."""

    def __init__(self, policy: ReceivingPolicy, conduct: Conduct) -> None:
        self._policy = policy
        self._conduct = conduct

    def receive_version(self, turn: Turn, message: VerifiedMessage) -> Effect:
        """Store a diffusion or amendment, pending review."""
        change, effect = store_version(turn, message)
        self._look_later(turn, change)
        return effect

    def receive_release(self, turn: Turn, message: VerifiedMessage) -> Effect:
        """Store the version that the secretariat hands on."""
        inner = carried_version(turn, message)
        if inner is None:
            raise EnvelopeRefused(refusals.INNER_ENVELOPE_REFUSED)
        return store_carried_version(turn, inner, message.statement.message_id)

    def apply_withdrawal(self, turn: Turn, message: VerifiedMessage) -> Effect:
        """End a record on its source's word."""
        change, effect = end_by_withdrawal(turn, message)
        self._conduct.erase_record(turn, change.key)
        return effect

    def apply_review(self, turn: Turn, message: VerifiedMessage) -> Effect:
        """Take up the mark, a decision, a block or a decision of the Commission."""
        change = apply(turn, message.statement, message.digest)
        if message.kind.body_outlives_record and message.body_octets is not None:
            turn.stores.records.keep_body(
                message.digest, None, message.nonce or b"", message.body_octets
            )
        if not keeps_on_national_grounds(turn, self._policy, change.key):
            self._erase_reviewed(turn, change)
        self._look_later(turn, change)
        return _effect(change, message)

    def _erase_reviewed(self, turn: Turn, change: Change) -> None:
        if change.after.ended and not change.before.ended:
            self._conduct.erase_record(turn, change.key)
        for digest, version in change.after.versions.items():
            was = change.before.versions.get(digest)
            if version.outcome is ReviewOutcome.REJECTED and (was is None or was != version):
                self._conduct.erase_version(turn, change.key, digest)

    def apply_retraction(self, turn: Turn, message: VerifiedMessage) -> Effect:
        """Delete or update, and sign a receipt that says so."""
        statement = message.statement
        if not isinstance(statement, Retraction):
            raise TypeError(message.kind.message_type)
        key, digest = key_of(statement), _named(message)
        replacement = readable_replacement(turn, message)
        before = turn.stores.records.standing(key)
        ever_held = any(version.known for version in before.versions.values())
        declined = keeps_on_national_grounds(turn, self._policy, key)
        if replacement is not None and turn.party in replacement.statement.addressees:
            store_carried_version(turn, replacement, statement.message_id)
        change = apply(turn, statement, message.digest, replacement.digest if replacement else None)
        outcome = RetractionOutcome.NOT_HELD
        if declined:
            outcome = RetractionOutcome.DECLINED
        elif ever_held:
            outcome = self._erase(turn, change, digest)
        self._sign_receipt(turn, message, statement, outcome)
        self._look_later(turn, change)
        state = change.after.state_of(digest)
        return Effect(Outcome.APPLIED if ever_held else Outcome.WAITING, state)

    def _erase(self, turn: Turn, change: Change, digest: bytes) -> RetractionOutcome:
        if change.after.ended:
            self._conduct.erase_record(turn, change.key)
            return RetractionOutcome.DELETED
        self._conduct.erase_version(turn, change.key, digest)
        return RetractionOutcome.UPDATED

    def _sign_receipt(
        self,
        turn: Turn,
        message: VerifiedMessage,
        statement: Retraction,
        outcome: RetractionOutcome,
    ) -> None:
        declined = outcome is RetractionOutcome.DECLINED
        receipt = turn.issue(
            Draft(
                RetractionReceipt,
                (SECRETARIAT,),
                RetractionReceiptClaims(
                    statement.claims.number,
                    outcome,
                    self._policy.decline_reason if declined else None,
                ),
                subject=statement.message_id,
                record=statement.record,
                in_reply_to=statement.message_id,
                traceparent=statement.traceparent,
            )
        )
        key = key_of(statement)
        NationalStore(turn.stores.database).keep_receipt(statement.message_id, receipt.message_id)
        turn.note(
            "receipt_signed",
            message_id=receipt.message_id,
            source=key.source,
            record_id=key.record_id,
            state=outcome,
            digest=message.digest,
        )

    def repeat_receipt(self, turn: Turn, message: VerifiedMessage) -> None:
        """Send the stored receipt again, the same octets, when a retraction is repeated."""
        receipt = NationalStore(turn.stores.database).receipt_for(message.statement.message_id)
        if receipt is not None:
            turn.stores.outbox.send_again(receipt, SECRETARIAT, turn.now)

    def take_note(self, turn: Turn, message: VerifiedMessage) -> Effect:
        """Keep correspondence for the people of the bureau to read."""
        record = message.statement.record
        key = RecordKey(record.source, record.record_id) if record else None
        if key is not None and turn.stores.records.standing(key).ended:
            return Effect(Outcome.WITHHELD, RecordState.DELETED)
        if message.nonce is not None and message.body_octets is not None:
            turn.stores.records.keep_body(message.digest, key, message.nonce, message.body_octets)
        return Effect(Outcome.APPLIED)

    def _look_later(self, turn: Turn, change: Change) -> None:
        """Have the tick look at a record on which the bureau may now act."""
        if change.key.source == turn.party:
            return
        for digest, version in change.after.versions.items():
            if version.known and self._conduct.may_act(
                turn, self._policy, change.key, change.after, digest
            ):
                NationalStore(turn.stores.database).call_attention(change.key)


def _effect(change: Change, message: VerifiedMessage) -> Effect:
    state = change.after.state_of(_named(message))
    if change.after is change.before or change.after == change.before:
        return Effect(Outcome.NO_EFFECT, state)
    return Effect(Outcome.WAITING if change.is_new_record else Outcome.APPLIED, state)


def _named(message: VerifiedMessage) -> bytes:
    """Return the version that a message names, which the catalogue guarantees."""
    record: Version | None = message.statement.record
    if record is None or record.statement_digest is None:
        raise EnvelopeRefused(refusals.RECORD_RULE_BROKEN, "no version")
    return record.statement_digest
