"""What one node's process weighs at the end of `first_light` over RabbitMQ (Linux only)."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure
from bus.identifiers import SECRETARIAT
from simulation.broker.fetch import find_or_fetch
from simulation.networks.rabbitmq import RabbitMQNetwork
from simulation.networks.run_broker import PrivateBus
from simulation.run_tools import abuse_tools
from simulation.scenario import load
from simulation.story import Story
from simulation.workload import plan

_PEAK: Final = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_KILOBYTES_PER_MEGABYTE: Final = 1_000


async def measure() -> Sequence[Figure]:
    """Tell the story and read every process's peak of resident memory."""
    story = load("first_light")
    planned = plan(story, "7")
    wanted = PrivateBus(find_or_fetch(print))
    network = await RabbitMQNetwork.start(story, planned, "7", time.time_ns, wanted)
    try:
        tools = abuse_tools(story, planned, "7", network)
        await Story(story, planned, network, tools, lambda _: None).tell()
        peaks = {party: _peak(pid) for party, pid in network.pids().items()}
    finally:
        await network.stop()
    secretariat = peaks.pop(SECRETARIAT)
    return [
        Figure("a node's process at its peak", "MB", tuple(peaks.values()), "under 80"),
        Figure("the secretariat's process at its peak", "MB", (secretariat,)),
    ]


def _peak(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    match = _PEAK.search(status)
    if match is None:
        message = f"process {pid} shows no peak of memory"
        raise LookupError(message)
    return int(match.group(1)) / _KILOBYTES_PER_MEGABYTE
