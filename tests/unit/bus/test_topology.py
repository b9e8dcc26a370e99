"""The topology as values, and the definitions document written from it."""

import json
import re

import pytest
from msgspec.structs import asdict

from bus.definitions import definitions
from bus.errors import BadInput
from bus.identifiers import QueueKind
from bus.pki import keystore
from bus.topology import (
    ADMIN_USER,
    DEAD_EXCHANGE,
    QUARANTINE_QUEUE,
    STRAY_QUEUES,
    UNROUTABLE_QUEUE,
    QueuePolicy,
    exchange_name,
    network_topology,
    queue_name,
    routing_key,
)
from bus.transport.routing import Routing

MEMBERS = ["XB", "XA", "FR"]
PARTIES = ("AUTH", "CCF", "FR", "IPSG", "XA", "XB")


def test_every_party_has_two_queues_and_a_user() -> None:
    """Members, secretariat, CCF and authority are alike; only the strays' queues come on top."""
    topology = network_topology(MEMBERS)
    own = {queue_name(kind, party) for kind in QueueKind for party in PARTIES}
    assert topology.parties == PARTIES
    assert {queue.name for queue in topology.queues} == own | set(STRAY_QUEUES)
    assert {user.name for user in topology.users} == {*PARTIES, ADMIN_USER}


def test_order_of_members_does_not_matter() -> None:
    """Equal networks are equal values and equal documents, byte for byte."""
    first, second = network_topology(MEMBERS), network_topology(sorted(MEMBERS))
    assert first == second
    assert json.dumps(definitions(first)) == json.dumps(definitions(second))


def test_joining_later_makes_the_same_network() -> None:
    """A network extended by a member equals one that had it from the start."""
    assert network_topology(["FR", "XA"]).extended_with("XB") == network_topology(MEMBERS)


@pytest.mark.parametrize("member", ["xa", "XAB", "X1", "", "XA\n", "*", "IPSG"])
def test_what_is_no_new_member_is_refused(member: str) -> None:
    """Nothing gets into patterns and names that is not two capital letters."""
    with pytest.raises(BadInput, match=r"^(not a member's code|member IPSG is named twice)"):
        network_topology([]).extended_with(member)


def test_member_named_twice_is_refused() -> None:
    """A member cannot be in a network twice, nor join again."""
    with pytest.raises(BadInput, match="XA is named twice"):
        network_topology(["XA", "FR", "XA"])
    with pytest.raises(BadInput, match="XA is named twice"):
        network_topology(["XA"]).extended_with("XA")


@pytest.mark.parametrize("kind", QueueKind)
def test_key_leads_to_the_one_recipient(kind: QueueKind) -> None:
    """A well-formed key reaches exactly the recipient's queue of that kind."""
    routing = Routing(network_topology(MEMBERS))
    key = routing_key("XA", "review_decision", "XB")
    reached = routing.queues_for(exchange_name(kind), key, asks_return=True)
    assert reached == (queue_name(kind, "XB"),)


@pytest.mark.parametrize(
    ("asks_return", "reached"), [(True, ()), (False, (UNROUTABLE_QUEUE,))], ids=["asks", "careless"]
)
def test_key_without_recipient_comes_back_or_is_kept(
    *, asks_return: bool, reached: tuple[str, ...]
) -> None:
    """Mail for nobody returns to who asks for it, and is kept when nobody asks."""
    routing = Routing(network_topology(MEMBERS))
    key = routing_key("XA", "diffusion", "QQ")
    exchange = exchange_name(QueueKind.DATA)
    assert routing.queues_for(exchange, key, asks_return=asks_return) == reached


def test_dead_letters_go_to_quarantine_whatever_their_key() -> None:
    """The dead-letter exchange keeps everything."""
    routing = Routing(network_topology(MEMBERS))
    assert routing.queues_for(DEAD_EXCHANGE, "any", asks_return=False) == (QUARANTINE_QUEUE,)


ALLOWED = [
    ("own key", "i247.data", "XA.diffusion.XB", True),
    ("own key, statements", "i247.statements", "XA.retraction_receipt.IPSG", True),
    ("another's key", "i247.data", "XB.diffusion.FR", False),
    ("own code as a beginning", "i247.data", "XAB.diffusion.FR", False),
    ("wildcard for a recipient", "i247.data", "XA.diffusion.*", False),
    ("one word more", "i247.data", "XA.diffusion.XB.XB", False),
    ("capitals in the type", "i247.data", "XA.Diffusion.XB", False),
    ("no key", "i247.data", "", False),
    ("unknown exchange", "i247.other", "XA.diffusion.XB", False),
    ("dead-letter exchange", "i247.dead", "XA.diffusion.XB", False),
    ("default exchange", "", "i247.data.XB", False),
]


