"""When a bureau acts, finds the person, and doubts what was never marked."""

from bus.envelope import open_envelope
from bus.identifiers import SECRETARIAT
from bus.instants import DAY, HOUR, Instant
from bus.messages.correspondence import Doubt, DoubtReason, EnvelopeBody, Hit
from bus.messages.review import ReviewOutcome
from bus.participant import Participant
from bus.statements import IssuedStatement
from ncb_nodes.receiving_policy import ActsOn, ReceivingPolicy
from tests.factories import (
    NOW,
    amendment,
    block,
    bureau,
    case_file,
    decision,
    delivery,
    diffusion,
    packed,
    retraction,
    review_opened,
    unblock,
    version_of,
)
from tests.post_office import bodies, events, rows, said
from tests.unit.ncb_nodes.retraction_sets import SetChain

FIRST = diffusion()
EAGER = ReceivingPolicy(acts_on=ActsOn.PENDING, located_share=1.0)
CAUTIOUS = ReceivingPolicy(acts_on=ActsOn.VALIDATED, located_share=1.0)


def awake(policy: ReceivingPolicy, *statements: IssuedStatement, now: Instant = NOW) -> Participant:
    """Return a bureau with a fresh retraction set that received these statements and ticked."""
    one = bureau(policy=policy)
    give(one, SetChain().next(full=True, now=now), *statements, now=now)
    one.tick(now)
    return one


def give(one: Participant, *statements: IssuedStatement, now: Instant = NOW) -> None:
    """Bring statements one after the other."""
    for each in statements:
        one.receive([delivery(each, one.party)], now)


def acted_in(one: Participant) -> list[str]:
    """Return the states in which a bureau acted."""
    return [state for (state,) in rows(
        one, "SELECT state FROM history WHERE event = 'record_acted_on' ORDER BY seq"
    )]  # fmt: skip


class TestActing:
    """Acting follows the declared policy, once per version."""

    def test_eager_bureau_acts_on_arrival(self) -> None:
        """Mark or not; the result counts it, and it is no fault."""
        assert acted_in(awake(EAGER, FIRST)) == ["unregistered"]
        assert acted_in(awake(EAGER, FIRST, review_opened(FIRST))) == ["pending_review"]

    def test_cautious_bureau_waits_for_the_validation(self) -> None:
        """And acts when it comes."""
        one = awake(CAUTIOUS, FIRST, review_opened(FIRST))
        assert acted_in(one) == []
        give(one, decision(FIRST))
        one.tick(NOW)
        assert acted_in(one) == ["validated"]

    def test_version_is_acted_on_once(self) -> None:
        """Further statements about it bring no second act."""
        one = awake(EAGER, FIRST, review_opened(FIRST))
        give(one, decision(FIRST))
        one.tick(NOW)
        one.tick(NOW + HOUR)
        assert len(acted_in(one)) == 1

    def test_nothing_taken_back_is_acted_on(self) -> None:
        """What arrived in the same batch as its block, rejection or retraction is left alone."""
        taken_back = block(FIRST, 2), decision(FIRST, 2, ReviewOutcome.REJECTED), retraction(FIRST)
        assert [acted_in(awake(EAGER, FIRST, each)) for each in taken_back] == [[], [], []]

    def test_lifted_block_calls_attention_again(self) -> None:
        """The record may be acted on from then on."""
        one = awake(CAUTIOUS, FIRST, decision(FIRST), block(FIRST, 3))
        assert acted_in(one) == []
        give(one, unblock(FIRST, 4))
        one.tick(NOW)
        assert acted_in(one) == ["validated"]

    def test_superseded_version_is_not_acted_on(self) -> None:
        """Only the one in force is."""
        second = amendment(FIRST)
        one = awake(CAUTIOUS, FIRST, second, decision(FIRST, 2), decision(second, 4))
        [(digest,)] = rows(one, "SELECT digest FROM actions")
        assert digest == second.digest

    def test_version_that_has_expired_is_not_acted_on(self) -> None:
        """It was still in force when it came, and had ended when the bureau could first act."""
        brief = diffusion(expires_at=NOW + HOUR)
        one = bureau(policy=EAGER)
        give(one, brief)
        give(one, SetChain().next(full=True, now=NOW + HOUR), now=NOW + HOUR)
        one.tick(NOW + HOUR)
        assert acted_in(one) == []

    def test_version_is_acted_on_up_to_its_expiry(self) -> None:
        """Near miss: the last instant before it."""
        brief = diffusion(expires_at=NOW + HOUR)
        one, late = bureau(policy=EAGER), NOW + HOUR - 1
        give(one, brief)
        give(one, SetChain().next(full=True, now=late), now=late)
        one.tick(late)
        assert acted_in(one) == ["unregistered"]

    def test_found_person_is_told_to_source_and_secretariat(self) -> None:
        """A hit discloses that the bureau holds the version."""
        one = awake(CAUTIOUS, FIRST, decision(FIRST))
        [hit] = said(one, "hit")
        assert isinstance(hit, Hit)
        assert hit.addressees == [SECRETARIAT, "XA"]
        assert hit.record == version_of(FIRST)

    def test_person_is_not_found_where_the_share_is_none(self) -> None:
        """The draw is keyed by bureau and version, never taken from a stream."""
        policy = ReceivingPolicy(acts_on=ActsOn.PENDING, located_share=0.0)
        one = awake(policy, FIRST)
        assert (acted_in(one), said(one, "hit")) == (["unregistered"], [])


