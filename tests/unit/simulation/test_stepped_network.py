"""Driving parties in stepped time: when the network counts as quiet, and when it fails to be."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from bus.errors import EnvironmentFailed
from bus.host import Activity, Injection
from bus.identifiers import QueueKind
from bus.instants import Instant
from bus.storage.history import HistoryRow
from simulation.networks.stepped import SteppedParties
from tests.unit.simulation.test_counters import DATA, NOTHING

NOBODY: frozenset[str] = frozenset()


class Clockwork:
    """A party that passes a parcel on as often as a test says, and counts."""

    def __init__(self, party: str, peers: dict[str, "Clockwork"]) -> None:
        self.party = party
        self.peers = peers
        self.to_send: list[str] = []
        self.replies: list[str] = []
        self.confirmed: Counter[str] = Counter()
        self.settled: Counter[str] = Counter()
        self.arrived = 0
        self.is_deaf = False
        self.ticked: list[Instant] = []
        self.asked: list[str] = []
        self.is_closed = False
        peers[party] = self

    def counters(self) -> Activity:
        """Return what this party counts."""
        pending = bool(self.to_send)
        return replace(
            NOTHING, confirmed=dict(self.confirmed), settled=dict(self.settled), pending=pending
        )

    async def tick(self, now: Instant) -> None:
        """Note the time."""
        self.ticked.append(now)

    async def catch_up(self, settled: dict[str, int], wait_seconds: float) -> Activity:
        """Settle what arrived, answer it, and send what waits."""
        self.asked.append("catch_up")
        await asyncio.sleep(min(wait_seconds, 0.001))
        if self.arrived and not self.is_deaf:
            self.settled[f"i247.data.{self.party}"] += self.arrived
            self.arrived = 0
            self.to_send += self.replies
            self.replies = []
        for recipient in self.to_send:
            self.confirmed[f"i247.data.{recipient}"] += 1
            self.peers[recipient].arrived += 1
        self.to_send = []
        assert settled is not None
        return self.counters()

    async def hold(self) -> Activity:
        """Count."""
        self.asked.append("hold")
        return self.counters()

    async def activity(self) -> Activity:
        """Count."""
        return self.counters()

    async def close(self) -> None:
        """Note it."""
        self.is_closed = True

    async def issue(self, order: bytes) -> bytes:
        """Return the order."""
        return order

    async def inject(self, injection: Injection) -> tuple[str, ...]:
        """Return the recipients."""
        return injection.recipients

    async def subscribe(self, kinds: tuple[QueueKind, ...] = ()) -> None:
        """Receive again."""
        self.is_deaf = not kinds

    async def go_away(self) -> None:
        """Receive nothing."""
        self.is_deaf = True

    async def history(self, after: int) -> Sequence[HistoryRow]:
        """Return nothing."""
        return [][after:]


@pytest.fixture
def peers() -> dict[str, Clockwork]:
    """Three parties."""
    peers: dict[str, Clockwork] = {}
    for party in ("XA", "XB", "XC"):
        Clockwork(party, peers)
    return peers


async def test_tick_reaches_everybody(peers: dict[str, Clockwork]) -> None:
    """Every party is told the time before anything travels."""
    await SteppedParties(peers).tick(7)
    assert [peer.ticked for peer in peers.values()] == [[7], [7], [7]]
    assert [peer.asked for peer in peers.values()] == [[], [], []]


async def test_chain_of_answers_is_followed_to_its_end(peers: dict[str, Clockwork]) -> None:
    """Quiet is when the last answer to an answer is settled, and all are held."""
    peers["XA"].to_send = ["XB"]
    peers["XB"].replies = ["XC", "XC"]
    peers["XC"].replies = ["XA"]
    quiet = await SteppedParties(peers).quiet(NOBODY, NOBODY)
    settled = {party: sum(each.settled.values()) for party, each in quiet.items()}
    assert settled == {"XA": 1, "XB": 1, "XC": 2}
    assert {peer.asked[-1] for peer in peers.values()} == {"hold"}
    assert quiet == {party: peer.counters() for party, peer in peers.items()}


async def test_quiet_network_is_read_twice_and_no_more(peers: dict[str, Clockwork]) -> None:
    """Where nothing is to do, each party is asked twice."""
    await SteppedParties(peers).quiet(NOBODY, NOBODY)
    assert [peer.asked for peer in peers.values()] == [["catch_up", "hold"]] * 3


async def test_member_away_holds_nobody_up(peers: dict[str, Clockwork]) -> None:
    """Mail to a member that is away waits, and the others become quiet without it."""
    peers["XB"].is_deaf = True
    peers["XA"].to_send = ["XB"]
    quiet = await SteppedParties(peers).quiet(frozenset({"XB"}), NOBODY)
    assert (quiet["XA"].confirmed, quiet["XB"].settled) == ({DATA: 1}, {})


async def test_network_that_does_not_become_quiet_fails_and_names_who(
    peers: dict[str, Clockwork],
) -> None:
    """A party that never settles ends the run in one line, after no progress for so long."""
    peers["XB"].is_deaf = True
    peers["XA"].to_send = ["XB", "XB"]
    with pytest.raises(
        EnvironmentFailed, match=r"not become quiet in 0 s: i247\.data\.XB has 2 not settled$"
    ):
        await SteppedParties(peers, seconds_max=0.05).quiet(NOBODY, NOBODY)


async def test_close_ends_every_connection(peers: dict[str, Clockwork]) -> None:
    """Nothing stays open."""
    await SteppedParties(peers).close()
    assert all(peer.is_closed for peer in peers.values())
