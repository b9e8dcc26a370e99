"""One party on the bus: takes up batches, keeps time, issues statements. Synchronous throughout.

A batch is verified and handled in one transaction: inbox, records, history and outgoing mail
commit together, and only then may the deliveries be settled. What verification refuses has written
nothing yet. Where a handler refuses, the batch is undone and taken up again with a savepoint for
each message, so that a refused one leaves nothing behind but its quarantine row (ADR 0008). A
batch that fails twice is taken up message by message, and what still fails goes back to its queue.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

import structlog
from msgspec import Struct

from bus import refusals, trust_duties
from bus.announcements import OPENING_TYPES, as_delivery
from bus.envelope import digest_of_delivery
from bus.errors import EnvironmentFailed
from bus.identifiers import IdentifierSource, is_party_code
from bus.instants import Instant
from bus.messages.header import Header
from bus.ports import Delivery
from bus.quarantine import reduced_fields
from bus.refusals import EnvelopeRefused
from bus.registry import Registry
from bus.statements import Signer
from bus.storage import history, inbox, outbox, records
from bus.storage.database import Database
from bus.topology import QUARANTINE_QUEUE, UNROUTABLE_QUEUE
from bus.turn import Effect, Stores, Turn
from bus.verification import Arrival, EnvelopeCache, Evidence, VerifiedMessage, Verifier

SCHEMAS: Final = (inbox.SCHEMA, outbox.SCHEMA, history.SCHEMA, records.SCHEMA)

_log: Final = structlog.get_logger(__name__)

Handler = Callable[[Turn, VerifiedMessage], Effect]
_STRAYS: Final = {
    QUARANTINE_QUEUE: refusals.DEAD_LETTERED,
    UNROUTABLE_QUEUE: refusals.UNROUTABLE,
}
"""What comes from these queues was meant for others: it is reduced like a refusal, unread."""

MailKey = tuple[str, str]
"""A message id and a recipient."""
T = TypeVar("T")


class Duties(Protocol):
    """What a kind of party does with messages and time.

    Handlers only record. Whatever depends on order waits for `tick`, which sees everything that
    arrived until then.
    """

    schemas: Sequence[str]
    handlers: Mapping[type[Header], Handler]
    repeat_handlers: Mapping[type[Header], Callable[[Turn, VerifiedMessage], None]]

    def tick(self, turn: Turn) -> None:
        """Do what is due now."""

    def next_due(self, turn: Turn) -> Instant | None:
        """Return when `tick` next has something to do, at the latest; None when never."""

    def open_work(self, turn: Turn) -> int:
        """Return how many matters are open: a run settles until there is none."""


class TakenUp(Struct, frozen=True):
    """How to settle a batch: what is done with, and what must come again."""

    accepted: Sequence[Delivery]
    requeued: Sequence[Delivery]


class Identity(Struct, frozen=True):
    """Who a party is: its signing key, the root it trusts, and where its identifiers come from."""

    signer: Signer
    root_der: bytes
    first_registry: Registry
    identifiers: IdentifierSource


class _RefusedByHandler(Exception):
    """A handler refused a message in a batch that is taken up without savepoints."""


class Participant:
    """A party's store, trust and duties behind three verbs: `receive`, `tick`, `issue`."""

    def __init__(
        self,
        identity: Identity,
        duties: Duties,
        wall_ns: Callable[[], int],
        path: Path | None = None,
        cache: EnvelopeCache | None = None,
    ) -> None:
        self.party = identity.signer.party
        self._identity = identity
        self._duties = duties
        self._wall_ns = wall_ns
        self.database = Database(self.party, (*SCHEMAS, *duties.schemas), path)
        self.stores = Stores.over(self.database)
        self._verifier = Verifier(self.party, self.stores.inbox.known_digest, cache)
        self._handlers = {**trust_duties.HANDLERS, **duties.handlers}
        self.stores.outbox.recover()
        self.registry = trust_duties.restored_registry(
            self.stores, identity.first_registry, identity.root_der
        )

    def turn(self, now: Instant) -> Turn:
        """Return the face that handlers and ticks see of this party at one instant."""
        return Turn(
            now,
            self._wall_ns(),
            self.stores,
            self.registry,
            self._identity.signer,
            self._identity.identifiers,
            self._verifier,
            self._identity.root_der,
        )

    def receive(self, deliveries: Sequence[Delivery], now: Instant) -> TakenUp:
        """Take up a batch; when this returns, what it changed is on disk."""
        for carefully in (False, True):
            if self._take_up_all(deliveries, now, carefully=carefully):
                return TakenUp(deliveries, ())
        accepted: list[Delivery] = []
        requeued: list[Delivery] = []
        for delivery in deliveries:
            done = self._take_up_all((delivery,), now, carefully=True)
            (accepted if done else requeued).append(delivery)
        return TakenUp(accepted, requeued)

    def _take_up_all(
        self, deliveries: Sequence[Delivery], now: Instant, *, carefully: bool
    ) -> bool:
        turn = self.turn(now)
        take_up = self._take_up_carefully if carefully else self._take_up
        try:
            with self.database.transaction():
                for delivery in deliveries:
                    take_up(turn, delivery)
        except _RefusedByHandler:
            return False
        except Exception as error:  # noqa: BLE001  (a poison message must not kill its node)
            _log.exception(
                "batch_failed",
                party=self.party,
                messages=len(deliveries),
                error=type(error).__name__,
            )
            return False
        self.registry = turn.registry
        return True

    def _take_up(self, turn: Turn, delivery: Delivery) -> None:
        """Verify, which writes nothing, and handle; a handler that refuses undoes the batch."""
        message = self._verified(turn, delivery)
        if message is not None:
            try:
                self._handle(turn, message)
            except EnvelopeRefused as refused:
                raise _RefusedByHandler from refused

    def _take_up_carefully(self, turn: Turn, delivery: Delivery) -> None:
        """Verify, and handle within a savepoint, so that a refusal undoes this message alone."""
        message = self._verified(turn, delivery)
        if message is None:
            return
        registry = turn.registry
        self.database.savepoint()
        try:
            self._handle(turn, message)
        except EnvelopeRefused as refused:
            self.database.roll_back()
            turn.registry = registry
            self._quarantine(turn, delivery, refused)
        self.database.release()

    def _verified(self, turn: Turn, delivery: Delivery) -> VerifiedMessage | None:
        """Return the verified message, or None after the quarantine has taken what is refused."""
        try:
            return self._verify(turn, delivery)
        except EnvelopeRefused as refused:
            self._quarantine(turn, delivery, refused)
            return None

    def _verify(self, turn: Turn, delivery: Delivery) -> VerifiedMessage:
        if delivery.queue in _STRAYS:
            raise EnvelopeRefused(_STRAYS[delivery.queue], _recipient_of(delivery))
        message = self._verifier.verify(
            delivery.content,
            Evidence(delivery.user_id, delivery.routing_key),
            turn.registry,
            turn.now,
        )
        if type(message.statement) not in self._handlers:
            raise EnvelopeRefused(refusals.STATEMENT_NOT_SUPPORTED, message.kind.message_type)
        return message

    def _handle(self, turn: Turn, message: VerifiedMessage) -> None:
        kind = type(message.statement)
        if message.arrival is Arrival.REPEAT:
            turn.note_message(f"{message.kind.message_type}_repeated", message)
            if repeat := self._duties.repeat_handlers.get(kind):
                repeat(turn, message)
            return
        effect = self._handlers[kind](turn, message)
        turn.stores.inbox.add(message, effect.outcome, turn.now)
        turn.note_message(f"{message.kind.message_type}_{effect.outcome}", message, effect.state)

    def _quarantine(self, turn: Turn, delivery: Delivery, refused: EnvelopeRefused) -> None:
        fields = reduced_fields(delivery.content)
        digest = digest_of_delivery(delivery.content)
        code = refused.refusal.code
        turn.stores.quarantine.add(
            turn.now, code, digest, len(delivery.content), refused.where, delivery.user_id, fields
        )
        turn.note(
            "envelope_refused",
            message_id=fields.get("message_id") or "",
            source=fields.get("record_source") or "",
            record_id=fields.get("record_id") or "",
            state=code,
            digest=digest,
        )

    def tick(self, now: Instant) -> None:
        """Do what is due at `now`, in one transaction."""
        turn = self.turn(now)
        with self.database.transaction():
            self._duties.tick(turn)

    def next_due(self, now: Instant) -> Instant | None:
        """Return when `tick` next has something to do."""
        return self._duties.next_due(self.turn(now))

    def open_work(self, now: Instant) -> int:
        """Return how many matters are open at this party."""
        return self._duties.open_work(self.turn(now))

    def take_mail(self, now: Instant, limit: int, parked: Sequence[str]) -> list[outbox.Mail]:
        """Hand mail to the relay; what lost its body meanwhile is cancelled."""
        with self.database.transaction():
            return self.stores.outbox.take_mail(now, limit, parked)

    def mail_settled(
        self, confirmed: Iterable[MailKey], failed: Iterable[MailKey], now: Instant
    ) -> None:
        """Note what the broker said of mail, as (message id, recipient) pairs.

        A doubt whose mail has all left loses its body: nobody repeats one, and it is a copy.
        """
        sent = tuple(confirmed)
        with self.database.transaction():
            self.stores.outbox.confirmed(sent, now)
            self.stores.outbox.attempted(failed)
            for doubt in self.stores.outbox.spent_doubts({message_id for message_id, _ in sent}):
                self.stores.records.drop_body(doubt)

    def bootstrap(self, statements: Sequence[bytes], now: Instant) -> None:
        """Take up the authority's opening statements, unless the store has them already.

        Raises `EnvironmentFailed` when one of them is refused.
        """
        for octets, message_type in zip(statements, OPENING_TYPES, strict=True):
            self.receive((as_delivery(octets, message_type, self.party),), now)
        if not self.registry.takes_part(self.party) or not self.registry.members:
            message = f"{self.party} is not in the membership that it was handed"
            raise EnvironmentFailed(message)

    def act(self, now: Instant, deed: Callable[[Turn], T]) -> T:
        """Carry out an order from the control port in one transaction and return its result."""
        turn = self.turn(now)
        with self.database.transaction():
            return deed(turn)

    def close(self) -> None:
        """Close the store."""
        self.database.close()


def _recipient_of(delivery: Delivery) -> str:
    """Return for whom a stray was meant, where its routing key has the form to tell."""
    recipient = delivery.routing_key.rpartition(".")[2]
    return recipient if is_party_code(recipient) else ""
