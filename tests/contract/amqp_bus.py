"""A RabbitMQ as the transport contract needs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiormq.abc

from bus.pki.keystore import PkiFolder
from bus.topology import ADMIN_USER, redeliveries_max
from bus.transport.amqp import AmqpSettings, AmqpTransport
from bus.transport.amqp_admin import AmqpAdmin
from bus.transport.amqp_connection import connect
from simulation.broker.private_broker import PrivateBroker
from tests.contract.contract_network import MemberPool

QUICK: Final = AmqpSettings(
    watchdog_seconds=0.5,
    reconnect_seconds_max=0.5,
    restoration_wait_seconds_max=2.0,
)
"""Less patience than in earnest, so that tests of failures are short."""


class AmqpBus:
    """One broker, an administrator, and the transports that a test opened."""

    quiet_seconds = 0.2
    redeliveries_max = redeliveries_max

    def __init__(
        self, broker: PrivateBroker, pki: PkiFolder, pool: MemberPool, admin: AmqpAdmin
    ) -> None:
        self.broker = broker
        self.admin = admin
        self._pki = pki
        self._pool = pool
        self._transports: list[AmqpTransport] = []

    def fresh_members(self, number: int) -> list[str]:
        """Return members that no test was given yet."""
        return self._pool.fresh_members(number)

    def small_queue_member(self) -> str:
        """Return a member that no test was given yet and whose data queue is soon full."""
        return self._pool.small_queue_member()

    async def connect(self, user: str) -> AmqpTransport:
        """Open a transport; `close` closes it."""
        tls = self._pki.tls(user)
        transport = await AmqpTransport.open(self.broker.url, tls, user, settings=QUICK)
        self._transports.append(transport)
        return transport

    @asynccontextmanager
    async def plain_channel(self, user: str) -> AsyncIterator[aiormq.abc.AbstractChannel]:
        """Give a channel of the bare driver, as a client has that knows nothing of our rules."""
        connection = await connect(self.broker.url, self._pki.tls(user), user, QUICK)
        try:
            holder = connection.channel()
            await holder.initialize()
            yield await holder.get_underlay_channel()
        finally:
            await connection.close()

    async def close(self) -> None:
        """Close everything but the broker."""
        for transport in self._transports:
            await transport.close()
        await self.admin.close()


@asynccontextmanager
async def amqp_bus(
    broker: PrivateBroker, pki: PkiFolder, pool: MemberPool
) -> AsyncIterator[AmqpBus]:
    """Open an administrator's connection and close whatever the test opened."""

    async def remove(user: str) -> None:
        await broker.control("delete_user", user)

    admin = await AmqpAdmin.open(
        broker.url, pki.tls(ADMIN_USER), settings=QUICK, user_remover=remove
    )
    bus = AmqpBus(broker, pki, pool, admin)
    try:
        yield bus
    finally:
        await bus.close()
