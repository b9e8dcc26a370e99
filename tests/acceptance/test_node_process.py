"""One party as a process: what it refuses to start with, in one line, and how it ends."""

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from bus.control.client import ControlClient
from bus.errors import EnvironmentFailed
from bus.identifiers import SECRETARIAT, QueueKind
from bus.instants import instant_to_text
from bus.pki.keystore import PkiFolder, create_pki
from bus.settings import child_environment
from bus.topology import queue_name
from bus.transport.amqp import AmqpTransport
from ncb_nodes.order_port import pack_order
from ncb_nodes.orders import IssueMessage
from simulation.broker.private_broker import PrivateBroker
from simulation.networks.files import NetworkFiles, lay_out, write_settings, write_trust
from tests.acceptance.frozen_proxy import FreezingProxy
from tests.acceptance.three_members import (
    MEMORY_KIBIBYTES_MAX,
    SEED,
    THREE_MEMBERS,
    lives,
    planned,
    resident_kibibytes,
)
from tests.contract.contract_network import MemberPool

REPOSITORY = Path(__file__).parents[2]
END_SECONDS_MAX = 20
NOBODY_LISTENS = "amqps://localhost:1/i247"
Process = subprocess.Popen[bytes]
Starter = Callable[..., Process]


@pytest.fixture
def files(tmp_path: Path) -> NetworkFiles:
    """Keys and settings of a network whose broker nobody runs."""
    return laid_out(tmp_path / "net", None, THREE_MEMBERS.members)


def laid_out(folder: Path, pki: PkiFolder | None, members: tuple[str, ...]) -> NetworkFiles:
    """Write what the processes of some members are given; their story begins now."""
    folder.mkdir(mode=0o700)
    wall_now = time.time_ns() // 1_000_000
    begins = instant_to_text(wall_now - 60_000)
    scenario = replace(
        THREE_MEMBERS, members=members, begins=begins, alerts=(), events=(), profiles={}
    )
    plan = planned(scenario)
    files = lay_out(folder, scenario, plan, wall_now, pki)
    write_trust(files, scenario, plan, SEED)
    write_settings(files, scenario, plan, SEED)
    return files


def command(files: NetworkFiles, party: str, *more: str) -> list[str]:
    """Return how to start a party."""
    module = "secretariat" if party == SECRETARIAT else "ncb_nodes"
    return [sys.executable, "-m", module, "--settings", str(files.settings(party)), *more]


def driven(files: NetworkFiles, party: str) -> list[str]:
    """Return how to start a party that is driven over its control port."""
    return command(files, party, "--control", str(files.socket(party)))


def environment(**variables: str) -> Mapping[str, str]:
    """Return the environment of a process, with settings in it."""
    return child_environment({"PYTHONPATH": str(REPOSITORY), **variables})


def refused(files: NetworkFiles, party: str, *more: str, **variables: str) -> tuple[int, str]:
    """Start a party that cannot work; return its exit code and what it says, which is one line."""
    ended = subprocess.run(
        command(files, party, *more),
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=END_SECONDS_MAX,
        check=False,
    )
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.returncode, ended.stderr.strip()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Start processes that a test ends; what is left at its end is killed."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(words: list[str], **how: Any) -> Process:  # noqa: ANN401
        with (tmp_path / "console").open("ab") as console:
            process = subprocess.Popen(words, env=environment(), stderr=console, **how)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


async def controlled(process: Process, files: NetworkFiles, party: str = "XA") -> ControlClient:
    """Return the control connection of a process that was just started."""
    async with asyncio.timeout(END_SECONDS_MAX):
        while process.poll() is None:
            with suppress(EnvironmentFailed):
                return await ControlClient.connect(files.socket(party), party)
            await asyncio.sleep(0.02)
    raise AssertionError(f"the process ended: {process.returncode}")


def listens(files: NetworkFiles, party: str) -> bool:
    """Tell whether a party's control port is there."""
    return Path(files.socket(party).path).is_socket()


async def exit_code_of(process: Process) -> int:
    """Wait for the end of a process."""
    return await asyncio.to_thread(process.wait, END_SECONDS_MAX)


