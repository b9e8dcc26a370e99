"""A party as its process runs it: one thing at a time, driven by a runner or by the wall clock.

Driven, it holds what would travel between `tick` and `catch_up`, so that every party is told the
time before anybody hears from another. Its own orders and injections go through the same gate as
its deliveries. Undriven, the gate stands open and a clock ticks.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from bus.errors import BadInput, EnvironmentFailed
from bus.host import Activity, Host, Injection, OrderTaker, Worker
from bus.identifiers import QueueKind
from bus.instants import Instant
from bus.participant import Participant
from bus.ports import Delivery, Transport
from bus.storage.history import HistoryRow

take_seconds_max: Final = 5.0
"""For one wait for deliveries; another follows."""
tick_seconds: Final = 1.0
"""Between two looks at the wall clock of a party that nobody drives."""
catch_up_seconds_max: Final = 30.0

_log: Final = structlog.get_logger(__name__)


class PartyWork(Struct, frozen=True):
    """What kind of party it is: which orders it takes, what it reads beside its own queues."""

    take_order: OrderTaker | None = None
    also_reads: Sequence[str] = ()


class ServedParty:
    """See `bus.control.server.Controlled`. Verbs may be called while deliveries come in."""

    def __init__(
        self,
        participant: Participant,
        work: PartyWork,
        worker: Worker,
        connect: Callable[[str], Awaitable[Transport]],
        now: Instant,
    ) -> None:
        self.party = participant.party
        self.stop_asked = asyncio.Event()
        self._participant = participant
        self._party_work = work
        self._worker = worker
        self._connect = connect
        self._begins = now
        self._host: Host | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends with what stopped this party from going on: a defect, or the loss of its store."""
        self._one_at_a_time = asyncio.Lock()
        self._gate = asyncio.Event()
        self._progress = asyncio.Event()
        self._in_hand: list[Delivery] = []

    async def join(self, broker_url: str = "") -> None:
        """Log in to the broker; raises what the transport meets with, `BadInput` a second time."""
        if self._host is not None:
            raise BadInput(f"{self.party} has joined the bus already")
        transport = await self._connect(broker_url)
        self._host = Host(
            self._participant,
            transport,
            self._begins,
            self._worker,
            self._party_work.take_order,
            self._party_work.also_reads,
        )
        self._go_on(self._pump(self._host))
        _log.info("broker_joined", party=self.party)

    def keep_time(self, wall_now: Callable[[], Instant]) -> None:
        """Let the wall clock drive this party from now on, instead of a runner."""
        self._gate.set()
        self._go_on(self._keep_time(self._joined, wall_now))

    async def tick(self, now: Instant) -> None:
        """Let it be `now`, do what is due, and hold what would travel."""
        host = self._joined
        self._gate.clear()
        async with self._one_at_a_time:
            await host.tick(now)

    async def issue(self, order: bytes) -> bytes:
        """Carry out a packed order and return its packed result."""
        host = self._joined
        async with self._one_at_a_time:
            return await host.issue(order)

    async def inject(self, injection: Injection) -> tuple[str, ...]:
        """Publish octets as they are; return each recipient's publish outcome."""
        host = self._joined
        async with self._one_at_a_time:
            return await host.inject(injection)

    async def subscribe(self, kinds: tuple[QueueKind, ...] = tuple(QueueKind)) -> None:
        """Receive from these of the party's own queues."""
        host = self._joined
        async with self._one_at_a_time:
            await host.subscribe(kinds)

    async def go_away(self) -> None:
        """Stop receiving; what is in hand goes back to its queue, unread."""
        host = self._joined
        async with self._one_at_a_time:
            self._in_hand.clear()
            await host.go_away()

    async def activity(self) -> Activity:
        """Return the counters."""
        host = self._joined
        async with self._one_at_a_time:
            activity = await host.activity()
        return replace(activity, pending=True) if self._in_hand else activity

    async def catch_up(self, settled: dict[str, int], wait_seconds: float) -> Activity:
        """Let things travel until so much is settled by queue, or time is up."""
        host = self._joined
        self._gate.set()
        async with self._one_at_a_time:
            host.try_unanswered_again()
            await _relay(host)
        # A time-out is an answer too: the caller sees from the counters how far things are.
        with suppress(TimeoutError):
            async with asyncio.timeout(min(wait_seconds, catch_up_seconds_max)):
                while not host.has_settled(settled):
                    self._progress.clear()
                    await self._progress.wait()
        return await self.activity()

    async def hold(self) -> Activity:
        """Finish what is in hand and let nothing travel any more."""
        self._gate.clear()
        return await self.activity()

    async def history(self, after: int) -> Sequence[HistoryRow]:
        """Return a page of events."""
        return await self._joined.history(after)

    def ask_to_stop(self) -> None:
        """Have whoever waits for `stop_asked` end this process."""
        self.stop_asked.set()

    async def stop(self, seconds_max: float) -> None:
        """Receive nothing more, let waiting mail leave while time lasts, and close everything."""
        host = self._host
        if host is None:
            await self._worker(self._participant.close)
            return
        # What does not get away in time is still in the outbox at the next start.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_max), self._one_at_a_time:
                self._in_hand.clear()
                await host.go_away()
                await _relay(host)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await host.close()

    def _go_on(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.failed.done():
            self.failed.set_exception(error)

    @property
    def _joined(self) -> Host:
        if self._host is None:
            raise EnvironmentFailed(f"{self.party} has not joined the bus yet")
        return self._host

    async def _pump(self, host: Host) -> None:
        while True:
            if not self._in_hand:
                self._in_hand = await host.take(take_seconds_max)
                continue
            await self._gate.wait()
            async with self._one_at_a_time:
                # While this waited for its turn, the gate may have closed or the party gone away.
                if self._gate.is_set() and self._in_hand:
                    await host.handle(self._in_hand)
                    self._in_hand = []
                    await _relay(host)
            self._progress.set()

    async def _keep_time(self, host: Host, wall_now: Callable[[], Instant]) -> None:
        while True:
            async with self._one_at_a_time:
                await host.tick(wall_now())
                await _relay(host)
            await asyncio.sleep(tick_seconds)


async def _relay(host: Host) -> None:
    while await host.relay():
        pass
