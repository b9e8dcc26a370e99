"""The review case: where it can go, and how reviewers' time is spent."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bus.instants import DAY, HOUR
from bus.storage.database import Database
from bus.storage.records import RecordKey
from secretariat.case_store import SCHEMA, Case, CaseStore
from secretariat.review import (
    OPEN_STATES,
    CaseState,
    IllegalTransition,
    ReviewSettings,
    moved,
    on_slot,
    review_ends,
)

ALLOWED = {
    ("queued", "under_review"),
    ("queued", "decided"),
    ("queued", "closed"),
    ("under_review", "awaiting_information"),
    ("under_review", "decided"),
    ("under_review", "closed"),
    ("awaiting_information", "under_review"),
    ("awaiting_information", "decided"),
    ("awaiting_information", "closed"),
}
KEY = RecordKey("XA", "0f8fad5b-d9cb-469f-a165-70867728950e")


@pytest.mark.parametrize("state", CaseState)
@pytest.mark.parametrize("to", CaseState)
def test_case_moves_only_along_the_allowed_ways(state: CaseState, to: CaseState) -> None:
    """What is decided or closed stays so; nothing goes back into the queue."""
    if (state, to) in ALLOWED:
        assert moved(state, to) is to
    else:
        with pytest.raises(IllegalTransition, match=f"from {state} to {to}"):
            moved(state, to)


@given(st.integers(0, 10**13), st.integers(1, 10 * DAY))
def test_slot_is_the_first_at_or_after_an_instant(instant: int, slot: int) -> None:
    """Timers share instants, so that a run has few of them."""
    found = on_slot(instant, slot)
    assert found % slot == 0
    assert instant <= found < instant + slot


@given(st.floats(0, 1, exclude_max=True))
def test_review_takes_between_the_two_durations_and_ends_on_a_slot(fraction: float) -> None:
    """The draw decides how long, the slot rounds up."""
    settings_used = ReviewSettings(
        review_shortest=6 * HOUR, review_longest=36 * HOUR, slot=3 * HOUR
    )
    end = review_ends(settings_used, HOUR, fraction)
    assert end % (3 * HOUR) == 0
    assert 7 * HOUR <= end <= 37 * HOUR + 3 * HOUR


class CaseMachine(RuleBasedStateMachine):
    """A desk that opens, moves and decides cases in any order; the store keeps count."""

    def __init__(self) -> None:
        super().__init__()
        self.store = CaseStore(Database("IPSG", [SCHEMA]))
        self.states: dict[bytes, CaseState] = {}
        self.asked: set[bytes] = set()

    def case(self, digest: bytes) -> Case:
        """Return the stored case on a version."""
        return next(case for case in self.store.cases_of(KEY) if case.digest == digest)

    @rule(number=st.integers(0, 4))
    def open(self, number: int) -> None:
        """Open a case on a version, which has at most one."""
        digest = bytes([number]) * 32
        opened = self.store.open_case(f"case-{number}", KEY, digest, f"m{number}", number)
        assert opened is (digest not in self.states)
        self.states.setdefault(digest, CaseState.QUEUED)

    @precondition(lambda self: self.states)
    @rule(data=st.data(), to=st.sampled_from(CaseState), ask=st.booleans())
    def move(self, data: st.DataObject, to: CaseState, *, ask: bool) -> None:
        """Move a case anywhere; what is not allowed changes nothing."""
        digest = data.draw(st.sampled_from(sorted(self.states)))
        before = self.case(digest)
        if (before.state, to) not in ALLOWED:
            with pytest.raises(IllegalTransition):
                self.store.move(before, to, None)
            assert self.case(digest) == before
            return
        if to is CaseState.DECIDED:
            self.store.decide(before, "rejected", "art3", "political_character", 9)
        else:
            self.store.move(before, to, 7, asked=ask)
            self.asked |= {digest} if ask else set()
        self.states[digest] = to

    @invariant()
    def store_agrees_with_what_was_done(self) -> None:
        """States, counts and lists all tell the same."""
        kept = {case.digest: case.state for case in self.store.cases_of(KEY)}
        assert kept == self.states
        states = list(self.states.values())
        assert self.store.queue_length() == states.count(CaseState.QUEUED)
        assert self.store.reviewers_busy() == states.count(CaseState.UNDER_REVIEW)
        assert self.store.open_count() == sum(state in OPEN_STATES for state in states)
        assert len(self.store.open_cases_of(KEY)) == self.store.open_count()

    @invariant()
    def question_once_asked_stays_asked(self) -> None:
        """A source is asked once, whatever happens to the case in between."""
        assert {case.digest for case in self.store.cases_of(KEY) if case.asked} == self.asked

    @invariant()
    def only_cases_in_work_are_due(self) -> None:
        """Neither queued nor finished cases wake the desk."""
        working = {CaseState.UNDER_REVIEW, CaseState.AWAITING_INFORMATION}
        assert {case.state for case in self.store.due_cases(7)} <= working
        assert (self.store.next_due() is not None) == any(
            state in working for state in self.states.values()
        )


TestCaseMachine = CaseMachine.TestCase
TestCaseMachine.settings = settings(max_examples=60, stateful_step_count=25)
