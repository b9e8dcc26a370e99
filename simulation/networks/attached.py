"""A network whose broker and parties others have started: containers, or processes anywhere.

The runner is handed one folder, which says where everybody is and what proves its right to drive
them. It ends nothing but its own connections.

::

    network.toml             for which story and seed, the broker, and each party
    opening.msgpack          the authority's opening statements
    pki/                     root, signing certificates, and the administrator's TLS key
    tokens/<code>.key        what each control port asks for
"""

import asyncio
import tomllib
from collections.abc import Coroutine, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import msgspec
from msgspec import Struct

from bus.control.client import ControlClient
from bus.control.wire import control_address
from bus.errors import BadInput, BrokerUnavailable
from bus.identifiers import AUTHORITY, SECRETARIAT
from bus.instants import Instant
from bus.pki.certificates import verify_leaf
from bus.pki.key_files import load_secret
from bus.pki.keystore import PkiFolder, load_certificate_der
from bus.topology import ADMIN_USER, network_topology
from bus.transport.amqp_admin import AmqpAdmin
from simulation.cast import Trust
from simulation.evidence.store_copies import StoreCopy, copy_store
from simulation.networks.counters import Activities
from simulation.networks.network import ControlPort
from simulation.networks.run_broker import GivenBroker, GivenBus
from simulation.networks.stepped import SteppedParties
from simulation.plan import Plan
from simulation.profiles import Deviation
from simulation.profiles.ledger import read_ledger
from simulation.scenario import Scenario

FORMAT_VERSION: Final = 1
STORE_FILE: Final = "store.sqlite"
LOG_FILE: Final = "log.jsonl"
LEDGER_FILE: Final = "ledger.jsonl"
_DESCRIPTION: Final = "network.toml"
_OPENING: Final = msgspec.msgpack.Decoder(list[bytes])

T = TypeVar("T")


class AttachedParty(Struct, frozen=True, forbid_unknown_fields=True):
    """Where one party's control port is, and the folder with its store and log."""

    control: str
    data: str


class NetworkDescription(Struct, frozen=True, forbid_unknown_fields=True):
    """What network.toml says. `story` is the digest of the one story the parties are set up for."""

    format_version: int
    story: str
    seed: str
    broker: str
    parties: Mapping[str, AttachedParty]


class NetworkFolder(Struct, frozen=True):
    """Names the files of such a folder; opens none of them."""

    path: Path

    @property
    def description(self) -> Path:
        """For which story the network is, and where everybody is."""
        return self.path / _DESCRIPTION

    @property
    def opening(self) -> Path:
        """The authority's opening statements."""
        return self.path / "opening.msgpack"

    @property
    def pki(self) -> PkiFolder:
        """The root, everybody's signing certificate, and the administrator's TLS files."""
        return PkiFolder(self.path / "pki")

    def token(self, party: str) -> Path:
        """What a party's control port asks for."""
        return self.path / "tokens" / f"{party}.key"


def story_digest(scenario: Scenario) -> str:
    """Return what tells one story from another, in lower-case hex."""
    return sha256(msgspec.json.encode(scenario, order="deterministic")).hexdigest()


