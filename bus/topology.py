"""The shape of the bus as values: exchanges, queues, bindings, users, permissions, policies.

::

    i247.data, i247.statements   topic; `<user>.<message_type>.<recipient>`
      │ `*.*.<code>` ──────────> i247.data.<code>, i247.statements.<code>
      │                            │ delivery limit or rejection, at least once
      │                            └──> i247.dead (fanout) ──> i247.quarantine
      └ no queue bound ──> i247.alternate (headers)
                             ├ the publisher asked for its return ──> i247.returned: no queue
                             └ anything else ──> i247.unroutable (fanout) ──> i247.unroutable

An alternate exchange satisfies RabbitMQ's `mandatory` flag, so by itself it would hide from an
honest publisher that nobody received its message. Hence `i247.alternate`: what carries the header
`RETURN_HEADER` runs into an exchange without queues and comes back to its publisher; what careless
or hostile clients send elsewhere is kept for the secretariat to see.

A party's user may configure nothing, writes to the two topic exchanges under keys that begin with
its own code, and reads its own two queues; the secretariat also reads the two queues of strays.
Written out for RabbitMQ by `bus.definitions`; lived by `bus.transport.in_process`.
"""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import astuple, replace

from bus.errors import BadInput
from bus.identifiers import AUTHORITY, COMMISSION, SECRETARIAT, QueueKind

VIRTUAL_HOST: Final = "i247"
ALTERNATE_EXCHANGE: Final = "i247.alternate"
RETURNED_EXCHANGE: Final = "i247.returned"
UNROUTABLE_EXCHANGE: Final = "i247.unroutable"
UNROUTABLE_QUEUE: Final = "i247.unroutable"
DEAD_EXCHANGE: Final = "i247.dead"
QUARANTINE_QUEUE: Final = "i247.quarantine"
STRAY_QUEUES: Final = (QUARANTINE_QUEUE, UNROUTABLE_QUEUE)
"""What the secretariat reads beside its own queues."""

ADMIN_USER: Final = "ADMIN"
"""The administrator's user; signs nothing and is no party."""

RETURN_HEADER: Final = "i247-return"
RETURN_HEADER_VALUE: Final = "yes"

redeliveries_max: Final = 20
"""Requeued or lost with its connection more often than this, a message is dead-lettered."""
party_queue_messages_max: Final = 100_000
stray_queue_messages_max: Final = 1_000_000
stray_redeliveries_max: Final = 1_000_000
"""In effect none: 4.x would otherwise drop a message of these queues after 20 attempts, and 3.10
does not know -1."""
user_connections_max: Final = 8
"""One in use; the rest for connections that broke and that the broker still believes in."""
user_channels_max: Final = 64

_FIXED_PARTIES: Final = (AUTHORITY, COMMISSION, SECRETARIAT)
_MEMBER: Final = re.compile(r"[A-Z]{2}")
_NOTHING: Final = "^$"


class ExchangeKind(StrEnum):
    """How an exchange chooses where a message goes."""

    TOPIC = "topic"
    FANOUT = "fanout"
    HEADERS = "headers"


class Exchange(Struct, frozen=True):
    """A durable exchange; no client publishes to an internal one, whatever its permissions."""

    name: str
    kind: ExchangeKind
    internal: bool = True


class Queue(Struct, frozen=True):
    """A durable quorum queue."""

    name: str


class Binding(Struct, frozen=True):
    """From an exchange to a queue, or to another exchange where `to_exchange`."""

    source: str
    destination: str
    binding_key: str = ""
    to_exchange: bool = False
    header: tuple[str, str] | None = None
    """Name and value that a message must carry; for headers exchanges only."""


class User(Struct, frozen=True):
    """Who may log in, by certificate alone; None means no limit."""

    name: str
    connections_max: int | None = None
    channels_max: int | None = None


class Permission(Struct, frozen=True):
    """Regular expressions over the names that a user may configure, write to and read from."""

    user: str
    configure: str
    write: str
    read: str


class TopicPermission(Struct, frozen=True):
    """Regular expression over the routing keys that a user may publish to one topic exchange."""

    user: str
    exchange: str
    write: str


class QueuePolicy(Struct, frozen=True):
    """Limits of the queues whose name `pattern` finds; the highest priority wins.

    A full queue refuses what is published; dead letters are passed on at least once.
    """

    name: str
    pattern: str
    redeliveries_max: int
    messages_max: int
    dead_letter_exchange: str | None = None
    priority: int = 0


class ExchangePolicy(Struct, frozen=True):
    """Where a message goes that an exchange whose name `pattern` finds could not route."""

    name: str
    pattern: str
    alternate_exchange: str
    priority: int = 0


Value = TypeVar("Value", bound=Struct)
Policy = TypeVar("Policy", QueuePolicy, ExchangePolicy)


class Topology(Struct, frozen=True):
    """Everything that exists on the bus; sorted, so that equal networks are equal values."""

    parties: tuple[str, ...]
    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]
    users: tuple[User, ...]
    permissions: tuple[Permission, ...]
    topic_permissions: tuple[TopicPermission, ...]
    queue_policies: tuple[QueuePolicy, ...]
    exchange_policies: tuple[ExchangePolicy, ...]

    def extended_with(self, member: str) -> "Topology":
        """Return this topology with one member more; raise `BadInput` if it is no new member."""
        _check_members([*self.parties, member])
        return _with_parties(self, [member])

    def queue_policy(self, queue: str) -> QueuePolicy | None:
        """Return the one policy that rules a queue."""
        return _ruling(self.queue_policies, queue)

    def alternate_exchange(self, exchange: str) -> str | None:
        """Return where an exchange sends what it cannot route."""
        ruling = _ruling(self.exchange_policies, exchange)
        return None if ruling is None else ruling.alternate_exchange


