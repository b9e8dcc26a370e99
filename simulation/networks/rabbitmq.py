"""Every party in a process of its own, over RabbitMQ, in stepped time.

The broker and the processes are started side by side: a process loads its keys and opens its store
while the broker boots, and is told over its control port where the bus is once there is one.
Whatever ends the run, and be it the end of the runner itself, ends all of them.
"""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from bus.control.client import ControlClient
from bus.errors import BrokerUnavailable, EnvironmentFailed
from bus.identifiers import SECRETARIAT
from bus.instants import Instant
from bus.pki.certificates import verify_leaf
from bus.topology import ADMIN_USER, network_topology
from bus.transport.amqp_admin import AmqpAdmin
from simulation.broker.guardian_link import GuardianLink
from simulation.cast import Trust
from simulation.evidence.store_copies import StoreCopy
from simulation.networks.counters import Activities
from simulation.networks.files import NetworkFiles, lay_out, write_settings, write_trust
from simulation.networks.network import ControlPort
from simulation.networks.party_process import PartyProcess, party_module
from simulation.networks.run_broker import GivenBus, PrivateBus, RunBroker, open_broker
from simulation.networks.stepped import SteppedParties, quiet_seconds_max
from simulation.plan import Plan
from simulation.profiles import Deviation
from simulation.scenario import Scenario

_NANOSECONDS_PER_MILLISECOND: Final = 1_000_000
_LOOKS: Final = 10
_look_seconds: Final = 0.05
T = TypeVar("T")


