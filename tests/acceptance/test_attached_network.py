"""A run that attaches to broker and processes that others started, over TLS control ports."""

import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from bus.definitions import definitions
from bus.errors import BadInput
from bus.pki.keystore import TlsFiles
from bus.topology import network_topology
from simulation.broker.private_broker import PrivateBroker
from simulation.broker.server_tree import ServerTree
from simulation.networks.attached import LOG_FILE, STORE_FILE, AttachedNetwork
from simulation.networks.embedded import EmbeddedNetwork
from tests.acceptance.three_members import SEED, THREE_MEMBERS, planned, tell
from tests.unit.simulation.compose_sample import write_network

pytestmark = pytest.mark.broker

REPOSITORY = Path(__file__).parents[2]
END_SECONDS_MAX = 15
PARTIES = {
    "IPSG": "secretariat",
    "XA": "ncb_nodes",
    "XB": "simulation.networks.hosted_node",
    "XC": "ncb_nodes",
}


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Everything a network of containers is started from."""
    folder = tmp_path / "network"
    write_network(folder, scenario=THREE_MEMBERS, plan=planned(), seed=SEED)
    return folder


@pytest_asyncio.fixture
async def broker(
    network: Path, tmp_path: Path, server_tree: ServerTree
) -> AsyncIterator[PrivateBroker]:
    """A broker with that network's keys and queues."""
    keys = network / "broker"
    tls = TlsFiles(keys / "root.pem", keys / "tls.pem", keys / "tls.key")
    document = definitions(network_topology(THREE_MEMBERS.members))
    async with await PrivateBroker.start(tmp_path / "b", document, tls, server_tree) as one:
        yield one


@pytest.fixture
def parties(network: Path, broker: PrivateBroker, tmp_path: Path) -> Iterator[None]:
    """The processes that the containers would run; the runner is told where they are instead."""
    ports = free_ports(len(PARTIES))
    told = (network / "runner" / "network.toml").read_text()
    told = told.replace(tomllib.loads(told)["broker"], broker.url)
    with ExitStack() as running:
        for (party, module), port in zip(PARTIES.items(), ports, strict=True):
            data = tmp_path / "data" / party
            data.mkdir(parents=True)
            settings = network / party.lower() / "settings.toml"
            command = [sys.executable, "-m", module, "--settings", str(settings)]
            command += ["--control", f"tls://127.0.0.1:{port}"]
            process = subprocess.Popen(command, cwd=REPOSITORY, env=environment(party, data))
            running.callback(process.wait, END_SECONDS_MAX)
            running.callback(process.terminate)
            told = told.replace(f"tls://{party.lower()}:7247", f"tls://localhost:{port}")
            told = told.replace(f'"/data/{party}"', f'"{data}"')
            wait_for(port, process)
        (network / "runner" / "network.toml").write_text(told)
        yield


def environment(party: str, data: Path) -> Mapping[str, str]:
    """Return what a process is told where no volume is mounted."""
    paths = {"I247_STORE": STORE_FILE, "I247_LOG_FILE": LOG_FILE}
    if PARTIES[party] == "simulation.networks.hosted_node":
        paths["I247_LEDGER"] = "ledger.jsonl"
    return os.environ | {name: str(data / file) for name, file in paths.items()}


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens on."""
    with ExitStack() as held:
        sockets = [
            held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        return [one.getsockname()[1] for one in sockets]


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process listens, as a health check does."""
    while process.poll() is None:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise AssertionError(f"it ended with {process.returncode}")


async def attached(network: Path) -> AttachedNetwork:
    """Attach as the runner's container does."""
    return await AttachedNetwork.attach(THREE_MEMBERS, planned(), SEED, network / "runner")


@pytest.mark.usefixtures("parties")
async def test_attached_story_ends_as_embedded_and_cannot_be_told_twice(network: Path) -> None:
    """Every record has the same state at each party; a network with a past is refused."""
    over_rabbitmq = await attached(network)
    ending = await tell(over_rabbitmq)
    logs = over_rabbitmq.logs()
    await over_rabbitmq.stop()
    embedded = await EmbeddedNetwork(THREE_MEMBERS, planned(), SEED, lambda: 0).start()
    expected = await tell(embedded)
    await embedded.stop()
    assert ending.versions == expected.versions
    assert ending.rows == expected.rows
    assert ending.deviations == expected.deviations != set()
    assert ending.waiting == expected.waiting == {}
    assert logs.keys() == {f"{party}.jsonl" for party in PARTIES}
    assert all(logs.values())
    with pytest.raises(BadInput, match="IPSG has joined the bus already"):
        await attached(network)


@pytest.mark.usefixtures("parties")
async def test_token_of_another_party_opens_no_control_port(network: Path) -> None:
    """Who reaches a control port and knows only another's token drives nothing."""
    tokens = network / "runner" / "tokens"
    (tokens / "XA.key").write_bytes((tokens / "XB.key").read_bytes())
    with pytest.raises(BadInput, match="the token is not the one of this party"):
        await attached(network)
