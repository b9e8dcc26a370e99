"""Publishing over one connection: every publication confirmed, many under way, each answered."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, cast

import aio_pika
from aiormq.channel import Channel
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
)
from pamqp import commands

from bus.ports import Publication, PublishOutcome
from bus.topology import RETURN_HEADER, RETURN_HEADER_VALUE
from bus.transport.amqp_connection import BROKEN, AmqpSettings, BrokerConnection

CONTENT_TYPE: Final = "application/vnd.i247.envelope+msgpack"
_PERSISTENT: Final = 2


class Publisher:
    """The publishing channel of one connection; reopened whenever the broker closes it."""

    def __init__(self, connection: BrokerConnection, user: str, settings: AmqpSettings) -> None:
        self._connection = connection
        self._user = user
        self._settings = settings
        self._holder: aio_pika.abc.AbstractChannel | None = None
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._published = 0

    async def publish(self, publications: Sequence[Publication]) -> list[PublishOutcome]:
        """Answer for each publication in the same order; never raise for a single one."""
        outcomes = [PublishOutcome.UNCONFIRMED] * len(publications)
        waiting = iter(enumerate(publications))
        lanes = min(len(publications), self._settings.publications_under_way_max)
        async with asyncio.TaskGroup() as group:
            for _ in range(lanes):
                group.create_task(self._publish_each(waiting, outcomes))
        return outcomes

    async def _publish_each(
        self, waiting: Iterator[tuple[int, Publication]], outcomes: list[PublishOutcome]
    ) -> None:
        for number, publication in waiting:
            outcomes[number] = await self._publish_one(publication)

    async def _publish_one(self, publication: Publication) -> PublishOutcome:
        try:
            channel = await self._open_channel()
            answer = await channel.basic_publish(
                publication.content,
                exchange=publication.exchange,
                routing_key=publication.routing_key,
                properties=self._properties(publication),
                mandatory=True,
                timeout=self._settings.confirm_seconds_max,
                wait=False,
            )
        except DeliveryError:
            return PublishOutcome.OVERFLOW
        except BROKEN as error:
            return judged(error, publication)
        except asyncio.CancelledError:
            # The driver cancels what it can no longer confirm when a connection is given up; that
            # is an answer. When we are cancelled ourselves, it is not.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return PublishOutcome.UNCONFIRMED
        if isinstance(answer, commands.Basic.Ack):
            return PublishOutcome.CONFIRMED
        return PublishOutcome.UNROUTABLE

    def _properties(self, publication: Publication) -> commands.Basic.Properties:
        """Return the message's properties.

        The driver tells a returned message by its `message_id` property, and copies of one message
        to many recipients are under way together; so each publication gets an id of its own.
        """
        self._published += 1
        return commands.Basic.Properties(
            content_type=CONTENT_TYPE,
            delivery_mode=_PERSISTENT,
            message_id=f"{publication.message_id}/{self._published}",
            correlation_id=publication.message_id,
            user_id=self._user,
            headers={RETURN_HEADER: RETURN_HEADER_VALUE},
        )

    async def _open_channel(self) -> Channel:
        channel = self._channel
        if channel is not None and not channel.is_closed:
            return channel
        async with self._opening:
            channel = self._channel
            if channel is None or channel.is_closed:
                async with asyncio.timeout(self._settings.request_seconds_max):
                    self._holder = self._connection.channel(publisher_confirms=True)
                    await self._holder.initialize()
                    # The driver's abstract channel does not know `wait`, which its only one has.
                    channel = cast("Channel", await self._holder.get_underlay_channel())
                self._channel = channel
        return channel


def judged(error: BaseException, publication: Publication) -> PublishOutcome:
    """Tell what a closed channel means for one of the publications that were under way on it.

    The broker names the exchange and key it refused, not the message, so this asks whether the
    publication is one of those that it would refuse again. RabbitMQ 3.10 and 4.x word it alike
    enough: ``access to topic 'KEY' in exchange 'NAME'``, ``access to exchange 'NAME'``.
    """
    reason = str(error.args[0]) if error.args else ""
    names_exchange = f"exchange '{publication.exchange}'" in reason
    match error:
        case ChannelAccessRefused() if "topic '" in reason:
            denied = f"topic '{publication.routing_key}'" in reason and names_exchange
        case ChannelAccessRefused():
            denied = names_exchange
        case ChannelPreconditionFailed():
            # Our certificate is not of the user we publish as: so it is with every publication.
            denied = "user_id property" in reason
        case ChannelNotFoundEntity() if names_exchange:
            return PublishOutcome.UNROUTABLE
        case _:
            denied = False
    return PublishOutcome.DENIED if denied else PublishOutcome.UNCONFIRMED
