"""Whatever ends a run, nothing of its private RabbitMQ is there afterwards."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.errors import BrokerUnavailable
from bus.pki.keystore import PkiFolder
from simulation.broker.private_broker import PrivateBroker
from simulation.broker.server_tree import ServerTree
from tests.acceptance.broker_support import (
    GONE_SECONDS_MAX,
    definitions,
    is_open,
    traces,
    wait_until_gone,
)

pytestmark = pytest.mark.broker

REPOSITORY = Path(__file__).parents[2]


async def test_death_of_the_server_is_told_and_stop_removes_everything(
    tmp_path: Path, broker_pki: PkiFolder, server_tree: ServerTree
) -> None:
    """A crash sets `died`; stopping afterwards, even twice, leaves no trace."""
    folder = tmp_path / "b"
    one = await PrivateBroker.start(folder, definitions(), broker_pki.broker_tls, server_tree)
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
    tmp_path: Path, broker_pki: PkiFolder, server_tree: ServerTree
) -> None:
    """Even without its guardian the broker does not live on, and the runner is told."""
    folder = tmp_path / "b"
    one = await PrivateBroker.start(folder, definitions(), broker_pki.broker_tls, server_tree)
    guardian = next(line for line in traces(folder) if "guardian.py" in line)
    os.kill(int(guardian.split(":")[0]), signal.SIGKILL)
    await asyncio.wait_for(one.died.wait(), 5)
    with pytest.raises(BrokerUnavailable, match="guardian of the private RabbitMQ was killed"):
        await one.restart()
    await one.stop()
    wait_until_gone(folder, one.port, folder_too=False)


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
    assert process.wait() == -signal.SIGKILL
    wait_until_gone(folder, port)
