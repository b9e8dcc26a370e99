"""The embedded bus keeps the transport contract; and what is true of it alone."""

import pytest
from msgspec.structs import replace

from bus.errors import TransportDenied
from bus.identifiers import SECRETARIAT, QueueKind
from bus.ports import Delivery, Publication, PublishOutcome, Settlement
from bus.topology import (
    QUARANTINE_QUEUE,
    UNROUTABLE_QUEUE,
    QueuePolicy,
    network_topology,
    queue_name,
    redeliveries_max,
)
from bus.transport.in_process import InProcessAdmin, InProcessBroker, InProcessTransport
from tests.contract.contract_network import MemberPool, contract_topology
from tests.contract.transport_contract import TransportContract, contents, publication


class EmbeddedBus(MemberPool):
    """An in-process broker as the contract needs it."""

    quiet_seconds = 0.0
    redeliveries_max = redeliveries_max

    def __init__(self) -> None:
        super().__init__()
        self.broker = InProcessBroker(contract_topology())
        self.admin = InProcessAdmin(self.broker)

    async def connect(self, user: str) -> InProcessTransport:
        """Open a transport; there is nothing outside this process to close."""
        return InProcessTransport(self.broker, user)


class TestInProcessTransport(TransportContract):
    """`InProcessTransport` over `InProcessBroker`."""

    @pytest.fixture
    def bus(self) -> EmbeddedBus:
        """Give each test a broker of its own."""
        return EmbeddedBus()


@pytest.fixture
def broker() -> InProcessBroker:
    """A broker with three members."""
    return InProcessBroker(network_topology(["XA", "XB", "XC"]))


async def subscribed(broker: InProcessBroker, user: str, *kinds: QueueKind) -> InProcessTransport:
    """Return a transport that receives from the user's own queues, of data unless told."""
    transport = InProcessTransport(broker, user)
    await transport.subscribe([queue_name(kind, user) for kind in kinds or (QueueKind.DATA,)])
    return transport


async def test_whole_exchange_runs_without_an_event_loop_turn(broker: InProcessBroker) -> None:
    """Publish, take and settle never suspend, so that virtual time can drive them."""

    async def exchange() -> list[Delivery]:
        sender, receiver = InProcessTransport(broker, "XA"), await subscribed(broker, "XB")
        await sender.publish([publication("XA", "XB", b"alpha")])
        batch = await receiver.take(10, 0)
        await receiver.settle(batch, Settlement.ACCEPT)
        return batch

    with pytest.raises(StopIteration) as ended:
        exchange().send(None)
    assert contents(ended.value.value) == [b"alpha"]


async def test_careless_clients_lost_mail_is_kept_for_the_secretariat(
    broker: InProcessBroker,
) -> None:
    """Who does not ask for its return finds unroutable mail with the secretariat, not gone."""
    careless = InProcessTransport(broker, "XA", asks_return=False)
    outcomes = await careless.publish([publication("XA", "QQ", b"lost")])
    secretariat = InProcessTransport(broker, SECRETARIAT)
    await secretariat.subscribe([UNROUTABLE_QUEUE])
    [stray] = await secretariat.take(10, 0)
    assert outcomes == [PublishOutcome.CONFIRMED]
    assert (stray.content, stray.user_id) == (b"lost", "XA")


async def test_joining_member_receives_and_publishes(broker: InProcessBroker) -> None:
    """A member that joins is routable at once, although its key was unroutable before."""
    sender = InProcessTransport(broker, "XA")
    await sender.publish([publication("XA", "XB", b"kept")])
    early = await sender.publish([publication("XA", "XD", b"early")])
    broker.apply(network_topology(["XA", "XB", "XC"]).extended_with("XD"))
    late = await sender.publish([publication("XA", "XD", b"late")])
    newcomer = await subscribed(broker, "XD")
    answered = await newcomer.publish([publication("XD", "XA", b"hello")])
    assert (early, late) == ([PublishOutcome.UNROUTABLE], [PublishOutcome.CONFIRMED])
    assert answered == [PublishOutcome.CONFIRMED]
    assert contents(await newcomer.take(10, 0)) == [b"late"]
    assert await InProcessAdmin(broker).depth(queue_name(QueueKind.DATA, "XB")) == 1


