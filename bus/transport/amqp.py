"""`AmqpTransport`: one user's connection to RabbitMQ, restored by itself when it breaks.

A keeper task owns the connection. It wakes when something breaks and, lest a consumer goes away
silently, at intervals, when it asks the broker whether our consumers still exist. Until it has
mended things, `take` receives nothing, `settle` is ignored (the broker delivers again) and
`publish` waits a while before it answers that nothing is known.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final, Self

import structlog
from msgspec import Struct

from bus.errors import BrokerUnavailable, EnvironmentFailed
from bus.pki.keystore import TlsFiles
from bus.ports import Delivery, Publication, PublishOutcome, Settlement
from bus.transport.amqp_connection import (
    AmqpSettings,
    BrokerConnection,
    LoginRefused,
    close_quietly,
    connect,
    one_line,
    pause_seconds,
)
from bus.transport.amqp_consumer import Consumer
from bus.transport.amqp_publisher import Publisher

__all__ = ["AmqpCounters", "AmqpSettings", "AmqpTransport"]

_CANCELLATION_SECONDS: Final = 0.1
_log = structlog.get_logger(__name__)


class AmqpCounters(Struct):
    """What happened to one transport's connection since it was opened."""

    connections_lost: int = 0
    connections_restored: int = 0
    consumers_rebuilt: int = 0
    attempts_failed: int = 0
    """To connect again or to consume again."""


