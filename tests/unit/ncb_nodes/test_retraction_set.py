"""Following retraction sets: chains, gaps, pages, and acting on nothing without a fresh one."""

from msgspec.structs import replace

from bus.envelope import pack
from bus.instants import DAY, HOUR, Instant
from bus.messages.retraction import RetractionSetRequest
from bus.participant import Participant
from bus.statements import IssuedStatement
from bus.storage.records import RecordKey
from ncb_nodes.national_store import RetractionSetState
from ncb_nodes.receiving_policy import ActsOn, ReceivingPolicy
from tests.factories import (
    NOW,
    bureau,
    decision,
    delivered,
    delivery,
    diffusion,
    header_fields,
    signed_anew,
)
from tests.post_office import bodies, events, outcomes, refused, said
from tests.unit.ncb_nodes.retraction_sets import SetChain, reference

FIRST, OTHER = diffusion(), diffusion(label="other")


def give(one: Participant, *statements: IssuedStatement, now: Instant = NOW) -> None:
    """Bring statements one after the other."""
    for each in statements:
        one.receive([delivery(each, one.party)], now)


def state_of(one: Participant) -> RetractionSetState:
    """Return how far a bureau has followed."""
    return RetractionSetState.kept_in(one.database)


def asked_for(one: Participant) -> list[int]:
    """Return the numbers from which a bureau asked for more."""
    return [each.claims.have_number for each in said(one, "retraction_set_request")
            if isinstance(each, RetractionSetRequest)]  # fmt: skip


class TestFollowing:
    """One number after the other, chained by the running hash."""

    def test_chained_sets_are_followed_without_a_question(self) -> None:
        """The first is full, the others are deltas; an idle one is a heartbeat."""
        chain, one = SetChain(), bureau()
        give(one, chain.next(full=True), chain.next(reference(FIRST)), chain.next())
        assert outcomes(one, "retraction_set") == ["applied"] * 3
        assert (state_of(one).number, state_of(one).running_hash) == (3, chain.hash)
        assert asked_for(one) == []

    def test_set_that_is_not_newer_has_no_effect(self) -> None:
        """An old full set brings nothing back to an earlier state."""
        chain, one = SetChain(), bureau()
        old = chain.next(full=True, now=NOW - DAY)
        give(one, chain.next(full=True), old)
        assert sorted(outcomes(one, "retraction_set")) == ["applied", "no_effect"]
        assert state_of(one).issued_at == NOW

    def test_second_set_under_one_number_has_no_effect(self) -> None:
        """The first one was followed; what the other says is in the next full set, if it is so."""
        first, second, one = SetChain(), SetChain(), bureau()
        other = second.next(reference(OTHER), full=True, now=NOW + 1)
        give(one, first.next(full=True), other)
        assert sorted(outcomes(one, "retraction_set")) == ["applied", "no_effect"]
        assert state_of(one).running_hash == first.hash

    def test_gap_is_asked_for_once_per_set_and_closed_by_a_full_one(self) -> None:
        """What a set says is applied at once all the same: an ending is never wrong to know."""
        chain, one = SetChain(), bureau()
        give(one, FIRST, chain.next(full=True))
        chain.next()
        give(one, chain.next(reference(FIRST)))
        assert (state_of(one).number, asked_for(one)) == (1, [1])
        assert bodies(one) == []
        give(one, chain.next(reference(FIRST), full=True))
        assert state_of(one).number == 4
        assert sorted(outcomes(one, "retraction_set")) == ["applied", "applied", "waiting"]

    def test_set_whose_hash_does_not_chain_is_a_gap(self) -> None:
        """The right number is not enough: the content of what came before has to agree."""
        chain, other, one = SetChain(), SetChain(), bureau()
        give(one, chain.next(full=True))
        other.next(reference(OTHER), full=True)
        give(one, other.next())
        assert (state_of(one).number, asked_for(one)) == (1, [1])

    def test_first_set_that_is_no_full_one_and_not_the_first_is_a_gap(self) -> None:
        """A bureau that lost its store asks for everything."""
        chain, one = SetChain(), bureau()
        chain.next(full=True)
        give(one, chain.next())
        assert asked_for(one) == [0]

    def test_set_is_fresh_only_with_its_last_page(self) -> None:
        """Until then the bureau does not know what else was taken back."""
        chain, one = SetChain(), bureau()
        give(one, chain.next(reference(FIRST), full=True, last_page=False))
        assert state_of(one).issued_at is None
        give(one, chain.next(reference(OTHER)))
        assert (state_of(one).number, state_of(one).issued_at) == (2, NOW)
        assert asked_for(one) == []

    def test_last_page_that_overtakes_the_others_is_no_whole_set(self) -> None:
        """It is a gap like any other, though its own entries count at once."""
        chain, one = SetChain(), bureau()
        give(one, FIRST)
        pages = (
            chain.next(reference(OTHER), full=True, last_page=False),
            chain.next(reference(FIRST)),
        )
        give(one, pages[1])
        assert (state_of(one).issued_at, asked_for(one), bodies(one)) == (None, [0], [])

    def test_set_of_another_member_is_refused(self) -> None:
        """It is signed, but not for this bureau."""
        one = bureau()
        give(one, SetChain("XC").next(full=True))
        assert refused(one) == ["not_addressed"]

    def test_set_signed_by_a_bureau_is_refused(self) -> None:
        """Only the secretariat says what was taken back."""
        one, genuine = bureau(), SetChain().next(full=True)
        fields = header_fields(genuine) | {"source": "XA"}
        octets = pack(signed_anew(fields, "XA"))
        one.receive([delivered(octets, "XA", "retraction_set", "XB")], NOW)
        assert (refused(one), state_of(one).number) == (["role_forbidden"], 0)