@pytest.mark.parametrize(
    ("exchange", "key", "allowed"),
    [case[1:] for case in ALLOWED],
    ids=[case[0] for case in ALLOWED],
)
def test_member_publishes_only_as_itself(exchange: str, key: str, *, allowed: bool) -> None:
    """A member's rights cover its own keys on the two exchanges, and nothing beside."""
    assert Routing(network_topology(MEMBERS)).may_publish("XA", exchange, key) is allowed


def test_readers_of_each_queue() -> None:
    """Each party's queues are read by it alone, the strays by the secretariat alone."""
    topology = network_topology(MEMBERS)
    routing = Routing(topology)
    readers = {
        queue.name: [party for party in PARTIES if routing.may_read(party, queue.name)]
        for queue in topology.queues
    }
    own = {queue_name(kind, party): [party] for kind in QueueKind for party in PARTIES}
    assert readers == own | {queue: ["IPSG"] for queue in STRAY_QUEUES}


def test_nobody_but_the_administrator_configures_anything() -> None:
    """A party can declare, bind and delete nothing."""
    topology = network_topology(MEMBERS)
    names = [queue.name for queue in topology.queues] + [each.name for each in topology.exchanges]
    able = {
        permission.user
        for permission in topology.permissions
        if any(re.search(permission.configure, name) for name in [*names, "new"])
    }
    assert able == {ADMIN_USER}


def test_administrator_is_the_one_the_pki_knows() -> None:
    """Topology and keystore name the same administrator."""
    assert ADMIN_USER == keystore.ADMIN_USER


def test_every_queue_dead_letters_at_least_once_or_keeps_for_good() -> None:
    """Each queue has exactly one policy; strays have nowhere to be dead-lettered to."""
    topology = network_topology(MEMBERS)
    for queue in topology.queues:
        policy = topology.queue_policy(queue.name)
        assert policy is not None
        expected = None if queue.name in STRAY_QUEUES else DEAD_EXCHANGE
        assert policy.dead_letter_exchange == expected


def test_policy_of_highest_priority_rules() -> None:
    """Where two policies fit, priority decides, not order."""
    topology = network_topology(MEMBERS)
    special = QueuePolicy("special", "XA$", redeliveries_max=1, messages_max=1, priority=1)
    for policies in ((special, *topology.queue_policies), (*topology.queue_policies, special)):
        changed = type(topology)(**{**asdict(topology), "queue_policies": policies})
        assert changed.queue_policy("i247.data.XA") == special
        assert changed.queue_policy("i247.data.XB") != special


def test_definitions_hold_no_password_and_no_tag() -> None:
    """Who logs in does so by certificate, with no rights of administration over the broker."""
    document = definitions(network_topology(MEMBERS))
    assert {user["password_hash"] for user in document["users"]} == {""}
    assert {user["tags"] for user in document["users"]} == {""}
    limits = {user["name"]: user["limits"] for user in document["users"]}
    assert limits[ADMIN_USER] == {}
    assert limits["XA"] == {"max-connections": 8, "max-channels": 64}


def test_definitions_ask_for_what_dead_lettering_at_least_once_needs() -> None:
    """Strategy, overflow, length and target stand together, or RabbitMQ silently loses mail."""
    document = definitions(network_topology(MEMBERS))
    [policy] = [each for each in document["policies"] if each["name"] == "i247-party-queues"]
    assert policy["definition"] == {
        "delivery-limit": 20,
        "max-length": 100_000,
        "overflow": "reject-publish",
        "dead-letter-exchange": "i247.dead",
        "dead-letter-strategy": "at-least-once",
    }


def test_definitions_name_only_durable_quorum_queues() -> None:
    """Nothing transient, exclusive or classic: 4.x would refuse or change it."""
    document = definitions(network_topology(MEMBERS))
    shapes = {
        (queue["durable"], queue["auto_delete"], queue["arguments"]["x-queue-type"])
        for queue in document["queues"]
    }
    assert shapes == {(True, False, "quorum")}


def test_definitions_bind_each_queue_by_its_recipient_alone() -> None:
    """The binding of a party's queue names no source and no type."""
    document = definitions(network_topology(MEMBERS))
    keys = {
        binding["destination"]: binding["routing_key"]
        for binding in document["bindings"]
        if binding["source"] == "i247.data"
    }
    assert keys == {queue_name(QueueKind.DATA, party): f"*.*.{party}" for party in PARTIES}


def test_only_the_two_topic_exchanges_are_open_to_clients() -> None:
    """All other exchanges are internal."""
    document = definitions(network_topology(MEMBERS))
    is_open = {each["name"] for each in document["exchanges"] if not each["internal"]}
    assert is_open == {"i247.data", "i247.statements"}
