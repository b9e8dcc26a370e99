"""A story over a real RabbitMQ, one process a party: it ends as embedded, and leaves nothing."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest
import pytest_asyncio

from bus.definitions import definitions
from bus.errors import BadInput, BrokerUnavailable, EnvironmentFailed
from bus.identifiers import SECRETARIAT, QueueKind
from bus.instants import HOUR
from bus.pki.keystore import PkiFolder, create_pki
from bus.ports import Settlement
from bus.topology import network_topology, queue_name, redeliveries_max
from bus.transport.amqp import AmqpTransport
from ncb_nodes.order_port import pack_order
from ncb_nodes.orders import IssueMessage
from simulation.broker.private_broker import PrivateBroker
from simulation.broker.server_tree import ServerTree
from simulation.cast import validity
from simulation.evidence.store_copies import opened
from simulation.networks.counters import Activities
from simulation.networks.embedded import EmbeddedNetwork
from simulation.networks.rabbitmq import RabbitMQNetwork
from simulation.networks.run_broker import GivenBus, PrivateBus
from simulation.profiles import DeviationKind
from tests.acceptance.three_members import (
    MEMORY_KIBIBYTES_MAX,
    SEED,
    THREE_MEMBERS,
    Ending,
    check_gone,
    folder_of,
    lives,
    planned,
    processes_naming,
    resident_kibibytes,
    tell,
)

pytestmark = pytest.mark.broker
on_the_brokers_loop = pytest.mark.asyncio(loop_scope="module")

REPOSITORY = Path(__file__).parents[2]
NOBODY: frozenset[str] = frozenset()
OWN_BROKER = "/i247-broker-"
QUEUE = queue_name(QueueKind.DATA, "XC")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PkiFolder:
    """Keys of the story's parties, for a broker that is given."""
    not_before, not_after = validity(THREE_MEMBERS, planned())
    return create_pki(
        tmp_path_factory.mktemp("pki") / "pki",
        THREE_MEMBERS.members,
        simulated_not_before=not_before,
        simulated_not_after=not_after,
        wall_now=time.time_ns() // 1_000_000,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker(
    tmp_path_factory: pytest.TempPathFactory, pki: PkiFolder, server_tree: ServerTree
) -> AsyncIterator[PrivateBroker]:
    """A broker that others run, as far as a story can tell."""
    document = definitions(network_topology(THREE_MEMBERS.members))
    folder = tmp_path_factory.mktemp("broker") / "b"
    async with await PrivateBroker.start(folder, document, pki.broker_tls, server_tree) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def given(broker: PrivateBroker, pki: PkiFolder) -> AsyncIterator[GivenBus]:
    """That broker, without anything that a test left in its queues."""
    yield GivenBus(broker.url, pki)
    for party in (SECRETARIAT, *THREE_MEMBERS.members):
        reader = await AmqpTransport.open(broker.url, pki.tls(party), party)
        await reader.subscribe([queue_name(kind, party) for kind in QueueKind])
        while left := await reader.take(100, 0.05):
            await reader.settle(left, Settlement.ACCEPT)
        await reader.close()


@asynccontextmanager
async def running(wanted: PrivateBus | GivenBus) -> AsyncIterator[RabbitMQNetwork]:
    """Give the story's network, and check afterwards that nothing of it is left."""
    network = await RabbitMQNetwork.start(THREE_MEMBERS, planned(), SEED, time.time_ns, wanted)
    pids = network.pids()
    folder = folder_of(pids["XA"])
    try:
        yield network
    finally:
        await network.stop()
    check_gone(folder, *pids.values())


async def tick_for_ever(network: RabbitMQNetwork) -> NoReturn:
    """Drive a network without end."""
    now = planned().begins
    while True:
        now += HOUR
        await network.tick(now)
        await network.quiet(NOBODY, NOBODY)


async def told_embedded() -> Ending:
    """Return how the story ends on the embedded bus."""
    network = await EmbeddedNetwork(THREE_MEMBERS, planned(), SEED, time.time_ns).start()
    ending = await tell(network)
    await network.stop()
    return ending


async def test_story_ends_alike_on_both_buses_and_leaves_nothing(server_tree: ServerTree) -> None:
    """Every record has the same state at each party, with the same refusals and the same deeds."""
    async with running(PrivateBus(server_tree)) as network:
        over_rabbitmq = await tell(network)
        broker_files = await network.broker_files()
    embedded = await told_embedded()
    assert over_rabbitmq.versions == embedded.versions
    assert over_rabbitmq.rows.keys() == embedded.rows.keys()
    for place, rows in embedded.rows.items():
        assert over_rabbitmq.rows[place] == rows, place
    assert len(embedded.rows["XA", "quarantine"]) == 1
    assert over_rabbitmq.deviations == network.deviations() == embedded.deviations
    assert {deed.kind for deed in embedded.deviations} == {DeviationKind.SIGNED_WITHOUT_DELETING}
    assert over_rabbitmq.waiting == embedded.waiting == {}
    assert broker_files


