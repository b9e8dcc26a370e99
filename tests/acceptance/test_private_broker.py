"""A private RabbitMQ: who gets in, what survives a restart, and that nothing of it stays behind."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest
import pytest_asyncio

import simulation.broker.private_broker as module
from bus.errors import BadInput, BrokerUnavailable, KeyFileError
from bus.pki.keystore import PkiFolder, TlsFiles, create_pki
from simulation.broker.configuration import free_ports
from simulation.broker.private_broker import PrivateBroker
from simulation.broker.server_tree import ServerTree

pytestmark = pytest.mark.broker
on_the_brokers_loop = pytest.mark.asyncio(loop_scope="module")

REPOSITORY = Path(__file__).parents[2]
QUEUE = "i247.data.FR"
GONE_SECONDS_MAX = 10.0


def definitions() -> dict[str, Any]:
    """Return a virtual host with one member and its quorum queue."""
    everything = {"configure": "", "write": ".*", "read": ".*"}
    return {
        "vhosts": [{"name": "i247/test"}],
        "users": [{"name": "FR", "password_hash": "", "tags": ""}],
        "permissions": [{"user": "FR", "vhost": "i247/test", **everything}],
        "queues": [
            {
                "name": QUEUE,
                "vhost": "i247/test",
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": "quorum"},
            }
        ],
    }


def new_pki(folder: Path) -> PkiFolder:
    """Write a PKI with one known member and one that the definitions do not name."""
    wall_now = int(time.time() * 1000)
    return create_pki(
        folder,
        ["FR", "XA"],
        simulated_not_before=0,
        simulated_not_after=wall_now,
        wall_now=wall_now,
    )


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PkiFolder:
    """A PKI folder that no test changes."""
    return new_pki(tmp_path_factory.mktemp("pki") / "pki")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker(
    tmp_path_factory: pytest.TempPathFactory, pki: PkiFolder, server_tree: ServerTree
) -> AsyncIterator[PrivateBroker]:
    """A running broker that tests only log in to."""
    folder = tmp_path_factory.mktemp("broker") / "b"
    async with await PrivateBroker.start(folder, definitions(), pki.broker_tls, server_tree) as one:
        yield one


def client_context(tls: TlsFiles) -> ssl.SSLContext:
    """Return a TLS context that shows a user's certificate and checks the broker's."""
    context = ssl.create_default_context(cafile=tls.root)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


async def log_in(
    broker: PrivateBroker, context: ssl.SSLContext, query: str = "?auth=external"
) -> aio_pika.abc.AbstractConnection:
    """Connect as aio-pika users do."""
    return await aio_pika.connect(broker.url + query, ssl_context=context, timeout=10)


def traces(folder: Path) -> list[str]:
    """Return the processes that have `folder` in their command line or environment."""
    needle = str(folder).encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if needle in told:
            found.append(f"{process.name}: {told[:80]!r}")
    return found


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


def is_open(port: int) -> bool:
    """Tell whether somebody listens on a local port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until_gone(folder: Path, port: int, *, folder_too: bool = True) -> None:
    """Assert that processes and port of a broker, and mostly its folder, are gone soon."""
    deadline = time.monotonic() + GONE_SECONDS_MAX
    while (traces(folder) or (folder_too and folder.exists())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (traces(folder), is_open(port)) == ([], False)
    assert not (folder_too and folder.exists())


@on_the_brokers_loop
async def test_member_logs_in_by_the_common_name_of_its_certificate(
    broker: PrivateBroker, pki: PkiFolder
) -> None:
    """EXTERNAL over mutual TLS makes the certificate's CN the broker's user."""
    connection = await log_in(broker, client_context(pki.tls("FR")))
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
    case: str, broker: PrivateBroker, pki: PkiFolder, tmp_path: Path
) -> None:
    """Neither TLS without our certificate nor any password opens the broker."""
    context, query = ssl.create_default_context(cafile=pki.root), "?auth=external"
    if case == "foreign_root":
        foreign = new_pki(tmp_path / "pki").tls("FR")
        context.load_cert_chain(foreign.certificate, foreign.key)
    elif case == "unknown_user":
        context = client_context(pki.tls("XA"))
    elif case == "password":
        context, query = client_context(pki.tls("FR")), "?auth=plain"
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
    tmp_path: Path, pki: PkiFolder, server_tree: ServerTree
) -> None:
    """A confirmed persistent message is there after an orderly and after a hard restart."""
    context = client_context(pki.tls("FR"))
    folder = tmp_path / "b"
    async with await PrivateBroker.start(folder, definitions(), pki.broker_tls, server_tree) as one:
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


