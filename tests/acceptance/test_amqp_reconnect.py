"""`AmqpTransport` when things break: killed brokers, vanished consumers, refused certificates."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel
from msgspec.structs import replace
from structlog.testing import capture_logs

from bus.definitions import definitions
from bus.errors import BadInput, BrokerUnavailable, KeyFileError
from bus.identifiers import QueueKind
from bus.pki.keystore import PkiFolder, TlsFiles, create_pki
from bus.ports import PublishOutcome, Settlement
from bus.topology import ADMIN_USER, exchange_name, network_topology, queue_name
from bus.transport.amqp import AmqpSettings, AmqpTransport
from bus.transport.amqp_connection import tls_context
from simulation.broker.private_broker import PrivateBroker
from simulation.broker.server_tree import ServerTree
from tests.acceptance.frozen_proxy import FreezingProxy
from tests.contract.transport_contract import (
    assert_becomes,
    contents,
    publication,
    take_exactly,
)

pytestmark = [pytest.mark.broker, pytest.mark.asyncio(loop_scope="module")]

MEMBERS = ["XA", "XB", "XC"]
QUEUE = queue_name(QueueKind.DATA, "XB")
QUICK = AmqpSettings(
    watchdog_seconds=0.3,
    request_seconds_max=2.0,
    close_seconds_max=1.0,
    reconnect_seconds_max=0.3,
    restoration_wait_seconds_max=0.5,
)

Connect = Callable[[str], Awaitable[AmqpTransport]]


def new_pki(folder: Path) -> PkiFolder:
    """Write a PKI for the members and one user that the broker does not know."""
    wall_now = time.time_ns() // 1_000_000
    return create_pki(
        folder,
        [*MEMBERS, "XZ"],
        simulated_not_before=0,
        simulated_not_after=wall_now,
        wall_now=wall_now,
    )


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PkiFolder:
    """The network's PKI."""
    return new_pki(tmp_path_factory.mktemp("pki") / "pki")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker(
    tmp_path_factory: pytest.TempPathFactory, pki: PkiFolder, server_tree: ServerTree
) -> AsyncIterator[PrivateBroker]:
    """A broker that tests may kill; each leaves it running again."""
    folder = tmp_path_factory.mktemp("broker") / "b"
    document = definitions(network_topology(MEMBERS))
    async with await PrivateBroker.start(folder, document, pki.broker_tls, server_tree) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def connect(broker: PrivateBroker, pki: PkiFolder) -> AsyncIterator[Connect]:
    """Open transports that are closed after the test."""
    opened: list[AmqpTransport] = []

    async def open_transport(user: str) -> AmqpTransport:
        transport = await AmqpTransport.open(broker.url, pki.tls(user), user, settings=QUICK)
        opened.append(transport)
        return transport

    async with administrators_channel(broker, pki) as channel:
        await (await channel.get_queue(QUEUE)).purge()
    yield open_transport
    for transport in opened:
        await transport.close()


@asynccontextmanager
async def administrators_channel(
    broker: PrivateBroker, pki: PkiFolder
) -> AsyncIterator[AbstractChannel]:
    """Give a plain channel with every right."""
    connection = await aio_pika.connect(
        f"{broker.url}?auth=external", ssl_context=tls_context(pki.tls(ADMIN_USER))
    )
    async with connection, connection.channel() as channel:
        yield channel


async def tried_in_vain(transport: AmqpTransport) -> bool:
    """Tell whether a transport has tried to mend something and failed."""
    return transport.counters.attempts_failed > 0


async def test_transport_comes_back_after_its_broker_was_killed(
    broker: PrivateBroker, connect: Connect
) -> None:
    """Confirmed mail survives a crash; what was held comes again; both sides go on untold."""
    sender, receiver = await connect("XA"), await connect("XB")
    await receiver.subscribe([QUEUE])
    batch = [publication("XA", "XB", f"before {number}".encode()) for number in range(50)]
    assert await sender.publish(batch) == [PublishOutcome.CONFIRMED] * 50
    held = await take_exactly(receiver, 50)
    with capture_logs() as events:
        await broker.kill()
        during = await sender.publish([publication("XA", "XB", b"during")])
        await receiver.settle(held, Settlement.ACCEPT)
        assert await receiver.take(10, 0.2) == []
        await broker.restart()
        again = await take_exactly(receiver, 50)
        await receiver.settle(again, Settlement.ACCEPT)
        after = await sender.publish([publication("XA", "XB", b"after")])
    assert during == [PublishOutcome.UNCONFIRMED]
    assert contents(again) == contents(held)
    assert after == [PublishOutcome.CONFIRMED]
    assert contents(await take_exactly(receiver, 1)) == [b"after"]
    assert (receiver.counters.connections_lost, receiver.counters.connections_restored) == (1, 1)
    names = [event["event"] for event in events if event.get("user") == "XB"]
    assert names[0] == "connection_lost"
    assert names[-1] == "connection_restored"
    assert "before" not in repr(events)


