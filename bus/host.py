"""The edge that joins a party to the bus: take, handle, settle, relay. All its I/O is here.

The order is what the promises rest on: the store commits first, the delivery is settled after,
and mail leaves after that. A crash between any two of these repeats work and loses none.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, ParamSpec, Protocol, TypeVar

import structlog
from msgspec import Struct

from bus.errors import BadInput
from bus.identifiers import QueueKind
from bus.instants import Instant
from bus.messages.catalogue import KINDS
from bus.participant import Participant
from bus.ports import Publication, PublishOutcome, Settlement, Transport
from bus.storage.outbox import Mail
from bus.topology import exchange_name, queue_name, routing_key
from bus.turn import Turn

BATCH_MESSAGES_MAX: Final = 500
RELAY_MESSAGES_MAX: Final = 2_000

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

    `confirmed` counts confirmed publications per recipient, `settled` deliveries done with, both
    since the start. `pending` tells of work that can go on without time passing. `parked` names
    recipients whose mail cannot leave at present. `next_due` is when time matters next, and
    `open_work` how many matters a run must still settle.
    """

    now: Instant
    confirmed: Mapping[str, int]
    settled: int
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


class Host:
    """One party and its connection to the bus."""

    def __init__(
        self,
        participant: Participant,
        transport: Transport,
        now: Instant,
        worker: Worker = at_once,
        take_order: OrderTaker | None = None,
    ) -> None:
        self.participant = participant
        self.party = participant.party
        self.now = now
        self._transport = transport
        self._work = worker
        self._take_order = take_order
        self._confirmed: Counter[str] = Counter()
        self._settled = 0
        self._parked: set[str] = set()
        self._subscribed: list[str] = []
        self._next_due: Instant | None = now
        self._mail_waits = True
        self._in_transit: list[Mail] = []

    async def subscribe(self, kinds: tuple[QueueKind, ...] = tuple(QueueKind)) -> None:
        """Begin to receive from this party's own queues of these kinds."""
        names = [queue_name(kind, self.party) for kind in kinds]
        new = [name for name in names if name not in self._subscribed]
        await self._transport.subscribe(new)
        self._subscribed += new

    async def go_away(self) -> None:
        """Stop receiving; mail for this party waits in its queues."""
        self._subscribed.clear()
        await self._transport.unsubscribe()

    async def pump(self, wait_seconds: float = 0) -> bool:
        """Take what has arrived, handle it, settle it, and relay mail; tell if there was any."""
        deliveries = await self._transport.take(BATCH_MESSAGES_MAX, wait_seconds)
        if deliveries:
            taken = await self._work(self.participant.receive, deliveries, self.now)
            if taken.accepted:
                await self._transport.settle(taken.accepted, Settlement.ACCEPT)
                self._settled += len(taken.accepted)
            if taken.requeued:
                await self._transport.settle(taken.requeued, Settlement.REQUEUE)
            await self._changed()
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
                self._confirmed[letter.recipient] += 1
            else:
                failed.append((letter.message_id, letter.recipient))
                self._park(letter.recipient, outcome)
        await self._work(self.participant.mail_settled, confirmed, failed, self.now)

    @property
    def parked(self) -> tuple[str, ...]:
        """Recipients whose mail cannot leave at present, sorted."""
        return tuple(sorted(self._parked))

    def _park(self, recipient: str, outcome: PublishOutcome) -> None:
        if recipient not in self._parked:
            _log.warning("mail_parked", party=self.party, recipient=recipient, outcome=outcome)
        self._parked.add(recipient)

    async def _changed(self) -> None:
        """After any change: ask anew what is due and whether mail waits."""
        self._next_due = await self._work(self.participant.next_due, self.now)
        self._mail_waits = True

    async def tick(self, now: Instant) -> None:
        """Let simulated time be `now`, do what is due, and give parked mail another try."""
        self.now = now
        self._parked.clear()
        if self._next_due is not None and self._next_due <= now:
            await self._work(self.participant.tick, now)
            await self._changed()
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
        await self._changed()
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
                self._confirmed[recipient] += 1
        await self._work(self.participant.act, self.now, _note_injection(injection, sent))
        return tuple(outcomes)

    async def activity(self) -> Activity:
        """Return the counters from which a runner tells whether the network is quiet."""
        waits = await self._work(self.participant.stores.outbox.waits, self.parked)
        due = [letter.leaves_at for letter in self._in_transit]
        due += [self._next_due] if self._next_due is not None else []
        open_work = await self._work(self.participant.open_work, self.now)
        return Activity(
            self.now,
            dict(self._confirmed),
            self._settled,
            waits or any(letter.leaves_at <= self.now for letter in self._in_transit),
            self.parked,
            min(due, default=None),
            open_work + len(self._in_transit),
        )

    async def close(self) -> None:
        """End the connection, then the store."""
        await self._transport.close()
        await self._work(self.participant.close)


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
