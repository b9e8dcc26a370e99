"""The edge that joins a party to the bus: order of commit and settlement, parking, time, away."""

from collections.abc import Sequence
from typing import Final

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from bus.errors import BadInput
from bus.host import Host, Injection
from bus.identifiers import SECRETARIAT, QueueKind
from bus.instants import DAY, HOUR, Instant
from bus.participant import Participant
from bus.ports import Delivery, Publication, PublishOutcome, Settlement
from bus.topology import (
    DEAD_EXCHANGE,
    STRAY_QUEUES,
    QueuePolicy,
    network_topology,
    queue_name,
    redeliveries_max,
)
from bus.transport.in_process import InProcessAdmin, InProcessTransport
from bus.transport.in_process_broker import InProcessBroker
from bus.turn import Turn
from ncb_nodes.order_port import pack_order, take_order, unpack_result
from ncb_nodes.orders import IssueDiffusion, IssueMessage
from tests.factories import MEMBERS, NOW, bureau, case_file, diffusion, message, packed, secretariat
from tests.post_office import bodies, events, outcomes, refused
from tests.unit.bus.test_participant import clerk

SMALL_QUEUE_MESSAGES: Final = 2


class Network:
    """A broker with hosts on it, all in this process."""

    def __init__(self, *members: str) -> None:
        small = QueuePolicy(
            "small", r"^i247\.data\.XB$", redeliveries_max=redeliveries_max,
            messages_max=SMALL_QUEUE_MESSAGES, dead_letter_exchange=DEAD_EXCHANGE, priority=1,
        )  # fmt: skip
        topology = network_topology(members or MEMBERS)
        policies = (*topology.queue_policies, small)
        self.broker = InProcessBroker(replace(topology, queue_policies=policies))
        self.admin = InProcessAdmin(self.broker)

    def host(self, participant: Participant, transport: InProcessTransport | None = None) -> Host:
        """Join a party to the broker; bureaus take orders, the secretariat reads strays."""
        gs = participant.party == SECRETARIAT
        return Host(
            participant,
            transport or InProcessTransport(self.broker, participant.party),
            NOW,
            take_order=None if gs else take_order,
            also_reads=STRAY_QUEUES if gs else (),
        )


def order(label: str = "one", *to: str, held_back: dict[str, Instant] | None = None) -> bytes:
    """Return a packed order to diffuse."""
    body = case_file(file_reference=f"FILE/{label}")
    return pack_order(
        IssueDiffusion(label=label, to=to or ("XB",), case_file=body, held_back=held_back or {})
    )


async def test_order_travels_from_host_to_host() -> None:
    """Issued at one, relayed, taken up at the others, and gone from every queue."""
    network = Network()
    source, holder = network.host(bureau("XA")), network.host(bureau("XB"))
    await holder.subscribe()
    done = unpack_result(await source.issue(order("one", "XB", "XC")))
    assert await source.pump()
    assert await holder.pump()
    assert outcomes(holder.participant, "diffusion") == ["applied"]
    depths = [await network.admin.depth(queue_name(QueueKind.DATA, to)) for to in ("XB", "XC")]
    assert depths == [0, 1]
    assert done.message_id
    assert not await source.pump()


class Watcher(InProcessTransport):
    """Notes, whenever something is settled, what the store had committed by then."""

    def __init__(self, broker: InProcessBroker, participant: Participant) -> None:
        super().__init__(broker, participant.party)
        self.participant = participant
        self.committed_at_settlement: list[int] = []

    async def settle(self, deliveries: Sequence[Delivery], settlement: Settlement) -> None:
        """Look into the store, then settle."""
        connection = self.participant.database.connection
        (count,) = connection.execute("SELECT count(*) FROM bodies").fetchone()
        self.committed_at_settlement.append(-1 if connection.in_transaction else count)
        await super().settle(deliveries, settlement)


