"""The standing of a record: a fold over a set of statements, whatever the order of arrival."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bus.messages.authority import CommissionAction
from bus.messages.retraction import Retraction
from bus.messages.review import ReviewOutcome
from bus.standing import (
    NOTHING_KNOWN,
    Ending,
    RecordState,
    Standing,
    fold,
)
from bus.statements import IssuedStatement
from tests.factories import (
    block,
    commission_decision,
    decision,
    retraction,
    review_opened,
    unblock,
    withdrawal,
)
from tests.unit.bus.record_facts import (
    ENDINGS,
    FIRST,
    LIVING,
    POOL,
    SECOND,
    VERSIONS,
    Fact,
    fact,
    folded,
)

VALIDATED, REJECTED = ReviewOutcome.VALIDATED, ReviewOutcome.REJECTED


def standing_of(*said: IssuedStatement) -> Standing:
    """Return the standing after these statements."""
    return folded(map(fact, said))


def state(*said: IssuedStatement, of: IssuedStatement = FIRST) -> RecordState:
    """Return how one version stands after these statements."""
    return standing_of(*said).state_of(of.digest)


class TestHowAVersionStands:
    """The states that a person is shown."""

    def test_version_without_its_mark_is_unregistered(self) -> None:
        """The secretariat may not know of it."""
        assert state(FIRST) is RecordState.UNREGISTERED

    def test_marked_version_is_pending_review(self) -> None:
        """Delivered, and not decided."""
        assert state(FIRST, review_opened(FIRST)) is RecordState.PENDING_REVIEW

    def test_mark_on_one_version_does_not_mark_another(self) -> None:
        """Each version has a review of its own."""
        assert state(FIRST, SECOND, review_opened(FIRST), of=SECOND) is RecordState.UNREGISTERED

    def test_decided_version_is_validated_or_rejected(self) -> None:
        """A decision shows, with or without the mark before it."""
        assert state(FIRST, decision(FIRST, 2, VALIDATED)) is RecordState.VALIDATED
        assert state(FIRST, decision(FIRST, 2, REJECTED)) is RecordState.REJECTED


class TestRuleOne:
    """A deleting retraction or the source's withdrawal ends the record."""

    @pytest.mark.parametrize("end", [retraction(FIRST), withdrawal(FIRST)], ids=["gs", "source"])
    def test_ended_record_stays_ended_for_versions_that_come_later(
        self, end: IssuedStatement
    ) -> None:
        """Nothing that arrives afterwards, or was on its way, brings it back."""
        standing = standing_of(end, FIRST, SECOND, decision(SECOND, 9, VALIDATED))
        assert {standing.state_of(each.digest) for each in VERSIONS} == {RecordState.DELETED}

    def test_update_retraction_does_not_end_the_record(self) -> None:
        """Near miss: the same type with the other action and a readable replacement."""
        update = fact(retraction(FIRST, 4, replaced_by=SECOND), SECOND)
        standing = folded([fact(FIRST), fact(SECOND), update])
        assert standing.state_of(FIRST.digest) is RecordState.REJECTED
        assert standing.state_of(SECOND.digest) is RecordState.VALIDATED

    def test_update_without_a_readable_replacement_deletes(self) -> None:
        """A holder that cannot read the new version must not keep the old one."""
        update = fact(retraction(FIRST, 4, replaced_by=SECOND))
        assert folded([fact(FIRST), update]).ended

    def test_first_of_several_endings_by_rank_is_named(self) -> None:
        """Commission before retraction before withdrawal, in any order of arrival."""
        endings = [withdrawal(FIRST), retraction(FIRST),
                   commission_decision(FIRST, 1, CommissionAction.DELETE)]  # fmt: skip
        for order in (endings, endings[::-1]):
            assert standing_of(*order).ending is Ending.COMMISSION
        assert standing_of(*endings[:2]).ending is Ending.RETRACTION


class TestRuleTwo:
    """Block and unblock apply to the record; the highest number wins."""

    def test_block_hides_all_versions(self) -> None:
        """Whatever version it names."""
        standing = standing_of(FIRST, SECOND, decision(SECOND, 1), block(FIRST, 2))
        assert standing.state_of(SECOND.digest) is RecordState.BLOCKED

    def test_only_unblock_lifts_a_block(self) -> None:
        """Near miss: a validation with a higher number leaves the record blocked."""
        assert state(FIRST, block(FIRST, 2), decision(FIRST, 3)) is RecordState.BLOCKED
        lifted = (FIRST, block(FIRST, 2), decision(FIRST, 3), unblock(FIRST, 4))
        assert state(*lifted) is RecordState.VALIDATED

    def test_unblock_with_a_lower_number_is_too_late(self) -> None:
        """It was made before the block, though it arrived after it."""
        assert state(FIRST, block(FIRST, 3), unblock(FIRST, 2)) is RecordState.BLOCKED

    def test_rejected_version_of_a_blocked_record_shows_its_rejection(self) -> None:
        """A block is provisional, a rejection is not."""
        assert state(FIRST, block(FIRST, 2), decision(FIRST, 1, REJECTED)) is RecordState.REJECTED