async def test_nothing_is_lost_when_the_broker_dies_under_load(
    broker: PrivateBroker, connect: Connect
) -> None:
    """Publishing on and repeating what is not confirmed brings everything through a crash."""
    sender, receiver = await connect("XA"), await connect("XB")
    await receiver.subscribe([QUEUE])
    waiting = {f"{number}".encode() for number in range(3_000)}
    arrived = set[bytes]()

    async def relay() -> None:
        while waiting:
            batch = [publication("XA", "XB", content) for content in sorted(waiting)[:500]]
            outcomes = await sender.publish(batch)
            waiting.difference_update(
                each.content
                for each, outcome in zip(batch, outcomes, strict=True)
                if outcome is PublishOutcome.CONFIRMED
            )

    async def receive() -> None:
        while len(arrived) < 3_000:
            deliveries = await receiver.take(200, 0.5)
            arrived.update(contents(deliveries))
            await receiver.settle(deliveries, Settlement.ACCEPT)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(relay())
        group.create_task(receive())
        await asyncio.sleep(0.15)
        await broker.kill()
        assert waiting
        await broker.restart()
    assert len(arrived) == 3_000
    assert sender.counters.connections_restored == 1


async def test_consumer_cancelled_by_the_broker_is_rebuilt(
    broker: PrivateBroker, connect: Connect, pki: PkiFolder
) -> None:
    """A queue deleted and made again is consumed again, on the same connection."""
    receiver = await connect("XB")
    await receiver.subscribe([QUEUE])
    with capture_logs() as events:
        async with administrators_channel(broker, pki) as channel:
            await channel.queue_delete(QUEUE)
            await assert_becomes(lambda: tried_in_vain(receiver), expected=True)
            queue = await channel.declare_queue(
                QUEUE, durable=True, arguments={"x-queue-type": "quorum"}
            )
            await queue.bind(exchange_name(QueueKind.DATA), "*.*.XB")
        # One that published to the old queue would have to learn first that this is another.
        sender = await connect("XA")
        await sender.publish([publication("XA", "XB", b"alpha")])
        assert contents(await take_exactly(receiver, 1)) == [b"alpha"]
    assert receiver.counters.consumers_rebuilt == 1
    assert receiver.counters.connections_lost == 0
    names = [event["event"] for event in events]
    assert (names[0], names[-1]) == ("restoration_failed", "consumer_rebuilt")


async def test_consumer_that_vanished_silently_is_rebuilt(connect: Connect) -> None:
    """Without any notice, the watchdog finds that the broker knows no consumer of ours."""
    sender, receiver = await connect("XA"), await connect("XB")
    await receiver.subscribe([QUEUE])
    consumer = receiver._consumer  # noqa: SLF001 - nothing outside can end a consumer silently
    assert consumer is not None
    with capture_logs() as events:
        await consumer._channel.basic_cancel(consumer._tags[QUEUE])  # noqa: SLF001 - as above
        await sender.publish([publication("XA", "XB", b"alpha")])
        assert contents(await take_exactly(receiver, 1)) == [b"alpha"]
    [rebuilt] = [event for event in events if event["event"] == "consumer_rebuilt"]
    assert rebuilt["reason"] == f"the broker knows no consumer of {QUEUE}"


async def test_connection_that_went_dumb_is_replaced(
    broker: PrivateBroker, connect: Connect, pki: PkiFolder
) -> None:
    """A connection over which nothing comes any more is given up, long before its time-outs."""
    settings = replace(QUICK, heartbeat_seconds=2)
    async with FreezingProxy("127.0.0.1", broker.port) as proxy:
        url = f"amqps://localhost:{proxy.port}/{broker.vhost}"
        receiver = await AmqpTransport.open(url, pki.tls("XB"), "XB", settings=settings)
        await receiver.subscribe([QUEUE])
        sender = await connect("XA")
        proxy.freeze()
        with capture_logs() as events:
            await sender.publish([publication("XA", "XB", b"alpha")])
            # It comes once the broker, too, no longer believes in the dumb connection.
            assert contents(await take_exactly(receiver, 1)) == [b"alpha"]
        await receiver.close()
    [lost] = [event for event in events if event["event"] == "connection_lost"]
    assert lost["reason"] == "it answers no more"


async def test_transport_whose_broker_is_down_closes_at_once(
    broker: PrivateBroker, connect: Connect
) -> None:
    """Nobody waits for a broker that is not there in order to stop."""
    transport = await connect("XA")
    await transport.subscribe([queue_name(QueueKind.DATA, "XA")])
    await broker.kill()
    begun = time.monotonic()
    await transport.close()
    took_seconds = time.monotonic() - begun
    await broker.restart()
    assert took_seconds < 3.0


