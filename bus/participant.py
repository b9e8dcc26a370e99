"""One party on the bus: takes up batches, keeps time, issues statements. Synchronous throughout.

A batch is verified and handled in one transaction: inbox, records, history and outgoing mail
commit together, and only then may the deliveries be settled. Each message has a savepoint, so a
refused one leaves nothing behind but its quarantine row. A batch that fails twice is taken up
message by message, and what still fails goes back to its queue.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol, TypeVar

import structlog
from msgspec import Struct

from bus import refusals, trust_duties
from bus.announcements import OPENING_TYPES, as_delivery
from bus.envelope import digest_of_delivery
from bus.errors import EnvironmentFailed
from bus.identifiers import IdentifierSource
from bus.instants import Instant
from bus.messages.header import Header
from bus.ports import Delivery
from bus.quarantine import reduced_fields
from bus.refusals import EnvelopeRefused
from bus.registry import Registry
from bus.statements import Signer
from bus.storage import history, inbox, outbox, records
from bus.storage.database import Database
from bus.turn import Effect, Stores, Turn
from bus.verification import Arrival, EnvelopeCache, Evidence, VerifiedMessage, Verifier

BATCH_ATTEMPTS_MAX: Final = 2
SCHEMAS: Final = (inbox.SCHEMA, outbox.SCHEMA, history.SCHEMA, records.SCHEMA)

_log: Final = structlog.get_logger(__name__)

Handler = Callable[[Turn, VerifiedMessage], Effect]
MailKey = tuple[str, str]
"""A message id and a recipient."""
T = TypeVar("T")


class Duties(Protocol):
    """What a kind of party does with messages and time. Handlers only record; whatever depends
    on order waits for `tick`, which sees everything that arrived until then.
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
        for _ in range(BATCH_ATTEMPTS_MAX):
            if self._take_up_all(deliveries, now):
                return TakenUp(deliveries, ())
        accepted, requeued = [], []
        for delivery in deliveries:
            done = self._take_up_all((delivery,), now)
            (accepted if done else requeued).append(delivery)
        return TakenUp(accepted, requeued)

    def _take_up_all(self, deliveries: Sequence[Delivery], now: Instant) -> bool:
        turn = self.turn(now)
        try:
            with self.database.transaction():
                for delivery in deliveries:
                    self._take_up(turn, delivery)
        except Exception as error:  # noqa: BLE001  (the boundary: a poison message must not kill its node)
            _log.exception(
                "batch_failed", party=self.party, messages=len(deliveries), error=type(error).__name__
            )
            return False
        self.registry = turn.registry
        return True

    def _take_up(self, turn: Turn, delivery: Delivery) -> None:
        execute = self.database.execute
        registry = turn.registry
        execute("SAVEPOINT message")
        try:
            message = self._verifier.verify(
                delivery.content,
                Evidence(delivery.user_id, delivery.routing_key),
                turn.registry,
                turn.now,
            )
            self._handle(turn, message)
        except EnvelopeRefused as refused:
            execute("ROLLBACK TO message")
            turn.registry = registry
            self._quarantine(turn, delivery, refused)
        execute("RELEASE message")

    def _handle(self, turn: Turn, message: VerifiedMessage) -> None:
        kind = type(message.statement)
        if message.arrival is Arrival.REPEAT:
            turn.note_message(f"{message.kind.message_type}_repeated", message)
            if repeat := self._duties.repeat_handlers.get(kind):
                repeat(turn, message)
            return
        handler = self._handlers.get(kind)
        if handler is None:
            raise EnvelopeRefused(refusals.STATEMENT_NOT_SUPPORTED, message.kind.message_type)
        effect = handler(turn, message)
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
            message_id=fields.get("message_id") or sha256(delivery.content).hexdigest(),
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
        """Note what the broker said of mail, as (message id, recipient) pairs."""
        with self.database.transaction():
            self.stores.outbox.confirmed(confirmed, now)
            self.stores.outbox.attempted(failed)

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