class TestRuleThree:
    """Per version the highest-numbered decision that names it counts."""

    def test_later_decision_replaces_the_earlier_one(self) -> None:
        """By number, not by arrival."""
        rejected_late = (FIRST, decision(FIRST, 3, REJECTED), decision(FIRST, 2, VALIDATED))
        assert state(*rejected_late) is RecordState.REJECTED

    def test_decision_on_another_version_does_not_touch_this_one(self) -> None:
        """Near miss: a higher number on another version."""
        assert state(FIRST, SECOND, decision(FIRST, 2), decision(SECOND, 3, REJECTED)) is (
            RecordState.VALIDATED
        )


class TestRuleFour:
    """In force is the version with the highest-numbered standing validation."""

    def test_validated_amendment_supersedes_the_version_before(self) -> None:
        """Only one version is in force."""
        said = (FIRST, SECOND, decision(FIRST, 2), decision(SECOND, 4))
        assert state(*said) is RecordState.SUPERSEDED
        assert state(*said, of=SECOND) is RecordState.VALIDATED

    def test_pending_amendment_leaves_the_old_version_in_force(self) -> None:
        """Near miss: marked, but not decided."""
        said = (FIRST, SECOND, decision(FIRST, 2), review_opened(SECOND, 3))
        assert state(*said) is RecordState.VALIDATED
        assert state(*said, of=SECOND) is RecordState.PENDING_REVIEW

    def test_rejection_of_the_newer_version_brings_the_older_back_into_force(self) -> None:
        """Its validation still stands."""
        said = (
            FIRST,
            SECOND,
            decision(FIRST, 2),
            decision(SECOND, 4),
            decision(SECOND, 5, REJECTED),
        )
        assert state(*said) is RecordState.VALIDATED

    def test_validation_of_a_version_that_has_not_come_supersedes_as_well(self) -> None:
        """Who missed the amendment must not go on acting on what it replaced."""
        assert state(FIRST, decision(FIRST, 2), decision(SECOND, 4)) is RecordState.SUPERSEDED


class TestRuleFive:
    """Nothing of the secretariat makes actionable what the Commission forbids."""

    def test_block_of_the_commission_outlasts_the_secretariats_unblock(self) -> None:
        """The two number their statements apart."""
        blocked = commission_decision(FIRST, 1, CommissionAction.BLOCK)
        said = (FIRST, decision(FIRST, 2), blocked, block(FIRST, 3), unblock(FIRST, 99))
        assert state(*said) is RecordState.BLOCKED

    def test_unblock_of_the_commission_lifts_its_own_block_alone(self) -> None:
        """Near miss: the secretariat's block stands."""
        lifted = commission_decision(FIRST, 2, CommissionAction.UNBLOCK)
        said = (FIRST, decision(FIRST, 2), commission_decision(FIRST, 1, CommissionAction.BLOCK))
        assert state(*said, lifted) is RecordState.VALIDATED
        assert state(*said, block(FIRST, 3), lifted) is RecordState.BLOCKED

    @pytest.mark.parametrize("action", [CommissionAction.ADDENDUM, CommissionAction.NONE])
    def test_other_decisions_of_the_commission_change_nothing(
        self, action: CommissionAction
    ) -> None:
        """They are for people to read."""
        assert standing_of(FIRST, commission_decision(FIRST, 1, action)) == standing_of(FIRST)


class TestRuleSix:
    """Of two statements with one number the more restrictive counts."""

    def test_rejection_beats_validation(self) -> None:
        """In both orders."""
        pair = decision(FIRST, 2, VALIDATED), decision(FIRST, 2, REJECTED)
        assert {state(FIRST, *pair), state(FIRST, *pair[::-1])} == {RecordState.REJECTED}

    def test_block_beats_unblock(self) -> None:
        """In both orders, for secretariat and Commission alike."""
        pair = block(FIRST, 2), unblock(FIRST, 2)
        both = [commission_decision(FIRST, 2, each)
                for each in (CommissionAction.BLOCK, CommissionAction.UNBLOCK)]  # fmt: skip
        for one, other in (pair, tuple(both)):
            assert {state(FIRST, one, other), state(FIRST, other, one)} == {RecordState.BLOCKED}

    def test_next_number_resolves_the_conflict(self) -> None:
        """Near miss: a higher number, and only that, overrules both."""
        pair = decision(FIRST, 2, VALIDATED), decision(FIRST, 2, REJECTED)
        assert state(FIRST, *pair, decision(FIRST, 3, VALIDATED)) is RecordState.VALIDATED


