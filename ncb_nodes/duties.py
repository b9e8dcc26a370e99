"""The duties of a bureau: which handler takes what, and what is due when."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bus.held_envelopes import held_envelope
from bus.identifiers import SECRETARIAT
from bus.instants import Instant, instant_to_text
from bus.messages import alerts, authority, correspondence, retraction, review
from bus.messages.correspondence import (
    Doubt,
    DoubtClaims,
    DoubtReason,
    EnvelopeBody,
    Hit,
    HitBody,
    HitClaims,
    HitKind,
)
from bus.messages.header import Header, Version
from bus.participant import Handler
from bus.statements import Draft
from bus.storage.records import RecordKey
from bus.turn import Effect, Turn
from bus.verification import VerifiedMessage
from ncb_nodes import retraction_set
from ncb_nodes.conduct import Conduct, FaithfulConduct
from ncb_nodes.handlers import BureauHandlers
from ncb_nodes.national_store import SCHEMA, NationalStore, RetractionSetState
from ncb_nodes.receiving_policy import ReceivingPolicy, has_expired, retraction_set_is_fresh

_REVIEW_TYPES: Final = (
    review.ReviewOpened,
    review.ReviewDecision,
    review.Block,
    review.Unblock,
    authority.CCFDecision,
)
_NOTED_TYPES: Final = (
    correspondence.Message,
    correspondence.Hit,
    correspondence.InformationRequest,
    correspondence.ConsultationRequest,
    review.Addendum,
)


class BureauDuties:
    """What one bureau does with messages and time."""

    schemas: Sequence[str] = (SCHEMA,)

    def __init__(self, policy: ReceivingPolicy, conduct: Conduct | None = None) -> None:
        self._policy = policy
        self._conduct = conduct or FaithfulConduct()
        handlers = BureauHandlers(policy, self._conduct)
        self.handlers: Mapping[type[Header], Handler] = {
            alerts.Diffusion: handlers.receive_version,
            alerts.Amendment: handlers.receive_version,
            alerts.Withdrawal: handlers.apply_withdrawal,
            review.Release: handlers.receive_release,
            retraction.Retraction: handlers.apply_retraction,
            retraction.RetractionSet: self._follow_set,
            **dict.fromkeys(_REVIEW_TYPES, handlers.apply_review),
            **dict.fromkeys(_NOTED_TYPES, handlers.take_note),
        }
        self.repeat_handlers: Mapping[type[Header], Callable[[Turn, VerifiedMessage], None]] = {
            retraction.Retraction: handlers.repeat_receipt
        }

    def _follow_set(self, turn: Turn, message: VerifiedMessage) -> Effect:
        return retraction_set.follow(turn, message, self._policy, self._conduct)

    def next_due(self, turn: Turn) -> Instant | None:
        """Return when there is something to act on or to doubt."""
        store = NationalStore(turn.stores.database)
        if store.needs_attention() and self._set_is_fresh(turn):
            return turn.now
        oldest = store.oldest_unmarked()
        return oldest + self._policy.unregistered_after if oldest is not None else None

    def open_work(self, turn: Turn) -> int:
        """A version without its review mark is open: it will be doubted."""
        return int(NationalStore(turn.stores.database).oldest_unmarked() is not None)

    def tick(self, turn: Turn) -> None:
        """Act on what may be acted on, in the order of keys, and doubt what was never marked."""
        store = NationalStore(turn.stores.database)
        if self._set_is_fresh(turn):
            for key in store.records_for_attention():
                self._act_on_record(turn, store, key)
            store.clear_attention()
        for key, digest, message_id in store.unmarked_since(
            turn.now - self._policy.unregistered_after
        ):
            self._doubt(turn, key, digest, message_id)
            store.note_doubt(digest, turn.now)

    def _set_is_fresh(self, turn: Turn) -> bool:
        issued_at = RetractionSetState.kept_in(turn.stores.database).issued_at
        return retraction_set_is_fresh(self._policy, issued_at, turn.now)

    def _act_on_record(self, turn: Turn, store: NationalStore, key: RecordKey) -> None:
        standing = turn.stores.records.standing(key)
        for digest, version in sorted(standing.versions.items()):
            readable = version.known and turn.stores.records.body(digest) is not None
            if not readable or _has_expired(turn, key, digest):
                continue
            if not self._conduct.may_act(turn, self._policy, key, standing, digest):
                continue
            if store.first_act(key, digest, turn.now):
                self._act(turn, key, digest, standing.state_of(digest))

    def _act(self, turn: Turn, key: RecordKey, digest: bytes, state: str) -> None:
        """Look for the person; sometimes the person is found, and the source is told."""
        turn.note(
            "record_acted_on",
            source=key.source,
            record_id=key.record_id,
            state=state,
            digest=digest,
        )
        subject = f"{key.source}:{key.record_id}:{digest.hex()}"
        if turn.identifiers.fraction("located", subject) >= self._policy.located_share:
            return
        turn.issue(
            Draft(
                Hit,
                (SECRETARIAT, key.source),
                HitClaims(HitKind.LOCATED, instant_to_text(turn.now)),
                subject=subject,
                record=Version(key.source, key.record_id, digest),
                body=HitBody(turn.party, "located by the national police"),
            )
        )

    def _doubt(self, turn: Turn, key: RecordKey, digest: bytes, message_id: str) -> None:
        """Bring a version before the secretariat that never got its review mark."""
        envelope = held_envelope(turn, key.source, message_id, digest)
        if envelope is None:
            return
        turn.issue(
            Draft(
                Doubt,
                (SECRETARIAT,),
                DoubtClaims(DoubtReason.UNREGISTERED),
                subject=digest.hex(),
                record=Version(key.source, key.record_id, digest),
                body=EnvelopeBody(envelope),
            )
        )


def _has_expired(turn: Turn, key: RecordKey, digest: bytes) -> bool:
    arrival = turn.stores.records.arrival(key, digest)
    version = turn.stores.inbox.header(key.source, arrival.message_id) if arrival else None
    return version is not None and has_expired(version, turn.now)