async def test_death_of_the_server_is_told_and_stop_removes_everything(
    tmp_path: Path, pki: PkiFolder, server_tree: ServerTree
) -> None:
    """A crash sets `died`; stopping afterwards, even twice, leaves no trace."""
    folder = tmp_path / "b"
    one = await PrivateBroker.start(folder, definitions(), pki.broker_tls, server_tree)
    assert one.pid is not None
    assert len(traces(folder)) >= 3
    os.kill(one.pid, signal.SIGKILL)
    await asyncio.wait_for(one.died.wait(), 5)
    await one.stop()
    await one.stop()
    wait_until_gone(folder, one.port)
    with pytest.raises(BrokerUnavailable, match="was stopped already"):
        await one.restart()


async def test_killed_guardian_takes_the_broker_with_it(
    tmp_path: Path, pki: PkiFolder, server_tree: ServerTree
) -> None:
    """Even without its guardian the broker does not live on, and the runner is told."""
    folder = tmp_path / "b"
    one = await PrivateBroker.start(folder, definitions(), pki.broker_tls, server_tree)
    guardian = next(line for line in traces(folder) if "guardian.py" in line)
    os.kill(int(guardian.split(":")[0]), signal.SIGKILL)
    await asyncio.wait_for(one.died.wait(), 5)
    with pytest.raises(BrokerUnavailable, match="guardian of the private RabbitMQ was killed"):
        await one.restart()
    await one.stop()
    wait_until_gone(folder, one.port, folder_too=False)


