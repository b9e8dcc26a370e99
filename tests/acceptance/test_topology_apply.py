"""`i247 topology apply`: a running broker takes the network's definitions."""

import asyncio
import shlex
import sys
from pathlib import Path

import pytest

from bus.definitions import definitions
from bus.topology import network_topology
from simulation.broker.private_broker import PrivateBroker
from simulation.broker.server_tree import ServerTree
from tests.acceptance.broker_support import new_pki

pytestmark = pytest.mark.broker


async def test_definitions_of_a_larger_network_are_taken_up_by_a_running_broker(
    tmp_path: Path, server_tree: ServerTree
) -> None:
    """After the command the broker has the queues of the members that joined."""
    pki = new_pki(tmp_path / "pki")
    document = definitions(network_topology(("XA", "XB")))
    broker = await PrivateBroker.start(tmp_path / "b", document, pki.broker_tls, server_tree)
    async with broker:
        assert "i247.data.XC" not in await broker.control("list_queues", "-p", "i247", "name")
        told = await _apply(_administration(broker, tmp_path / "administer"))
        assert "applied" in told
        assert "i247.data.XC" in await broker.control("list_queues", "-p", "i247", "name")


async def test_failing_administration_is_told_in_one_line(tmp_path: Path) -> None:
    """A command that fails is named, with its own last line."""
    script = tmp_path / "administer"
    script.write_text("#!/bin/sh\necho the broker is out >&2\nexit 7\n")
    script.chmod(0o700)
    told = await _apply(script, code=4)
    assert told.count("\n") == 1
    assert "the broker is out" in told


def _administration(broker: PrivateBroker, script: Path) -> Path:
    """Write the broker's rabbitmqctl, with its environment, as one command."""
    command, variables = broker.administration
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    script.write_text("\n".join(["#!/bin/sh", *exports, f'exec {shlex.join(command)} "$@"', ""]))
    script.chmod(0o700)
    return script


async def _apply(script: Path, code: int = 0) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "console.cli", "topology", "apply", "--members", "3", "--through", str(script)),
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await process.communicate()
    assert process.returncode == code, told
    return told.decode()
