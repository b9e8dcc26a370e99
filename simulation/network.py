"""What the runner drives: the same verbs on both buses."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from bus.host import Activity, Injection
from bus.identifiers import QueueKind
from bus.instants import Instant


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


class Network(Protocol):
    """A running network of one secretariat and its members."""

    bus: str
    members: Sequence[str]

    def control(self, party: str) -> ControlPort:
        """Return the control port of a party."""

    def key_id(self, party: str) -> str:
        """Return the public key id of a party."""

    async def quiet(self, away: frozenset[str], data_only_away: frozenset[str]) -> None:
        """Return when nothing can happen any more without time passing.

        Queues of members that are away do not count, nor the data queues of those that are just
        coming back.
        """

    async def store_images(self) -> Mapping[str, bytes]:
        """Return every party's database as it lies in memory or on disk, free pages included."""

    async def queue_contents(self) -> Mapping[str, Sequence[bytes]]:
        """Return what waits in every queue, dead letters included."""

    async def stop(self) -> None:
        """End everything that was started."""