@settings(max_examples=300)
@given(st.lists(st.sampled_from(POOL), max_size=12), st.data())
def test_any_order_with_any_repetition_gives_the_same_standing(
    facts: list[Fact], data: st.DataObject
) -> None:
    """The standing is a function of the set of statements."""
    again = data.draw(st.lists(st.sampled_from(facts), max_size=4)) if facts else []
    shuffled = data.draw(st.permutations(facts + again))
    assert folded(shuffled) == folded(facts)


class RecordMachine(RuleBasedStateMachine):
    """Statements arrive one by one; beside the fold, the rules are applied to the whole set."""

    def __init__(self) -> None:
        super().__init__()
        self.standing = NOTHING_KNOWN
        self.seen: list[Fact] = []

    def arrive(self, one: Fact) -> None:
        """Fold one statement in."""
        before = self.standing
        self.standing = fold(before, one.statement, one.digest, one.replacement)
        if one in self.seen:
            assert self.standing == before
        else:
            self.seen.append(one)

    @rule(one=st.sampled_from(LIVING))
    def statement_arrives(self, one: Fact) -> None:
        """Something new, or again, that leaves the record alive."""
        self.arrive(one)

    @precondition(lambda self: len(self.seen) > 6)
    @rule(one=st.sampled_from(ENDINGS))
    def ending_arrives(self, one: Fact) -> None:
        """Something that ends the record."""
        self.arrive(one)

    @invariant()
    def tombstone_never_comes_to_life(self) -> None:
        """Once ended, always ended."""
        assert self.standing.ended == any(each in ENDINGS for each in self.seen)

    @invariant()
    def every_version_stands_as_the_rules_say_of_the_set(self) -> None:
        """The fold agrees with the rules read off the whole set at once."""
        if self.standing.ended:
            return
        blocked = self.hidden("IPSG", "block", "unblock") or self.hidden("CCF", "block", "unblock")
        decisions = {version.digest: self.decision_on(version.digest) for version in VERSIONS}
        validated = [(number, digest) for digest, (number, outcome) in decisions.items()
                     if outcome is VALIDATED]  # fmt: skip
        for digest, (_, outcome) in decisions.items():
            expected = RecordState.UNREGISTERED
            if outcome is REJECTED:
                expected = RecordState.REJECTED
            elif blocked:
                expected = RecordState.BLOCKED
            elif outcome is VALIDATED:
                newest = max(validated)[1] == digest
                expected = RecordState.VALIDATED if newest else RecordState.SUPERSEDED
            elif self.is_marked(digest):
                expected = RecordState.PENDING_REVIEW
            assert self.standing.state_of(digest) is expected

    def hidden(self, issuer: str, hide: str, show: str) -> bool:
        """Rules 2, 5 and 6: the highest number of an issuer, the more restrictive of equals."""
        found = []
        for each in self.seen:
            tag = str(each.statement.__struct_config__.tag)
            action = str(getattr(claims_of(each), "action", tag))
            if each.statement.source == issuer and action in (hide, show):
                found.append((number_of(each), action == hide))
        return max(found, default=(0, False))[1]

    def decision_on(self, digest: bytes) -> tuple[int, ReviewOutcome | None]:
        """Rules 3 and 6: the highest-numbered decision, the more restrictive of equals."""
        found: list[tuple[int, bool]] = []
        for each in self.seen:
            record = each.statement.record
            named = record is not None and record.statement_digest == digest
            outcome = getattr(claims_of(each), "outcome", None)
            if isinstance(each.statement, Retraction):
                outcome = REJECTED if named else VALIDATED
                named = named or each.replacement == digest
            if named and outcome is not None:
                found.append((number_of(each), outcome is REJECTED))
        number, is_rejected = max(found, default=(0, False))
        return number, (REJECTED if is_rejected else VALIDATED) if number else None

    def is_marked(self, digest: bytes) -> bool:
        """Whether the mark *pending review* has come for a version."""
        return any(
            hasattr(claims_of(each), "case_id") and each.statement.record is not None
            and each.statement.record.statement_digest == digest
            for each in self.seen
        )  # fmt: skip


def claims_of(one: Fact) -> object:
    """Return what a statement claims."""
    return getattr(one.statement, "claims", None)


def number_of(one: Fact) -> int:
    """Return the number of a statement on its record."""
    return int(getattr(claims_of(one), "number", 0))


TestRecordMachine = RecordMachine.TestCase
TestRecordMachine.settings = settings(max_examples=200, stateful_step_count=30)
