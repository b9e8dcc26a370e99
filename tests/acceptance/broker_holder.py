"""A runner for tests to kill: starts a private broker, says where it is, and holds it.

Run as ``python broker_holder.py FOLDER`` with the repository on the module search path. It writes
one line of JSON and then waits until it is interrupted or killed.
"""

import asyncio
import json
import sys
import time
from functools import partial
from pathlib import Path

from bus.pki.keystore import create_pki
from simulation.broker.fetch import find_or_fetch
from simulation.broker.private_broker import PrivateBroker


async def hold(folder: Path) -> None:
    """Start a broker in `folder` and wait for ever."""
    wall_now = int(time.time() * 1000)
    pki = create_pki(
        folder.with_name("pki"),
        [],
        simulated_not_before=0,
        simulated_not_after=wall_now,
        wall_now=wall_now,
    )
    tree = find_or_fetch(partial(print, file=sys.stderr))
    definitions = {"vhosts": [{"name": "i247"}]}
    async with await PrivateBroker.start(folder, definitions, pki.broker_tls, tree) as broker:
        sys.stdout.write(json.dumps({"port": broker.port, "pid": broker.pid}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(hold(Path(sys.argv[1])))
    except KeyboardInterrupt:
        sys.exit(130)
