"""The edge that joins a party to the bus: take, handle, settle, relay. All its I/O is here.

The order is what the promises rest on: the store commits first, the delivery is settled after,
and mail leaves after that. A crash between any two of these repeats work and loses none.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, ParamSpec, Protocol, TypeVar

import structlog
from msgspec import Struct

from bus.errors import BadInput
from bus.identifiers import QueueKind
from bus.instants import Instant
from bus.messages.catalogue import KINDS
from bus.participant import Participant
from bus.ports import Delivery, Publication, PublishOutcome, Settlement, Transport
from bus.storage.history import HistoryRow
from bus.storage.outbox import Mail
from bus.topology import STRAY_QUEUES, exchange_name, queue_name, routing_key
from bus.turn import Turn

BATCH_MESSAGES_MAX: Final = 500
RELAY_MESSAGES_MAX: Final = 2_000
HISTORY_ROWS_MAX: Final = 1_000

_log: Final = structlog.get_logger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


class Worker(Protocol):
    """Runs a party's synchronous work: at once, or on the one thread that owns its store."""

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the work returns."""


async def at_once(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run work in the caller's own thread: for the embedded bus."""
    return work(*args, **kwargs)


class Activity(Struct, frozen=True):
    """What a runner needs to know to tell whether the network is quiet.

    `confirmed` counts by queue the publications that the broker confirmed, `settled` the
    deliveries done with, both since the start. The secretariat counts a dead letter under the
    queue that it came from, so that over all parties the two agree once nothing is under way.
    `pending` tells of work that can go on without time passing. `parked` names recipients whose
    mail cannot leave at present. `next_due` is when time matters next, and `open_work` how many
    matters a run must still settle.
    """

    now: Instant
    confirmed: Mapping[str, int]
    settled: Mapping[str, int]
    pending: bool
    parked: tuple[str, ...]
    next_due: Instant | None
    open_work: int


class Injection(Struct, frozen=True):
    """Octets that a tester has a bureau publish as they are, under the bureau's own user."""

    message_type: str
    recipients: tuple[str, ...]
    content: bytes
    message_id: str
    digest: bytes
    user: str = ""
    """Another party's code, to try a forged routing key; empty for the bureau's own."""


OrderTaker = Callable[[Turn, bytes], bytes]


class _Outlook(Struct, frozen=True):
    """What lies ahead of a party, as long as nothing changes."""

    next_due: Instant | None
    open_work: int


