"""What every transport does, stated once; each implementation inherits `TransportContract`.

An implementation's test class gives a fixture `bus` that yields a `BusUnderTest`. Every test takes
members nobody else uses, so that tests share a broker without meeting.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import pytest

from bus.errors import EnvironmentFailed, TransportDenied
from bus.identifiers import SECRETARIAT, QueueKind
from bus.ports import BrokerAdmin, Delivery, Publication, PublishOutcome, Settlement, Transport
from bus.topology import (
    QUARANTINE_QUEUE,
    STRAY_QUEUES,
    exchange_name,
    queue_name,
    routing_key,
)

ARRIVAL_SECONDS_MAX: Final = 20.0
"""How long anything that must happen may take on a busy machine."""

NOBODY: Final = "QQ"
"""A member's code that no network under test has."""


class BusUnderTest(Protocol):
    """One bus with many members, as the contract needs it."""

    quiet_seconds: float
    """How long to wait before believing that nothing arrives."""
    redeliveries_max: int
    """The delivery limit of every party's queue."""

    @property
    def admin(self) -> BrokerAdmin:
        """The administrator of this bus."""

    def fresh_members(self, number: int) -> list[str]:
        """Return members that no test has used yet, with empty queues."""

    def small_queue_member(self) -> str:
        """Return a fresh member whose data queue holds only a few messages."""

    async def connect(self, user: str) -> Transport:
        """Open a transport; it is closed after the test."""


def publication(
    source: str, recipient: str, content: bytes, kind: QueueKind = QueueKind.DATA
) -> Publication:
    """Return what an honest source publishes to one recipient."""
    message_id = f"0190-{content[:16].hex()}"
    key = routing_key(source, "diffusion", recipient)
    return Publication(exchange_name(kind), key, message_id, content)


async def take_exactly(transport: Transport, number: int) -> list[Delivery]:
    """Take until `number` deliveries are here, and assert that they come."""
    taken: list[Delivery] = []
    deadline = asyncio.get_running_loop().time() + ARRIVAL_SECONDS_MAX
    while len(taken) < number and asyncio.get_running_loop().time() < deadline:
        taken += await transport.take(number - len(taken), 0.5)
    assert len(taken) == number
    return taken


async def assert_nothing_arrives(bus: BusUnderTest, transport: Transport) -> None:
    """Assert that a queue stays empty for a while."""
    assert await transport.take(10, bus.quiet_seconds) == []


async def assert_becomes(read: Callable[[], Awaitable[object]], expected: object) -> None:
    """Assert that a value is reached before long."""
    deadline = asyncio.get_running_loop().time() + ARRIVAL_SECONDS_MAX
    value = await read()
    while value != expected and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.05)
        value = await read()
    assert value == expected


async def quarantined_from(bus: BusUnderTest, source: str) -> list[Delivery]:
    """Return, settled, what `source` published and the secretariat finds in the quarantine."""
    secretariat = await bus.connect(SECRETARIAT)
    await secretariat.subscribe([QUARANTINE_QUEUE])
    found: list[Delivery] = []
    deadline = asyncio.get_running_loop().time() + ARRIVAL_SECONDS_MAX
    while not found and asyncio.get_running_loop().time() < deadline:
        batch = await secretariat.take(100, 0.5)
        await secretariat.settle(batch, Settlement.ACCEPT)
        found += [each for each in batch if each.routing_key.startswith(f"{source}.")]
    await secretariat.close()
    return found


def contents(deliveries: Sequence[Delivery]) -> list[bytes]:
    """Return what the deliveries carry, in order."""
    return [delivery.content for delivery in deliveries]


