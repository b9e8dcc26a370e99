"""The control port between a runner and a party: who gets in, order of answers, and failures."""

import asyncio
import stat
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from bus.control import wire
from bus.control.client import ControlClient
from bus.control.server import ControlServer, ServerAccess, connections_max
from bus.control.wire import TlsAddress, UnixAddress
from bus.errors import BadInput, BrokerUnavailable, EnvironmentFailed
from bus.host import Activity, Injection
from bus.identifiers import QueueKind
from bus.instants import Instant
from bus.pki.keystore import PkiFolder, create_pki, load_authority
from bus.storage.history import HistoryRow

TOKEN = "t" * 40
QUIET = Activity(0, {}, {}, pending=False, parked=(), next_due=None, open_work=0)


class Puppet:
    """A party that notes what it is told and fails where a test says so."""

    def __init__(self) -> None:
        self.party = "XA"
        self.told: list[object] = []
        self.error: Exception | None = None
        self.delay_seconds = 0.0

    async def _note(self, *what: object) -> None:
        await asyncio.sleep(self.delay_seconds)
        if self.error is not None:
            raise self.error
        self.told.append(what)

    async def join(self, broker_url: str) -> None:
        """Note it."""
        await self._note("join", broker_url)

    async def tick(self, now: Instant) -> None:
        """Note it."""
        await self._note("tick", now)

    async def issue(self, order: bytes) -> bytes:
        """Note it and return the order backwards."""
        await self._note("issue", order)
        return order[::-1]

    async def inject(self, injection: Injection) -> tuple[str, ...]:
        """Note it and confirm every recipient."""
        await self._note("inject", injection)
        return ("confirmed",) * len(injection.recipients)

    async def subscribe(self, kinds: tuple[QueueKind, ...]) -> None:
        """Note it."""
        await self._note("subscribe", kinds)

    async def go_away(self) -> None:
        """Note it."""
        await self._note("go_away")

    async def activity(self) -> Activity:
        """Note it."""
        await self._note("activity")
        return QUIET

    async def catch_up(self, settled: dict[str, int], wait_seconds: float) -> Activity:
        """Note it."""
        await self._note("catch_up", settled, wait_seconds)
        return QUIET

    async def hold(self) -> Activity:
        """Note it."""
        await self._note("hold")
        return QUIET

    async def history(self, after: int) -> Sequence[HistoryRow]:
        """Note it and return one event."""
        await self._note("history", after)
        return [HistoryRow(after + 1, 0, 0, "tick_noted", "", "", "", "", None, "")]

    def ask_to_stop(self) -> None:
        """Note it."""
        self.told.append(("stop",))


def mode_of(path: str) -> int:
    """Return who may do what with a file."""
    return stat.S_IMODE(Path(path).stat().st_mode)


@pytest.fixture
def puppet() -> Puppet:
    """A party that does what it is told."""
    return Puppet()


@pytest.fixture
def address(tmp_path: Path) -> UnixAddress:
    """A socket in a folder that is still to be made."""
    return UnixAddress(str(tmp_path / "control" / "XA.sock"))


@pytest.fixture
async def server(puppet: Puppet, address: UnixAddress) -> AsyncIterator[ControlServer]:
    """The puppet's control port."""
    server = await ControlServer.open(address, puppet)
    yield server
    await server.close()


@pytest.fixture
async def client(server: ControlServer, address: UnixAddress) -> AsyncIterator[ControlClient]:
    """A runner that is connected."""
    assert not server.failed.done()
    client = await ControlClient.connect(address, "XA")
    yield client
    await client.close()


