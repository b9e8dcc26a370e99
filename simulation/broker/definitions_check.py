"""Comparing what a RabbitMQ was told to define with what it has.

At boot RabbitMQ passes over definitions that it cannot apply (a binding to an unknown queue, a
permission of an unknown user, even a file that is not JSON) and says nothing, so whoever changes
the topology should look.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

_IDENTITY: Final[dict[str, tuple[str, ...]]] = {
    "vhosts": ("name",),
    "users": ("name",),
    "permissions": ("vhost", "user", "configure", "write", "read"),
    "topic_permissions": ("vhost", "user", "exchange", "write", "read"),
    "policies": ("vhost", "name", "pattern"),
    "exchanges": ("vhost", "name", "type"),
    "queues": ("vhost", "name"),
    "bindings": ("vhost", "source", "destination_type", "destination", "routing_key"),
}


def differences(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> list[str]:
    """Return one line for each wanted definition that is absent, and for each user too many."""
    lines = [
        f"missing in {kind}: {', '.join(map(str, identity))}"
        for kind in _IDENTITY
        for identity in sorted(_identities(kind, wanted) - _identities(kind, actual))
    ]
    surplus = _identities("users", actual) - _identities("users", wanted)
    return lines + [f"surplus in users: {identity[0]}" for identity in sorted(surplus)]


def _identities(kind: str, definitions: Mapping[str, Any]) -> set[tuple[str, ...]]:
    listed: Iterable[Mapping[str, Any]] = definitions.get(kind, [])
    return {tuple(str(one.get(key, "")) for key in _IDENTITY[kind]) for one in listed}
