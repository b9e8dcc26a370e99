"""What the runner drives: the same verbs on both buses."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Protocol

from bus.host import Activity, Injection
from bus.identifiers import QueueKind
from bus.instants import Instant
from bus.storage.history import HistoryRow
from simulation.cast import Trust
from simulation.evidence.store_copies import StoreCopy
from simulation.profiles import Deviation


class ControlPort(Protocol):
    """The control port of one process, called directly or over its socket."""

    async def tick(self, now: Instant) -> None:
        """Let simulated time be `now` and do what is due."""

    async def issue(self, order: bytes) -> bytes:
        """Carry out a packed order; return its packed result; raise `BadInput`."""

    async def inject(self, injection: Injection) -> tuple[str, ...]:
        """Publish octets as they are; return each recipient's publish outcome."""

    async def subscribe(self, kinds: tuple[QueueKind, ...] = ...) -> None:
        """Receive from these of the party's own queues."""

    async def go_away(self) -> None:
        """Stop receiving; mail waits in the queues."""

    async def activity(self) -> Activity:
        """Return the counters that tell whether the network is quiet."""

    async def history(self, after: int) -> Sequence[HistoryRow]:
        """Return a page of the party's events with a higher number than `after`."""


class Network(Protocol):
    """A running network of one secretariat and its members."""

    bus: str
    members: Sequence[str]
    trust: Trust

    def control(self, party: str) -> ControlPort:
        """Return the control port of a party."""

    def key_id(self, party: str) -> str:
        """Return the public key id of a party."""

    async def tick(self, now: Instant) -> None:
        """Let simulated time be `now` at every party, and have each do what is due.

        What they say to each other from here on stays where it is until `quiet` lets it go on.
        """

    async def quiet(
        self, away: frozenset[str], data_only_away: frozenset[str]
    ) -> Mapping[str, Activity]:
        """Return when nothing can happen any more without time passing, with what each counts.

        Queues of members that are away do not count, nor the data queues of those that are just
        coming back. Raises `EnvironmentFailed` naming who does not become quiet, and
        `BrokerUnavailable` when the broker is gone.
        """

    async def store_copies(self) -> Mapping[str, StoreCopy]:
        """Return every party's store as it lies in memory or on disk; before `stop`."""

    async def queue_contents(self) -> Mapping[str, Sequence[bytes]]:
        """Return what waits in every queue, dead letters included; before `stop`."""

    async def broker_files(self) -> Sequence[Path]:
        """Return the broker's own files on disk, which may hold copies; gone after `stop`."""

    def logs(self) -> Mapping[str, bytes]:
        """Return what the processes have logged, by name; also after `stop`."""

    def deviations(self) -> AbstractSet[Deviation]:
        """Return what hostile bureaus confessed; for the verdict alone; also after `stop`."""

    async def stop(self) -> None:
        """End everything that was started. May be called twice."""