@pytest.mark.parametrize("position", ["amqps", "distribution", "epmd"])
async def test_port_taken_by_another_process_is_replaced(
    position: str,
    tmp_path: Path,
    pki: PkiFolder,
    server_tree: ServerTree,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Losing the race for a port costs a second start, not the run."""
    taken, free = free_ports(), free_ports()
    offers = iter([taken, free])
    monkeypatch.setattr(module, "free_ports", lambda: next(offers))
    with socket.create_server(("127.0.0.1", getattr(taken, position))):
        async with await PrivateBroker.start(
            tmp_path / "b", definitions(), pki.broker_tls, server_tree
        ) as one:
            assert one.port == free.amqps
            async with await log_in(one, client_context(pki.tls("FR"))) as connection:
                assert not connection.is_closed


async def test_ports_that_stay_taken_end_in_one_line(
    tmp_path: Path, pki: PkiFolder, server_tree: ServerTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ calls itself started without its listener; that is not taken for ready."""
    taken = free_ports()
    monkeypatch.setattr(module, "free_ports", lambda: taken)
    monkeypatch.setattr(module, "port_attempts_max", 1)
    with (
        socket.create_server(("127.0.0.1", taken.amqps)),
        pytest.raises(BrokerUnavailable, match="no TLS port: another process has") as failed,
    ):
        await PrivateBroker.start(tmp_path / "b", definitions(), pki.broker_tls, server_tree)
    assert "\n" not in str(failed.value)
    assert traces(tmp_path / "b") == []


async def test_definitions_passed_over_at_boot_are_found(
    tmp_path: Path, pki: PkiFolder, server_tree: ServerTree
) -> None:
    """RabbitMQ silently starts without what it could not define and what came after; we can ask."""
    told = definitions()
    told["permissions"] = [
        {"user": "XA", "vhost": "i247/test", "configure": "", "write": "", "read": ""}
    ]
    folder = tmp_path / "b"
    async with await PrivateBroker.start(folder, told, pki.broker_tls, server_tree) as one:
        assert await one.definition_differences() == [
            "missing in permissions: i247/test, XA, , , ",
            f"missing in queues: i247/test, {QUEUE}",
        ]


async def test_failed_start_tells_the_cause_and_keeps_its_log(
    tmp_path: Path, pki: PkiFolder, server_tree: ServerTree
) -> None:
    """A server that ends while it starts gives one line with its reason and the log's place."""
    sbin = tmp_path / "sbin"
    sbin.mkdir()
    (sbin / "rabbitmq-server").write_text(
        "#!/bin/sh\n"
        'echo "2026-01-01 00:00:00+00:00 [error] <0.1.0> out of luck" >> "$RABBITMQ_LOGS"\n'
        "exit 1\n"
    )
    (sbin / "rabbitmq-server").chmod(0o755)
    tree = ServerTree(sbin, server_tree.erlang_bin, "0", "made up")
    folder = tmp_path / "b"
    with pytest.raises(BrokerUnavailable) as failed:
        await PrivateBroker.start(folder, definitions(), pki.broker_tls, tree)
    log = folder / "broker.log"
    assert str(failed.value) == (
        f"the private RabbitMQ ended while it was starting: out of luck; its log: {log}"
    )
    assert list(folder.glob("broker.log")) == [log]
    assert traces(folder) == []


async def test_server_that_is_no_program_is_told_at_once(
    tmp_path: Path, pki: PkiFolder, server_tree: ServerTree
) -> None:
    """A tree that went away after it was found gives one line and leaves nothing running."""
    tree = ServerTree(tmp_path / "none", server_tree.erlang_bin, "0", "nowhere")
    with pytest.raises(BrokerUnavailable, match="none/rabbitmq-server: No such file"):
        await PrivateBroker.start(tmp_path / "b", definitions(), pki.broker_tls, tree)
    assert traces(tmp_path / "b") == []


async def test_bad_input_is_refused_before_anything_starts(
    tmp_path: Path, pki: PkiFolder, server_tree: ServerTree
) -> None:
    """A used folder, a missing virtual host and mixed-up TLS files each give one line."""
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(BadInput, match="not empty"):
        await PrivateBroker.start(tmp_path / "used", definitions(), pki.broker_tls, server_tree)
    with pytest.raises(BadInput, match="name no virtual host"):
        await PrivateBroker.start(tmp_path / "b", {}, pki.broker_tls, server_tree)
    mixed = TlsFiles(pki.root, pki.broker_tls.certificate, pki.tls("FR").key)
    with pytest.raises(KeyFileError, match="not the key of"):
        await PrivateBroker.start(tmp_path / "b", definitions(), mixed, server_tree)
    assert not (tmp_path / "b").exists()


@pytest.fixture
def holder(
    tmp_path: Path, server_tree: ServerTree
) -> Iterator[tuple["subprocess.Popen[str]", Path, int]]:
    """A runner process of its own group that holds a broker: process, folder and port."""
    assert server_tree.version
    folder = tmp_path / "b"
    script = Path(__file__).with_name("broker_holder.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        yield process, folder, json.loads(process.stdout.readline())["port"]
        process.kill()


def test_nothing_stays_after_the_runner_is_killed(
    holder: tuple["subprocess.Popen[str]", Path, int],
) -> None:
    """After kill -9 of the runner its guardian ends every process and removes the folder."""
    process, folder, port = holder
    assert is_open(port)
    process.kill()
    process.wait()
    wait_until_gone(folder, port)


def test_nothing_stays_after_ctrl_c(
    holder: tuple["subprocess.Popen[str]", Path, int],
) -> None:
    """An interrupt of the whole foreground group, as a terminal sends it, ends all in order."""
    process, folder, port = holder
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(GONE_SECONDS_MAX) == 130
    wait_until_gone(folder, port)


def test_nothing_stays_after_the_runners_group_is_killed(
    holder: tuple["subprocess.Popen[str]", Path, int],
) -> None:
    """A job killed as a group, as by a shell or a build server, does not take the guardian."""
    process, folder, port = holder
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_until_gone(folder, port)