class AmqpTransport:
    """See `bus.ports.Transport`; made by `open`."""

    def __init__(
        self,
        url: str,
        tls: TlsFiles,
        user: str,
        settings: AmqpSettings,
        jitter: Callable[[], float],
    ) -> None:
        self.user = user
        self.counters = AmqpCounters()
        self._url = url
        self._tls = tls
        self._settings = settings
        self._jitter = jitter
        self._connection: BrokerConnection | None = None
        self._publisher: Publisher | None = None
        self._consumer: Consumer | None = None
        self._queues: dict[str, None] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._shaping = asyncio.Lock()
        self._arrived = asyncio.Event()
        self._broken = asyncio.Event()
        self._connected = asyncio.Event()
        self._is_refused = False
        self._is_closed = False

    @classmethod
    async def open(
        cls,
        url: str,
        tls: TlsFiles,
        user: str,
        *,
        settings: AmqpSettings | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> Self:
        """Connect to the broker at an ``amqps://HOST:PORT/i247`` URL as the certificate's user.

        `jitter` returns numbers in [0, 1) that spread the reconnects of many nodes. Raises, without
        a second attempt, `BrokerUnavailable` when there is no connection to be had, `KeyFileError`
        and `BadInput` for unusable files and URLs.
        """
        transport = cls(url, tls, user, settings or AmqpSettings(), jitter)
        await transport._connect()
        transport._keeper = asyncio.create_task(transport._keep())
        return transport

    async def subscribe(self, queues: Sequence[str]) -> None:
        """Begin to receive from these queues too.

        Raises `TransportDenied` where that is forbidden, `EnvironmentFailed` for a queue that does
        not exist, `BrokerUnavailable` without a connection. Then the subscription stays what it
        was, but what it had delivered comes again: the broker ends the channel of who asks for
        something forbidden.
        """
        if not await self._wait_for_connection():
            raise BrokerUnavailable(f"user {self.user} has no connection to the broker")
        async with self._shaping:
            consumer = await self._whole_consumer()
            try:
                for queue in queues:
                    await consumer.subscribe(queue, self.user)
            except EnvironmentFailed:
                self._broken.set()
                raise
            self._queues.update(dict.fromkeys(queues))

    async def unsubscribe(self) -> None:
        """Stop receiving; what was taken and not settled goes back to its queue."""
        async with self._shaping:
            self._queues.clear()
            await self._drop_consumer()

    async def publish(self, publications: Sequence[Publication]) -> list[PublishOutcome]:
        """Publish all with many under way; every outcome but `CONFIRMED` may be tried again.

        Without a connection this waits a while for one. Where the broker no longer lets the user
        in, all are `DENIED`.
        """
        connected = await self._wait_for_connection()
        publisher = self._publisher
        if not connected or publisher is None:
            refused = self._is_refused and not self._is_closed
            outcome = PublishOutcome.DENIED if refused else PublishOutcome.UNCONFIRMED
            return [outcome] * len(publications)
        return await publisher.publish(publications)

    async def take(self, limit: int, wait_seconds: float) -> list[Delivery]:
        """Return up to `limit` of what has arrived; wait at most `wait_seconds` for the first."""
        if wait_seconds <= 0:
            return self._drain(limit)
        try:
            async with asyncio.timeout(wait_seconds):
                while not self._is_closed and not self._has_mail():
                    self._arrived.clear()
                    await self._arrived.wait()
                if self._consumer is not None:
                    await self._consumer.gather(limit)
        except TimeoutError:
            pass
        return self._drain(limit)

    async def settle(self, deliveries: Sequence[Delivery], settlement: Settlement) -> None:
        """Settle each once; deliveries of a consumer since lost are ignored and come again."""
        consumer = self._consumer
        if consumer is not None:
            await consumer.settle(deliveries, settlement)
            if consumer.fault is not None:
                self._broken.set()

    async def close(self) -> None:
        """End the connection; unsettled deliveries go back to their queues. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        keeper = self._keeper
        while keeper is not None and not keeper.done():
            # More than once: the driver turns a cancellation into its own error when both meet.
            keeper.cancel()
            await asyncio.wait([keeper], timeout=_CANCELLATION_SECONDS)
        await self._drop_consumer()
        connection, self._connection, self._publisher = self._connection, None, None
        if connection is not None:
            await close_quietly(connection, self._settings.close_seconds_max)
        self._arrived.set()
        self._connected.set()
        if keeper is not None and not keeper.cancelled():
            # It ends by itself only through a defect, which must not go unseen.
            keeper.result()

    async def _keep(self) -> None:
        """Mend what breaks, for as long as this transport is open."""
        failures = 0
        while not self._is_closed:
            if not failures:
                await self._wait_for_alarm()
            if await self._mend():
                failures = 0
            else:
                failures += 1
                self.counters.attempts_failed += 1
                await asyncio.sleep(pause_seconds(failures, self._settings, self._jitter()))

    async def _wait_for_alarm(self) -> None:
        try:
            async with asyncio.timeout(self._settings.watchdog_seconds):
                await self._broken.wait()
        except TimeoutError:
            # Nothing broke that we know of: time to ask the broker.
            return
        finally:
            self._broken.clear()

    async def _mend(self) -> bool:
        """Make connection and consumer whole; tell whether they are."""
        try:
            async with self._shaping:
                if self._connection is None:
                    await self._connect()
                    if self._queues:
                        await self._whole_consumer()
                    self.counters.connections_restored += 1
                    _log.info("connection_restored", user=self.user)
                elif self._queues:
                    await self._mend_consumer()
        except EnvironmentFailed as error:
            self._is_refused = isinstance(error, LoginRefused)
            _log.warning("restoration_failed", user=self.user, reason=str(error))
            if isinstance(error, BrokerUnavailable):
                await self._abandon_connection()
            return False
        return True

    async def _abandon_connection(self) -> None:
        """Give up a connection that answers no more, rather than wait until its heart stops."""
        connection = self._connection
        if connection is not None:
            self._lose("it answers no more")
            connection.cut()
            await close_quietly(connection, self._settings.close_seconds_max)

    async def _mend_consumer(self) -> None:
        consumer = self._consumer
        fault = await consumer.find_fault() if consumer is not None else "it could not be opened"
        if fault is not None:
            await self._whole_consumer()
            self.counters.consumers_rebuilt += 1
            _log.warning("consumer_rebuilt", user=self.user, reason=fault)

    async def _connect(self) -> None:
        connection = await connect(self._url, self._tls, self.user, self._settings)

        def lost(_: object, error: BaseException | None) -> None:
            if connection is self._connection:
                self._lose(one_line(error))

        connection.close_callbacks.add(lost)
        self._connection = connection
        self._publisher = Publisher(connection, self.user, self._settings)
        self._is_refused = False
        self._connected.set()

    def _lose(self, reason: str) -> None:
        self._connection = self._publisher = self._consumer = None
        self._connected.clear()
        self._broken.set()
        self.counters.connections_lost += 1
        _log.warning("connection_lost", user=self.user, reason=reason)

    async def _whole_consumer(self) -> Consumer:
        """Return the consumer, or if it is at fault a new one with the same queues."""
        if self._consumer is not None and self._consumer.fault is None:
            return self._consumer
        await self._drop_consumer()
        if self._connection is None:
            raise BrokerUnavailable(f"user {self.user} has no connection to the broker")
        consumer = await Consumer.open(
            self._connection, self._settings, self._arrived, self._broken.set
        )
        try:
            for queue in self._queues:
                await consumer.subscribe(queue, self.user)
        except EnvironmentFailed:
            await consumer.close()
            raise
        self._consumer = consumer
        return consumer

    async def _drop_consumer(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.close()

    async def _wait_for_connection(self) -> bool:
        if not self._connected.is_set() and not self._is_refused:
            try:
                async with asyncio.timeout(self._settings.restoration_wait_seconds_max):
                    await self._connected.wait()
            except TimeoutError:
                return False
        return self._connection is not None

    def _has_mail(self) -> bool:
        consumer = self._consumer
        return consumer is not None and consumer.fault is None and consumer.has_mail

    def _drain(self, limit: int) -> list[Delivery]:
        consumer = self._consumer
        return consumer.drain(limit) if consumer is not None and self._has_mail() else []