class DeliveryContract:
    """Who receives what, and who may publish and read what."""

    async def test_message_reaches_its_one_recipient(self, bus: BusUnderTest) -> None:
        """What is published for one member arrives there, whole, and nowhere else."""
        source, recipient, other = bus.fresh_members(3)
        sender, receiver = await bus.connect(source), await bus.connect(recipient)
        bystander = await bus.connect(other)
        await receiver.subscribe([queue_name(QueueKind.DATA, recipient)])
        await bystander.subscribe([queue_name(QueueKind.DATA, other)])
        outcomes = await sender.publish([publication(source, recipient, b"alpha")])
        [delivery] = await take_exactly(receiver, 1)
        assert outcomes == [PublishOutcome.CONFIRMED]
        assert delivery.content == b"alpha"
        assert delivery.queue == queue_name(QueueKind.DATA, recipient)
        assert delivery.routing_key == routing_key(source, "diffusion", recipient)
        assert delivery.redelivered is False
        await assert_nothing_arrives(bus, bystander)

    async def test_user_id_names_the_publisher(self, bus: BusUnderTest) -> None:
        """A delivery says who published it, as the broker knows that user."""
        source, recipient = bus.fresh_members(2)
        sender, receiver = await bus.connect(source), await bus.connect(recipient)
        await receiver.subscribe([queue_name(QueueKind.DATA, recipient)])
        await sender.publish([publication(source, recipient, b"alpha")])
        [delivery] = await take_exactly(receiver, 1)
        assert delivery.user_id == source

    async def test_each_kind_has_its_own_queue(self, bus: BusUnderTest) -> None:
        """Data and statements for one member wait in two queues."""
        source, recipient = bus.fresh_members(2)
        sender, receiver = await bus.connect(source), await bus.connect(recipient)
        for kind in QueueKind:
            await sender.publish([publication(source, recipient, kind.value.encode(), kind)])
        await receiver.subscribe([queue_name(kind, recipient) for kind in QueueKind])
        # Unsettled mail may come again, as from a consumer that was rebuilt on a busy machine.
        arrived: dict[str, bytes] = {}

        async def queues_seen() -> int:
            arrived.update({each.queue: each.content for each in await receiver.take(2, 0.5)})
            return len(arrived)

        await assert_becomes(queues_seen, len(QueueKind))
        expected = {queue_name(kind, recipient): kind.value.encode() for kind in QueueKind}
        assert arrived == expected, f"{arrived} is not {expected}"

    async def test_large_content_arrives_unchanged(self, bus: BusUnderTest) -> None:
        """Content larger than one frame is put together again."""
        source, recipient = bus.fresh_members(2)
        sender, receiver = await bus.connect(source), await bus.connect(recipient)
        await receiver.subscribe([queue_name(QueueKind.DATA, recipient)])
        content = bytes(range(256)) * 2_000
        await sender.publish([publication(source, recipient, content)])
        [delivery] = await take_exactly(receiver, 1)
        assert delivery.content == content

    async def test_unroutable_publication_is_named(self, bus: BusUnderTest) -> None:
        """Of copies of one message, exactly the one that nobody can receive is unroutable."""
        source, first, second = bus.fresh_members(3)
        sender = await bus.connect(source)
        # One message id under way to all three: the broker's return must not hit a neighbour.
        copies = [publication(source, each, b"same") for each in (first, NOBODY, second)]
        assert await sender.publish(copies) == [
            PublishOutcome.CONFIRMED,
            PublishOutcome.UNROUTABLE,
            PublishOutcome.CONFIRMED,
        ]
        assert await bus.admin.depth(queue_name(QueueKind.DATA, first)) == 1
        assert await bus.admin.depth(queue_name(QueueKind.DATA, second)) == 1

    async def test_publishing_under_another_key_is_denied(self, bus: BusUnderTest) -> None:
        """Nobody publishes as another member, and who tried can go on honestly."""
        source, recipient, victim = bus.fresh_members(3)
        sender = await bus.connect(source)
        forged = publication(victim, recipient, b"forged")
        assert await sender.publish([forged]) == [PublishOutcome.DENIED]
        honest = publication(source, recipient, b"honest")
        assert await sender.publish([honest]) == [PublishOutcome.CONFIRMED]
        assert await bus.admin.read_all(queue_name(QueueKind.DATA, recipient)) == [b"honest"]

    async def test_denied_publication_is_told_from_its_neighbours(self, bus: BusUnderTest) -> None:
        """In a mixed batch only the forged publication is denied; the others can be repeated."""
        source, recipient, victim = bus.fresh_members(3)
        sender = await bus.connect(source)
        batch = [publication(source, recipient, bytes([number])) for number in range(20)]
        batch.insert(10, publication(victim, recipient, b"forged"))
        outcomes = await sender.publish(batch)
        assert outcomes[10] is PublishOutcome.DENIED
        assert {*outcomes[:10], *outcomes[11:]} <= {
            PublishOutcome.CONFIRMED,
            PublishOutcome.UNCONFIRMED,
        }

    async def test_unknown_exchange_is_denied(self, bus: BusUnderTest) -> None:
        """A party writes to the two exchanges of the bus and to nothing else."""
        source, recipient = bus.fresh_members(2)
        sender = await bus.connect(source)
        key = routing_key(source, "diffusion", recipient)
        stray = Publication("i247.nowhere", key, "m-1", b"alpha")
        assert await sender.publish([stray]) == [PublishOutcome.DENIED]

    async def test_reading_another_queue_is_denied(self, bus: BusUnderTest) -> None:
        """Nobody reads another member's queue, and what one reads already goes on."""
        source, spy = bus.fresh_members(2)
        reader = await bus.connect(spy)
        await reader.subscribe([queue_name(QueueKind.DATA, spy)])
        with pytest.raises(TransportDenied, match=queue_name(QueueKind.DATA, source)):
            await reader.subscribe([queue_name(QueueKind.DATA, source)])
        sender = await bus.connect(source)
        await sender.publish([publication(source, spy, b"alpha")])
        assert contents(await take_exactly(reader, 1)) == [b"alpha"]

    async def test_strays_are_for_the_secretariat_alone(self, bus: BusUnderTest) -> None:
        """The secretariat reads quarantine and unroutable mail, a member does not."""
        [member] = bus.fresh_members(1)
        reader, secretariat = await bus.connect(member), await bus.connect(SECRETARIAT)
        for queue in STRAY_QUEUES:
            await secretariat.subscribe([queue])
            with pytest.raises(TransportDenied, match=queue):
                await reader.subscribe([queue])

    async def test_missing_queue_is_one_clear_line(self, bus: BusUnderTest) -> None:
        """To receive from or look into a queue that does not exist is an error that names it."""
        queue = queue_name(QueueKind.DATA, NOBODY)
        with pytest.raises(EnvironmentFailed, match=queue):
            await bus.admin.depth(queue)

    async def test_removed_user_can_no_longer_publish(self, bus: BusUnderTest) -> None:
        """What the administrator removed is denied, also on a connection that was open."""
        source, recipient = bus.fresh_members(2)
        sender = await bus.connect(source)
        assert await sender.publish([publication(source, recipient, b"1")]) == [
            PublishOutcome.CONFIRMED
        ]
        await bus.admin.remove_user(source)

        async def outcome() -> PublishOutcome:
            return (await sender.publish([publication(source, recipient, b"2")]))[0]

        await assert_becomes(outcome, PublishOutcome.DENIED)
        assert await bus.admin.read_all(queue_name(QueueKind.DATA, recipient)) == [b"1"]


