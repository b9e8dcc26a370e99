"""How many diffusions the embedded bus delivers and stores in a second, with 196 nodes.

Every delivery is published to its one recipient, verified by it, and stored in its own SQLite
database in memory: header, body, record, version, inbox and history. One core, one thread.
"""

import string
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.figures import Figure
from bus.instants import HOUR
from ncb_nodes.order_port import pack_order
from simulation.networks.embedded import EmbeddedNetwork
from simulation.plan import Step
from simulation.scenario import Alert, Scenario
from simulation.workload import plan

MEMBERS: Final = 196
WARM_UP_DIFFUSIONS: Final = 196
DIFFUSIONS: Final = 200
ROUNDS: Final = 5


async def measure() -> Sequence[Figure]:
    """Have members send to all others, round after round, and time until all is stored."""
    codes = tuple(first + second for first in "ABCDEFGH" for second in string.ascii_uppercase)[
        :MEMBERS
    ]
    count = WARM_UP_DIFFUSIONS + ROUNDS * DIFFUSIONS
    story = Scenario(
        format_version=1,
        name="deliveries",
        title="",
        summary="",
        begins="2024-03-04T00:00:00.000Z",
        days=1,
        members=codes,
        alerts=tuple(
            Alert(f"alert {index}", codes[index % MEMBERS], "1h", ("ALL",))
            for index in range(count)
        ),
    )
    planned = plan(story, "benchmark")
    network = await EmbeddedNetwork(story, planned, "benchmark", time.monotonic_ns).start()
    await network.tick(planned.begins)
    await network.quiet(frozenset(), frozenset())
    await network.tick(planned.begins + HOUR)
    steps = sorted(planned.steps, key=lambda step: int(step.label.split()[1]))
    await _deliver(network, steps[:WARM_UP_DIFFUSIONS])
    rates = []
    for number in range(ROUNDS):
        first = WARM_UP_DIFFUSIONS + number * DIFFUSIONS
        seconds = await _deliver(network, steps[first : first + DIFFUSIONS])
        rates.append(DIFFUSIONS * MEMBERS / seconds)
    await network.stop()
    return [Figure("deliveries stored", "a second", tuple(rates), "20,000")]


async def _deliver(network: EmbeddedNetwork, steps: Sequence[Step]) -> float:
    """Issue diffusions, then time how long it takes until every addressee has stored them.

    Addressees are the 195 other members and the secretariat.
    """
    for step in steps:
        if step.order is not None:
            await network.control(step.member).issue(pack_order(step.order))
    began = time.perf_counter()
    await network.quiet(frozenset(), frozenset())
    return time.perf_counter() - began
