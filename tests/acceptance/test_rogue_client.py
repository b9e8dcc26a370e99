"""The rogue over a real RabbitMQ, by its own AMQP library, key files and TLS certificate."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from bus.host import Host
from bus.identifiers import SECRETARIAT
from bus.instants import SECOND
from bus.participant import Participant
from bus.pki.keystore import PkiFolder
from bus.transport.amqp import AmqpTransport
from secretariat.duties import SecretariatConfig, SecretariatDuties
from secretariat.review import ReviewSettings
from simulation.broker.private_broker import PrivateBroker
from tests.acceptance.rogue_client import Door, verified
from tests.contract.amqp_bus import QUICK
from tests.contract.contract_network import MemberPool, contract_topology
from tests.contract.rogue_contract import RogueContract
from tests.contract.rogue_stage import Cast, Scene, Stage, written_definitions
from tests.post_office import outcomes, refused

pytestmark = pytest.mark.broker

ARRIVAL_SECONDS_MAX = 20.0
Doors = Callable[[str], Door]


@pytest.fixture(scope="module")
def scene(
    contract_pki: PkiFolder, member_pool: MemberPool, tmp_path_factory: pytest.TempPathFactory
) -> Scene:
    """Five members of the session's network that no other test uses."""
    topology = contract_topology()
    begins = int(contract_pki.root.stat().st_mtime) * SECOND
    folder = tmp_path_factory.mktemp("rogue")
    cast = Cast(*member_pool.fresh_members(5))
    return Scene(contract_pki, topology, cast, begins, written_definitions(topology, folder))


@pytest.fixture(scope="module")
def doors(scene: Scene, contract_broker: PrivateBroker) -> Iterator[Doors]:
    """Open one connection for each user that is asked for."""
    opened: dict[str, Door] = {}

    def door(user: str) -> Door:
        if user not in opened:
            port = contract_broker.port
            opened[user] = Door(scene.pki.path, user, port, scene.definitions)
        return opened[user]

    yield door
    for each in opened.values():
        each.close()


async def joined(scene: Scene, broker: PrivateBroker, node: Participant) -> Host:
    """Connect a party of ours and let it receive."""
    tls = scene.pki.tls(node.party)
    transport = await AmqpTransport.open(broker.url, tls, node.party, settings=QUICK)
    host = Host(node, transport, scene.now)
    await host.subscribe()
    return host


class TestRogueOverRabbitMQ(RogueContract):
    """Over TLS, with the broker's own permissions between."""

    @pytest.fixture
    async def stage(
        self, scene: Scene, doors: Doors, contract_broker: PrivateBroker
    ) -> AsyncIterator[Stage]:
        """Give each test a fresh node of the victim on the same queues."""

        async def publish(user: str, exchange: str, key: str, octets: bytes) -> str:
            return await asyncio.to_thread(doors(user).publish, exchange, key, octets)

        host = await joined(scene, contract_broker, scene.node(scene.cast.victim))
        yield Stage(scene, host, publish, ARRIVAL_SECONDS_MAX)
        await host.close()

    async def test_copy_without_a_validated_user_is_refused(
        self, stage: Stage, doors: Doors
    ) -> None:
        """The broker lets it pass; the node does not."""
        gang = stage.gang
        octets = gang.me.diffusion(gang.victim).octets
        exchange, _ = stage.scene.definitions.way_to(gang.victim, "data")
        key = f"{gang.me.code}.diffusion.{gang.victim}"
        door = doors(gang.me.code)
        answer = await asyncio.to_thread(door.publish, exchange, key, octets, user_id=None)
        assert answer == "confirmed"
        await self.until_refused(stage)
        assert refused(stage.node) == ["user_missing"]

    async def test_copy_under_anothers_user_is_stopped_by_the_broker(
        self, stage: Stage, doors: Doors
    ) -> None:
        """`user_id` must be that of the certificate."""
        gang = stage.gang
        exchange, _ = stage.scene.definitions.way_to(gang.victim, "data")
        key = f"{gang.me.code}.diffusion.{gang.victim}"
        octets = gang.me.diffusion(gang.victim).octets
        answer = await asyncio.to_thread(
            doors(gang.me.code).publish, exchange, key, octets, user_id=gang.other.code
        )
        assert answer == "refused 406"

    async def test_copy_led_astray_by_a_header_is_refused(self, stage: Stage, doors: Doors) -> None:
        """Topic permissions do not look at CC, so the broker delivers it; the key gives it away."""
        gang = stage.gang
        exchange, _ = stage.scene.definitions.way_to(gang.victim, "data")
        signed = gang.me.diffusion(gang.victim)
        headers = {"i247-return": "yes", "CC": [f"{gang.other.code}.diffusion.{gang.victim}"]}
        key = f"{gang.me.code}.diffusion.{gang.other.code}"
        door = doors(gang.me.code)
        answer = await asyncio.to_thread(
            door.publish, exchange, key, signed.octets, headers=headers
        )
        assert answer == "confirmed"
        await self.until_refused(stage)
        assert refused(stage.node) == ["routing_key_mismatch"]

    async def until_refused(self, stage: Stage) -> None:
        """Let the node take up deliveries until it has refused one."""
        while not refused(stage.node):
            deliveries = await stage.host.take(ARRIVAL_SECONDS_MAX)
            assert deliveries
            await stage.host.handle(deliveries)

    async def test_rogue_gets_its_signed_mark_and_can_verify_it(
        self, stage: Stage, doors: Doors, contract_broker: PrivateBroker
    ) -> None:
        """The page is enough for both directions: the mark names the digest the rogue computed."""
        scene, gang = stage.scene, stage.gang
        config = SecretariatConfig(ReviewSettings(), {}, b"matching key")
        node = scene.node(SECRETARIAT, SecretariatDuties(config))
        office = await joined(scene, contract_broker, node)
        signed = gang.me.diffusion(gang.victim)
        exchange, _ = scene.definitions.way_to(SECRETARIAT, "data")
        key = f"{gang.me.code}.diffusion.{SECRETARIAT}"
        door = doors(gang.me.code)
        assert await asyncio.to_thread(door.publish, exchange, key, signed.octets) == "confirmed"
        while not outcomes(node, "diffusion"):
            await office.pump(ARRIVAL_SECONDS_MAX)
        await office.tick(scene.now)
        await office.pump()
        await office.close()
        _, queue = scene.definitions.way_to(gang.me.code, "statements")
        certificate = scene.pki.signing_certificate(SECRETARIAT)
        while True:
            routing_key, user, octets = await asyncio.to_thread(
                door.receive, queue, ARRIVAL_SECONDS_MAX
            )
            mark = verified(octets, certificate, routing_key, user)
            if mark.header["message_type"] == "review_opened":
                break
        assert (user, routing_key) == (SECRETARIAT, f"{SECRETARIAT}.review_opened.{gang.me.code}")
        assert mark.header["record"]["statement_digest"] == signed.digest
        assert mark.header["addressees"] == sorted([gang.me.code, gang.victim])