class SettlementContract:
    """What becomes of a delivery."""

    async def test_accepted_delivery_is_gone(self, bus: BusUnderTest) -> None:
        """Once accepted, a message comes neither again nor to the next consumer."""
        recipient, receiver = await self._with_mail(bus, [b"alpha"])
        await receiver.settle(await take_exactly(receiver, 1), Settlement.ACCEPT)
        await receiver.close()
        again = await bus.connect(recipient)
        await again.subscribe([queue_name(QueueKind.DATA, recipient)])
        await assert_nothing_arrives(bus, again)

    async def test_requeued_delivery_comes_again_with_its_flag(self, bus: BusUnderTest) -> None:
        """A message put back arrives again and says that it was here before."""
        _, receiver = await self._with_mail(bus, [b"alpha"])
        first = await take_exactly(receiver, 1)
        await receiver.settle(first, Settlement.REQUEUE)
        [second] = await take_exactly(receiver, 1)
        assert (first[0].redelivered, second.redelivered) == (False, True)
        assert second.content == b"alpha"

    async def test_requeued_too_often_ends_in_quarantine(self, bus: BusUnderTest) -> None:
        """Over the delivery limit a message goes to the quarantine; the next one is delivered."""
        source, recipient = bus.fresh_members(2)
        sender, receiver = await bus.connect(source), await bus.connect(recipient)
        await receiver.subscribe([queue_name(QueueKind.DATA, recipient)])
        await sender.publish([publication(source, recipient, b"poison")])
        deliveries = 0
        for _ in range(bus.redeliveries_max + 1):
            deliveries += 1
            await receiver.settle(await take_exactly(receiver, 1), Settlement.REQUEUE)
        [dead] = await quarantined_from(bus, source)
        assert deliveries == bus.redeliveries_max + 1
        assert (dead.content, dead.user_id) == (b"poison", source)
        await sender.publish([publication(source, recipient, b"healthy")])
        assert contents(await take_exactly(receiver, 1)) == [b"healthy"]

    async def test_dead_lettered_delivery_goes_to_quarantine(self, bus: BusUnderTest) -> None:
        """A message that is never to be tried again keeps its key and its publisher."""
        source, recipient = bus.fresh_members(2)
        sender, receiver = await bus.connect(source), await bus.connect(recipient)
        await receiver.subscribe([queue_name(QueueKind.DATA, recipient)])
        await sender.publish([publication(source, recipient, b"bad")])
        await receiver.settle(await take_exactly(receiver, 1), Settlement.DEAD_LETTER)
        [dead] = await quarantined_from(bus, source)
        assert (dead.content, dead.user_id) == (b"bad", source)
        assert dead.routing_key == routing_key(source, "diffusion", recipient)
        await assert_nothing_arrives(bus, receiver)

    async def test_unsubscribing_returns_what_was_not_settled(self, bus: BusUnderTest) -> None:
        """Taken or still on its way: what was not settled waits for the next subscription."""
        recipient, receiver = await self._with_mail(bus, [b"1", b"2", b"3"])
        held = await take_exactly(receiver, 2)
        await receiver.settle(held[:1], Settlement.ACCEPT)
        await receiver.unsubscribe()
        await assert_nothing_arrives(bus, receiver)
        await assert_becomes(lambda: bus.admin.depth(queue_name(QueueKind.DATA, recipient)), 2)
        await receiver.subscribe([queue_name(QueueKind.DATA, recipient)])
        assert contents(await take_exactly(receiver, 2)) == [b"2", b"3"]

    async def test_closing_returns_what_was_not_settled(self, bus: BusUnderTest) -> None:
        """After a close, which may come twice, the next connection receives the rest in order."""
        recipient, receiver = await self._with_mail(bus, [b"1", b"2", b"3"])
        held = await take_exactly(receiver, 3)
        await receiver.settle(held[1:2], Settlement.ACCEPT)
        await receiver.close()
        await receiver.close()
        again = await bus.connect(recipient)
        await again.subscribe([queue_name(QueueKind.DATA, recipient)])
        assert contents(await take_exactly(again, 2)) == [b"1", b"3"]

    async def test_only_the_named_deliveries_are_settled(self, bus: BusUnderTest) -> None:
        """Settling some of a batch, out of order, leaves the others unsettled."""
        recipient, receiver = await self._with_mail(bus, [bytes([n]) for n in range(8)])
        held = await take_exactly(receiver, 8)
        await receiver.settle([held[6], held[1], held[2], held[4]], Settlement.ACCEPT)
        await receiver.settle([held[0]], Settlement.ACCEPT)
        await receiver.close()
        again = await bus.connect(recipient)
        await again.subscribe([queue_name(QueueKind.DATA, recipient)])
        left = contents(await take_exactly(again, 3))
        assert left == [bytes([3]), bytes([5]), bytes([7])]

    async def test_settling_twice_changes_nothing(self, bus: BusUnderTest) -> None:
        """A second settlement of a delivery is ignored, and the connection lives on."""
        _, receiver = await self._with_mail(bus, [b"1", b"2"])
        held = await take_exactly(receiver, 2)
        await receiver.settle(held[:1], Settlement.ACCEPT)
        await receiver.settle(held[:1], Settlement.REQUEUE)
        await receiver.settle([], Settlement.ACCEPT)
        await receiver.settle(held, Settlement.REQUEUE)
        assert contents(await take_exactly(receiver, 1)) == [b"2"]
        await assert_nothing_arrives(bus, receiver)

    async def test_settling_after_unsubscribing_is_ignored(self, bus: BusUnderTest) -> None:
        """A delivery of an ended subscription is not settled: it comes again."""
        recipient, receiver = await self._with_mail(bus, [b"1"])
        held = await take_exactly(receiver, 1)
        await receiver.unsubscribe()
        await receiver.subscribe([queue_name(QueueKind.DATA, recipient)])
        await receiver.settle(held, Settlement.ACCEPT)
        assert contents(await take_exactly(receiver, 1)) == [b"1"]

    async def _with_mail(self, bus: BusUnderTest, mail: list[bytes]) -> tuple[str, Transport]:
        """Return a member and its subscribed transport, with these contents waiting for it."""
        source, recipient = bus.fresh_members(2)
        sender, receiver = await bus.connect(source), await bus.connect(recipient)
        await sender.publish([publication(source, recipient, content) for content in mail])
        await receiver.subscribe([queue_name(QueueKind.DATA, recipient)])
        return recipient, receiver