class TestWhatSetsDo:
    """A set lowers trust and never raises it."""

    def test_ended_record_is_erased_and_stays_a_tombstone(self) -> None:
        """As if its retraction had come."""
        chain, one = SetChain(), bureau()
        give(one, FIRST, OTHER, chain.next(reference(FIRST), full=True))
        assert len(bodies(one)) == 1
        assert events(one).count("record_ended_by_set") == 1

    def test_record_that_ended_before_it_came_is_withheld(self) -> None:
        """The set was here first."""
        chain, one = SetChain(), bureau()
        give(one, chain.next(reference(FIRST), full=True), FIRST)
        assert (outcomes(one, "diffusion"), bodies(one)) == (["withheld"], [])

    def test_ending_told_twice_is_noted_once(self) -> None:
        """By a second set or after the retraction itself."""
        chain, one = SetChain(), bureau()
        give(one, FIRST, chain.next(reference(FIRST), full=True), chain.next(reference(FIRST)))
        assert events(one).count("record_ended_by_set") == 1

    def test_blocked_record_is_blocked_and_kept(self) -> None:
        """A block is provisional."""
        chain, one = SetChain(), bureau()
        give(one, FIRST, decision(FIRST), chain.next(blocked=[reference(FIRST)], full=True))
        record = reference(FIRST)
        standing = one.stores.records.standing(RecordKey(record.source, record.record_id))
        assert standing.state_of(FIRST.digest) == "blocked"
        assert len(bodies(one)) == 1


class TestStaleness:
    """Nothing is acted on without a recent set."""

    def acts(self, one: Participant) -> int:
        """Return how often a bureau acted."""
        return events(one).count("record_acted_on")

    def test_bureau_that_was_away_acts_only_after_the_newest_set(self) -> None:
        """What was validated meanwhile waits, and what was taken back is never acted on."""
        chain, one = SetChain(), bureau(policy=ReceivingPolicy(acts_on=ActsOn.PENDING))
        give(one, chain.next(full=True))
        late = NOW + 3 * DAY
        give(one, FIRST, OTHER, now=late)
        one.tick(late)
        assert self.acts(one) == 0
        for _ in range(2):
            chain.next()
        give(one, chain.next(reference(OTHER), full=True, now=late), now=late)
        one.tick(late)
        assert self.acts(one) == 1
        assert len(bodies(one)) == 1

    def test_bureau_is_due_at_once_when_it_may_act_and_not_before(self) -> None:
        """The runner learns from `next_due` when a tick is worth it."""
        chain, one = SetChain(), bureau(policy=ReceivingPolicy(acts_on=ActsOn.PENDING))
        give(one, FIRST)
        assert one.next_due(NOW) == NOW + DAY
        give(one, chain.next(full=True))
        assert one.next_due(NOW) == NOW
        one.tick(NOW)
        assert one.next_due(NOW) == NOW + DAY

    def test_set_from_yesterday_is_fresh_and_from_three_days_ago_is_not(self) -> None:
        """Counted from when it was issued, not from when it came."""
        for age, acted in ((DAY, 1), (2 * DAY + HOUR, 0)):
            chain = SetChain()
            one = bureau(policy=replace(ReceivingPolicy(), acts_on=ActsOn.PENDING))
            give(one, FIRST, chain.next(full=True, now=NOW - age))
            one.tick(NOW)
            assert self.acts(one) == acted