class TestBadInput:
    """What a person can get wrong, each told in one line with exit code 2."""

    def test_missing_key_file(self, files: NetworkFiles) -> None:
        """A key that is not there is named."""
        files.pki.signing_key("XA").unlink()
        code, line = refused(files, "XA")
        told = f"{files.pki.signing_key('XA')}: no such file; make one with 'i247 pki init'"
        assert (code, line) == (2, f"ncb_nodes: {told}")

    def test_key_file_of_the_wrong_kind(self, files: NetworkFiles) -> None:
        """A TLS key where the signing key should be is no signing key."""
        shutil.copy(files.pki.tls("XA").key, files.pki.signing_key("XA"))
        code, line = refused(files, "XA")
        assert (code, "not an Ed25519 key" in line) == (2, True)

    @pytest.mark.parametrize("name", ["signing.key", "tls.key"])
    def test_key_file_readable_by_all(self, files: NetworkFiles, name: str) -> None:
        """A key that others can read proves nothing, and the line says what to do."""
        key = files.pki.path / "XA" / name
        key.chmod(0o644)
        code, line = refused(files, "XA")
        assert (code, line.endswith(f"run 'chmod 600 {key}'")) == (2, True)

    def test_key_of_another_party(self, files: NetworkFiles) -> None:
        """Key and certificate must be of one folder."""
        shutil.copy(files.pki.signing_key("XB"), files.pki.signing_key("XA"))
        code, line = refused(files, "XA")
        assert (code, f"not the key of {files.pki.signing_certificate('XA')}" in line) == (2, True)

    def test_certificate_of_another_party(self, files: NetworkFiles) -> None:
        """A bureau cannot start under another's name."""
        other = str(files.pki.signing_certificate("XB"))
        code, line = refused(files, "XA", I247_KEYS_SIGNING_CERTIFICATE=other)
        assert (code, line) == (2, f"ncb_nodes: {other}: the certificate of XB, not of XA")

    def test_certificate_of_another_network(self, files: NetworkFiles, tmp_path: Path) -> None:
        """A leaf that the root did not issue is no proof of anything."""
        foreign = create_pki(
            tmp_path / "foreign",
            ["XA"],
            simulated_not_before=0,
            simulated_not_after=9_000,
            wall_now=time.time_ns() // 1_000_000,
        )
        path = foreign.signing_certificate("XA")
        code, line = refused(files, "XA", I247_KEYS_SIGNING_CERTIFICATE=str(path))
        assert (code, line.startswith(f"ncb_nodes: {path}: ")) == (2, True)

    def test_settings_with_an_unknown_key(self, files: NetworkFiles) -> None:
        """The file and the key are named."""
        path = files.settings("XA")
        path.write_text(f"colour = 1\n{path.read_text()}")
        assert refused(files, "XA") == (2, f"ncb_nodes: {path}: colour: no such setting")

    def test_party_of_another_role(self, files: NetworkFiles) -> None:
        """The secretariat is not run as a bureau."""
        code, line = refused(files, "XA", I247_PARTY="IPSG")
        assert (code, line.endswith("party: 'IPSG' is no ncb")) == (2, True)

    def test_unknown_word_on_the_command_line(self, files: NetworkFiles) -> None:
        """Words are checked before anything is opened."""
        code, line = refused(files, "XA", "--colour")
        assert (code, line) == (2, "ncb_nodes: unrecognized arguments: --colour")

    def test_no_broker_named(self, files: NetworkFiles) -> None:
        """Without a runner, the settings must say where the bus is."""
        code, line = refused(files, "XA")
        assert (code, line) == (2, f"ncb_nodes: {files.settings('XA')}: broker.url: is missing")

    def test_secretariat_without_its_matching_key(self, files: NetworkFiles) -> None:
        """The secretariat's own secret is treated like a key."""
        path = files.folder / "trust" / "matching.key"
        path.chmod(0o640)
        code, line = refused(files, SECRETARIAT)
        assert (code, line.startswith(f"secretariat: {path}: other users have access")) == (2, True)

    def test_folder_of_the_control_port_open_to_others(
        self, files: NetworkFiles, tmp_path: Path
    ) -> None:
        """A control port that others can reach is not opened."""
        (tmp_path / "open").mkdir(mode=0o755)
        code, line = refused(files, "XA", "--control", f"unix:{tmp_path}/open/XA.sock")
        told = f"other users have access to {tmp_path}/open; run 'chmod 700 {tmp_path}/open'"
        assert (code, line) == (2, f"ncb_nodes: control port: {told}")

    def test_store_of_another_party(self, files: NetworkFiles) -> None:
        """A bureau does not go on with another's store."""
        refused(files, "XA", I247_BROKER_URL=NOBODY_LISTENS)
        code, line = refused(files, "XB", I247_STORE=str(files.store("XA")))
        assert (code, "belongs to XA, not to XB" in line) == (4, True)