async def test_dead_letters_wait_while_the_quarantine_is_full() -> None:
    """Dead-lettered mail is held until the quarantine has room; none is dropped."""
    topology = network_topology(["XA", "XB"])
    tiny = QueuePolicy("tiny", "quarantine", redeliveries_max=9, messages_max=2, priority=1)
    broker = InProcessBroker(replace(topology, queue_policies=(*topology.queue_policies, tiny)))
    sender, receiver = InProcessTransport(broker, "XA"), await subscribed(broker, "XB")
    await sender.publish([publication("XA", "XB", bytes([number])) for number in range(5)])
    await receiver.settle(await receiver.take(5, 0), Settlement.DEAD_LETTER)
    secretariat = InProcessTransport(broker, SECRETARIAT)
    await secretariat.subscribe([QUARANTINE_QUEUE])
    sizes, found = [], []
    while batch := await secretariat.take(10, 0):
        sizes.append(len(batch))
        found += contents(batch)
        await secretariat.settle(batch, Settlement.ACCEPT)
    assert sizes == [2, 2, 1]
    assert found == [bytes([number]) for number in range(5)]


async def test_two_consumers_share_a_queue(broker: InProcessBroker) -> None:
    """Each message goes to one of two transports of a user, and comes to the other if returned."""
    sender = InProcessTransport(broker, "XA")
    first, second = await subscribed(broker, "XB"), await subscribed(broker, "XB")
    await sender.publish([publication("XA", "XB", bytes([number])) for number in range(4)])
    taken = await first.take(3, 0), await second.take(3, 0)
    await first.close()
    assert [contents(batch) for batch in taken] == [[b"\0", b"\1", b"\2"], [b"\3"]]
    assert contents(await second.take(10, 0)) == [b"\0", b"\1", b"\2"]


async def test_busy_queue_does_not_starve_the_other(broker: InProcessBroker) -> None:
    """Queues take turns in coming first, so that a full batch of one lets the other through."""
    sender = InProcessTransport(broker, "XA")
    receiver = await subscribed(broker, "XB", *QueueKind)
    await sender.publish([publication("XA", "XB", bytes([number])) for number in range(9)])
    await sender.publish([publication("XA", "XB", b"!", QueueKind.STATEMENTS)])
    batches = [contents(await receiver.take(3, 0)) for _ in range(2)]
    assert b"!" in batches[0] + batches[1]


async def test_removed_users_mail_goes_back_and_it_stays_out(broker: InProcessBroker) -> None:
    """Removing a user ends its sessions: what it held is waiting again, and it gets no new one."""
    sender, receiver = InProcessTransport(broker, "XA"), await subscribed(broker, "XB")
    await sender.publish([publication("XA", "XB", b"alpha")])
    held = await receiver.take(1, 0)
    admin = InProcessAdmin(broker)
    await admin.remove_user("XB")
    await receiver.settle(held, Settlement.ACCEPT)
    assert await admin.read_all(queue_name(QueueKind.DATA, "XB")) == [b"alpha"]
    with pytest.raises(TransportDenied, match="XB"):
        InProcessTransport(broker, "XB")
    with pytest.raises(TransportDenied, match="XB"):
        await receiver.subscribe([queue_name(QueueKind.DATA, "XB")])


async def test_internal_exchange_takes_nothing_even_from_the_administrator(
    broker: InProcessBroker,
) -> None:
    """No client writes into quarantine by way of the dead-letter exchange."""
    admin = InProcessTransport(broker, "ADMIN")
    stray = Publication("i247.dead", "ADMIN.diffusion.XA", "m-1", b"forged")
    assert await admin.publish([stray]) == [PublishOutcome.DENIED]


async def test_more_routes_than_are_remembered_still_lead_there(broker: InProcessBroker) -> None:
    """The memory of routes is bounded, and forgetting one costs time only."""
    sender = InProcessTransport(broker, "XA")
    letters = "abcdefghijklmnopqrst"
    keys = [f"XA.{one}{two}_{three}.XB" for one in letters for two in letters for three in letters]
    batch = [Publication("i247.data", key, "m-1", b"") for key in keys]
    assert set(await sender.publish(batch)) == {PublishOutcome.CONFIRMED}
    assert await InProcessAdmin(broker).depth(queue_name(QueueKind.DATA, "XB")) == 8_000