class RabbitMQNetwork:
    """See `simulation.networks.network.Network`; made by `start`."""

    bus = "rabbitmq"

    def __init__(
        self,
        scenario: Scenario,
        files: NetworkFiles,
        trust: Trust,
        guardian: GuardianLink,
        seconds_max: float,
    ) -> None:
        self.members: Sequence[str] = scenario.members
        self.trust = trust
        self._files = files
        self._guardian = guardian
        self._topology = network_topology(scenario.members)
        self._processes = {
            party: PartyProcess(
                party,
                party_module(party, has_profile=party in scenario.profiles),
                files.settings(party),
                files.console(party),
            )
            for party in (SECRETARIAT, *scenario.members)
        }
        self._controls: dict[str, ControlClient] = {}
        self._parties = SteppedParties(self._controls, seconds_max=seconds_max)
        self._broker: RunBroker | None = None
        self._logs: Mapping[str, bytes] = {}
        self._deviations: AbstractSet[Deviation] = frozenset()
        self._is_stopped = False

    @classmethod
    async def start(
        cls,
        scenario: Scenario,
        plan: Plan,
        seed: str,
        wall_ns: Callable[[], int],
        wanted: PrivateBus | GivenBus,
        *,
        seconds_max: float = quiet_seconds_max,
    ) -> Self:
        """Start broker and processes, and return when every party receives.

        `seconds_max` is how long the network may make no progress before a run fails. Raises what
        a party or the broker met with, in one line, and leaves nothing behind.
        """
        folder = Path(tempfile.mkdtemp(prefix="i247-"))
        guardian = await _folder_guardian(folder)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(guardian.close)
            wall_now = wall_ns() // _NANOSECONDS_PER_MILLISECOND
            pki = wanted.pki if isinstance(wanted, GivenBus) else None
            files = lay_out(folder, scenario, plan, wall_now, pki)
            trust = write_trust(files, scenario, plan, seed)
            write_settings(files, scenario, plan, seed)
            network = cls(scenario, files, trust, guardian, seconds_max)
            undo.push_async_callback(network.stop)
            await network._begin(wanted)
            undo.pop_all()
        return network

    def control(self, party: str) -> ControlPort:
        """Return the control port of a party."""
        return self._controls[party]

    def key_id(self, party: str) -> str:
        """Return the public key id of a party."""
        return verify_leaf(self.trust.certificates[party], self.trust.root_der).key_id

    def pids(self) -> Mapping[str, int]:
        """Return the process id of every party."""
        return {party: process.pid for party, process in self._processes.items()}

    async def tick(self, now: Instant) -> None:
        """Let it be `now` everywhere."""
        await self._while_all_live(self._parties.tick(now))

    async def quiet(self, away: frozenset[str], data_only_away: frozenset[str]) -> Activities:
        """Return when nothing is under way any more; nothing travels until the next time."""
        return await self._while_all_live(self._parties.quiet(away, data_only_away))

    async def store_copies(self) -> Mapping[str, StoreCopy]:
        """Copy every store with its write-ahead log; the processes go on and must be quiet."""
        return self._files.store_copies(sorted(self._processes))

    async def queue_contents(self) -> Mapping[str, Sequence[bytes]]:
        """Return what waits in every queue, without taking it."""
        admin = await AmqpAdmin.open(self._bus_url, self._files.pki.tls(ADMIN_USER))
        try:
            return {queue.name: await admin.read_all(queue.name) for queue in self._topology.queues}
        finally:
            await admin.close()

    async def broker_files(self) -> Sequence[Path]:
        """Return the broker's own files on disk, if it is our own broker."""
        return self._broker.files() if self._broker is not None else ()

    def logs(self) -> Mapping[str, bytes]:
        """Return what the processes have logged, by file name."""
        return self._logs if self._is_stopped else self._files.log_contents()

    def deviations(self) -> AbstractSet[Deviation]:
        """Return what members with a profile confessed."""
        return self._deviations if self._is_stopped else self._files.deviations()

    async def stop(self) -> None:
        """End everything that was started. May be called twice."""
        if self._is_stopped:
            return
        for process in self._processes.values():
            process.ask_to_end()
        await self._parties.close()
        await asyncio.gather(*(process.end() for process in self._processes.values()))
        self._logs = self._files.log_contents()
        self._deviations = self._files.deviations()
        self._is_stopped = True
        if self._broker is not None:
            await self._broker.close()
        await self._guardian.close()

    async def _begin(self, wanted: PrivateBus | GivenBus) -> None:
        for party, process in self._processes.items():
            process.start(self._files.socket(party))
        await _together(self._open_broker(wanted), self._connect())
        controls = self._controls.values()
        await self._while_all_live(
            _together(*(control.join(self._bus_url) for control in controls))
        )
        await self._while_all_live(_together(*(control.subscribe() for control in controls)))

    async def _open_broker(self, wanted: PrivateBus | GivenBus) -> None:
        self._broker = await open_broker(wanted, self._files.pki, self._topology)

    async def _connect(self) -> None:
        """Connect to every process; what is connected is ours to close, also if another fails."""

        async def connect(party: str, process: PartyProcess) -> None:
            self._controls[party] = await process.control(self._files.socket(party))

        await _together(*(connect(party, each) for party, each in self._processes.items()))

    @property
    def _bus_url(self) -> str:
        return self._broker.url if self._broker is not None else ""

    async def _while_all_live(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something that needs broker and processes; tell which of them died, if one did."""
        if self._broker is None:
            work.close()
            raise BrokerUnavailable("the run has no broker any more")
        working = asyncio.create_task(work)
        dying = asyncio.create_task(self._broker.died())
        try:
            await asyncio.wait({working, dying}, return_when=asyncio.FIRST_COMPLETED)
            if not dying.done():
                return working.result()
        except EnvironmentFailed as error:
            raise await self._explained(error) from error
        else:
            raise BrokerUnavailable(dying.result())
        finally:
            working.cancel()
            dying.cancel()
            await asyncio.wait({working, dying})

    async def _explained(self, error: EnvironmentFailed) -> EnvironmentFailed:
        """Return why a process ended, if one did; the error as it is otherwise."""
        if isinstance(error, BrokerUnavailable):
            return error
        # A connection is lost a moment before the end of its process can be seen.
        for _ in range(_LOOKS):
            for process in self._processes.values():
                if process.has_ended:
                    return EnvironmentFailed(process.why_it_ended())
            await asyncio.sleep(_look_seconds)
        return error


async def _folder_guardian(folder: Path) -> GuardianLink:
    """Have the run's folder removed when the run ends, or the runner."""
    guardian = await GuardianLink.open(folder)
    guardian.order(order="remove", folder=str(folder))
    return guardian


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    """Do several things at once; when one fails, end the others before that is told."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