def exchange_name(kind: QueueKind) -> str:
    """Return the topic exchange that feeds the queues of one kind."""
    return f"i247.{kind.value}"


def queue_name(kind: QueueKind, code: str) -> str:
    """Return a party's queue of one kind."""
    return f"i247.{kind.value}.{code}"


def routing_key(user: str, message_type: str, recipient: str) -> str:
    """Return the key under which `user` publishes to one recipient."""
    return f"{user}.{message_type}.{recipient}"


def network_topology(members: Sequence[str]) -> Topology:
    """Return the bus of these members, the secretariat, the CCF and the authority.

    Raises `BadInput` for a text that is no member's code, or one given twice.
    """
    _check_members(members)
    return _with_parties(_empty_bus(), [*members, *_FIXED_PARTIES])


def _ruling(policies: Iterable[Policy], name: str) -> Policy | None:
    fitting = (policy for policy in policies if re.search(policy.pattern, name))
    return max(fitting, key=lambda policy: policy.priority, default=None)


def _check_members(codes: Iterable[str]) -> None:
    seen = set[str]()
    for code in codes:
        if code in seen:
            raise BadInput(f"member {code} is named twice")
        if code not in _FIXED_PARTIES and not _MEMBER.fullmatch(code):
            raise BadInput(f"not a member's code of two capital letters: {code!r}")
        seen.add(code)


def _empty_bus() -> Topology:
    """Return what there is without any party."""
    asked_return = (RETURN_HEADER, RETURN_HEADER_VALUE)
    client_exchanges = [exchange_name(kind) for kind in QueueKind]
    return Topology(
        parties=(),
        exchanges=(
            Exchange(ALTERNATE_EXCHANGE, ExchangeKind.HEADERS),
            *(Exchange(name, ExchangeKind.TOPIC, internal=False) for name in client_exchanges),
            Exchange(DEAD_EXCHANGE, ExchangeKind.FANOUT),
            Exchange(RETURNED_EXCHANGE, ExchangeKind.FANOUT),
            Exchange(UNROUTABLE_EXCHANGE, ExchangeKind.FANOUT),
        ),
        queues=tuple(Queue(name) for name in STRAY_QUEUES),
        bindings=(
            Binding(ALTERNATE_EXCHANGE, RETURNED_EXCHANGE, to_exchange=True, header=asked_return),
            Binding(DEAD_EXCHANGE, QUARANTINE_QUEUE),
            Binding(UNROUTABLE_EXCHANGE, UNROUTABLE_QUEUE),
        ),
        users=(User(ADMIN_USER),),
        permissions=(Permission(ADMIN_USER, ".*", ".*", ".*"),),
        topic_permissions=(),
        queue_policies=(
            QueuePolicy(
                "i247-party-queues",
                r"^i247\.(data|statements)\.[A-Z]{2,4}$",
                redeliveries_max=redeliveries_max,
                messages_max=party_queue_messages_max,
                dead_letter_exchange=DEAD_EXCHANGE,
            ),
            QueuePolicy(
                "i247-stray-queues",
                r"^i247\.(quarantine|unroutable)$",
                redeliveries_max=stray_redeliveries_max,
                messages_max=stray_queue_messages_max,
            ),
        ),
        exchange_policies=(
            ExchangePolicy("i247-alternate", r"^i247\.(data|statements)$", ALTERNATE_EXCHANGE),
            ExchangePolicy("i247-unasked", r"^i247\.alternate$", UNROUTABLE_EXCHANGE),
        ),
    )


def _with_parties(topology: Topology, codes: Sequence[str]) -> Topology:
    """Add the queues, bindings, users and rights of parties; the policies fit already."""
    pairs = [(code, kind) for code in codes for kind in QueueKind]
    return replace(
        topology,
        parties=tuple(sorted((*topology.parties, *codes))),
        queues=_sorted(topology.queues, (Queue(queue_name(kind, code)) for code, kind in pairs)),
        bindings=_sorted(
            topology.bindings,
            (
                Binding(exchange_name(kind), queue_name(kind, code), f"*.*.{code}")
                for code, kind in pairs
            ),
        ),
        users=_sorted(
            topology.users, (User(code, user_connections_max, user_channels_max) for code in codes)
        ),
        permissions=_sorted(topology.permissions, (_party_permission(code) for code in codes)),
        topic_permissions=_sorted(
            topology.topic_permissions,
            (
                TopicPermission(code, exchange_name(kind), rf"^{code}\.[a-z_]+\.[A-Z]{{2,4}}$")
                for code, kind in pairs
            ),
        ),
    )


def _party_permission(code: str) -> Permission:
    strays = r"|^i247\.(quarantine|unroutable)$" if code == SECRETARIAT else ""
    read = rf"^i247\.(data|statements)\.{code}$" + strays
    return Permission(code, _NOTHING, r"^i247\.(data|statements)$", read)


def _sorted(present: Iterable[Value], added: Iterable[Value]) -> tuple[Value, ...]:
    """Return both, ordered by the first two fields, which name a value."""
    return tuple(
        sorted([*present, *added], key=lambda value: [str(field) for field in astuple(value)[:2]])
    )
