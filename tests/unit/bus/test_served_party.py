"""A party as its process runs it: held and let go by a runner, or kept going by the wall clock."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from bus.control.served_party import PartyWork, ServedParty
from bus.errors import BadInput, EnvironmentFailed
from bus.host import at_once
from bus.identifiers import SECRETARIAT, QueueKind
from bus.instants import HOUR
from bus.messages.catalogue import KINDS
from bus.messages.correspondence import Message
from bus.participant import Participant
from bus.ports import Delivery, Publication, PublishOutcome, Settlement
from bus.topology import (
    QUARANTINE_QUEUE,
    STRAY_QUEUES,
    exchange_name,
    network_topology,
    queue_name,
    redeliveries_max,
    routing_key,
)
from bus.transport.in_process import InProcessAdmin, InProcessTransport
from bus.transport.in_process_broker import InProcessBroker
from bus.turn import Effect, Turn
from bus.verification import VerifiedMessage
from ncb_nodes.duties import BureauDuties
from ncb_nodes.order_port import pack_order, take_order
from ncb_nodes.orders import IssueMessage
from ncb_nodes.receiving_policy import ReceivingPolicy
from tests.factories import MEMBERS, NOW, bureau, message, packed, participant, secretariat
from tests.post_office import outcomes, refused, rows

XB_DATA = queue_name(QueueKind.DATA, "XB")


class FrailTransport(InProcessTransport):
    """A connection that gets no answer to its first publications, or cannot settle."""

    unanswered = 0
    settling_error: Exception | None = None

    async def settle(self, deliveries: Sequence[Delivery], settlement: Settlement) -> None:
        """Fail as the test says."""
        if self.settling_error is not None:
            raise self.settling_error
        await super().settle(deliveries, settlement)

    async def publish(self, publications: Sequence[Publication]) -> list[PublishOutcome]:
        """Answer nothing as often as the test says."""
        if publications and self.unanswered:
            self.unanswered -= 1
            return [PublishOutcome.UNCONFIRMED] * len(publications)
        return await super().publish(publications)


class Bus:
    """An in-process bus and the parties that a test runs on it."""

    def __init__(self, undo: AsyncExitStack) -> None:
        self.broker = InProcessBroker(network_topology(MEMBERS))
        self.transports: dict[str, FrailTransport] = {}
        self._undo = undo

    def party(self, member: Participant, *, also_reads: Sequence[str] = ()) -> ServedParty:
        """Return a party that has not joined yet."""

        async def connect(url: str) -> FrailTransport:
            assert url == "amqps://here:1/i247"
            transport = FrailTransport(self.broker, member.party)
            self.transports[member.party] = transport
            return transport

        work = PartyWork(take_order, also_reads)
        party = ServedParty(member, work, at_once, connect, NOW)
        self._undo.push_async_callback(party.stop, 1.0)
        return party

    async def joined(self, member: Participant, *, also_reads: Sequence[str] = ()) -> ServedParty:
        """Return a party that receives and is held at the first instant."""
        party = self.party(member, also_reads=also_reads)
        await party.join("amqps://here:1/i247")
        await party.subscribe()
        await party.tick(NOW)
        return party

    async def depth(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        return await InProcessAdmin(self.broker).depth(queue)

    async def post(self, source: str, to: str, text: str = "hello") -> None:
        """Publish a message as a bureau that has no process here."""
        kind = KINDS["message"].queue
        key = routing_key(source, "message", to)
        content = packed(message(source, [to], text))
        transport = InProcessTransport(self.broker, source)
        await transport.publish([Publication(exchange_name(kind), key, "id", content)])


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    """A bus; whatever joined it is stopped afterwards."""
    async with AsyncExitStack() as undo:
        yield Bus(undo)


def order(to: str, text: str = "hello") -> bytes:
    """Return the order to write to a bureau."""
    return pack_order(IssueMessage(label=text, to=(to,), text=text))


async def turns(number: int = 10) -> None:
    """Let everything that can go on do so."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_orders_are_held_until_things_may_travel(bus: Bus) -> None:
    """Between tick and catch_up a party says nothing; then its mail leaves at once."""
    party = await bus.joined(bureau("XA"))
    await party.issue(order("XB"))
    await turns()
    held = await party.activity()
    assert (held.pending, held.confirmed, await bus.depth(XB_DATA)) == (True, {}, 0)
    let_go = await party.catch_up({}, 1)
    assert (let_go.pending, let_go.confirmed) == (False, {XB_DATA: 1})
    assert await bus.depth(XB_DATA) == 1