async def test_broker_that_dies_in_the_run_ends_it_in_one_line(server_tree: ServerTree) -> None:
    """A killed broker is told at once, with the exit code of a failed environment."""
    async with running(PrivateBus(server_tree)) as network:
        servers = [pid for pid, told in processes_naming("beam.smp").items() if OWN_BROKER in told]
        driving = asyncio.create_task(tick_for_ever(network))
        await asyncio.sleep(0.3)
        began = time.monotonic()
        os.kill(servers[0], signal.SIGKILL)
        with pytest.raises(BrokerUnavailable, match=r"^the private RabbitMQ at localhost:\d+ died"):
            await driving
        seconds = time.monotonic() - began
    assert (len(servers), seconds < 10, BrokerUnavailable.exit_code) == (1, True, 4)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_runner_that_ends_takes_everything_with_it(number: signal.Signals) -> None:
    """Killed outright or interrupted, a runner leaves no process and no folder."""
    runner = subprocess.Popen(  # noqa: ASYNC220  (its line comes in a second or ten)
        [sys.executable, "-m", "tests.acceptance.story_holder"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
    )
    assert runner.stdout is not None
    line = await asyncio.to_thread(runner.stdout.readline)
    pids: dict[str, int] = json.loads(line)
    folder = folder_of(pids["XA"])
    everything = [*pids.values(), *_below(runner.pid)]
    assert all(lives(pid) for pid in everything)
    assert len(everything) > len(pids)
    runner.send_signal(number)
    await asyncio.to_thread(runner.wait, 30)
    runner.stdout.close()
    assert runner.returncode == (130 if number is signal.SIGINT else -signal.SIGKILL)
    check_gone(folder, *everything)


def _below(ancestor: int) -> list[int]:
    """Return the processes that descend from one."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(words[1])
    found = [ancestor]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


@on_the_brokers_loop
async def test_given_broker_serves_a_story_and_lives_on(
    broker: PrivateBroker, given: GivenBus
) -> None:
    """With a URL and its keys nothing is started but the parties, and the broker is left empty."""
    async with running(given) as network:
        ending = await tell(network)
        broker_files = await network.broker_files()
    embedded = await told_embedded()
    for party in network.pids():
        assert ending.rows[party, "versions"] == embedded.rows[party, "versions"]
    assert (ending.waiting, list(broker_files)) == ({}, [])
    assert broker.pid is not None


@on_the_brokers_loop
async def test_each_party_is_a_small_process_of_its_own(
    given: GivenBus,
) -> None:
    """Only a member with a profile is run by the simulation; none is large; logs tell no canary."""
    async with running(given) as network:
        pids = network.pids()
        settings = f"{folder_of(pids['XA'])}/settings/"
        commands = {
            party: processes_naming(f"{settings}{party}.toml")[pids[party]] for party in pids
        }
        await tell(network)
        memory = {party: resident_kibibytes(pid) for party, pid in pids.items()}
    modules = {party: command.split(" -m ")[1].split()[0] for party, command in commands.items()}
    assert modules == {
        "IPSG": "secretariat",
        "XA": "ncb_nodes",
        "XB": "simulation.networks.hosted_node",
        "XC": "ncb_nodes",
    }
    assert max(memory.values()) < MEMORY_KIBIBYTES_MAX
    assert {f"{party}.jsonl" for party in pids} <= network.logs().keys()
    assert not [name for name, log in network.logs().items() if b"CANARY" in log]


@on_the_brokers_loop
async def test_party_that_dies_in_the_run_is_named(given: GivenBus) -> None:
    """A killed process ends the run with its name, and the others go as well."""
    async with running(given) as network:
        os.kill(network.pids()["XB"], signal.SIGKILL)
        with pytest.raises(EnvironmentFailed, match=r"^XB: its process was killed by signal 9$"):
            await tick_for_ever(network)


@on_the_brokers_loop
async def test_dead_letter_is_reduced_by_the_secretariat_and_the_network_becomes_quiet(
    given: GivenBus,
) -> None:
    """A message that went back too often is accounted for, kept without content, and names XC."""
    async with running(given) as network:
        before = await write_to_the_absent(network, "poison")
        poisoned = await AmqpTransport.open(given.url, given.pki.tls("XC"), "XC")
        await poisoned.subscribe([QUEUE])
        for _ in range(redeliveries_max + 1):
            await poisoned.settle(await poisoned.take(1, 5), Settlement.REQUEUE)
        remaining = await poisoned.take(1, 0.2)
        await poisoned.close()
        await network.control("XC").subscribe()
        after = await network.quiet(NOBODY, NOBODY)
        copy = (await network.store_copies())[SECRETARIAT]
        contents = await network.queue_contents()
    with opened(SECRETARIAT, copy) as store:
        rows = store.execute("SELECT code, fault, source, message_type FROM quarantine").fetchall()
    settled = {party: each.settled[QUEUE] for party, each in after.items() if QUEUE in each.settled}
    assert before["XA"].confirmed[QUEUE] == 1
    assert (remaining, settled) == ([], {SECRETARIAT: 1})
    assert rows == [("dead_lettered", "XC", "XA", "message")]
    assert b"poison" not in copy.image + copy.wal
    assert not any(contents.values())


@on_the_brokers_loop
async def test_given_broker_with_leftovers_is_refused(given: GivenBus) -> None:
    """Mail of an earlier run would fall into this one; the line names the queue."""
    async with running(given) as network:
        await write_to_the_absent(network, "left over")
    with pytest.raises(BadInput, match=r"queue i247\.data\.XC holds 1 messages of an earlier run"):
        async with running(given):
            pass


@on_the_brokers_loop
async def test_given_broker_that_dies_in_the_run_ends_it(
    broker: PrivateBroker, given: GivenBus
) -> None:
    """A broker that others run and that goes for good is told as such, by its address."""
    async with running(given) as network:
        await broker.kill()
        with pytest.raises(
            BrokerUnavailable, match=rf"^the broker at localhost:{broker.port} died"
        ):
            await tick_for_ever(network)
    await broker.restart()


async def write_to_the_absent(network: RabbitMQNetwork, text: str) -> Activities:
    """Have XA write to XC, which is away, and return what everybody counts then."""
    await network.tick(planned().begins)
    await network.control("XC").go_away()
    order = IssueMessage(label=text, to=("XC",), text=text)
    await network.control("XA").issue(pack_order(order))
    return await network.quiet(frozenset({"XC"}), NOBODY)
