"""A bureau's declared policy on what it does with data that others send.

Whether to act on a request stays with the receiving country. Acting at once on data still pending
review is lawful and common; it is declared here, counted in every result, and no fault of a run.
"""

from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Struct

from bus.instants import DAY, MINUTE, Instant, instant_from_text
from bus.messages.header import Header
from bus.messages.retraction import DeclineReason
from bus.standing import RecordState, Standing
from bus.verification import CLOCK_SKEW_MAX

RETRACTION_SET_PERIODS_MAX: Final = 2
"""Periods after which a retraction set is stale and its holder acts on nothing."""
PERIOD_MAX: Final = 3_660 * DAY

Period = Annotated[Instant, Meta(ge=MINUTE, le=PERIOD_MAX)]
"""What recurs, in milliseconds: a minute at least."""


class ActsOn(StrEnum):
    """From when on a bureau acts on a version."""

    PENDING = "pending"
    """At once, review mark or not."""
    VALIDATED = "validated"
    """Only once the secretariat has validated it."""


class ReceivingPolicy(Struct, frozen=True, forbid_unknown_fields=True):
    """What a bureau declares. `located_share` is the share of acts that find the person.

    `declines_offences` names offence codes whose records it keeps on national grounds, whatever
    the secretariat says; its receipts then say so.
    """

    acts_on: ActsOn = ActsOn.VALIDATED
    located_share: Annotated[float, Meta(ge=0, le=1)] = 0.1
    declines_offences: tuple[str, ...] = ()
    decline_reason: DeclineReason = DeclineReason.NATIONAL_LAW
    retraction_set_period: Period = DAY
    unregistered_after: Period = DAY
    """How long a version may lack its review mark before the bureau doubts it."""


_ACTIONABLE: Final = {
    ActsOn.PENDING: frozenset(
        {RecordState.UNREGISTERED, RecordState.PENDING_REVIEW, RecordState.VALIDATED}
    ),
    ActsOn.VALIDATED: frozenset({RecordState.VALIDATED}),
}


def is_actionable(policy: ReceivingPolicy, standing: Standing, digest: bytes) -> bool:
    """Tell whether the declared policy lets a bureau act on a version that stands like this."""
    return standing.state_of(digest) in _ACTIONABLE[policy.acts_on]


def has_expired(version: Header, now: Instant) -> bool:
    """Tell whether the instant has passed up to which the source asks for anything.

    No policy acts on such a version. It stays where it is until its record ends.
    """
    return version.expires_at is not None and instant_from_text(version.expires_at) <= now


def retraction_set_is_fresh(
    policy: ReceivingPolicy, set_issued_at: Instant | None, now: Instant
) -> bool:
    """Tell whether the newest retraction set is recent enough to act on anything at all."""
    if set_issued_at is None:
        return False
    age_max = RETRACTION_SET_PERIODS_MAX * policy.retraction_set_period + CLOCK_SKEW_MAX
    return now - set_issued_at <= age_max