async def test_every_verb_reaches_the_party(client: ControlClient, puppet: Puppet) -> None:
    """Each verb arrives with what it was given, and brings back what it was answered."""
    injection = Injection("diffusion", ("XB", "XC"), b"octets", "id", b"digest")
    await client.join("amqps://localhost:1/i247")
    await client.tick(7)
    assert await client.issue(b"abc") == b"cba"
    assert await client.inject(injection) == ("confirmed", "confirmed")
    await client.subscribe((QueueKind.STATEMENTS,))
    await client.go_away()
    assert await client.activity() == QUIET
    assert await client.catch_up({"i247.data.XA": 2}, 0.25) == QUIET
    assert await client.hold() == QUIET
    assert [row.seq for row in await client.history(4)] == [5]
    await client.stop()
    assert puppet.told == [
        ("join", "amqps://localhost:1/i247"),
        ("tick", 7),
        ("issue", b"abc"),
        ("inject", injection),
        ("subscribe", (QueueKind.STATEMENTS,)),
        ("go_away",),
        ("activity",),
        ("catch_up", {"i247.data.XA": 2}, 0.25),
        ("hold",),
        ("history", 4),
        ("stop",),
    ]


async def test_many_requests_at_once_are_answered_in_order(
    client: ControlClient, puppet: Puppet
) -> None:
    """Requests on one connection are carried out and answered one after the other."""
    orders = [str(number).encode() for number in range(200)]
    answers = await asyncio.gather(*(client.issue(order) for order in orders))
    assert answers == [order[::-1] for order in orders]
    assert puppet.told == [("issue", order) for order in orders]


async def test_bad_input_of_the_party_arrives_as_bad_input(
    client: ControlClient, puppet: Puppet
) -> None:
    """What the party refuses is refused to the caller, and the connection goes on."""
    puppet.error = BadInput("XA has issued no record 'x'")
    with pytest.raises(BadInput, match=r"^XA has issued no record 'x'$"):
        await client.issue(b"order")
    puppet.error = BrokerUnavailable("no broker answers")
    with pytest.raises(BrokerUnavailable, match=r"^no broker answers$"):
        await client.join()
    puppet.error = None
    assert await client.issue(b"ab") == b"ba"


async def test_injection_over_the_frame_limit_is_bad_input_and_harms_nothing(
    client: ControlClient,
) -> None:
    """The runner's own limit stops it; the connection is still in step."""
    huge = Injection("diffusion", ("XB",), b"x" * (wire.frame_bytes_max + 1), "id", b"")
    with pytest.raises(BadInput, match="octets are more than"):
        await client.inject(huge)
    assert await client.issue(b"ab") == b"ba"


async def test_abandoned_call_does_not_shift_later_answers(
    client: ControlClient, puppet: Puppet
) -> None:
    """A caller that no longer waits leaves its answer behind, not to the next caller."""
    puppet.delay_seconds = 0.05
    abandoned = asyncio.create_task(client.issue(b"one"))
    await asyncio.sleep(0.01)
    abandoned.cancel()
    assert await client.issue(b"two") == b"owt"
    assert abandoned.cancelled()


async def test_lost_connection_names_the_party(
    client: ControlClient, server: ControlServer, puppet: Puppet
) -> None:
    """Whoever waits when the party goes is told, and so is everybody after."""
    puppet.delay_seconds = 5
    waiting = asyncio.create_task(client.issue(b"order"))
    await asyncio.sleep(0.01)
    await server.close()
    for call in (waiting, client.activity()):
        with pytest.raises(EnvironmentFailed, match=r"^XA: its control connection was lost$"):
            await call


async def test_nobody_there_names_the_party(address: UnixAddress) -> None:
    """A port that does not answer is an environment failure in one line."""
    with pytest.raises(EnvironmentFailed, match=r"^XB: its control port unix:.* does not answer"):
        await ControlClient.connect(address, "XB")


async def test_wrong_party_is_noticed(server: ControlServer, address: UnixAddress) -> None:
    """A runner that reaches another party than it meant does not drive it."""
    assert not server.failed.done()
    with pytest.raises(EnvironmentFailed, match=r"^XB: unix:.* is XA's control port$"):
        await ControlClient.connect(address, "XB")


