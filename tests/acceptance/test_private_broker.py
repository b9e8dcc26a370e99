"""A private RabbitMQ: who gets in, where it listens, and what survives a restart."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import pytest
import pytest_asyncio

from bus.pki.keystore import PkiFolder
from simulation.broker.private_broker import PrivateBroker
from simulation.broker.server_tree import ServerTree
from tests.acceptance.broker_support import (
    QUEUE,
    client_context,
    definitions,
    is_open,
    log_in,
    new_pki,
    wait_until_gone,
)

pytestmark = pytest.mark.broker
on_the_brokers_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker(
    tmp_path_factory: pytest.TempPathFactory, broker_pki: PkiFolder, server_tree: ServerTree
) -> AsyncIterator[PrivateBroker]:
    """A running broker that tests only log in to."""
    folder = tmp_path_factory.mktemp("broker") / "b"
    async with await PrivateBroker.start(
        folder, definitions(), broker_pki.broker_tls, server_tree
    ) as one:
        yield one


def listening(pid: int) -> set[str]:
    """Return the local addresses, as /proc writes them, on which a process listens."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1] for row in rows if row[3] == "0A" and row[9] in inodes}


@on_the_brokers_loop
async def test_member_logs_in_by_the_common_name_of_its_certificate(
    broker: PrivateBroker, broker_pki: PkiFolder
) -> None:
    """EXTERNAL over mutual TLS makes the certificate's CN the broker's user."""
    connection = await log_in(broker, client_context(broker_pki.tls("FR")))
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue(QUEUE)
        await channel.default_exchange.publish(
            aio_pika.Message(b"x", user_id="FR"), routing_key=QUEUE
        )
        message = await queue.get(timeout=5)
        await message.ack()
        assert message.user_id == "FR"


@on_the_brokers_loop
async def test_definitions_are_the_only_users(broker: PrivateBroker) -> None:
    """No guest and no default user exists beside those of the definitions."""
    listed = await broker.control("list_users", "--silent", "--no-table-headers")
    assert [line.split()[0] for line in listed.splitlines() if "[" in line] == ["FR"]
    assert await broker.definition_differences() == []


@on_the_brokers_loop
@pytest.mark.parametrize("case", ["no_certificate", "foreign_root", "unknown_user", "password"])
async def test_login_without_a_known_certificate_is_refused(
    case: str, broker: PrivateBroker, broker_pki: PkiFolder, tmp_path: Path
) -> None:
    """Neither TLS without our certificate nor any password opens the broker."""
    context, query = ssl.create_default_context(cafile=broker_pki.root), "?auth=external"
    if case == "foreign_root":
        foreign = new_pki(tmp_path / "pki").tls("FR")
        context.load_cert_chain(foreign.certificate, foreign.key)
    elif case == "unknown_user":
        context = client_context(broker_pki.tls("XA"))
    elif case == "password":
        context, query = client_context(broker_pki.tls("FR")), "?auth=plain"
    with pytest.raises((ConnectionError, aio_pika.exceptions.AMQPError, ssl.SSLError)):
        await log_in(broker, context, query)


@on_the_brokers_loop
async def test_every_listener_is_on_loopback_and_speaks_tls_or_erlang(
    broker: PrivateBroker,
) -> None:
    """No plain AMQP port exists, and no other machine can reach any port."""
    assert broker.pid is not None
    addresses = listening(broker.pid)
    assert len(addresses) == 2
    assert {address.split(":")[0] for address in addresses} == {"0100007F"}
    assert f"0100007F:{broker.port:04X}" in addresses


async def test_message_survives_shut_down_and_kill_on_the_same_port(
    tmp_path: Path, broker_pki: PkiFolder, server_tree: ServerTree
) -> None:
    """A confirmed persistent message is there after an orderly and after a hard restart."""
    context = client_context(broker_pki.tls("FR"))
    folder = tmp_path / "b"
    async with await PrivateBroker.start(
        folder, definitions(), broker_pki.broker_tls, server_tree
    ) as one:
        url = one.url
        async with await log_in(one, context) as connection:
            channel = await connection.channel(publisher_confirms=True)
            body = aio_pika.Message(b"kept", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(body, routing_key=QUEUE)
        await one.shut_down()
        assert (one.pid, one.died.is_set(), is_open(one.port)) == (None, False, False)
        assert any(b"kept" in path.read_bytes() for path in one.data_folder.rglob("*.wal"))
        await one.restart()
        await one.kill()
        assert (one.pid, one.died.is_set(), is_open(one.port)) == (None, True, False)
        await one.restart()
        assert (one.url, one.died.is_set()) == (url, False)
        async with await log_in(one, context) as connection:
            queue = await (await connection.channel()).get_queue(QUEUE)
            message = await queue.get(timeout=5)
            await message.ack()
            assert message.body == b"kept"
    wait_until_gone(folder, one.port)