async def test_user_removed_and_made_again_is_let_in_again(
    broker: PrivateBroker, connect: Connect
) -> None:
    """A refused user is denied, not forgotten: the transport goes on asking."""
    sender = await connect("XC")
    permissions = ["set_permissions", "-p", broker.vhost, "XC", "^$", "i247", "^$"]
    await broker.control("delete_user", "XC")

    async def outcome() -> PublishOutcome:
        return (await sender.publish([publication("XC", "XA", b"alpha")]))[0]

    await assert_becomes(outcome, PublishOutcome.DENIED)
    await broker.control("add_user", "XC", "not-used-for-login")
    await broker.control(*permissions)
    await assert_becomes(outcome, PublishOutcome.CONFIRMED)
    assert sender.counters.connections_restored >= 1


async def test_broker_that_is_down_is_named_at_once(pki: PkiFolder) -> None:
    """Where nothing listens, opening fails quickly with the address in one line."""
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=r"^no broker answers at localhost:9 ") as refused:
        await AmqpTransport.open("amqps://localhost:9/i247", pki.tls("XA"), "XA")
    assert time.monotonic() - begun < 2.0
    assert "\n" not in str(refused.value)


async def test_broker_that_never_answers_is_given_up(pki: PkiFolder) -> None:
    """Something that takes the connection and stays silent is no broker."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqps://localhost:{silent.getsockname()[1]}/i247"
        settings = AmqpSettings(connect_seconds_max=0.3)
        with pytest.raises(BrokerUnavailable, match="no answer from the broker"):
            await AmqpTransport.open(url, pki.tls("XA"), "XA", settings=settings)


async def test_certificate_of_a_foreign_root_is_refused(
    broker: PrivateBroker, pki: PkiFolder, tmp_path: Path
) -> None:
    """The broker lets in nobody whose certificate another root issued."""
    foreign = new_pki(tmp_path / "foreign").tls("XA")
    tls = TlsFiles(pki.root, foreign.certificate, foreign.key)
    with pytest.raises(BrokerUnavailable, match=r"certificate") as refused:
        await AmqpTransport.open(broker.url, tls, "XA")
    assert "\n" not in str(refused.value)


async def test_broker_of_a_foreign_root_is_not_trusted(
    broker: PrivateBroker, pki: PkiFolder, tmp_path: Path
) -> None:
    """We talk to no broker whose certificate our root did not issue."""
    own = pki.tls("XA")
    tls = TlsFiles(new_pki(tmp_path / "foreign").root, own.certificate, own.key)
    with pytest.raises(BrokerUnavailable, match="certificate that our root did not issue"):
        await AmqpTransport.open(broker.url, tls, "XA")


async def test_broker_under_another_name_is_not_trusted(
    broker: PrivateBroker, pki: PkiFolder
) -> None:
    """The broker's certificate must name the host that we asked for."""
    url = broker.url.replace("localhost", "127.1")
    with pytest.raises(BrokerUnavailable, match="certificate for another host name"):
        await AmqpTransport.open(url, pki.tls("XA"), "XA")


async def test_user_unknown_to_the_broker_is_refused(broker: PrivateBroker, pki: PkiFolder) -> None:
    """A genuine certificate of somebody who has no user opens nothing."""
    with pytest.raises(BrokerUnavailable, match="refused user XZ"):
        await AmqpTransport.open(broker.url, pki.tls("XZ"), "XZ")


async def test_virtual_host_that_does_not_exist_is_refused(
    broker: PrivateBroker, pki: PkiFolder
) -> None:
    """The right broker with the wrong virtual host is one line too."""
    url = broker.url.replace("/i247", "/elsewhere")
    with pytest.raises(BrokerUnavailable, match="refused user XA"):
        await AmqpTransport.open(url, pki.tls("XA"), "XA")


async def test_certificate_of_another_user_publishes_nothing(
    broker: PrivateBroker, pki: PkiFolder
) -> None:
    """Who logs in as one and publishes as another is denied everything."""
    impostor = await AmqpTransport.open(broker.url, pki.tls("XA"), "XB")
    outcomes = await impostor.publish([publication("XA", "XB", b"forged")] * 3)
    await impostor.close()
    assert outcomes == [PublishOutcome.DENIED] * 3


@pytest.mark.parametrize(
    "url", ["amqp://localhost/i247", "localhost:5671", "amqps:///i247", "amqps://localhost:x/"]
)
async def test_url_without_tls_or_host_is_bad_input(pki: PkiFolder, url: str) -> None:
    """Only a whole ``amqps://`` URL is a broker's."""
    with pytest.raises(BadInput, match="broker URL"):
        await AmqpTransport.open(url, pki.tls("XA"), "XA")


async def test_missing_key_file_is_named(pki: PkiFolder, tmp_path: Path) -> None:
    """A key that is not there is the person's to mend, and its file is named."""
    own = pki.tls("XA")
    for tls in (
        TlsFiles(tmp_path / "none.pem", own.certificate, own.key),
        TlsFiles(own.root, tmp_path / "none.pem", own.key),
    ):
        with pytest.raises(KeyFileError, match=r"none\.pem"):
            await AmqpTransport.open("amqps://localhost:9/i247", tls, "XA")