async def test_defect_of_the_party_ends_the_port(
    client: ControlClient, server: ControlServer, puppet: Puppet
) -> None:
    """An exception that is none of ours is a defect: the process learns of it and must end."""
    puppet.error = ZeroDivisionError()
    with pytest.raises(EnvironmentFailed, match="was lost"):
        await client.issue(b"order")
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(asyncio.shield(server.failed), 1)


async def test_socket_is_private(server: ControlServer, address: UnixAddress) -> None:
    """Only its owner can reach the socket, by its own mode and by its folder's."""
    assert not server.failed.done()
    assert mode_of(address.path) == 0o600
    assert mode_of(str(Path(address.path).parent)) == 0o700


async def test_folder_open_to_others_is_refused(puppet: Puppet, tmp_path: Path) -> None:
    """A socket in a folder that others can enter would not be private."""
    (tmp_path / "open").mkdir(mode=0o750)
    with pytest.raises(BadInput, match=r"run 'chmod 700 .*open'"):
        await ControlServer.open(UnixAddress(str(tmp_path / "open" / "XA.sock")), puppet)


async def test_socket_of_a_living_process_is_not_taken_over(
    server: ControlServer, address: UnixAddress, puppet: Puppet
) -> None:
    """A second process of the same party does not steal the port of the first."""
    assert not server.failed.done()
    with pytest.raises(BadInput, match="another process serves it"):
        await ControlServer.open(address, puppet)


async def test_socket_left_by_a_crash_is_replaced(puppet: Puppet, tmp_path: Path) -> None:
    """A process that was killed leaves its socket; the next one starts all the same."""
    address = UnixAddress(str(tmp_path / "XA.sock"))
    left = await asyncio.start_unix_server(lambda *_: None, address.path)
    left.close()
    assert mode_of(address.path)
    server = await ControlServer.open(address, puppet)
    client = await ControlClient.connect(address, "XA")
    assert await client.activity() == QUIET
    await client.close()
    await server.close()
    with pytest.raises(FileNotFoundError):
        mode_of(address.path)


@pytest.mark.parametrize(
    ("octets", "line"),
    [
        pytest.param(b"\xff\xff\xff\xff", "over 1024", id="huge greeting"),
        pytest.param(b"\x00\x00\x00\x01\xc1", "no request", id="no msgpack"),
        pytest.param(wire.frame(wire.Hold()), "greet first", id="no greeting"),
        pytest.param(wire.frame(wire.Greet(99)), "format version 99", id="other version"),
        pytest.param(
            wire.frame(wire.Greet(1)) + wire.frame(wire.Greet(1)), "greeted already", id="twice"
        ),
    ],
)
async def test_caller_that_does_not_keep_to_the_rules_is_told(
    server: ControlServer, address: UnixAddress, octets: bytes, line: str
) -> None:
    """Whatever comes instead of a greeting and known requests is answered with the reason."""
    reader, writer = await asyncio.open_unix_connection(address.path)
    writer.write(octets)
    answer: wire.AnyAnswer = wire.Done()
    while not isinstance(answer, wire.Failed):
        answer = wire.answer_in(await wire.read_content(reader))
    writer.close()
    assert line in answer.line
    assert not server.failed.done()


async def test_caller_that_goes_away_in_the_middle_harms_nobody(
    server: ControlServer, address: UnixAddress, client: ControlClient
) -> None:
    """Half a frame and a hang-up end that one connection and nothing else."""
    _, writer = await asyncio.open_unix_connection(address.path)
    writer.write(wire.frame(wire.Greet(1)) + b"\x00\x00")
    writer.close()
    await asyncio.sleep(0.05)
    assert await client.activity() == QUIET
    assert not server.failed.done()


