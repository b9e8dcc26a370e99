"""The review case: its states, and how reviewers' time is spent. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta, Struct

from bus.instants import DAY, HOUR, MINUTE, Instant
from bus.standing import VersionStanding

REVIEWERS_MAX: Final = 10_000
PERIOD_MAX: Final = 3_660 * DAY
"""Longest that any deadline or duration may be, in milliseconds."""

Duration = Annotated[Instant, Meta(ge=0, le=PERIOD_MAX)]
Period = Annotated[Instant, Meta(ge=MINUTE, le=PERIOD_MAX)]
"""What recurs or divides time, in milliseconds: a minute at least."""


class CaseState(StrEnum):
    """Where a case of the NDTF stands."""

    QUEUED = "queued"
    UNDER_REVIEW = "under_review"
    AWAITING_INFORMATION = "awaiting_information"
    DECIDED = "decided"
    CLOSED = "closed"
    """Closed without a decision of its own: withdrawn, or ended with its record."""


_NEXT: Final[dict[CaseState, frozenset[CaseState]]] = {
    CaseState.QUEUED: frozenset({CaseState.UNDER_REVIEW, CaseState.DECIDED, CaseState.CLOSED}),
    CaseState.UNDER_REVIEW: frozenset(
        {CaseState.AWAITING_INFORMATION, CaseState.DECIDED, CaseState.CLOSED}
    ),
    CaseState.AWAITING_INFORMATION: frozenset(
        {CaseState.UNDER_REVIEW, CaseState.DECIDED, CaseState.CLOSED}
    ),
    CaseState.DECIDED: frozenset(),
    CaseState.CLOSED: frozenset(),
}
OPEN_STATES: Final = frozenset(
    {CaseState.QUEUED, CaseState.UNDER_REVIEW, CaseState.AWAITING_INFORMATION}
)


class ReviewSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The secretariat's capacity and deadlines. No published figure exists for the deadlines.

    A review takes between the two durations, drawn per case, and ends on a shared slot.
    """

    reviewers: Annotated[int, Meta(ge=1, le=REVIEWERS_MAX)] = 35
    review_shortest: Duration = 6 * HOUR
    review_longest: Duration = 36 * HOUR
    slot: Period = 3 * HOUR
    information_deadline: Period = 2 * DAY
    retraction_deadline: Period = 3 * DAY
    retraction_repeat: Period = DAY
    retraction_set_period: Period = DAY


class IllegalTransition(ValueError):
    """A case cannot go from one state to another."""


def moved(state: CaseState, to: CaseState) -> CaseState:
    """Return the new state, or raise `IllegalTransition`."""
    if to not in _NEXT[state]:
        message = f"a case cannot go from {state} to {to}"
        raise IllegalTransition(message)
    return to


def comes_after(versions: Mapping[bytes, VersionStanding], digest: bytes, older: bytes) -> bool:
    """Tell whether a version amends an older one, directly or through others."""
    version = versions.get(digest)
    while version is not None and version.replaces is not None:
        if version.replaces == older:
            return True
        version = versions.get(version.replaces)
    return False


def on_slot(instant: Instant, slot: Instant) -> Instant:
    """Return the first shared slot at or after an instant."""
    return -(-instant // slot) * slot


def review_ends(settings: ReviewSettings, began: Instant, fraction: float) -> Instant:
    """Return when a review ends that draws `fraction` (0 to 1) of the range of durations."""
    span = settings.review_longest - settings.review_shortest
    return on_slot(began + settings.review_shortest + int(span * fraction), settings.slot)