async def test_delivery_is_settled_only_after_the_store_has_committed() -> None:
    """A crash in between repeats work and loses none."""
    network, participant = Network(), bureau("XB")
    before = len(participant.database.execute("SELECT 1 FROM bodies").fetchall())
    watcher = Watcher(network.broker, participant)
    holder, source = network.host(participant, watcher), network.host(bureau("XA"))
    await holder.subscribe()
    await source.issue(order())
    await source.pump()
    await holder.pump()
    assert watcher.committed_at_settlement == [before + 1]


async def test_poison_is_dead_lettered_in_the_end_and_reduced_by_the_secretariat() -> None:
    """It blocks neither its queue nor its neighbours, and its content is kept nowhere."""
    network = Network()

    def fail(turn: Turn) -> None:
        raise RuntimeError(turn.party)

    participant, _ = clerk(CANARY=fail)
    holder, source = network.host(participant), network.host(bureau("XA"))
    office = network.host(secretariat())
    await holder.subscribe()
    await office.subscribe()
    for text in ("CANARY", "fine"):
        await source.issue(pack_order(IssueMessage(label=text, to=("XB",), text=text)))
    await source.pump()
    with capture_logs():
        for _ in range(redeliveries_max + 1):
            await holder.pump()
    assert outcomes(participant, "message") == ["applied"]
    assert await network.admin.depth(queue_name(QueueKind.DATA, "XB")) == 0
    await office.pump()
    assert refused(office.participant) == ["dead_lettered"]
    assert b"CANARY" not in office.participant.database.image()


class TestParking:
    """Mail that cannot leave waits for its recipient alone."""

    async def test_full_queue_parks_its_own_recipient_and_nobody_else(self) -> None:
        """The others get everything; the parked one gets the rest once there is room."""
        network = Network()
        source, holder = network.host(bureau("XA")), network.host(bureau("XB"))
        labels = ("one", "two", "three", "four")
        for label in labels:
            await source.issue(order(label, "XB", "XC"))
        with capture_logs() as logs:
            await source.pump()
        assert source.parked == ("XB",)
        assert [(log["event"], log["recipient"]) for log in logs] == [("mail_parked", "XB")]
        assert await network.admin.depth(queue_name(QueueKind.DATA, "XC")) == len(labels)
        assert await network.admin.depth(queue_name(QueueKind.DATA, "XB")) == SMALL_QUEUE_MESSAGES
        assert not await source.pump()
        await holder.subscribe()
        await holder.pump()
        await source.tick(NOW + HOUR)
        await source.pump()
        await holder.pump()
        assert outcomes(holder.participant, "diffusion") == ["applied"] * len(labels)
        assert not source.parked

    async def test_recipient_without_a_queue_is_parked_and_named(self) -> None:
        """A member that the broker does not know yet is not forgotten."""
        network = Network("XA", "XB", "XC")
        source = network.host(bureau("XA"))
        await source.issue(order("one", "XC", "XD"))
        with capture_logs() as logs:
            await source.pump()
        assert [log["outcome"] for log in logs] == [PublishOutcome.UNROUTABLE]
        assert (await source.activity()).parked == ("XD",)
        assert await network.admin.depth(queue_name(QueueKind.DATA, "XC")) == 1

    async def test_mail_of_which_the_broker_said_nothing_is_sent_again(self) -> None:
        """The same octets go out once more, and the recipient takes them for a repeat."""
        network, participant = Network(), bureau("XA")
        mute = Mute(network.broker, "XA")
        source, holder = network.host(participant, mute), network.host(bureau("XB"))
        await holder.subscribe()
        await source.issue(order())
        with capture_logs():
            await source.pump()
        source.try_unanswered_again()
        assert await source.pump()
        await holder.pump()
        assert outcomes(holder.participant, "diffusion") == ["applied"]
        assert events(holder.participant).count("diffusion_repeated") == 1


class Mute(InProcessTransport):
    """Stores the first publications and does not say so: a connection that broke too early."""

    is_mute = True

    async def publish(self, publications: Sequence[Publication]) -> list[PublishOutcome]:
        """Publish."""
        found = await super().publish(publications)
        was_mute, self.is_mute = self.is_mute, False
        return [PublishOutcome.UNCONFIRMED] * len(found) if was_mute else found


