"""What batching brings one node on a real RabbitMQ, against one message at a time.

Both halves do the same work on the same messages in one run: take from a quorum queue, verify,
store with SQLite `synchronous=FULL`, commit, acknowledge. One half does it message by message; the
other takes what has arrived, commits once, and acknowledges as a group.
"""

import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, ratio
from bus.definitions import definitions
from bus.host import Host
from bus.identifiers import SECRETARIAT
from bus.instants import HOUR
from bus.pki.certificates import certificate_der
from bus.pki.keystore import PkiFolder, create_pki, load_signing_identity
from bus.ports import Settlement
from bus.topology import network_topology
from bus.transport.amqp import AmqpTransport
from ncb_nodes.duties import BureauDuties
from ncb_nodes.order_port import pack_order, take_order
from ncb_nodes.receiving_policy import ReceivingPolicy
from simulation.broker.fetch import find_or_fetch
from simulation.broker.private_broker import PrivateBroker
from simulation.cast import Trust, identity_of, joined, opening_trust, signer_of, validity
from simulation.plan import Plan
from simulation.scenario import Alert, Scenario
from simulation.workload import plan

MESSAGES: Final = 1_500
ROUNDS: Final = 3
_SENDER: Final = "XA"
_WAIT_SECONDS: Final = 10.0


async def measure() -> Sequence[Figure]:
    """Fill a node's queue and empty it both ways, round after round."""
    members = ("XA", *(f"X{letter}" for letter in "BCDEFG"))
    story = _story(members)
    planned = plan(story, "benchmark")
    with tempfile.TemporaryDirectory(prefix="i247-bench-") as name:
        folder = Path(name)
        pki = _pki(folder / "pki", story, planned)
        trust = _trust(story, planned, pki)
        tree = find_or_fetch(print)
        document = definitions(network_topology(members))
        broker = await PrivateBroker.start(folder / "b", document, pki.broker_tls, tree)
        async with broker:
            bench = _Bench(folder, story, planned, pki, trust, broker.url)
            return await bench.measure()


def _story(members: tuple[str, ...]) -> Scenario:
    receivers = members[1:]
    return Scenario(
        format_version=1,
        name="intake",
        title="",
        summary="",
        begins="2024-03-04T00:00:00.000Z",
        days=1,
        members=members,
        alerts=tuple(
            Alert(f"alert {index}", _SENDER, "1h", receivers) for index in range(MESSAGES)
        ),
    )


def _pki(folder: Path, story: Scenario, planned: Plan) -> PkiFolder:
    not_before, not_after = validity(story, planned)
    return create_pki(
        folder,
        (*story.members, SECRETARIAT),
        simulated_not_before=not_before,
        simulated_not_after=not_after,
        wall_now=time.time_ns() // 1_000_000,
    )


def _trust(story: Scenario, planned: Plan, pki: PkiFolder) -> Trust:
    certificates = {
        party: certificate_der(pki.signing_certificate(party).read_bytes())
        for party in (*story.members, SECRETARIAT, "AUTH", "CCF")
        if pki.signing_certificate(party).exists()
    }
    authority = load_signing_identity(pki, "AUTH")
    return opening_trust(
        story,
        planned,
        "benchmark",
        certificate_der(pki.root.read_bytes()),
        certificates,
        signer_of("AUTH", authority.private_key),
    )


_Taker = Callable[[Host, AmqpTransport], Awaitable[None]]


class _Bench:
    """The parties of the benchmark: one sender, and a fresh receiver for each half round."""

    def __init__(
        self,
        folder: Path,
        story: Scenario,
        planned: Plan,
        pki: PkiFolder,
        trust: Trust,
        url: str,
    ) -> None:
        self._folder = folder
        self._story = story
        self._planned = planned
        self._pki = pki
        self._trust = trust
        self._url = url

    async def measure(self) -> Sequence[Figure]:
        """Return both rates and their ratio."""
        sender, _ = await self._host(_SENDER)
        await sender.tick(self._planned.begins + HOUR)
        for step in self._planned.steps:
            if step.order is not None:
                await sender.issue(pack_order(step.order))
        while await sender.relay():
            pass
        await sender.close()
        singly, batched = [], []
        receivers = iter(self._story.members[1:])
        for _ in range(ROUNDS):
            singly.append(await self._rate(next(receivers), self._take_singly))
            batched.append(await self._rate(next(receivers), self._take_in_batches))
        return [
            Figure("one at a time", "messages a second", tuple(singly)),
            Figure("in batches", "messages a second", tuple(batched)),
            ratio("in batches against one at a time", batched, singly, "2.5"),
        ]

    async def _host(self, party: str) -> tuple[Host, AmqpTransport]:
        identity = load_signing_identity(self._pki, party)
        signer = signer_of(party, identity.private_key)
        participant = joined(
            identity_of(signer, self._trust, "benchmark"),
            BureauDuties(ReceivingPolicy()),
            time.monotonic_ns,
            self._trust,
            self._planned.begins,
            self._folder / f"{party}.sqlite",
        )
        transport = await AmqpTransport.open(self._url, self._pki.tls(party), party)
        now = self._planned.begins + HOUR
        return Host(participant, transport, now, take_order=take_order), transport

    async def _rate(self, party: str, take: "_Taker") -> float:
        host, transport = await self._host(party)
        await host.subscribe()
        began = time.perf_counter()
        await take(host, transport)
        seconds = time.perf_counter() - began
        await host.close()
        return MESSAGES / seconds

    async def _take_singly(self, host: Host, transport: AmqpTransport) -> None:
        participant = host.participant
        for _ in range(MESSAGES):
            deliveries = await transport.take(1, _WAIT_SECONDS)
            participant.receive(deliveries, host.now)
            await transport.settle(deliveries, Settlement.ACCEPT)

    async def _take_in_batches(self, host: Host, transport: AmqpTransport) -> None:
        del transport
        taken = 0
        while taken < MESSAGES:
            deliveries = await host.take(_WAIT_SECONDS)
            await host.handle(deliveries)
            taken += len(deliveries)