class FlowContract:
    """Order, batches, limits and waiting."""

    async def test_full_queue_says_so_and_holds_nobody_back(self, bus: BusUnderTest) -> None:
        """Copies for a full queue overflow; the same batch's copies for others are confirmed."""
        source, other = bus.fresh_members(2)
        full = bus.small_queue_member()
        sender = await bus.connect(source)

        async def outcome() -> PublishOutcome:
            return (await sender.publish([publication(source, full, b"fill")]))[0]

        await assert_becomes(outcome, PublishOutcome.OVERFLOW)
        batch = [publication(source, each, b"next") for each in (other, full, other)]
        assert await sender.publish(batch) == [
            PublishOutcome.CONFIRMED,
            PublishOutcome.OVERFLOW,
            PublishOutcome.CONFIRMED,
        ]
        assert await bus.admin.depth(queue_name(QueueKind.DATA, other)) == 2

    async def test_full_queue_takes_again_once_it_is_read(self, bus: BusUnderTest) -> None:
        """Room made by a consumer ends the overflow."""
        [source] = bus.fresh_members(1)
        full = bus.small_queue_member()
        sender, receiver = await bus.connect(source), await bus.connect(full)

        async def outcome() -> PublishOutcome:
            return (await sender.publish([publication(source, full, b"fill")]))[0]

        await assert_becomes(outcome, PublishOutcome.OVERFLOW)
        await receiver.subscribe([queue_name(QueueKind.DATA, full)])
        await receiver.settle(await receiver.take(100, ARRIVAL_SECONDS_MAX), Settlement.ACCEPT)
        await assert_becomes(outcome, PublishOutcome.CONFIRMED)

    async def test_order_is_kept_per_queue(self, bus: BusUnderTest) -> None:
        """What one source publishes one after the other arrives in that order."""
        source, recipient = bus.fresh_members(2)
        sender, receiver = await bus.connect(source), await bus.connect(recipient)
        expected = [f"{number:03d}".encode() for number in range(200)]
        for start in range(0, 200, 50):
            batch = [publication(source, recipient, each) for each in expected[start : start + 50]]
            await sender.publish(batch)
        await receiver.subscribe([queue_name(QueueKind.DATA, recipient)])
        assert contents(await take_exactly(receiver, 200)) == expected

    async def test_batch_of_500_is_confirmed_whole(self, bus: BusUnderTest) -> None:
        """Five hundred publications are answered each, and all arrive."""
        source, first, second = bus.fresh_members(3)
        sender = await bus.connect(source)
        batch = [
            publication(source, (first, second)[number % 2], f"{number}".encode())
            for number in range(500)
        ]
        assert await sender.publish(batch) == [PublishOutcome.CONFIRMED] * 500
        arrived = [
            await bus.admin.depth(queue_name(QueueKind.DATA, each)) for each in (first, second)
        ]
        assert arrived == [250, 250]

    async def test_publishing_nothing_answers_nothing(self, bus: BusUnderTest) -> None:
        """An empty batch has an empty answer."""
        [source] = bus.fresh_members(1)
        sender = await bus.connect(source)
        assert await sender.publish([]) == []

    async def test_take_keeps_to_its_limit(self, bus: BusUnderTest) -> None:
        """No more than `limit` deliveries come at once; the rest comes with the next call."""
        source, recipient = bus.fresh_members(2)
        sender, receiver = await bus.connect(source), await bus.connect(recipient)
        await sender.publish([publication(source, recipient, bytes([n])) for n in range(10)])
        await receiver.subscribe([queue_name(QueueKind.DATA, recipient)])
        first = await take_exactly(receiver, 1)
        sizes: list[int] = []
        while sum(sizes) < 9:
            sizes.append(len(await receiver.take(4, ARRIVAL_SECONDS_MAX)))
        assert first[0].content == bytes([0])
        assert max(sizes) <= 4

    async def test_take_waits_and_wakes(self, bus: BusUnderTest) -> None:
        """A waiting `take` ends when the first message arrives, long before its time is up."""
        source, recipient = bus.fresh_members(2)
        sender, receiver = await bus.connect(source), await bus.connect(recipient)
        await receiver.subscribe([queue_name(QueueKind.DATA, recipient)])
        waiting = asyncio.create_task(receiver.take(10, 10 * ARRIVAL_SECONDS_MAX))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await sender.publish([publication(source, recipient, b"alpha")])
        async with asyncio.timeout(ARRIVAL_SECONDS_MAX):
            assert contents(await waiting) == [b"alpha"]

    async def test_take_gives_up_when_nothing_comes(self, bus: BusUnderTest) -> None:
        """Without mail `take` answers with nothing, at once or after the time it was given."""
        [recipient] = bus.fresh_members(1)
        receiver = await bus.connect(recipient)
        await receiver.subscribe([queue_name(QueueKind.DATA, recipient)])
        assert await receiver.take(10, 0) == []
        assert await receiver.take(10, 0.05) == []

    async def test_unread_queue_keeps_its_mail(self, bus: BusUnderTest) -> None:
        """Mail for a member that is away waits, and looking at it leaves it there."""
        source, recipient = bus.fresh_members(2)
        sender = await bus.connect(source)
        await sender.publish([publication(source, recipient, bytes([n])) for n in range(3)])
        queue, expected = queue_name(QueueKind.DATA, recipient), [bytes([n]) for n in range(3)]
        for _ in range(2):
            assert await bus.admin.read_all(queue) == expected
            await assert_becomes(lambda: bus.admin.depth(queue), 3)
        receiver = await bus.connect(recipient)
        await receiver.subscribe([queue])
        assert contents(await take_exactly(receiver, 3)) == expected

    async def test_closed_transport_confirms_nothing(self, bus: BusUnderTest) -> None:
        """A transport takes nothing after its close, and claims for nothing that it is stored."""
        source, recipient = bus.fresh_members(2)
        sender = await bus.connect(source)
        await sender.subscribe([queue_name(QueueKind.DATA, source)])
        await sender.close()
        outcomes = await sender.publish([publication(source, recipient, b"late")])
        assert outcomes == [PublishOutcome.UNCONFIRMED]
        assert await sender.take(10, 0.05) == []


class TransportContract(DeliveryContract, SettlementContract, FlowContract):
    """The whole contract; inherit it and give the fixture `bus`."""
