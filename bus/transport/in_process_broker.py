"""A broker in this process: the queues, limits and permissions of a topology, without a network.

It keeps what RabbitMQ keeps to: acknowledgement, redelivery with a flag and a limit, dead letters
passed on at least once, full queues that refuse, alternate exchanges, permissions by name and by
routing key. It reads no clock; order depends on nothing but the order of the calls.
"""

import sys
from asyncio import Event
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final

from msgspec.structs import replace

from bus.errors import EnvironmentFailed, TransportDenied
from bus.ports import Delivery, PublishOutcome
from bus.topology import QueuePolicy, Topology
from bus.transport.routing import Routing

_FIRST_TIME: Final = False


class BrokerQueue:
    """One queue: what is ready, and what was returned to it and comes first."""

    __slots__ = (
        "_redeliveries",
        "_waiters",
        "dead_letter_exchange",
        "messages_max",
        "name",
        "ready",
        "redeliveries_max",
        "returned",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[Delivery] = deque()
        self.returned: deque[Delivery] = deque()
        self.messages_max = sys.maxsize
        self.redeliveries_max = sys.maxsize
        self.dead_letter_exchange: str | None = None
        self._redeliveries: dict[object, int] = {}
        self._waiters: set[Event] = set()

    def rule(self, policy: QueuePolicy) -> None:
        """Take on a policy."""
        self.messages_max = policy.messages_max
        self.redeliveries_max = policy.redeliveries_max
        self.dead_letter_exchange = policy.dead_letter_exchange

    @property
    def depth(self) -> int:
        """How many messages wait here, those under way to a consumer not counted."""
        return len(self.ready) + len(self.returned)

    @property
    def contents(self) -> list[bytes]:
        """The content of every waiting message, next one first."""
        return [delivery.content for delivery in (*self.returned, *self.ready)]

    def put(self, delivery: Delivery) -> None:
        """Add one message at the end and wake whoever waits for it."""
        self.ready.append(delivery)
        if self._waiters:
            self._wake()

    def put_back(self, delivery: Delivery) -> bool:
        """Return one message to be delivered next; False when it came back too often for that."""
        returns = self._redeliveries.pop(delivery.tag, 0) + 1
        if returns > self.redeliveries_max:
            return False
        self._redeliveries[delivery.tag] = returns
        self.returned.append(replace(delivery, redelivered=True))
        self._wake()
        return True

    def forget(self, delivery: Delivery) -> None:
        """Drop the count of returns of a message that will not come back."""
        self._redeliveries.pop(delivery.tag, None)

    def take_into(self, batch: list[Delivery], limit: int) -> None:
        """Move messages to `batch` until it holds `limit` or none is left."""
        for source in (self.returned, self.ready):
            room = limit - len(batch)
            if len(source) <= room:
                batch += source
                source.clear()
            else:
                batch += [source.popleft() for _ in range(room)]

    def add_waiter(self, event: Event) -> None:
        """Set `event` whenever a message arrives."""
        self._waiters.add(event)

    def discard_waiter(self, event: Event) -> None:
        """No longer set `event`."""
        self._waiters.discard(event)

    def _wake(self) -> None:
        for event in self._waiters:
            event.set()


Route = tuple[BrokerQueue, ...]
"""The queues that one message goes to."""


class InProcessBroker:
    """The bus itself; hand it to an `InProcessTransport` for each user and to `InProcessAdmin`."""

    def __init__(self, topology: Topology) -> None:
        self.revision = 0
        """Grows whenever a route that somebody remembers may have become wrong."""
        self._queues: dict[str, BrokerQueue] = {}
        self._tags = count(1)
        self._dead_letters_held: deque[tuple[str, Delivery]] = deque()
        self._removed_users: set[str] = set()
        self._sessions: dict[str, list[Callable[[], None]]] = {}
        self.apply(topology)

    def apply(self, topology: Topology) -> None:
        """Take on a topology, as when a member joins; queues keep the messages they hold."""
        for queue in topology.queues:
            policy = topology.queue_policy(queue.name)
            held = self._queues.setdefault(queue.name, BrokerQueue(queue.name))
            if policy is not None:
                held.rule(policy)
        self._routing = Routing(topology)
        self.revision += 1

    def queue(self, name: str) -> BrokerQueue:
        """Return a queue; raise `EnvironmentFailed` if there is none of that name."""
        try:
            return self._queues[name]
        except KeyError:
            raise EnvironmentFailed(f"the broker has no queue {name}") from None

    def readable_queue(self, user: str, name: str) -> BrokerQueue:
        """Return a queue to receive from; raise `TransportDenied` where `user` may not."""
        if user in self._removed_users or not self._routing.may_read(user, name):
            raise TransportDenied(f"user {user} may not read queue {name}")
        return self.queue(name)

    def resolve(
        self, user: str, exchange: str, routing_key: str, *, asks_return: bool
    ) -> Route | PublishOutcome:
        """Return where a publication goes, or the outcome that it meets with at once.

        The answer may be remembered until `revision` changes.
        """
        if user in self._removed_users:
            return PublishOutcome.DENIED
        if not self._routing.may_publish(user, exchange, routing_key):
            return PublishOutcome.DENIED
        route = self._route(exchange, routing_key, asks_return=asks_return)
        return PublishOutcome.UNROUTABLE if asks_return and not route else route

    def publish(
        self, route: Route, content: bytes, user_id: str | None, routing_key: str
    ) -> PublishOutcome:
        """Put one message into each queue of its route; a full queue refuses only its own copy."""
        outcome = PublishOutcome.CONFIRMED
        for queue in route:
            if len(queue.ready) + len(queue.returned) >= queue.messages_max:
                outcome = PublishOutcome.OVERFLOW
                continue
            # By position: by name it would take twice as long.
            queue.put(
                Delivery(queue.name, content, user_id, routing_key, _FIRST_TIME, next(self._tags))
            )
        return outcome

    def accept(self, deliveries: list[Delivery]) -> None:
        """Drop deliveries for good."""
        for delivery in deliveries:
            if delivery.redelivered:
                self._queues[delivery.queue].forget(delivery)

    def give_back(self, deliveries: list[Delivery]) -> None:
        """Return deliveries to their queues; those that came back too often are dead-lettered."""
        for delivery in deliveries:
            if not self._queues[delivery.queue].put_back(delivery):
                self.dead_letter(delivery)

    def dead_letter(self, delivery: Delivery) -> None:
        """Pass a delivery on to where its queue's policy says; hold it while there is no room."""
        queue = self._queues[delivery.queue]
        queue.forget(delivery)
        if queue.dead_letter_exchange is not None:
            self._dead_letters_held.append((queue.dead_letter_exchange, delivery))
            self.pass_on_dead_letters()

    def pass_on_dead_letters(self) -> None:
        """Try what is held, in order, until one finds no room."""
        while self._dead_letters_held:
            exchange, delivery = self._dead_letters_held[0]
            route = self._route(exchange, delivery.routing_key, asks_return=False)
            if not route or any(queue.depth >= queue.messages_max for queue in route):
                return
            self._dead_letters_held.popleft()
            self.publish(route, delivery.content, delivery.user_id, delivery.routing_key)

    def is_removed(self, user: str) -> bool:
        """Tell whether a user was removed."""
        return user in self._removed_users

    def attach(self, user: str, on_removal: Callable[[], None]) -> None:
        """Call `on_removal` when the user is removed; raise `TransportDenied` if it was already."""
        if user in self._removed_users:
            raise TransportDenied(f"user {user} was removed from the broker")
        self._sessions.setdefault(user, []).append(on_removal)

    def detach(self, user: str, on_removal: Callable[[], None]) -> None:
        """Undo `attach`."""
        self._sessions[user].remove(on_removal)

    def remove_user(self, user: str) -> None:
        """Forbid everything to a user from now on and end its sessions."""
        self._removed_users.add(user)
        self.revision += 1
        for end in list(self._sessions.get(user, ())):
            end()

    def _route(self, exchange: str, routing_key: str, *, asks_return: bool) -> Route:
        names = self._routing.queues_for(exchange, routing_key, asks_return=asks_return)
        return tuple(self._queues[name] for name in names)
