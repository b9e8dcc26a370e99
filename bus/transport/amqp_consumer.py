"""Consuming over one channel: deliveries into a buffer, settlements in batches."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import aio_pika
import aiormq.abc
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelNotFoundEntity,
)
from pamqp import commands

from bus.errors import BrokerUnavailable, EnvironmentFailed, TransportDenied
from bus.ports import Delivery, Settlement
from bus.transport.amqp_connection import BROKEN, AmqpSettings, BrokerConnection, one_line

_QUIET_TURNS_MAX: Final = 8


class Consumer:
    """One channel with its consumers, what they brought, and what is not yet settled of it.

    Lost for good with its channel: the transport opens another, and the broker delivers again
    whatever this one held.
    """

    def __init__(
        self,
        channel: aiormq.abc.AbstractChannel,
        holder: aio_pika.abc.AbstractChannel,
        settings: AmqpSettings,
        arrived: asyncio.Event,
    ) -> None:
        self._channel = channel
        self._holder = holder
        self._settings = settings
        self._arrived = arrived
        self._tags: dict[str, str] = {}
        self._suspects: set[str] = set()
        """Queues that showed no consumer when they were last looked at."""
        self._buffer: deque[Delivery] = deque()
        self._unsettled: dict[int, None] = {}
        self.fault: str | None = None
        """Why this consumer no longer receives everything, once it is known."""

    @classmethod
    async def open(
        cls,
        connection: BrokerConnection,
        settings: AmqpSettings,
        arrived: asyncio.Event,
        on_fault: Callable[[], None],
    ) -> "Consumer":
        """Open a channel; `arrived` is set with each delivery, `on_fault` called when it breaks.

        Raises `BrokerUnavailable` when there is none to be had.
        """
        try:
            async with asyncio.timeout(settings.request_seconds_max):
                holder = connection.channel(publisher_confirms=False)
                await holder.initialize()
                channel = await holder.get_underlay_channel()
                await channel.basic_qos(prefetch_count=settings.prefetch_messages_max)
        except BROKEN as error:
            raise BrokerUnavailable(f"no channel to consume on: {one_line(error)}") from error
        consumer = cls(channel, holder, settings, arrived)
        consumer._watch(on_fault)
        return consumer

    async def subscribe(self, queue: str, user: str) -> None:
        """Consume one queue more.

        Raises `TransportDenied` where that is forbidden, `EnvironmentFailed` where there is no
        such queue, `BrokerUnavailable` when the channel broke; after each of them it is lost.
        """
        if queue in self._tags:
            return
        try:
            answer = await self._channel.basic_consume(
                queue,
                partial(self._receive, queue),
                timeout=self._settings.request_seconds_max,
            )
        except ChannelAccessRefused:
            raise TransportDenied(f"user {user} may not read queue {queue}") from None
        except ChannelNotFoundEntity:
            raise EnvironmentFailed(f"the broker has no queue {queue}") from None
        except BROKEN as error:
            raise BrokerUnavailable(f"cannot consume {queue}: {one_line(error)}") from error
        self._tags[queue] = answer.consumer_tag or ""

    @property
    def has_mail(self) -> bool:
        """Whether deliveries have arrived that were not yet drained."""
        return bool(self._buffer)

    async def gather(self, limit: int) -> None:
        """Let arrive what was read from the socket already.

        The driver hands over only a few deliveries in one turn of the event loop, and batches that
        small would cost their taker a commit each.
        """
        quiet_turns = 0
        while len(self._buffer) < limit and quiet_turns < _QUIET_TURNS_MAX:
            before = len(self._buffer)
            await asyncio.sleep(0)
            quiet_turns = 0 if len(self._buffer) > before else quiet_turns + 1

    def drain(self, limit: int) -> list[Delivery]:
        """Return up to `limit` of what has arrived."""
        buffer = self._buffer
        return [buffer.popleft() for _ in range(min(limit, len(buffer)))]

    async def settle(self, deliveries: Sequence[Delivery], settlement: Settlement) -> None:
        """Settle those deliveries that are this consumer's and not settled yet."""
        tags = sorted(tag for each in deliveries if (tag := self._tag_of(each)) is not None)
        if not tags:
            return
        try:
            if settlement is Settlement.ACCEPT:
                await self._accept(tags)
            else:
                await self._reject(tags, requeue=settlement is Settlement.REQUEUE)
        except BROKEN as error:
            # Still unsettled at the broker: another channel will be opened, and they come again.
            self.fault = self.fault or one_line(error)

    async def find_fault(self) -> str | None:
        """Ask the broker whether it still consumes for us; return what is wrong, if anything.

        A queue that shows no consumer counts only when it did so the last time as well: a quorum
        queue may tell of a consumer later than it serves it.
        """
        if self.fault is None and self._channel.is_closed:
            self.fault = "its channel was closed"
        for queue in self._tags:
            if self.fault is not None:
                break
            try:
                answer = await self._channel.queue_declare(
                    queue, passive=True, timeout=self._settings.request_seconds_max
                )
            except BROKEN as error:
                self.fault = one_line(error)
            else:
                self._note_consumers(queue, answer.consumer_count or 0)
        return self.fault

    def _note_consumers(self, queue: str, count: int) -> None:
        if count:
            self._suspects.discard(queue)
        elif queue in self._suspects:
            self.fault = f"the broker knows no consumer of {queue}"
        else:
            self._suspects.add(queue)

    async def close(self) -> None:
        """Close the channel: whatever is unsettled goes back to its queue."""
        self._buffer.clear()
        self._unsettled.clear()
        self.fault = self.fault or "closed"
        try:
            async with asyncio.timeout(self._settings.close_seconds_max):
                await self._holder.close()
        except BROKEN:
            # Gone already, and with it its hold on the messages.
            return

    def _watch(self, on_fault: Callable[[], None]) -> None:
        def closed(_: object, error: BaseException | None) -> None:
            self.fault = self.fault or f"its channel was closed ({one_line(error)})"
            on_fault()

        def cancelled(frame: commands.Basic.Cancel) -> None:
            self.fault = self.fault or f"the broker cancelled consumer {frame.consumer_tag}"
            on_fault()

        self._holder.close_callbacks.add(closed)
        self._channel.on_consumer_cancel_callbacks.add(cancelled)

    async def _receive(self, queue: str, message: aiormq.abc.DeliveredMessage) -> None:
        method = message.delivery
        if not isinstance(method, commands.Basic.Deliver) or method.delivery_tag is None:
            return
        tag = method.delivery_tag
        self._unsettled[tag] = None
        self._buffer.append(
            Delivery(
                queue,
                message.body,
                message.header.properties.user_id,
                method.routing_key or "",
                bool(method.redelivered),
                (self, tag),
            )
        )
        self._arrived.set()

    def _tag_of(self, delivery: Delivery) -> int | None:
        match delivery.tag:
            case (consumer, int(tag)) if consumer is self and tag in self._unsettled:
                return tag
            case _:
                return None

    async def _accept(self, tags: list[int]) -> None:
        """Acknowledge, as far as possible with one frame for all.

        Such a frame covers every lower tag of the channel, so it may reach only as far as the
        lowest tag that is unsettled and not meant.
        """
        meant = set(tags)
        covered = 0
        for tag in self._unsettled:
            if tag not in meant:
                break
            covered = tag
        single = [tag for tag in tags if tag > covered]
        for tag in tags:
            self._unsettled.pop(tag, None)
        if covered:
            await self._channel.basic_ack(covered, multiple=True, wait=not single)
        for tag in single:
            await self._channel.basic_ack(tag, wait=tag == single[-1])

    async def _reject(self, tags: list[int], *, requeue: bool) -> None:
        """Reject one by one: since RabbitMQ 4.3 `basic.nack` no longer counts as an attempt."""
        for tag in tags:
            self._unsettled.pop(tag, None)
        for tag in tags:
            await self._channel.basic_reject(tag, requeue=requeue, wait=tag == tags[-1])
