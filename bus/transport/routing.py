"""What a topology allows and where it sends things, answered without a broker. Pure."""

import re
from typing import Final

from bus.topology import (
    RETURN_HEADER,
    RETURN_HEADER_VALUE,
    Binding,
    ExchangeKind,
    Topology,
)
from bus.transport.topic_match import TopicIndex

_RETURN_ASKED: Final = (RETURN_HEADER, RETURN_HEADER_VALUE)


class Routing:
    """The exchanges, bindings and permissions of one topology, arranged for look-up."""

    def __init__(self, topology: Topology) -> None:
        self._kinds = {exchange.name: exchange.kind for exchange in topology.exchanges}
        self._internal = {exchange.name for exchange in topology.exchanges if exchange.internal}
        self._alternates = {name: topology.alternate_exchange(name) for name in self._kinds}
        self._permissions = {permission.user: permission for permission in topology.permissions}
        self._key_patterns = {
            (permission.user, permission.exchange): re.compile(permission.write)
            for permission in topology.topic_permissions
        }
        self._bindings: dict[str, list[Binding]] = {name: [] for name in self._kinds}
        self._topics: dict[str, TopicIndex[Binding]] = {name: TopicIndex() for name in self._kinds}
        for binding in topology.bindings:
            self._bindings[binding.source].append(binding)
            self._topics[binding.source].bind(binding.binding_key, binding)

    def may_read(self, user: str, queue: str) -> bool:
        """Tell whether a user may receive from a queue, which need not exist."""
        permission = self._permissions.get(user)
        return permission is not None and re.search(permission.read, queue) is not None

    def may_publish(self, user: str, exchange: str, routing_key: str) -> bool:
        """Tell whether a user may publish to an exchange under this key."""
        permission = self._permissions.get(user)
        if permission is None or not re.search(permission.write, exchange):
            return False
        if exchange in self._internal:
            return False
        pattern = self._key_patterns.get((user, exchange))
        # A user without any rule for a topic exchange is not limited there: RabbitMQ's own default.
        return pattern is None or pattern.search(routing_key) is not None

    def queues_for(self, exchange: str, routing_key: str, *, asks_return: bool) -> tuple[str, ...]:
        """Return the queues that a message reaches, each once, in the order of the walk.

        `asks_return` says whether it carries the header by which an honest publisher asks to be
        told that nobody receives it. Nothing is returned for an exchange that does not exist.
        """
        queues = dict[str, None]()
        waiting, seen = [exchange], {exchange}
        while waiting:
            current = waiting.pop(0)
            matching = self._matching(current, routing_key, asks_return=asks_return)
            if not matching:
                alternate = self._alternates.get(current)
                onward = [] if alternate is None else [alternate]
            else:
                onward = [each.destination for each in matching if each.to_exchange]
                queues.update((each.destination, None) for each in matching if not each.to_exchange)
            waiting += [name for name in onward if name not in seen]
            seen.update(onward)
        return tuple(queues)

    def _matching(self, exchange: str, routing_key: str, *, asks_return: bool) -> list[Binding]:
        match self._kinds.get(exchange):
            case ExchangeKind.TOPIC:
                return self._topics[exchange].matches(routing_key)
            case ExchangeKind.HEADERS:
                return [
                    binding
                    for binding in self._bindings[exchange]
                    if asks_return and binding.header == _RETURN_ASKED
                ]
            case ExchangeKind.FANOUT:
                return self._bindings[exchange]
            case None:
                return []
