"""The rogue's attempts on the embedded bus: the fast variant."""

from collections.abc import AsyncIterator

import pytest

from bus.host import Host
from bus.instants import DAY
from bus.pki.keystore import create_pki
from bus.ports import Publication
from bus.topology import network_topology
from bus.transport.in_process import InProcessTransport
from bus.transport.in_process_broker import InProcessBroker
from tests.contract.rogue_contract import RogueContract
from tests.contract.rogue_stage import Cast, Scene, Stage, written_definitions
from tests.factories import NOW

CAST = Cast("XA", "XC", "XD", "XE", "XB")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Five members with their keys in files."""
    folder = tmp_path_factory.mktemp("rogue")
    topology = network_topology(CAST.codes)
    pki = create_pki(
        folder / "pki",
        topology.parties,
        simulated_not_before=NOW - 30 * DAY,
        simulated_not_after=NOW + 30 * DAY,
        wall_now=NOW,
    )
    return Scene(pki, topology, CAST, NOW, written_definitions(topology, folder))


class TestRogueInProcess(RogueContract):
    """Over `InProcessTransport`."""

    @pytest.fixture
    async def stage(self, scene: Scene) -> AsyncIterator[Stage]:
        """Give each test a broker and a node of its own."""
        broker = InProcessBroker(scene.topology)

        async def publish(user: str, exchange: str, key: str, octets: bytes) -> str:
            door = InProcessTransport(broker, user)
            [outcome] = await door.publish([Publication(exchange, key, key, octets)])
            await door.close()
            return str(outcome)

        transport = InProcessTransport(broker, CAST.victim)
        host = Host(scene.node(CAST.victim), transport, scene.now)
        await host.subscribe()
        yield Stage(scene, host, publish, wait_seconds=0)
        await host.close()