class TestTimeAndAbsence:
    """Simulated time and members that are away."""

    async def test_held_back_mail_leaves_at_its_time(self) -> None:
        """A delay on the line to one recipient delays no other."""
        network = Network()
        source = network.host(bureau("XA"))
        await source.issue(order("one", "XB", "XC", held_back={"XB": NOW + HOUR}))
        await source.pump()
        queue = queue_name(QueueKind.DATA, "XB")
        assert await network.admin.depth(queue) == 0
        assert (await source.activity()).next_due == NOW + HOUR
        await source.tick(NOW + HOUR - 1)
        assert not await source.pump()
        await source.tick(NOW + HOUR)
        assert await source.pump()
        assert await network.admin.depth(queue) == 1

    async def test_mail_for_a_member_that_is_away_waits_in_its_queue(self) -> None:
        """It comes when the member does, statements before data where it asks so."""
        network = Network()
        source, holder = network.host(bureau("XA")), network.host(bureau("XB"))
        await holder.subscribe()
        await holder.go_away()
        await source.issue(order())
        await source.pump()
        assert not await holder.pump()
        await holder.subscribe((QueueKind.STATEMENTS,))
        assert not await holder.pump()
        await holder.subscribe()
        assert await holder.pump()
        assert len(bodies(holder.participant)) == 1

    async def test_tick_does_only_what_is_due(self) -> None:
        """Between two due times a tick costs nothing and changes nothing."""
        network = Network()
        office = network.host(secretariat())
        await office.tick(NOW)
        due = (await office.activity()).next_due
        assert due is not None
        assert NOW < due <= NOW + DAY
        count = len(events(office.participant))
        await office.tick(due - 1)
        assert len(events(office.participant)) == count
        await office.tick(due)
        assert len(events(office.participant)) > count


class TestOrdersAndInjections:
    """What comes through the control port."""

    async def test_party_without_orders_says_so(self) -> None:
        """The secretariat is not told what to diffuse."""
        office = Network().host(secretariat())
        with pytest.raises(BadInput, match="IPSG takes no orders"):
            await office.issue(order())

    async def test_order_that_cannot_be_read_is_bad_input(self) -> None:
        """One line, and nothing is changed."""
        source = Network().host(bureau("XA"))
        with pytest.raises(BadInput, match="order refused"):
            await source.issue(b"\x81\xa5order\xa5dance")
        assert not (await source.activity()).open_work

    async def test_injected_octets_go_out_as_they_are_and_are_noted(self) -> None:
        """Under the bureau's own user, whatever they say."""
        network = Network()
        source, holder = network.host(bureau("XA")), network.host(bureau("XB"))
        await holder.subscribe()
        octets = packed(diffusion())[:-1]
        sent = await source.inject(Injection("diffusion", ("XB",), octets, "forged", b"d" * 32))
        await holder.pump()
        assert sent == (PublishOutcome.CONFIRMED,)
        assert refused(holder.participant) == ["envelope_malformed"]
        assert events(source.participant)[-1] == "octets_injected"

    async def test_injection_under_anothers_routing_key_is_denied_by_the_bus(self) -> None:
        """Nothing is sent, so nothing is noted as sent."""
        network = Network()
        source = network.host(bureau("XA"))
        said = message("XC")
        forged = Injection("message", ("XB",), packed(said), said.message_id, said.digest, "XC")
        assert await source.inject(forged) == (PublishOutcome.DENIED,)
        assert "octets_injected" not in events(source.participant)


async def test_closed_host_gives_back_what_it_had_not_settled() -> None:
    """Another process of the same party finds it in the queue."""
    network = Network()
    source, holder = network.host(bureau("XA")), network.host(bureau("XB"))
    await holder.subscribe()
    await source.issue(order())
    await source.pump()
    taken = await holder.take(0)
    await holder.close()
    assert len(taken) == 1
    assert await network.admin.depth(queue_name(QueueKind.DATA, "XB")) == 1