class TestDoubt:
    """A version that never gets its mark is brought before the secretariat."""

    def doubts(self, one: Participant) -> list[Doubt]:
        """Return the doubts that a bureau has sent."""
        return [each for each in said(one, "doubt") if isinstance(each, Doubt)]

    def test_version_without_a_mark_is_doubted_after_a_day(self) -> None:
        """With the original envelope, so that the secretariat can open a case from it."""
        one = awake(CAUTIOUS, FIRST)
        one.tick(NOW + DAY - 1)
        assert self.doubts(one) == []
        assert (one.next_due(NOW), one.open_work(NOW)) == (NOW + DAY, 1)
        one.tick(NOW + DAY)
        [doubt] = self.doubts(one)
        assert (doubt.claims.reason, doubt.record) == (DoubtReason.UNREGISTERED, version_of(FIRST))
        assert doubt.addressees == [SECRETARIAT]
        letter = one.take_mail(NOW + DAY, 10, ())[-1]
        body = open_envelope(letter.content).body
        assert isinstance(body, EnvelopeBody)
        assert body.envelope == packed(FIRST)

    def test_version_is_doubted_once(self) -> None:
        """Further days bring no further doubt, and the matter is no longer open here."""
        one = awake(CAUTIOUS, FIRST)
        for days in (1, 2, 3):
            one.tick(NOW + days * DAY)
        assert len(self.doubts(one)) == 1
        assert (one.next_due(NOW), one.open_work(NOW)) == (None, 0)

    def test_marked_version_is_not_doubted(self) -> None:
        """Near miss: the mark came on the last day."""
        one = awake(CAUTIOUS, FIRST)
        give(one, review_opened(FIRST), now=NOW + DAY - 1)
        one.tick(NOW + 2 * DAY)
        assert self.doubts(one) == []

    def test_version_that_was_taken_back_meanwhile_is_not_doubted(self) -> None:
        """There is nothing left to doubt."""
        one = awake(CAUTIOUS, FIRST)
        give(one, retraction(FIRST))
        one.tick(NOW + 2 * DAY)
        assert self.doubts(one) == []

    def test_body_of_a_doubt_goes_when_its_mail_has_left(self) -> None:
        """It is a copy of the version, for which there is no more use."""
        one = awake(CAUTIOUS, FIRST)
        one.tick(NOW + DAY)
        mail = one.take_mail(NOW + DAY, 10, ())
        assert len(bodies(one)) == 2
        one.mail_settled((), [(each.message_id, each.recipient) for each in mail], NOW + DAY)
        assert len(bodies(one)) == 2
        one.mail_settled([(each.message_id, each.recipient) for each in mail], (), NOW + DAY)
        assert len(bodies(one)) == 1
        assert one.stores.records.body(FIRST.digest) is not None

    def test_doubt_on_its_way_goes_with_the_version_that_it_carries(self) -> None:
        """An update leaves nothing of the old version, neither in tables nor in free pages."""
        second = amendment(FIRST, body=case_file(file_reference="FILE/second"))
        one = awake(CAUTIOUS, FIRST)
        one.tick(NOW + DAY)
        give(one, retraction(FIRST, replaced_by=second), now=NOW + DAY)
        assert b"CANARY-version" not in one.database.image()
        assert "doubt" not in [each.message_type for each in one.take_mail(NOW + DAY, 10, ())]

    def test_doubt_of_another_version_stays_on_its_way(self) -> None:
        """Near miss: the version that was rejected is not the one that it carries."""
        second = amendment(FIRST)
        one = awake(CAUTIOUS, FIRST, review_opened(FIRST), second)
        one.tick(NOW + DAY)
        give(one, decision(FIRST, 2, ReviewOutcome.REJECTED), now=NOW + DAY)
        assert "doubt" in [each.message_type for each in one.take_mail(NOW + DAY, 10, ())]

    def test_own_version_is_never_doubted(self) -> None:
        """A source does not report itself for the secretariat's delay."""
        one = bureau("XA")
        assert one.open_work(NOW) == 0
        one.receive([delivery(diffusion("XC", ("XA",)), "XA")], NOW)
        assert one.open_work(NOW) == 1
        one.tick(NOW + DAY)
        assert [each.record.source for each in self.doubts(one) if each.record] == ["XC"]

    def test_amendment_without_a_mark_is_doubted_for_itself(self) -> None:
        """The mark on the first version does not cover the second."""
        second = amendment(FIRST)
        one = awake(CAUTIOUS, FIRST, review_opened(FIRST), second)
        one.tick(NOW + DAY)
        assert [each.record for each in self.doubts(one)] == [version_of(second)]


def test_tick_without_work_changes_nothing() -> None:
    """An idle bureau writes no history."""
    one = bureau()
    before = events(one)
    one.tick(NOW + DAY)
    assert events(one) == before
    assert one.next_due(NOW) is None
