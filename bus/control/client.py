"""The runner's end of a party's control port."""

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

from bus.control import wire
from bus.control.wire import ControlAddress, UnixAddress
from bus.errors import BadInput, EnvironmentFailed, I247Error
from bus.host import Activity, Injection
from bus.identifiers import QueueKind
from bus.instants import Instant
from bus.storage.history import HistoryRow

call_seconds_max: Final = 90.0
"""For an answer. Longer than any single wait of a party, its own confirms included."""
greet_seconds_max: Final = 10.0

_Connected = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SomeAnswer = TypeVar("SomeAnswer", bound=wire.Answer)


class ControlClient:
    """The runner's end of one party's control port; made by `connect`.

    Every verb raises what the party met with there, in the same class, and `EnvironmentFailed`
    naming the party when the connection is lost or no answer comes.
    """

    def __init__(
        self, party: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.party = party
        self._reader = reader
        self._writer = writer
        self._waiting: deque[asyncio.Future[wire.AnyAnswer]] = deque()
        self._loss: EnvironmentFailed | None = None
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def connect(
        cls, address: ControlAddress, party: str, *, token: str = "", root: Path | None = None
    ) -> Self:
        """Connect and greet; raise `EnvironmentFailed` when nobody answers or it is another party.

        `root` is the certificate that a TLS port's own must be issued by.
        """
        try:
            async with asyncio.timeout(greet_seconds_max):
                client = cls(party, *await _open(address, root))
        except OSError as error:
            reason = error.strerror or str(error) or "it took too long"
            raise EnvironmentFailed(
                f"{party}: its control port {address} does not answer ({reason})"
            ) from error
        try:
            greeted = await client._call(
                wire.Greet(wire.FORMAT_VERSION, token), wire.Greeted, greet_seconds_max
            )
            if greeted.party != party:
                raise EnvironmentFailed(f"{party}: {address} is {greeted.party}'s control port")
        except I247Error:
            await client.close()
            raise
        return client

    async def join(self, broker_url: str = "") -> None:
        """Have the party log in to the broker."""
        await self._call(wire.Join(broker_url), wire.Done)

    async def tick(self, now: Instant) -> None:
        """Let it be `now` there, do what is due, and hold what would travel."""
        await self._call(wire.Tick(now), wire.Done)

    async def issue(self, order: bytes) -> bytes:
        """Have a packed order carried out; return its packed result."""
        return (await self._call(wire.Issue(order), wire.OrderResult)).result

    async def inject(self, injection: Injection) -> tuple[str, ...]:
        """Have octets published as they are; return each recipient's publish outcome."""
        return (await self._call(wire.Inject(injection), wire.Outcomes)).outcomes

    async def subscribe(self, kinds: tuple[QueueKind, ...] = tuple(QueueKind)) -> None:
        """Have the party receive from these of its queues."""
        await self._call(wire.Subscribe(kinds), wire.Done)

    async def go_away(self) -> None:
        """Have the party stop receiving."""
        await self._call(wire.GoAway(), wire.Done)

    async def activity(self) -> Activity:
        """Return the party's counters."""
        return (await self._call(wire.ReadActivity(), wire.Counted)).activity

    async def catch_up(self, settled: dict[str, int], wait_seconds: float) -> Activity:
        """Let things travel there until so much is settled by queue, or time is up."""
        request = wire.CatchUp(settled, wait_seconds)
        seconds_max = call_seconds_max + wait_seconds
        return (await self._call(request, wire.Counted, seconds_max)).activity

    async def hold(self) -> Activity:
        """Have the party finish what is in hand and let nothing travel any more."""
        return (await self._call(wire.Hold(), wire.Counted)).activity

    async def history(self, after: int) -> Sequence[HistoryRow]:
        """Return a page of the party's events with a higher number than `after`."""
        return (await self._call(wire.ReadHistory(after), wire.Events)).rows

    async def stop(self) -> None:
        """Have the party's process end in order."""
        await self._call(wire.Stop(), wire.Done)

    async def close(self) -> None:
        """End the connection; may be called twice."""
        self._listener.cancel()
        await asyncio.wait([self._listener])
        self._lose("was closed")
        self._writer.close()

    async def _call(
        self,
        request: wire.AnyRequest,
        expected: type[SomeAnswer],
        seconds_max: float = call_seconds_max,
    ) -> SomeAnswer:
        octets = wire.frame(request)
        if self._loss is not None:
            raise EnvironmentFailed(str(self._loss))
        waiting: asyncio.Future[wire.AnyAnswer] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(seconds_max):
                self._writer.write(octets)
                await self._writer.drain()
                answer = await waiting
        except TimeoutError:
            verb = request.__struct_config__.tag
            raise EnvironmentFailed(
                f"{self.party}: no answer to '{verb}' in {seconds_max:.0f} s"
            ) from None
        except OSError:
            raise EnvironmentFailed(f"{self.party}: its control connection was lost") from None
        finally:
            waiting.cancel()
        if isinstance(answer, wire.Failed):
            raise wire.error_of(answer)
        if not isinstance(answer, expected):
            raise EnvironmentFailed(f"{self.party}: its control port answers out of order")
        return answer

    async def _listen(self) -> None:
        try:
            while True:
                content = await wire.read_content(self._reader)
                answer = wire.answer_in(content)
                # Who no longer waits still has its answer taken out of the row.
                waiting = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_result(answer)
        except (asyncio.IncompleteReadError, OSError, IndexError):
            self._lose("was lost")
        except I247Error as error:
            self._lose(f"speaks another language ({error})")

    def _lose(self, how: str) -> None:
        if self._loss is None:
            self._loss = EnvironmentFailed(f"{self.party}: its control connection {how}")
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(EnvironmentFailed(str(self._loss)))


async def _open(address: ControlAddress, root: Path | None) -> _Connected:
    if isinstance(address, UnixAddress):
        return await asyncio.open_unix_connection(address.path)
    if root is None:
        raise BadInput(f"control port {address}: TLS needs the root certificate to trust")
    context = ssl.create_default_context(cafile=root)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return await asyncio.open_connection(address.host, address.port, ssl=context)