class Host:
    """One party and its connection to the bus.

    Its verbs are for one caller at a time. `also_reads` names queues beside the party's own two.
    """

    def __init__(
        self,
        participant: Participant,
        transport: Transport,
        now: Instant,
        worker: Worker = at_once,
        take_order: OrderTaker | None = None,
        also_reads: Sequence[str] = (),
    ) -> None:
        self.participant = participant
        self.party = participant.party
        self.now = now
        self._transport = transport
        self._work = worker
        self._take_order = take_order
        self._also_reads = also_reads
        self._confirmed: Counter[str] = Counter()
        self._settled: Counter[str] = Counter()
        self._parked: set[str] = set()
        self._unanswered: set[str] = set()
        self._subscribed: list[str] = []
        self._outlook: _Outlook | None = None
        self._mail_waits = True
        self._in_transit: list[Mail] = []

    async def subscribe(self, kinds: tuple[QueueKind, ...] = tuple(QueueKind)) -> None:
        """Begin to receive from this party's own queues of these kinds."""
        names = [queue_name(kind, self.party) for kind in kinds]
        names += self._also_reads if QueueKind.STATEMENTS in kinds else ()
        new = [name for name in names if name not in self._subscribed]
        await self._transport.subscribe(new)
        self._subscribed += new

    async def go_away(self) -> None:
        """Stop receiving; mail for this party waits in its queues."""
        self._subscribed.clear()
        await self._transport.unsubscribe()

    async def pump(self, wait_seconds: float = 0) -> bool:
        """Take what has arrived, handle it, settle it, and relay mail; tell if there was any."""
        return await self.handle(await self.take(wait_seconds))

    async def take(self, wait_seconds: float) -> list[Delivery]:
        """Take what has arrived, for `handle`; wait at most so long for the first."""
        return await self._transport.take(BATCH_MESSAGES_MAX, wait_seconds)

    async def handle(self, deliveries: Sequence[Delivery]) -> bool:
        """Handle what was taken, settle it, and relay mail; tell if there was any of either."""
        if deliveries:
            taken = await self._work(self.participant.receive, deliveries, self.now)
            if taken.accepted:
                await self._transport.settle(taken.accepted, Settlement.ACCEPT)
                self._settled.update(map(_queue_settled, taken.accepted))
            if taken.requeued:
                await self._transport.settle(taken.requeued, Settlement.REQUEUE)
            self._changed()
        relayed = await self.relay()
        return bool(deliveries) or relayed

    async def relay(self) -> bool:
        """Publish mail that may leave now, each to its one recipient; tell if any was tried."""
        if self._mail_waits:
            taken = await self._work(
                self.participant.take_mail, self.now, RELAY_MESSAGES_MAX, self.parked
            )
            self._mail_waits = len(taken) == RELAY_MESSAGES_MAX
            self._in_transit += taken
        leaving = [letter for letter in self._in_transit if letter.leaves_at <= self.now]
        if not leaving:
            return False
        self._in_transit = [letter for letter in self._in_transit if letter.leaves_at > self.now]
        await self._publish(leaving)
        return True

    async def _publish(self, mail: Sequence[Mail]) -> None:
        outcomes = await self._transport.publish(
            [
                Publication(
                    exchange_name(KINDS[letter.message_type].queue),
                    routing_key(self.party, letter.message_type, letter.recipient),
                    letter.message_id,
                    letter.content,
                )
                for letter in mail
            ]
        )
        confirmed, failed = [], []
        for letter, outcome in zip(mail, outcomes, strict=True):
            if outcome is PublishOutcome.CONFIRMED:
                confirmed.append((letter.message_id, letter.recipient))
                self._confirmed[_queue_reached(letter.message_type, letter.recipient)] += 1
            else:
                failed.append((letter.message_id, letter.recipient))
                self._park(letter.recipient, outcome)
        await self._work(self.participant.mail_settled, confirmed, failed, self.now)

    def has_settled(self, at_least: Mapping[str, int]) -> bool:
        """Tell whether so many deliveries are done with, by queue."""
        return all(self._settled[queue] >= number for queue, number in at_least.items())

    @property
    def parked(self) -> tuple[str, ...]:
        """Recipients whose mail cannot leave at present, sorted."""
        return tuple(sorted(self._parked))

    def _park(self, recipient: str, outcome: PublishOutcome) -> None:
        if recipient not in self._parked:
            _log.warning("mail_parked", party=self.party, recipient=recipient, outcome=outcome)
        self._parked.add(recipient)
        if outcome is PublishOutcome.UNCONFIRMED:
            self._unanswered.add(recipient)

    def try_unanswered_again(self) -> None:
        """Let mail leave again of which the broker said nothing, without waiting for a tick."""
        self._parked -= self._unanswered
        self._mail_waits = self._mail_waits or bool(self._unanswered)
        self._unanswered.clear()

    def _changed(self) -> None:
        """After any change: what lies ahead must be asked anew, and mail may wait."""
        self._outlook = None
        self._mail_waits = True

    async def _look_ahead(self) -> _Outlook:
        if self._outlook is None:
            self._outlook = await self._work(_outlook_of, self.participant, self.now)
        return self._outlook

    async def tick(self, now: Instant) -> None:
        """Let simulated time be `now`, do what is due, and give parked mail another try."""
        self.now = now
        self._parked.clear()
        self._unanswered.clear()
        next_due = (await self._look_ahead()).next_due
        if next_due is not None and next_due <= now:
            await self._work(self.participant.tick, now)
            self._changed()
        self._mail_waits = True

    async def issue(self, order: bytes) -> bytes:
        """Carry out a packed order and return its packed result; raise `BadInput`."""
        if self._take_order is None:
            message = f"{self.party} takes no orders"
            raise BadInput(message)
        take_order = self._take_order
        result = await self._work(
            self.participant.act, self.now, lambda turn: take_order(turn, order)
        )
        self._changed()
        return result

    async def inject(self, injection: Injection) -> tuple[str, ...]:
        """Publish octets as they are; return each recipient's publish outcome."""
        kind = KINDS.get(injection.message_type)
        exchange = exchange_name(kind.queue if kind else QueueKind.DATA)
        outcomes = await self._transport.publish(
            [
                Publication(
                    exchange,
                    routing_key(injection.user or self.party, injection.message_type, recipient),
                    injection.message_id,
                    injection.content,
                )
                for recipient in injection.recipients
            ]
        )
        sent = []
        for recipient, outcome in zip(injection.recipients, outcomes, strict=True):
            if outcome is PublishOutcome.CONFIRMED:
                sent.append(recipient)
                self._confirmed[_queue_reached(injection.message_type, recipient)] += 1
        await self._work(self.participant.act, self.now, _note_injection(injection, sent))
        return tuple(outcomes)

    @property
    def is_pending(self) -> bool:
        """Whether mail may leave before time passes."""
        if self._mail_waits or self._unanswered:
            return True
        return any(letter.leaves_at <= self.now for letter in self._in_transit)

    async def activity(self) -> Activity:
        """Return the counters from which a runner tells whether the network is quiet."""
        outlook = await self._look_ahead()
        due = [letter.leaves_at for letter in self._in_transit]
        due += [outlook.next_due] if outlook.next_due is not None else []
        return Activity(
            self.now,
            dict(self._confirmed),
            dict(self._settled),
            self.is_pending,
            self.parked,
            min(due, default=None),
            outlook.open_work + len(self._in_transit),
        )

    async def history(self, after: int) -> list[HistoryRow]:
        """Return events with a higher number than `after`, oldest first, a page at a time."""
        history = self.participant.stores.history
        return await self._work(history.rows_after, after, HISTORY_ROWS_MAX)

    async def close(self) -> None:
        """End the connection, then the store."""
        await self._transport.close()
        await self._work(self.participant.close)


def _outlook_of(participant: Participant, now: Instant) -> _Outlook:
    return _Outlook(participant.next_due(now), participant.open_work(now))


@lru_cache(maxsize=16_384)
def _queue_reached(message_type: str, recipient: str) -> str:
    """Return the queue into which this host's publications of a type go."""
    kind = KINDS.get(message_type)
    return queue_name(kind.queue if kind else QueueKind.DATA, recipient)


def _queue_settled(delivery: Delivery) -> str:
    """Return the queue whose account a delivery settles: a stray's is the one it was meant for."""
    if delivery.queue not in STRAY_QUEUES:
        return delivery.queue
    _, message_type, recipient = [*delivery.routing_key.split("."), "", ""][:3]
    return _queue_reached(message_type, recipient)


def _note_injection(injection: Injection, sent: list[str]) -> Callable[[Turn], None]:
    def note(turn: Turn) -> None:
        for recipient in sent:
            turn.note(
                "octets_injected",
                message_id=injection.message_id,
                digest=injection.digest,
                detail={"recipient": recipient, "message_type": injection.message_type},
            )

    return note
