"""What a bureau declared it acts on, and when it is too long out of touch to act at all."""

import pytest

from bus.instants import DAY, HOUR
from bus.messages.authority import CommissionAction
from bus.messages.review import ReviewOutcome
from bus.standing import NOTHING_KNOWN, RecordState, Standing, fold
from bus.statements import IssuedStatement
from bus.verification import CLOCK_SKEW_MAX
from ncb_nodes.receiving_policy import (
    ActsOn,
    ReceivingPolicy,
    is_actionable,
    retraction_set_is_fresh,
)
from tests.factories import (
    NOW,
    amendment,
    block,
    commission_decision,
    decision,
    diffusion,
    retraction,
    review_opened,
    withdrawal,
)

FIRST = diffusion()
SECOND = amendment(FIRST)
STORIES: dict[RecordState, tuple[IssuedStatement, ...]] = {
    RecordState.UNREGISTERED: (FIRST,),
    RecordState.PENDING_REVIEW: (FIRST, review_opened(FIRST)),
    RecordState.VALIDATED: (FIRST, decision(FIRST)),
    RecordState.SUPERSEDED: (FIRST, SECOND, decision(FIRST), decision(SECOND, 3)),
    RecordState.REJECTED: (FIRST, decision(FIRST, 2, ReviewOutcome.REJECTED)),
    RecordState.BLOCKED: (FIRST, decision(FIRST), block(FIRST, 3)),
    RecordState.DELETED: (FIRST, decision(FIRST), retraction(FIRST)),
}
ACTIONABLE = {
    ActsOn.PENDING: {
        RecordState.UNREGISTERED,
        RecordState.PENDING_REVIEW,
        RecordState.VALIDATED,
    },
    ActsOn.VALIDATED: {RecordState.VALIDATED},
}


def standing_after(*said: IssuedStatement) -> Standing:
    """Return the standing after these statements."""
    standing = NOTHING_KNOWN
    for each in said:
        standing = fold(standing, each.statement, each.digest)
    return standing


def test_every_state_has_its_story() -> None:
    """A state that is added must be given a place in the policy."""
    assert set(STORIES) == set(RecordState)
    assert all(standing_after(*said).state_of(FIRST.digest) is state
               for state, said in STORIES.items())  # fmt: skip


@pytest.mark.parametrize("acts_on", ActsOn)
@pytest.mark.parametrize("state", STORIES)
def test_bureau_acts_on_the_states_that_it_declared_and_no_others(
    acts_on: ActsOn, state: RecordState
) -> None:
    """Acting at once on pending data is lawful and declared; on what was taken back it never is."""
    policy = ReceivingPolicy(acts_on=acts_on)
    expected = state in ACTIONABLE[acts_on]
    assert is_actionable(policy, standing_after(*STORIES[state]), FIRST.digest) is expected


@pytest.mark.parametrize("end", [
    withdrawal(FIRST), commission_decision(FIRST, 1, CommissionAction.BLOCK),
    commission_decision(FIRST, 1, CommissionAction.DELETE),
], ids=["withdrawn", "blocked by the Commission", "deleted by the Commission"])  # fmt: skip
def test_nobody_acts_on_what_source_or_commission_took_back(end: IssuedStatement) -> None:
    """Whatever the policy, and however valid the version was."""
    standing = standing_after(FIRST, decision(FIRST), end)
    assert not any(is_actionable(ReceivingPolicy(acts_on=each), standing, FIRST.digest)
                   for each in ActsOn)  # fmt: skip


def test_retraction_set_is_fresh_for_two_periods_and_the_clock_skew() -> None:
    """To the millisecond; and without any set nothing is fresh."""
    policy = ReceivingPolicy(retraction_set_period=6 * HOUR)
    last = NOW + 12 * HOUR + CLOCK_SKEW_MAX
    fresh = [retraction_set_is_fresh(policy, NOW, now) for now in (NOW, last, last + 1)]
    assert fresh == [True, True, False]
    assert not retraction_set_is_fresh(policy, None, NOW)
    assert retraction_set_is_fresh(ReceivingPolicy(), NOW, NOW + 2 * DAY)
