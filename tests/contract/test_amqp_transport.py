"""The real bus, RabbitMQ over TLS, keeps the same transport contract; and what no client may do."""

from collections.abc import AsyncIterator

import pytest
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed
from pamqp import commands

from bus.identifiers import SECRETARIAT, QueueKind
from bus.pki.keystore import PkiFolder
from bus.ports import Settlement
from bus.topology import UNROUTABLE_QUEUE, queue_name
from simulation.broker.private_broker import PrivateBroker
from tests.contract.amqp_bus import AmqpBus, amqp_bus
from tests.contract.contract_network import MemberPool
from tests.contract.transport_contract import (
    TransportContract,
    assert_nothing_arrives,
    contents,
    publication,
    take_exactly,
)


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


@pytest.mark.broker
class TestRabbitMqGuards:
    """What the broker itself refuses a client that is not ours."""

    @pytest.fixture
    async def bus(
        self, contract_broker: PrivateBroker, contract_pki: PkiFolder, member_pool: MemberPool
    ) -> AsyncIterator[AmqpBus]:
        """Give each test its own connections to the session's broker."""
        async with amqp_bus(contract_broker, contract_pki, member_pool) as bus:
            yield bus

    async def test_careless_clients_lost_mail_is_kept_for_the_secretariat(
        self, bus: AmqpBus
    ) -> None:
        """Mandatory or not: who does not ask in our way finds lost mail with the secretariat."""
        [member] = bus.fresh_members(1)
        async with bus.plain_channel(member) as channel:
            answer = await channel.basic_publish(
                b"lost", exchange="i247.data", routing_key=f"{member}.diffusion.QQ", mandatory=True
            )
        assert isinstance(answer, commands.Basic.Ack)
        secretariat = await bus.connect(SECRETARIAT)
        await secretariat.subscribe([UNROUTABLE_QUEUE])
        [stray] = await take_exactly(secretariat, 1)
        await secretariat.settle([stray], Settlement.ACCEPT)
        assert (stray.content, stray.user_id) == (b"lost", None)

    async def test_user_id_of_another_is_refused(self, bus: AmqpBus) -> None:
        """Nobody can put another's name on a message."""
        member, victim = bus.fresh_members(2)
        async with bus.plain_channel(member) as channel:
            with pytest.raises(ChannelPreconditionFailed, match="user_id property"):
                await channel.basic_publish(
                    b"forged",
                    exchange="i247.data",
                    routing_key=f"{member}.diffusion.{victim}",
                    properties=commands.Basic.Properties(user_id=victim),
                )

    async def test_member_can_declare_bind_and_delete_nothing(self, bus: AmqpBus) -> None:
        """No party has a right to configure, not even its own queue."""
        [member] = bus.fresh_members(1)
        own = queue_name(QueueKind.DATA, member)
        async with bus.plain_channel(member) as channel:
            with pytest.raises(ChannelAccessRefused):
                await channel.queue_declare("mine", durable=True)
        async with bus.plain_channel(member) as channel:
            with pytest.raises(ChannelAccessRefused):
                await channel.queue_bind(own, "i247.data", "#")
        async with bus.plain_channel(member) as channel:
            with pytest.raises(ChannelAccessRefused):
                await channel.queue_delete(own)

    async def test_settling_twice_does_not_cost_the_channel(self, bus: AmqpBus) -> None:
        """RabbitMQ closes the channel of who settles a delivery again; we never send that."""
        source, recipient = bus.fresh_members(2)
        sender, receiver = await bus.connect(source), await bus.connect(recipient)
        await receiver.subscribe([queue_name(QueueKind.DATA, recipient)])
        await sender.publish([publication(source, recipient, bytes([n])) for n in range(6)])
        held = await take_exactly(receiver, 6)
        for settlement in Settlement:
            await receiver.settle(held[1:5], settlement)
        await receiver.settle(held, Settlement.ACCEPT)
        await assert_nothing_arrives(bus, receiver)
        await sender.publish([publication(source, recipient, b"next")])
        assert contents(await take_exactly(receiver, 1)) == [b"next"]
        assert receiver.counters.consumers_rebuilt == 0

    async def test_busy_queue_is_taken_in_large_batches(self, bus: AmqpBus) -> None:
        """What is waiting comes in few batches, as many as their takers can commit at once."""
        source, recipient = bus.fresh_members(2)
        sender, receiver = await bus.connect(source), await bus.connect(recipient)
        await sender.publish([publication(source, recipient, bytes(1_000))] * 1_000)
        await receiver.subscribe([queue_name(QueueKind.DATA, recipient)])
        sizes: list[int] = []
        while sum(sizes) < 1_000:
            batch = await receiver.take(500, 5.0)
            await receiver.settle(batch, Settlement.ACCEPT)
            sizes.append(len(batch))
        assert sum(sizes) == 1_000
        assert max(sizes) >= 100

    async def test_limits_of_the_definitions_are_in_force(self, bus: AmqpBus) -> None:
        """The broker took over the users' limits and the queues' policies."""
        [member] = bus.fresh_members(1)
        limits = await bus.broker.control("list_user_limits", "--user", member)
        queues = await bus.broker.control("list_queues", "-p", "i247", "name", "policy")
        assert '"max-connections":8' in limits
        assert f"i247.data.{member}\ti247-party-queues" in queues
        assert "i247.quarantine\ti247-stray-queues" in queues