async def test_deliveries_are_held_until_things_may_travel(bus: Bus) -> None:
    """What arrives between tick and catch_up waits in hand, and is handled at the new time."""
    reader = bureau("XB")
    party = await bus.joined(reader)
    await bus.post("XA", "XB")
    await turns()
    held = await party.activity()
    assert (held.pending, held.settled) == (True, {})
    await party.tick(NOW + HOUR)
    caught_up = await party.catch_up({XB_DATA: 1}, 1)
    assert (caught_up.pending, caught_up.settled) == (False, {XB_DATA: 1})
    assert rows(reader, "SELECT received_at FROM inbox WHERE source = 'XA'") == [(NOW + HOUR,)]


async def test_hold_closes_the_gate_again(bus: Bus) -> None:
    """After hold nothing is handled until the next catch_up."""
    party = await bus.joined(bureau("XB"))
    await party.catch_up({}, 1)
    assert (await party.hold()).settled == {}
    await bus.post("XA", "XB")
    await turns()
    assert (await party.activity()).settled == {}
    assert (await party.catch_up({XB_DATA: 1}, 1)).settled == {XB_DATA: 1}


async def test_catching_up_waits_for_what_is_still_on_its_way(bus: Bus) -> None:
    """The answer comes as soon as enough is settled, although it was not there when asked."""
    party = await bus.joined(bureau("XB"))
    asked = asyncio.create_task(party.catch_up({XB_DATA: 2}, 5))
    await bus.post("XA", "XB", "one")
    await turns()
    assert not asked.done()
    await bus.post("XC", "XB", "two")
    assert (await asyncio.wait_for(asked, 1)).settled == {XB_DATA: 2}


async def test_catching_up_in_vain_answers_when_time_is_up(bus: Bus) -> None:
    """A party that cannot reach the goal says how far it came."""
    party = await bus.joined(bureau("XB"))
    assert (await party.catch_up({XB_DATA: 1}, 0.01)).settled == {}


async def test_mail_that_nobody_answered_is_work_to_do(bus: Bus) -> None:
    """No answer from the broker keeps a party from being quiet, and is tried again when asked."""
    party = await bus.joined(bureau("XA"))
    bus.transports["XA"].unanswered = 1
    await party.issue(order("XB"))
    first = await party.catch_up({}, 1)
    assert (first.pending, first.parked, first.confirmed) == (True, ("XB",), {})
    second = await party.catch_up({}, 1)
    assert (second.pending, second.parked, second.confirmed) == (False, (), {XB_DATA: 1})


async def test_who_goes_away_reads_nothing_of_what_is_in_hand(bus: Bus) -> None:
    """Deliveries that were taken and not handled go back to their queue, unread."""
    reader = bureau("XB")
    party = await bus.joined(reader)
    await bus.post("XA", "XB")
    await turns()
    await party.go_away()
    await party.catch_up({}, 0.01)
    assert (await party.activity()).pending is False
    assert (outcomes(reader, "message"), await bus.depth(XB_DATA)) == ([], 1)


async def test_party_that_has_not_joined_says_so(bus: Bus) -> None:
    """Before it is told where the bus is, a party can do nothing; and it joins once."""
    party = bus.party(bureau("XA"))
    with pytest.raises(EnvironmentFailed, match=r"^XA has not joined the bus yet$"):
        await party.tick(NOW)
    await party.join("amqps://here:1/i247")
    with pytest.raises(BadInput, match=r"^XA has joined the bus already$"):
        await party.join("amqps://here:1/i247")


