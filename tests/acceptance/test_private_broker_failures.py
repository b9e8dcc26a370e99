"""A private RabbitMQ that cannot start: one line with the cause, and nothing left running."""

import socket
from pathlib import Path

import pytest

import simulation.broker.private_broker as module
from bus.errors import BadInput, BrokerUnavailable, KeyFileError
from bus.pki.keystore import PkiFolder, TlsFiles
from simulation.broker.configuration import free_ports
from simulation.broker.private_broker import PrivateBroker
from simulation.broker.server_tree import ServerTree
from tests.acceptance.broker_support import (
    QUEUE,
    client_context,
    definitions,
    log_in,
    traces,
)

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("position", ["amqps", "distribution", "epmd"])
async def test_port_taken_by_another_process_is_replaced(
    position: str,
    tmp_path: Path,
    broker_pki: PkiFolder,
    server_tree: ServerTree,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Losing the race for a port costs a second start, not the run."""
    taken, free = free_ports(), free_ports()
    offers = iter([taken, free])
    monkeypatch.setattr(module, "free_ports", lambda: next(offers))
    with socket.create_server(("127.0.0.1", getattr(taken, position))):
        async with await PrivateBroker.start(
            tmp_path / "b", definitions(), broker_pki.broker_tls, server_tree
        ) as one:
            assert one.port == free.amqps
            async with await log_in(one, client_context(broker_pki.tls("FR"))) as connection:
                assert not connection.is_closed


async def test_ports_that_stay_taken_end_in_one_line(
    tmp_path: Path, broker_pki: PkiFolder, server_tree: ServerTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ calls itself started without its listener; that is not taken for ready."""
    taken = free_ports()
    monkeypatch.setattr(module, "free_ports", lambda: taken)
    monkeypatch.setattr(module, "port_attempts_max", 1)
    with (
        socket.create_server(("127.0.0.1", taken.amqps)),
        pytest.raises(BrokerUnavailable, match="no TLS port: another process has") as failed,
    ):
        await PrivateBroker.start(tmp_path / "b", definitions(), broker_pki.broker_tls, server_tree)
    assert "\n" not in str(failed.value)
    assert traces(tmp_path / "b") == []


async def test_definitions_passed_over_at_boot_are_found(
    tmp_path: Path, broker_pki: PkiFolder, server_tree: ServerTree
) -> None:
    """RabbitMQ silently starts without what it could not define and what came after; we can ask."""
    told = definitions()
    told["permissions"] = [
        {"user": "XA", "vhost": "i247/test", "configure": "", "write": "", "read": ""}
    ]
    folder = tmp_path / "b"
    async with await PrivateBroker.start(folder, told, broker_pki.broker_tls, server_tree) as one:
        assert await one.definition_differences() == [
            "missing in permissions: i247/test, XA, , , ",
            f"missing in queues: i247/test, {QUEUE}",
        ]


async def test_failed_start_tells_the_cause_and_keeps_its_log(
    tmp_path: Path, broker_pki: PkiFolder, server_tree: ServerTree
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
        await PrivateBroker.start(folder, definitions(), broker_pki.broker_tls, tree)
    log = folder / "broker.log"
    assert str(failed.value) == (
        f"the private RabbitMQ ended while it was starting: out of luck; its log: {log}"
    )
    assert list(folder.glob("broker.log")) == [log]
    assert traces(folder) == []


async def test_server_that_is_no_program_is_told_at_once(
    tmp_path: Path, broker_pki: PkiFolder, server_tree: ServerTree
) -> None:
    """A tree that went away after it was found gives one line and leaves nothing running."""
    tree = ServerTree(tmp_path / "none", server_tree.erlang_bin, "0", "nowhere")
    with pytest.raises(
        BrokerUnavailable, match=r"No such file or directory: .*none/rabbitmq-server"
    ):
        await PrivateBroker.start(tmp_path / "b", definitions(), broker_pki.broker_tls, tree)
    assert traces(tmp_path / "b") == []


async def test_bad_input_is_refused_before_anything_starts(
    tmp_path: Path, broker_pki: PkiFolder, server_tree: ServerTree
) -> None:
    """A used folder, a missing virtual host and mixed-up TLS files each give one line."""
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(BadInput, match="not empty"):
        await PrivateBroker.start(
            tmp_path / "used", definitions(), broker_pki.broker_tls, server_tree
        )
    with pytest.raises(BadInput, match="name no virtual host"):
        await PrivateBroker.start(tmp_path / "b", {}, broker_pki.broker_tls, server_tree)
    mixed = TlsFiles(broker_pki.root, broker_pki.broker_tls.certificate, broker_pki.tls("FR").key)
    with pytest.raises(KeyFileError, match="not the key of"):
        await PrivateBroker.start(tmp_path / "b", definitions(), mixed, server_tree)
    assert not (tmp_path / "b").exists()
