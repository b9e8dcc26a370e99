"""All parties in one process, over the in-process bus, in virtual time."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Self

from bus.host import Activity, Host
from bus.identifiers import SECRETARIAT
from bus.instants import Instant
from bus.topology import STRAY_QUEUES, network_topology
from bus.transport.in_process import InProcessAdmin, InProcessTransport
from bus.transport.in_process_broker import InProcessBroker
from bus.verification import EnvelopeCache
from ncb_nodes.order_port import take_order
from simulation.cast import (
    bureau_duties,
    identity_of,
    joined,
    memory_keys,
    opening_trust,
    secretariat_duties,
)
from simulation.evidence.store_copies import StoreCopy
from simulation.networks.network import ControlPort
from simulation.plan import Plan
from simulation.profiles import Deviation, MemoryLedger
from simulation.scenario import Scenario


class EmbeddedNetwork:
    """A network whose parties share one process; nothing in it waits for real time."""

    bus = "embedded"

    def __init__(
        self,
        scenario: Scenario,
        plan: Plan,
        seed: str,
        wall_ns: Callable[[], int],
    ) -> None:
        self.members: Sequence[str] = scenario.members
        self.ledger = MemoryLedger()
        self._topology = network_topology(scenario.members)
        self._broker = InProcessBroker(self._topology)
        self._cache = EnvelopeCache()
        root_der, signers, certificates = memory_keys(scenario, plan)
        authority = signers["AUTH"]
        self.trust = opening_trust(scenario, plan, seed, root_der, certificates, authority)
        self._signers = signers
        self._hosts: dict[str, Host] = {}
        for party in (SECRETARIAT, *scenario.members):
            duties = (
                secretariat_duties(scenario, plan)
                if party == SECRETARIAT
                else bureau_duties(scenario, party, self.ledger)
            )
            participant = joined(
                identity_of(signers[party], self.trust, seed),
                duties,
                wall_ns,
                self.trust,
                plan.begins,
                cache=self._cache,
            )
            self._hosts[party] = Host(
                participant,
                InProcessTransport(self._broker, party),
                plan.begins,
                take_order=None if party == SECRETARIAT else take_order,
                also_reads=STRAY_QUEUES if party == SECRETARIAT else (),
            )

    async def start(self) -> Self:
        """Let every party receive."""
        for host in self._hosts.values():
            await host.subscribe()
        return self

    def control(self, party: str) -> ControlPort:
        """Return a party itself: it serves the control port's verbs."""
        return self._hosts[party]

    def key_id(self, party: str) -> str:
        """Return the public key id of a party."""
        return self._signers[party].key_id

    async def tick(self, now: Instant) -> None:
        """Let it be `now` at every party; nothing travels, since nobody is pumped."""
        for host in self._hosts.values():
            await host.tick(now)

    async def quiet(
        self, away: frozenset[str], data_only_away: frozenset[str]
    ) -> Mapping[str, Activity]:
        """Pump every party until none has anything left to do."""
        del away, data_only_away  # their hosts are not subscribed, so nothing reaches them
        progressed = True
        while progressed:
            progressed = False
            for host in self._hosts.values():
                while await host.pump():
                    progressed = True
        self._cache.clear()  # or bodies erased from every store would live on in this process
        return {party: await host.activity() for party, host in self._hosts.items()}

    async def store_copies(self) -> Mapping[str, StoreCopy]:
        """Return every party's store from memory."""
        return {
            party: StoreCopy(host.participant.database.image())
            for party, host in self._hosts.items()
        }

    async def queue_contents(self) -> Mapping[str, Sequence[bytes]]:
        """Return what waits in every queue."""
        admin = InProcessAdmin(self._broker)
        return {queue.name: await admin.read_all(queue.name) for queue in self._topology.queues}

    async def broker_files(self) -> Sequence[Path]:
        """Return nothing: this broker writes no files."""
        return ()

    def logs(self) -> Mapping[str, bytes]:
        """Return nothing: whatever is logged goes to the one process's own log."""
        return {}

    def deviations(self) -> AbstractSet[Deviation]:
        """Return what hostile bureaus confessed."""
        return self.ledger.deviations

    async def stop(self) -> None:
        """Close every connection and store."""
        for host in self._hosts.values():
            await host.close()
        self._cache.clear()
