"""A runner for tests to end: starts the three members, says which processes they are, and waits.

Run as ``python story_holder.py`` with the repository on the module search path. It writes one line
of JSON, goes on ticking, and ends when it is interrupted or killed.
"""

import asyncio
import json
import sys
import time
from functools import partial

from bus import log
from bus.instants import HOUR
from simulation.broker.fetch import find_or_fetch
from simulation.networks.rabbitmq import RabbitMQNetwork
from simulation.networks.run_broker import PrivateBus
from tests.acceptance.three_members import SEED, THREE_MEMBERS, planned

NOBODY: frozenset[str] = frozenset()


async def hold() -> None:
    """Start the network, tell of it, and keep it busy for ever."""
    wanted = PrivateBus(find_or_fetch(partial(print, file=sys.stderr)))
    plan = planned()
    network = await RabbitMQNetwork.start(THREE_MEMBERS, plan, SEED, time.time_ns, wanted)
    try:
        sys.stdout.write(json.dumps(dict(network.pids())) + "\n")
        sys.stdout.flush()
        now = plan.begins
        while True:
            now += HOUR
            await network.tick(now)
            await network.quiet(NOBODY, NOBODY)
            await asyncio.sleep(0.05)
    finally:
        await network.stop()


if __name__ == "__main__":
    log.configure()
    try:
        asyncio.run(hold())
    except KeyboardInterrupt:
        sys.exit(130)