async def test_too_many_callers_are_turned_away(
    server: ControlServer, address: UnixAddress
) -> None:
    """The number of connections is bounded; one that ends makes room."""
    assert not server.failed.done()
    callers = [await ControlClient.connect(address, "XA") for _ in range(connections_max)]
    with pytest.raises(EnvironmentFailed, match="XA: its control connection was lost"):
        await ControlClient.connect(address, "XA")
    await callers.pop().close()
    await asyncio.sleep(0.05)
    callers.append(await ControlClient.connect(address, "XA"))
    assert await callers[-1].activity() == QUIET
    for caller in callers:
        await caller.close()


class TestTls:
    """The control port between containers."""

    @pytest.fixture
    def pki(self, tmp_path: Path) -> PkiFolder:
        """A network's keys, with a server certificate for localhost."""
        now = time.time_ns() // 1_000_000
        return create_pki(
            tmp_path / "pki",
            ["XA"],
            simulated_not_before=0,
            simulated_not_after=now,
            wall_now=now,
        )

    @pytest.fixture
    def access(self, pki: PkiFolder) -> ServerAccess:
        """What the puppet's port is opened with."""
        identity = load_authority(pki).issue_broker_tls(time.time_ns() // 1_000_000)
        certificate, key = pki.path / "control.pem", pki.path / "control.key"
        certificate.write_bytes(identity.certificate_pem)
        key.write_bytes(identity.key_pem)
        return ServerAccess(certificate, key, TOKEN)

    @pytest.fixture
    async def port(self, puppet: Puppet, access: ServerAccess) -> AsyncIterator[TlsAddress]:
        """A port that listens, with its number."""
        server = await ControlServer.open(TlsAddress("127.0.0.1", 0), puppet, access)
        yield TlsAddress("localhost", server.port)
        await server.close()

    async def test_token_opens_it(self, port: TlsAddress, pki: PkiFolder) -> None:
        """Who trusts the root and knows the token drives the party."""
        client = await ControlClient.connect(port, "XA", token=TOKEN, root=pki.root)
        assert await client.issue(b"ab") == b"ba"
        await client.close()

    @pytest.mark.parametrize("token", ["", "t" * 39, "t" * 39 + "x"])
    async def test_wrong_token_is_refused(
        self, port: TlsAddress, pki: PkiFolder, puppet: Puppet, token: str
    ) -> None:
        """Nothing is done for who does not know the token."""
        with pytest.raises(BadInput, match="the token is not the one"):
            await ControlClient.connect(port, "XA", token=token, root=pki.root)
        assert puppet.told == []

    async def test_port_of_another_root_is_not_trusted(
        self, port: TlsAddress, tmp_path: Path
    ) -> None:
        """The token is not shown to a port that our root did not certify."""
        other = create_pki(
            tmp_path / "other", [], simulated_not_before=0, simulated_not_after=9_000, wall_now=0
        )
        with pytest.raises(EnvironmentFailed, match=r"^XA: its control port tls://localhost"):
            await ControlClient.connect(port, "XA", token=TOKEN, root=other.root)

    async def test_client_without_a_root_is_bad_input(self, port: TlsAddress) -> None:
        """TLS without anything to trust is refused before a connection is made."""
        with pytest.raises(BadInput, match="needs the root certificate"):
            await ControlClient.connect(port, "XA", token=TOKEN)

    @pytest.mark.parametrize("token", [None, "short"])
    async def test_port_without_a_proper_token_does_not_open(
        self, puppet: Puppet, access: ServerAccess, token: str | None
    ) -> None:
        """Nobody listens on TCP without a token of some length."""
        weak = None if token is None else ServerAccess(access.certificate, access.key, token)
        with pytest.raises(BadInput, match="a token of at least 32 characters"):
            await ControlServer.open(TlsAddress("127.0.0.1", 0), puppet, weak)

    async def test_port_in_use_is_named(
        self, puppet: Puppet, access: ServerAccess, port: TlsAddress
    ) -> None:
        """A port that another process has is told in one line."""
        taken = TlsAddress("127.0.0.1", port.port)
        with pytest.raises(BadInput, match=rf"^control port tls://127.0.0.1:{port.port}: "):
            await ControlServer.open(taken, puppet, access)
