"""The real bus, RabbitMQ over TLS, keeps the same transport contract."""

from collections.abc import AsyncIterator

import pytest

from bus.pki.keystore import PkiFolder
from simulation.broker.private_broker import PrivateBroker
from tests.contract.amqp_bus import AmqpBus, amqp_bus
from tests.contract.contract_network import MemberPool
from tests.contract.transport_contract import TransportContract


@pytest.mark.broker
class TestAmqpTransport(TransportContract):
    """`AmqpTransport` and `AmqpAdmin` over a private RabbitMQ."""

    @pytest.fixture
    async def bus(
        self, contract_broker: PrivateBroker, contract_pki: PkiFolder, member_pool: MemberPool
    ) -> AsyncIterator[AmqpBus]:
        """Give each test its own connections to the session's broker."""
        async with amqp_bus(contract_broker, contract_pki, member_pool) as bus:
            yield bus
