"""The network that both transports are tried on, and who hands out its members."""

from collections.abc import Iterator
from itertools import product
from string import ascii_uppercase
from typing import Final

from msgspec.structs import replace

from bus.topology import (
    DEAD_EXCHANGE,
    QueuePolicy,
    Topology,
    network_topology,
    redeliveries_max,
)

MEMBERS: Final = tuple("".join(pair) for pair in product("ABCD", ascii_uppercase))
SMALL_QUEUE_MEMBERS: Final = ("ZA", "ZB", "ZC")
small_queue_messages_max: Final = 5

_SMALL_QUEUES: Final = QueuePolicy(
    "small-queues",
    r"^i247\.data\.Z[A-Z]$",
    redeliveries_max=redeliveries_max,
    messages_max=small_queue_messages_max,
    dead_letter_exchange=DEAD_EXCHANGE,
    priority=1,
)


def contract_topology() -> Topology:
    """Return the usual topology of these members, with a few queues that are soon full."""
    topology = network_topology([*MEMBERS, *SMALL_QUEUE_MEMBERS])
    return replace(topology, queue_policies=(*topology.queue_policies, _SMALL_QUEUES))


class MemberPool:
    """Hands out each member once, so that tests that share a broker do not meet."""

    def __init__(self) -> None:
        self._fresh: Iterator[str] = iter(MEMBERS)
        self._small: Iterator[str] = iter(SMALL_QUEUE_MEMBERS)

    def fresh_members(self, number: int) -> list[str]:
        """Return members that nobody was given yet."""
        return [next(self._fresh) for _ in range(number)]

    def small_queue_member(self) -> str:
        """Return a member that nobody was given yet and whose data queue is soon full."""
        return next(self._small)