async def test_history_is_told_in_pages(bus: Bus) -> None:
    """Events come with their numbers, after the one that the caller knows."""
    party = await bus.joined(bureau("XA"))
    before = await party.history(0)
    await party.issue(order("XB"))
    [event] = await party.history(before[-1].seq)
    assert (event.event, event.at) == ("message_issued", NOW)
    assert await party.history(event.seq) == []


async def test_stopping_lets_waiting_mail_leave(bus: Bus) -> None:
    """A party that is asked to end sends what it has said and takes nothing more."""
    party = await bus.joined(bureau("XA"))
    await party.issue(order("XB"))
    await bus.post("XB", "XA")
    await turns()
    await party.stop(1)
    assert await bus.depth(XB_DATA) == 1
    assert await bus.depth(queue_name(QueueKind.DATA, "XA")) == 1


async def test_wall_clock_drives_a_party_without_a_runner(bus: Bus) -> None:
    """Undriven, deliveries are handled as they come, orders leave, and time passes."""
    party = bus.party(bureau("XB"))
    await party.join("amqps://here:1/i247")
    await party.subscribe()
    party.keep_time(lambda: NOW + HOUR)
    await bus.post("XA", "XB")
    await turns(20)
    activity = await party.activity()
    assert (activity.now, activity.settled) == (NOW + HOUR, {XB_DATA: 1})


async def test_defect_while_receiving_is_not_swallowed(bus: Bus) -> None:
    """What ends the pump is there for the process to end with."""
    party = await bus.joined(bureau("XB"))

    bus.transports["XB"].settling_error = ZeroDivisionError()
    await bus.post("XA", "XB")
    await party.catch_up({XB_DATA: 1}, 0.05)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(asyncio.shield(party.failed), 1)


async def test_poisonous_message_ends_as_a_dead_letter_that_both_account_for(
    bus: Bus,
) -> None:
    """What a party can never take up goes to the secretariat, is reduced, and the sums agree."""
    tried = []

    def explode(turn: Turn, _: VerifiedMessage) -> Effect:
        tried.append(turn.now)
        raise ZeroDivisionError

    duties, reducer = BureauDuties(ReceivingPolicy()), secretariat()
    duties.handlers = {**duties.handlers, Message: explode}
    sender = await bus.joined(bureau("XA"))
    receiver = await bus.joined(participant("XB", duties))
    office = await bus.joined(reducer, also_reads=STRAY_QUEUES)
    await sender.issue(order("XB", "poison"))
    sent = await sender.catch_up({}, 1)
    with capture_logs() as logged:
        received = await receiver.catch_up({XB_DATA: 1}, 0.2)
    counted = await office.catch_up({XB_DATA: 1}, 1)
    assert (sent.confirmed[XB_DATA], received.settled, counted.settled) == (1, {}, {XB_DATA: 1})
    assert await bus.depth(QUARANTINE_QUEUE) == 0
    assert refused(reducer) == ["dead_lettered"]
    [(fault, source, message_type)] = rows(
        reducer, "SELECT fault, source, message_type FROM quarantine"
    )
    assert (fault, source, message_type) == ("XB", "XA", "message")
    assert rows(reducer, "SELECT count(*) FROM bodies WHERE source = 'XA'") == [(0,)]
    assert len(tried) > redeliveries_max
    assert {line["event"] for line in logged} == {"batch_failed"}


async def test_stray_of_an_unknown_type_is_counted_for_its_recipient(bus: Bus) -> None:
    """A routing key of an unknown type still tells whose queue it was meant for."""
    office = await bus.joined(secretariat(), also_reads=STRAY_QUEUES)
    careless = InProcessTransport(bus.broker, "XA", asks_return=False)
    key = routing_key("XA", "gossip", "QQ")
    await careless.publish([Publication(exchange_name(QueueKind.DATA), key, "id", b"\xc1")])
    counted = await office.catch_up({queue_name(QueueKind.DATA, "QQ"): 1}, 1)
    assert counted.settled == {"i247.data.QQ": 1}
    assert office.party == SECRETARIAT