class TestBroker:
    """What can be wrong with the bus, each told in one line with exit code 4."""

    def test_broker_that_is_down(self, files: NetworkFiles) -> None:
        """Nobody listens there."""
        code, line = refused(files, "XA", I247_BROKER_URL=NOBODY_LISTENS)
        assert (code, line.startswith("ncb_nodes: no broker answers at localhost:1 (")) == (4, True)

    @pytest.mark.broker
    def test_broker_of_another_network(
        self, files: NetworkFiles, contract_broker: PrivateBroker
    ) -> None:
        """A broker whose certificate our root did not issue is not trusted."""
        code, line = refused(files, "XA", I247_BROKER_URL=contract_broker.url)
        assert (code, "shows a certificate that our root did not issue" in line) == (4, True)

    @pytest.mark.broker
    @pytest.mark.asyncio(loop_scope="session")
    async def test_certificate_that_the_broker_refuses(
        self,
        tmp_path: Path,
        contract_broker: PrivateBroker,
        contract_pki: PkiFolder,
        member_pool: MemberPool,
    ) -> None:
        """A member whom the broker no longer knows is turned away."""
        [member] = member_pool.fresh_members(1)
        files = laid_out(tmp_path / "net", contract_pki, (member,))
        await contract_broker.control("delete_user", member)
        code, line = refused(files, member, I247_BROKER_URL=contract_broker.url)
        assert (code, f"refused user {member}" in line) == (4, True)


class TestEnd:
    """How a process ends, and what it starts again with."""

    async def test_driven_process_ends_in_order_when_asked(
        self, files: NetworkFiles, start: Starter
    ) -> None:
        """Over its control port, a party is asked to end and leaves a closed store."""
        process = start(driven(files, "XA"))
        control = await controlled(process, files)
        await control.stop()
        assert await exit_code_of(process) == 0
        await control.close()
        assert not listens(files, "XA")
        assert not files.store("XA").with_name("XA.sqlite-wal").exists()

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
    async def test_signal_ends_a_process_in_order(
        self,
        files: NetworkFiles,
        start: Starter,
        number: signal.Signals,
        code: int,
    ) -> None:
        """The first signal is a request."""
        process = start(driven(files, "XA"))
        control = await controlled(process, files)
        process.send_signal(number)
        assert await exit_code_of(process) == code
        await control.close()

    async def test_process_ends_with_its_parents_pipe(
        self, files: NetworkFiles, start: Starter
    ) -> None:
        """A runner that goes, however it goes, closes the pipe, and the process follows."""
        process = start([*driven(files, "XA"), "--end-with-stdin"], stdin=subprocess.PIPE)
        control = await controlled(process, files)
        assert lives(process.pid)
        assert process.stdin is not None
        process.stdin.close()
        assert await exit_code_of(process) == 0
        await control.close()

    async def test_killed_process_starts_again_from_its_store(
        self, files: NetworkFiles, start: Starter
    ) -> None:
        """The opening statements are taken up once, and the socket left behind is no obstacle."""
        words = driven(files, "XA")
        first = start(words)
        await (await controlled(first, files)).close()
        first.kill()
        first.wait()
        second = start(words)
        control = await controlled(second, files)
        with pytest.raises(EnvironmentFailed, match="XA has not joined the bus yet"):
            await control.history(0)
        await control.stop()
        assert await exit_code_of(second) == 0
        await control.close()


