"""The embedded bus: `InProcessTransport` and `InProcessAdmin` over one `InProcessBroker`.

Nothing here suspends unless `take` is asked to wait, so a whole network can be driven in virtual
time from any event loop, or from none.
"""

import asyncio
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from bus.ports import Delivery, Publication, PublishOutcome, Settlement
from bus.transport.in_process_broker import BrokerQueue, InProcessBroker, Route

__all__ = ["InProcessAdmin", "InProcessBroker", "InProcessTransport"]

remembered_routes_max: Final = 2_048
"""Per user; enough for one broadcast of each usual type to 196 members."""

_tag_of: Final = attrgetter("tag")


class InProcessTransport:
    """One user's connection to an `InProcessBroker`; see `bus.ports.Transport`.

    `asks_return` is false only for a careless client, whose unroutable messages the broker keeps
    for the secretariat instead of returning them. Raises `TransportDenied` for a removed user.
    """

    def __init__(self, broker: InProcessBroker, user: str, *, asks_return: bool = True) -> None:
        self.user = user
        self._broker = broker
        self._asks_return = asks_return
        self._queues: list[BrokerQueue] = []
        self._unsettled: dict[object, Delivery] = {}
        self._routes: dict[tuple[str, str], Route | PublishOutcome] = {}
        self._routes_revision = broker.revision
        self._arrived = asyncio.Event()
        self._is_closed = False
        broker.attach(user, self._end)

    async def subscribe(self, queues: Sequence[str]) -> None:
        """Begin to receive from these queues too.

        Raises `TransportDenied` where that is forbidden, `EnvironmentFailed` for a queue that does
        not exist; then nothing changes.
        """
        found = [self._broker.readable_queue(self.user, name) for name in queues]
        for queue in found:
            if queue not in self._queues:
                self._queues.append(queue)
                queue.add_waiter(self._arrived)

    async def unsubscribe(self) -> None:
        """Stop receiving; what was taken and not settled goes back to its queue."""
        self._stop_receiving()

    async def publish(self, publications: Sequence[Publication]) -> list[PublishOutcome]:
        """Answer for each publication in the same order; `user_id` is this transport's user."""
        if self._is_closed:
            removed = self._broker.is_removed(self.user)
            outcome = PublishOutcome.DENIED if removed else PublishOutcome.UNCONFIRMED
            return [outcome] * len(publications)
        if self._routes_revision != self._broker.revision:
            self._routes.clear()
            self._routes_revision = self._broker.revision
        routes, store, user = self._routes, self._broker.publish, self.user
        outcomes = []
        for publication in publications:
            key = publication.routing_key
            route = routes.get((publication.exchange, key))
            if route is None:
                route = self._remember_route(publication.exchange, key)
            outcomes.append(
                store(route, publication.content, user, key) if isinstance(route, tuple) else route
            )
        return outcomes

    async def take(self, limit: int, wait_seconds: float) -> list[Delivery]:
        """Return up to `limit` deliveries; with `wait_seconds` 0 this never suspends."""
        batch = self._take_ready(limit)
        if batch or wait_seconds <= 0:
            return batch
        try:
            async with asyncio.timeout(wait_seconds):
                while not batch and not self._is_closed:
                    self._arrived.clear()
                    await self._arrived.wait()
                    batch = self._take_ready(limit)
        except TimeoutError:
            return batch
        return batch

    async def settle(self, deliveries: Sequence[Delivery], settlement: Settlement) -> None:
        """Settle each once; one that is no longer ours to settle is ignored."""
        forget = self._unsettled.pop
        ours = [each for each in deliveries if forget(each.tag, None) is not None]
        match settlement:
            case Settlement.ACCEPT:
                self._broker.accept(ours)
            case Settlement.REQUEUE:
                self._broker.give_back(ours)
            case Settlement.DEAD_LETTER:
                for delivery in ours:
                    self._broker.dead_letter(delivery)

    async def close(self) -> None:
        """End the connection; unsettled deliveries go back to their queues. May be called twice."""
        self._end()

    def _end(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._broker.detach(self.user, self._end)
        self._stop_receiving()
        self._arrived.set()

    def _stop_receiving(self) -> None:
        for queue in self._queues:
            queue.discard_waiter(self._arrived)
        self._queues.clear()
        unsettled = list(self._unsettled.values())
        self._unsettled.clear()
        self._broker.give_back(unsettled)

    def _remember_route(self, exchange: str, key: str) -> Route | PublishOutcome:
        if len(self._routes) >= remembered_routes_max:
            self._routes.clear()
        route = self._broker.resolve(self.user, exchange, key, asks_return=self._asks_return)
        self._routes[exchange, key] = route
        return route

    def _take_ready(self, limit: int) -> list[Delivery]:
        batch: list[Delivery] = []
        for queue in self._queues:
            queue.take_into(batch, limit)
        if not batch:
            return batch
        self._unsettled.update(zip(map(_tag_of, batch), batch, strict=True))
        # Each queue in turn comes first, so that a busy one cannot starve the other.
        self._queues.append(self._queues.pop(0))
        self._broker.pass_on_dead_letters()
        return batch


class InProcessAdmin:
    """Looks into an `InProcessBroker` and removes users; see `bus.ports.BrokerAdmin`."""

    def __init__(self, broker: InProcessBroker) -> None:
        self._broker = broker

    async def depth(self, queue: str) -> int:
        """Return how many messages wait; raise `EnvironmentFailed` if there is no such queue."""
        return self._broker.queue(queue).depth

    async def read_all(self, queue: str) -> list[bytes]:
        """Return the content of every waiting message; raise as `depth` does."""
        return self._broker.queue(queue).contents

    async def remove_user(self, user: str) -> None:
        """Forbid everything to a user; what its transports held goes back to the queues."""
        self._broker.remove_user(user)

    async def close(self) -> None:
        """End nothing: the broker belongs to whoever made it."""
