"""The broker of one run: a private one that is started and ended, or one that was given."""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Protocol, Self

from msgspec import Struct

from bus.definitions import definitions
from bus.errors import BadInput
from bus.pki.keystore import PkiFolder
from bus.topology import ADMIN_USER, Topology
from bus.transport.amqp import AmqpTransport
from bus.transport.amqp_admin import AmqpAdmin
from bus.transport.amqp_connection import broker_address
from simulation.broker.private_broker import PrivateBroker
from simulation.broker.server_tree import ServerTree

silent_seconds_max: Final = 5.0
"""For a given broker that broke off our connection; after these it counts as dead."""
_look_seconds: Final = 0.25


class RunBroker(Protocol):
    """A broker that serves a run."""

    url: str

    async def died(self) -> str:
        """Return, in one line, that the broker is gone; not before it is."""

    def files(self) -> Sequence[Path]:
        """Return the broker's own files, as far as they can be looked at."""

    async def close(self) -> None:
        """End what was started for the run."""


class PrivateBus(Struct, frozen=True):
    """Asks for a broker of the run's own, started from this server."""

    tree: ServerTree


class GivenBus(Struct, frozen=True):
    """Asks for the broker at a URL, whose users the keys of this PKI are."""

    url: str
    pki: PkiFolder


class OwnBroker:
    """A private RabbitMQ of the run's own."""

    def __init__(self, broker: PrivateBroker) -> None:
        self.url = broker.url
        self._broker = broker

    @classmethod
    async def start(cls, tree: ServerTree, pki: PkiFolder, topology: Topology) -> Self:
        """Start it with the topology's definitions; raises `BrokerUnavailable`.

        Its folder goes with it, except when it did not start: then its log is still of use.
        """
        folder = Path(tempfile.mkdtemp(prefix="i247-broker-"))
        document = definitions(topology)
        return cls(await PrivateBroker.start(folder, document, pki.broker_tls, tree))

    async def died(self) -> str:
        """Return, in one line, that the broker is gone; not before it is."""
        await self._broker.died.wait()
        return f"the private RabbitMQ at {broker_address(self.url)} died in the run"

    def files(self) -> Sequence[Path]:
        """Return the files of its message stores and queues."""
        folder = self._broker.data_folder
        return [path for path in sorted(folder.rglob("*")) if path.is_file()]

    async def close(self) -> None:
        """End it and remove its folder."""
        await self._broker.stop()


class GivenBroker:
    """A broker that others run; a connection of the administrator's tells whether it lives."""

    def __init__(self, url: str, watcher: AmqpTransport) -> None:
        self.url = url
        self._watcher = watcher

    @classmethod
    async def find(cls, given: GivenBus, topology: Topology) -> Self:
        """Make sure that it has the network's queues and that nothing waits in them.

        Raises `BrokerUnavailable`, `EnvironmentFailed` for a queue that is missing, and `BadInput`
        for one that is not empty.
        """
        tls = given.pki.tls(ADMIN_USER)
        admin = await AmqpAdmin.open(given.url, tls)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(admin.close)
            for queue in topology.queues:
                waiting = await admin.depth(queue.name)
                if waiting:
                    raise BadInput(
                        f"the broker at {broker_address(given.url)}: queue {queue.name} holds "
                        f"{waiting} messages of an earlier run; purge it"
                    )
        return cls(given.url, await AmqpTransport.open(given.url, tls, ADMIN_USER))

    async def died(self) -> str:
        """Return, in one line, that the broker is gone; not before it is."""
        loop = asyncio.get_running_loop()
        lived_at = loop.time()
        while loop.time() - lived_at < silent_seconds_max:
            counters = self._watcher.counters
            if counters.connections_lost <= counters.connections_restored:
                lived_at = loop.time()
            await asyncio.sleep(_look_seconds)
        return f"the broker at {broker_address(self.url)} died in the run"

    def files(self) -> Sequence[Path]:
        """Return nothing: its disk is not ours to look at."""
        return ()

    async def close(self) -> None:
        """End our own connection; the broker goes on."""
        await self._watcher.close()


async def open_broker(
    wanted: PrivateBus | GivenBus, pki: PkiFolder, topology: Topology
) -> RunBroker:
    """Return the broker of a run; raises as `OwnBroker.start` and `GivenBroker.find` do."""
    if isinstance(wanted, PrivateBus):
        return await OwnBroker.start(wanted.tree, pki, topology)
    return await GivenBroker.find(wanted, topology)