class AttachedNetwork:
    """See `simulation.networks.network.Network`; made by `attach`."""

    bus = "rabbitmq"

    def __init__(
        self, scenario: Scenario, folder: NetworkFolder, description: NetworkDescription
    ) -> None:
        self.members: Sequence[str] = scenario.members
        self.trust = _trust(folder, (*scenario.members, SECRETARIAT, AUTHORITY))
        self._folder = folder
        self._description = description
        self._topology = network_topology(scenario.members)
        self._parties = SteppedParties({})
        self._broker: GivenBroker | None = None

    @classmethod
    async def attach(cls, scenario: Scenario, plan: Plan, seed: str, path: Path) -> Self:
        """Connect to broker and parties, and return when every party receives.

        Raises `BadInput` for a folder that is none, or was made for another story or seed, and for
        a network that has told a story already; `EnvironmentFailed` for whoever does not answer.
        """
        folder = NetworkFolder(path)
        description = _read(folder.description)
        _check(folder.description, description, scenario, seed)
        network = cls(scenario, folder, description)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(network.stop)
            await network._begin(plan)
            undo.pop_all()
        return network

    def control(self, party: str) -> ControlPort:
        """Return the control port of a party."""
        return self._parties.controls[party]

    def key_id(self, party: str) -> str:
        """Return the public key id of a party."""
        return verify_leaf(self.trust.certificates[party], self.trust.root_der).key_id

    async def tick(self, now: Instant) -> None:
        """Let it be `now` everywhere."""
        await self._while_broker_lives(self._parties.tick(now))

    async def quiet(self, away: frozenset[str], data_only_away: frozenset[str]) -> Activities:
        """Return when nothing is under way any more; nothing travels until the next time."""
        return await self._while_broker_lives(self._parties.quiet(away, data_only_away))

    async def store_copies(self) -> Mapping[str, StoreCopy]:
        """Copy every store with its write-ahead log; the parties go on and must be quiet."""
        return {party: copy_store(self._data(party) / STORE_FILE) for party in self._all}

    async def queue_contents(self) -> Mapping[str, Sequence[bytes]]:
        """Return what waits in every queue, without taking it."""
        admin = await AmqpAdmin.open(self._description.broker, self._folder.pki.tls(ADMIN_USER))
        try:
            return {queue.name: await admin.read_all(queue.name) for queue in self._topology.queues}
        finally:
            await admin.close()

    async def broker_files(self) -> Sequence[Path]:
        """Return nothing: the broker's disk is not ours to look at."""
        return ()

    def logs(self) -> Mapping[str, bytes]:
        """Return what the parties have logged, by file name."""
        paths = {party: self._data(party) / LOG_FILE for party in self._all}
        return {
            f"{party}.jsonl": path.read_bytes() for party, path in paths.items() if path.is_file()
        }

    def deviations(self) -> AbstractSet[Deviation]:
        """Return what members with a profile confessed."""
        ledgers = [self._data(party) / LEDGER_FILE for party in self._all]
        return {deed for path in ledgers for deed in read_ledger(path)}

    async def stop(self) -> None:
        """End our connections; broker and parties go on. May be called twice."""
        await self._parties.close()
        broker, self._broker = self._broker, None
        if broker is not None:
            await broker.close()

    async def _begin(self, plan: Plan) -> None:
        given = GivenBus(self._description.broker, self._folder.pki)
        self._broker = await GivenBroker.find(given, self._topology)
        controls: dict[str, ControlClient] = {}
        self._parties.controls = controls
        for party in self._all:
            controls[party] = await ControlClient.connect(
                control_address(self._description.parties[party].control),
                party,
                token=load_secret(self._folder.token(party)),
                root=self._folder.pki.root,
            )
        for party, control in controls.items():
            await self._while_broker_lives(control.join(self._description.broker))
            await _check_fresh(party, control, plan)
        for control in controls.values():
            await self._while_broker_lives(control.subscribe())

    @property
    def _all(self) -> Sequence[str]:
        return (SECRETARIAT, *self.members)

    def _data(self, party: str) -> Path:
        return self._folder.path / self._description.parties[party].data

    async def _while_broker_lives(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something that needs the broker; tell when it dies meanwhile."""
        if self._broker is None:
            work.close()
            raise BrokerUnavailable("the run has no broker any more")
        working = asyncio.create_task(work)
        dying = asyncio.create_task(self._broker.died())
        try:
            await asyncio.wait({working, dying}, return_when=asyncio.FIRST_COMPLETED)
            if dying.done():
                raise BrokerUnavailable(dying.result())
            return working.result()
        finally:
            working.cancel()
            dying.cancel()
            await asyncio.wait({working, dying})


async def _check_fresh(party: str, control: ControlClient, plan: Plan) -> None:
    """Refuse a party that has lived on; with its store the story could not begin."""
    if any(row.at > plan.begins for row in await control.history(0)):
        raise BadInput(
            f"{party} has told a story already; remove its store ('docker compose down -v')"
        )


def _read(path: Path) -> NetworkDescription:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        return msgspec.convert(content, NetworkDescription)
    except OSError as error:
        raise BadInput(f"--attach: {path} cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"--attach: {path}: {error}") from error


def _check(path: Path, description: NetworkDescription, scenario: Scenario, seed: str) -> None:
    """Raise `BadInput` unless the network was made for this story and seed."""
    if description.format_version != FORMAT_VERSION:
        raise BadInput(
            f"{path} has format version {description.format_version}; this release reads "
            f"{FORMAT_VERSION}"
        )
    if description.seed != seed:
        raise BadInput(f"{path}: made for --seed {description.seed}, and the run has {seed}")
    if description.story != story_digest(scenario):
        raise BadInput(
            f"{path}: made for another story than {scenario.name}, or with other settings; make "
            "the network anew with 'i247 compose'"
        )


def _trust(folder: NetworkFolder, parties: Sequence[str]) -> Trust:
    """Return what the parties were handed too; raise `BadInput`."""
    pki = folder.pki
    try:
        opening = _OPENING.decode(folder.opening.read_bytes())
    except OSError as error:
        raise BadInput(f"{folder.opening}: cannot be read: {error.strerror}") from error
    except msgspec.DecodeError:
        raise BadInput(f"{folder.opening}: holds no opening statements") from None
    certificates = {
        party: load_certificate_der(pki.signing_certificate(party)) for party in parties
    }
    return Trust(load_certificate_der(pki.root), certificates, opening)
