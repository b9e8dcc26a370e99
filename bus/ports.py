"""What the use cases ask of the outside, in our own verbs; adapters in `bus.transport` answer."""

from collections.abc import Sequence
from enum import Enum, StrEnum
from typing import Protocol

from msgspec import Struct


class Publication(Struct, frozen=True):
    """One envelope on its way to one recipient: one publish, one confirm."""

    exchange: str
    routing_key: str
    message_id: str
    content: bytes


class PublishOutcome(StrEnum):
    """What the broker said of one publication. Only `CONFIRMED` means that it is stored."""

    CONFIRMED = "confirmed"
    UNROUTABLE = "unroutable"
    """No queue is bound for the recipient."""
    OVERFLOW = "overflow"
    """The recipient's queue is full and said so; the mail is parked and tried again."""
    DENIED = "denied"
    """The broker's permissions forbid it: another's routing key or user."""
    UNCONFIRMED = "unconfirmed"
    """No answer in time or the connection broke: the message may or may not be stored."""


class Settlement(Enum):
    """The transport's acknowledgement, given after the store has committed."""

    ACCEPT = "accept"
    REQUEUE = "requeue"
    """Back to the queue; counts against its delivery limit."""
    DEAD_LETTER = "dead_letter"
    """Never to be tried again."""


class Delivery(Struct, frozen=True):
    """One message taken from a queue, not yet settled.

    `user_id` is the publisher as the broker validated it, or None when the publisher set none.
    `tag` is opaque and belongs to the transport that made it.
    """

    queue: str
    content: bytes
    user_id: str | None
    routing_key: str
    redelivered: bool
    tag: object


class Transport(Protocol):
    """One user's connection to the bus. Both implementations pass the same contract suite."""

    user: str

    async def subscribe(self, queues: Sequence[str]) -> None:
        """Begin to receive from these queues; raise `TransportDenied` where that is forbidden."""

    async def unsubscribe(self) -> None:
        """Stop receiving; what was taken and not settled goes back to its queue."""

    async def publish(self, publications: Sequence[Publication]) -> list[PublishOutcome]:
        """Publish all with many under way, and answer for each in the same order.

        `user_id` is always set to this transport's user. Never raises for a single publication.
        """

    async def take(self, limit: int, wait_seconds: float) -> list[Delivery]:
        """Return up to `limit` deliveries, waiting at most `wait_seconds` for the first."""

    async def settle(self, deliveries: Sequence[Delivery], settlement: Settlement) -> None:
        """Settle each once. A delivery of a connection since lost is ignored: it comes again."""

    async def close(self) -> None:
        """End the connection; unsettled deliveries go back to their queues. May be called twice."""


class BrokerAdmin(Protocol):
    """The one port that changes the broker at run time or looks into queues."""

    async def depth(self, queue: str) -> int:
        """Return how many messages wait in `queue` (those under way to a consumer not counted)."""

    async def read_all(self, queue: str) -> list[bytes]:
        """Return the content of every waiting message, and leave all of them where they are."""

    async def remove_user(self, user: str) -> None:
        """Forbid the bus to a user from now on and close its connections."""

    async def close(self) -> None:
        """End the administrative connection."""