@pytest.mark.broker
class TestUndriven:
    """A party that no runner drives: the wall clock does."""

    @pytest_asyncio.fixture(loop_scope="session")
    async def pair(
        self, tmp_path: Path, contract_pki: PkiFolder, member_pool: MemberPool
    ) -> AsyncIterator[tuple[NetworkFiles, str, str]]:
        """Two members of the session's broker with their files."""
        sender, receiver = member_pool.fresh_members(2)
        yield laid_out(tmp_path / "net", contract_pki, (sender, receiver)), sender, receiver

    @pytest.mark.asyncio(loop_scope="session")
    async def test_waiting_mail_leaves_before_the_end_and_what_came_is_kept(
        self,
        pair: tuple[NetworkFiles, str, str],
        contract_broker: PrivateBroker,
        contract_pki: PkiFolder,
        start: Starter,
    ) -> None:
        """SIGTERM drains: a statement that was ordered is on the bus when the process is gone."""
        files, sender, receiver = pair
        process = start(driven(files, sender))
        control = await controlled(process, files, sender)
        await control.join(contract_broker.url)
        await control.tick(time.time_ns() // 1_000_000)
        await control.issue(pack_order(IssueMessage(label="m", to=(receiver,), text="bye")))
        process.terminate()
        assert await exit_code_of(process) == 0
        await control.close()
        reader = await AmqpTransport.open(contract_broker.url, contract_pki.tls(receiver), receiver)
        await reader.subscribe([queue_name(QueueKind.DATA, receiver)])
        [delivery] = await reader.take(10, 5)
        await reader.close()
        assert delivery.user_id == sender

    @pytest.mark.asyncio(loop_scope="session")
    async def test_second_signal_ends_a_process_that_waits_for_the_broker(
        self,
        pair: tuple[NetworkFiles, str, str],
        contract_broker: PrivateBroker,
        start: Starter,
    ) -> None:
        """While the broker is dumb, draining takes long; who insists is obeyed, nothing is lost."""
        files, sender, receiver = pair
        process = start(driven(files, sender))
        control = await controlled(process, files, sender)
        async with FreezingProxy(contract_broker.host, contract_broker.port) as proxy:
            await control.join(f"amqps://127.0.0.1:{proxy.port}/{contract_broker.vhost}")
            await control.tick(time.time_ns() // 1_000_000)
            proxy.freeze()
            await control.issue(pack_order(IssueMessage(label="m", to=(receiver,), text="bye")))
            process.terminate()
            await asyncio.sleep(0.5)
            waited = process.poll() is None
            process.terminate()
            code = await exit_code_of(process)
        await control.close()
        with closing(sqlite3.connect(files.store(sender))) as store:
            states = store.execute("SELECT state FROM outbox_mail").fetchall()
        assert (waited, code, states) == (True, 128 + signal.SIGTERM, [("due",)])

    @pytest.mark.asyncio(loop_scope="session")
    async def test_bureau_on_its_own_takes_what_comes_and_is_small(
        self,
        pair: tuple[NetworkFiles, str, str],
        contract_broker: PrivateBroker,
        start: Starter,
    ) -> None:
        """Undriven, it logs in by its settings and loads nothing that only a runner needs."""
        files, _, receiver = pair
        path = files.settings(receiver)
        path.write_text(f'{path.read_text()}[broker]\nurl = "{contract_broker.url}"\n')
        process = start(command(files, receiver))
        log = files.logs / f"{receiver}.jsonl"
        async with asyncio.timeout(END_SECONDS_MAX):
            while not has_joined(log):  # noqa: ASYNC110  (another process writes it)
                await asyncio.sleep(0.02)
        assert resident_kibibytes(process.pid) < MEMORY_KIBIBYTES_MAX
        process.terminate()
        assert await exit_code_of(process) == 0
        assert b'"process_ended"' in log.read_bytes()


def has_joined(log: Path) -> bool:
    """Tell whether a party has logged that it is on the bus."""
    return log.exists() and b'"broker_joined"' in log.read_bytes()


def test_bureau_loads_nothing_that_only_runners_need() -> None:
    """Neither the command line's nor the simulation's libraries are in a bureau's process."""
    code = (
        "import sys, ncb_nodes.process, secretariat.process\n"
        "print(sorted({'typer', 'click', 'faker', 'simulation', 'console'} & sys.modules.keys()))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"
