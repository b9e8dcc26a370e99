"""`AmqpAdmin`: looks into a RabbitMQ's queues with the administrator's certificate."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Self

from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity

from bus.errors import BrokerUnavailable, EnvironmentFailed
from bus.pki.keystore import TlsFiles
from bus.topology import ADMIN_USER
from bus.transport.amqp_connection import (
    BROKEN,
    AmqpSettings,
    BrokerConnection,
    close_quietly,
    connect,
    one_line,
)

UserRemover = Callable[[str], Awaitable[None]]
"""Deletes a user as `rabbitmqctl delete_user` does; RabbitMQ then ends its connections."""


class AmqpAdmin:
    """See `bus.ports.BrokerAdmin`; made by `open`. A broken connection is opened again on demand.

    AMQP cannot remove users; `remove_user` does what the callable does that was handed in.
    """

    def __init__(
        self, url: str, tls: TlsFiles, settings: AmqpSettings, user_remover: UserRemover | None
    ) -> None:
        self._url = url
        self._tls = tls
        self._settings = settings
        self._user_remover = user_remover
        self._connection: BrokerConnection | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        tls: TlsFiles,
        *,
        settings: AmqpSettings | None = None,
        user_remover: UserRemover | None = None,
    ) -> Self:
        """Connect with the certificate of `ADMIN_USER`; raises as `AmqpTransport.open` does."""
        admin = cls(url, tls, settings or AmqpSettings(), user_remover)
        await admin._connected()
        return admin

    async def depth(self, queue: str) -> int:
        """Return how many messages wait; raise `EnvironmentFailed` if there is no such queue."""
        async with self._channel(queue) as channel:
            answer = await channel.get_queue(queue)
            return answer.declaration_result.message_count or 0

    async def read_all(self, queue: str) -> list[bytes]:
        """Return the content of every waiting message; raise as `depth` does.

        They are fetched without acknowledgement and go back when the channel is closed, in their
        old order and marked as redelivered. RabbitMQ 3.10 counts that as one delivery attempt.
        """
        contents: list[bytes] = []
        async with self._channel(queue) as channel:
            source = await channel.get_queue(queue)
            while True:
                seconds_max = self._settings.request_seconds_max
                message = await source.get(no_ack=False, fail=False, timeout=seconds_max)
                if message is None:
                    return contents
                contents.append(message.body)

    async def remove_user(self, user: str) -> None:
        """Forbid the bus to a user; raise `EnvironmentFailed` where we have no means to."""
        if self._user_remover is None:
            raise EnvironmentFailed(
                f"cannot remove user {user}: AMQP has no such command; "
                f"run 'rabbitmqctl delete_user {user}' at the broker"
            )
        await self._user_remover(user)

    async def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await close_quietly(connection, self._settings.close_seconds_max)

    async def _connected(self) -> BrokerConnection:
        connection = self._connection
        if connection is None or not connection.connected.is_set():
            connection = await connect(self._url, self._tls, ADMIN_USER, self._settings)
            self._connection = connection
        return connection

    @asynccontextmanager
    async def _channel(self, queue: str) -> AsyncIterator[AbstractChannel]:
        """Give a channel of its own to one look into a queue, and wrap what goes wrong."""
        connection = await self._connected()
        try:
            async with connection.channel(publisher_confirms=False) as channel:
                yield channel
        except ChannelNotFoundEntity:
            raise EnvironmentFailed(f"the broker has no queue {queue}") from None
        except BROKEN as error:
            raise BrokerUnavailable(f"cannot look into {queue}: {one_line(error)}") from error
