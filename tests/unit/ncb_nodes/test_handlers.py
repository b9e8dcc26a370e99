"""What a bureau does with a retraction: erase or decline, and sign for it; and the tombstone."""

from functools import partial

import pytest

from bus.identifiers import SECRETARIAT
from bus.instants import DAY, Instant
from bus.messages.alerts import AlertClaims, Amendment, Colour
from bus.messages.correspondence import (
    InformationRequest,
    ReviewQuestion,
    ReviewQuestionClaims,
    TextBody,
)
from bus.messages.header import Version
from bus.messages.retraction import (
    DeclineReason,
    Retraction,
    RetractionAction,
    RetractionClaims,
    RetractionOutcome,
    RetractionReceipt,
)
from bus.messages.review import ReasonsBody, ReviewOutcome
from bus.participant import Participant
from bus.standing import RecordState
from bus.statements import IssuedStatement
from bus.storage.records import RecordKey
from ncb_nodes.orders import IssueDiffusion, carry_out
from ncb_nodes.receiving_policy import ReceivingPolicy
from tests.factories import (
    NOW,
    amendment,
    block,
    bureau,
    case_file,
    decision,
    delivery,
    diffusion,
    issued,
    message,
    offence,
    retraction,
    review_opened,
    version_of,
    withdrawal,
)
from tests.post_office import bodies, events, mail_states, outcomes, rows, said
from tests.unit.ncb_nodes.retraction_sets import SetChain, reference

FIRST = diffusion()
KEY = RecordKey(version_of(FIRST).source, version_of(FIRST).record_id)
FRAUD = diffusion(label="fraud", body=case_file(offence=offence(code="aggravated_fraud")))
DECLINING = ReceivingPolicy(
    declines_offences=("aggravated_fraud",), decline_reason=DeclineReason.NATIONAL_PROCEEDINGS
)


def told(one: Participant, *statements: IssuedStatement, now: Instant = NOW) -> Participant:
    """Bring statements one after the other."""
    for each in statements:
        one.receive([delivery(each, one.party)], now)
    return one


def receipts(one: Participant) -> list[RetractionReceipt]:
    """Return the receipts that a bureau has signed."""
    return [each for each in said(one, "retraction_receipt") if isinstance(each, RetractionReceipt)]


def answers(one: Participant) -> list[RetractionOutcome]:
    """Return what a bureau's receipts say."""
    return [each.claims.outcome for each in receipts(one)]


class TestReceipts:
    """Each retraction is answered by one signed receipt that says what was done."""

    def test_deleted_record_is_signed_for(self) -> None:
        """The receipt answers the retraction, names the version and goes to the secretariat."""
        order = retraction(FIRST)
        one = told(bureau(), FIRST, order)
        [receipt] = receipts(one)
        assert receipt.claims.outcome is RetractionOutcome.DELETED
        assert (receipt.claims.number, receipt.claims.reason) == (3, None)
        assert (receipt.in_reply_to, receipt.record) == (order.message_id, version_of(FIRST))
        assert receipt.addressees == [SECRETARIAT]
        assert receipt.traceparent == order.statement.traceparent
        assert bodies(one) == []

    def test_record_that_never_came_is_not_held(self) -> None:
        """Overtaken or never sent: the bureau cannot know, and says what it knows."""
        one = told(bureau(), retraction(FIRST))
        assert (answers(one), outcomes(one, "retraction")) == (["not_held"], ["waiting"])

    def test_record_of_which_only_a_mark_came_is_not_held(self) -> None:
        """Near miss: having heard of a record is not having it."""
        assert answers(told(bureau(), review_opened(FIRST), retraction(FIRST))) == ["not_held"]

    def test_record_that_the_source_had_withdrawn_before_is_deleted(self) -> None:
        """It was held once, and its holder signs that it is gone."""
        assert answers(told(bureau(), FIRST, withdrawal(FIRST), retraction(FIRST))) == ["deleted"]

    def test_source_signs_for_its_own_copy_too(self) -> None:
        """Every copy in the network is in scope."""
        one = bureau("XA")
        done = one.act(
            NOW, partial(carry_out, order=IssueDiffusion("one", to=("XB",), case_file=case_file()))
        )
        own = Version("XA", done.record_id, done.digest)
        claims = RetractionClaims(2, RetractionAction.DELETE, "2024-03-04T09:00:00.000Z")
        told(one, issued(Retraction, SECRETARIAT, ("XA", "XB"), claims, record=own))
        assert (answers(one), bodies(one)) == (["deleted"], [])

    def test_declining_bureau_keeps_what_its_law_keeps_and_says_so(self) -> None:
        """The record is a tombstone for the network all the same: nothing new is stored."""
        one = told(bureau(policy=DECLINING), FRAUD, retraction(FRAUD))
        [receipt] = receipts(one)
        assert receipt.claims.outcome is RetractionOutcome.DECLINED
        assert receipt.claims.reason is DeclineReason.NATIONAL_PROCEEDINGS
        assert len(bodies(one)) == 1

    @pytest.mark.parametrize("first", ["retraction", "retraction set", "decision"])
    def test_bureau_declines_whichever_statement_comes_first(self, first: str) -> None:
        """Set, decision and retraction tell of one ending, and nothing orders them on their way."""
        order, ended = retraction(FRAUD), SetChain().next(reference(FRAUD), full=True)
        rejected = decision(FRAUD, 2, ReviewOutcome.REJECTED)
        told_in = {
            "retraction": (order, ended, rejected),
            "retraction set": (ended, rejected, order),
            "decision": (rejected, order, ended),
        }
        one = told(bureau(policy=DECLINING), FRAUD, *told_in[first])
        assert (answers(one), len(bodies(one))) == (["declined"], 1)
        assert "record_acted_on" not in events(one)

    def test_retraction_set_erases_what_the_policy_does_not_name(self) -> None:
        """Near miss: another offence, of which the set tells before its retraction."""
        one = told(bureau(policy=DECLINING), FIRST, SetChain().next(reference(FIRST), full=True))
        assert bodies(one) == []
        assert answers(told(one, retraction(FIRST))) == ["deleted"]

    def test_declining_bureau_deletes_what_its_policy_does_not_name(self) -> None:
        """Near miss: another offence."""
        one = told(bureau(policy=DECLINING), FIRST, retraction(FIRST))
        assert (answers(one), bodies(one)) == (["deleted"], [])

    def test_declining_bureau_that_holds_nothing_has_nothing_to_decline(self) -> None:
        """Near miss: the offence is named, but the record never came."""
        assert answers(told(bureau(policy=DECLINING), retraction(FRAUD))) == ["not_held"]

    def test_repeated_retraction_is_answered_with_the_same_octets(self) -> None:
        """No second receipt is signed, and the same one is sent once more."""
        order = retraction(FIRST)
        one = told(bureau(), FIRST, order)
        [first] = one.take_mail(NOW, 10, ())
        one.mail_settled([(first.message_id, first.recipient)], (), NOW)
        told(one, order, now=NOW + DAY)
        [again] = one.take_mail(NOW + DAY, 10, ())
        assert (again.recipient, again.content) == (SECRETARIAT, first.content)
        assert len(receipts(one)) == 1

    def test_repeat_while_the_receipt_is_still_on_its_way_sends_it_once(self) -> None:
        """Near miss: nothing was confirmed yet."""
        order = retraction(FIRST)
        one = told(bureau(), FIRST, order, order)
        assert mail_states(one, "retraction_receipt") == {SECRETARIAT: "due"}
        assert len(one.take_mail(NOW, 10, ())) == 1

    def test_receipt_is_noted_in_the_transaction_of_the_deletion(self) -> None:
        """History tells both, in this order."""
        one = told(bureau(), FIRST, retraction(FIRST))
        assert [each for each in events(one) if each in ("record_erased", "receipt_signed")] == [
            "record_erased",
            "receipt_signed",
        ]


class TestUpdate:
    """A retraction that puts a compliant version in the place of another."""

    SECOND = amendment(FIRST)

    def state(self, one: Participant, of: IssuedStatement) -> RecordState:
        """Return how a version stands at a bureau."""
        return one.stores.records.standing(KEY).state_of(of.digest)

    def test_old_version_goes_and_the_new_one_is_in_force(self) -> None:
        """The amendment had come before."""
        one = told(bureau(), FIRST, self.SECOND, retraction(FIRST, replaced_by=self.SECOND))
        assert answers(one) == ["updated"]
        assert self.state(one, FIRST) is RecordState.REJECTED
        assert self.state(one, self.SECOND) is RecordState.VALIDATED
        assert len(bodies(one)) == 1

    def test_replacement_that_had_not_come_is_taken_from_the_retraction(self) -> None:
        """And its own delivery, when it comes, is a repeat."""
        one = told(bureau(), FIRST, retraction(FIRST, replaced_by=self.SECOND), self.SECOND)
        assert (answers(one), len(bodies(one))) == (["updated"], 1)
        assert events(one).count("amendment_repeated") == 1

    def test_update_without_a_readable_replacement_deletes(self) -> None:
        """The envelope inside is of another record."""
        other = amendment(diffusion(label="other"))
        one = told(bureau(), FIRST, retraction(FIRST, replaced_by=other))
        assert (answers(one), bodies(one)) == (["deleted"], [])
        assert self.state(one, FIRST) is RecordState.DELETED

    def test_replacement_addressed_to_others_is_not_stored(self) -> None:
        """A node outside the signed addressees keeps no copy; the old version goes all the same."""
        for_xb = diffusion(to=("XB", "XC"))
        narrower = issued(
            Amendment,
            "XA",
            ("IPSG", "XC"),
            AlertClaims(Colour.RED, 1),
            record=version_of(for_xb),
            body=case_file(),
        )
        one = told(bureau(), for_xb, retraction(for_xb, replaced_by=narrower))
        assert (answers(one), bodies(one)) == (["updated"], [])

    def test_bureau_that_never_held_the_old_version_says_so(self) -> None:
        """It is given the new one, and signs that it did not hold the old."""
        one = told(bureau(), retraction(FIRST, replaced_by=self.SECOND))
        assert (answers(one), len(bodies(one))) == (["not_held"], 1)


class TestTombstone:
    """What has ended stays ended, whatever comes later."""

    def test_diffusion_that_its_retraction_overtook_is_withheld(self) -> None:
        """The tombstone was here first and wins."""
        one = told(bureau(), retraction(FIRST), FIRST, amendment(FIRST), decision(FIRST, 9))
        assert outcomes(one, "diffusion") == outcomes(one, "amendment") == ["withheld"]
        assert bodies(one) == []
        assert {state for (state,) in rows(one, "SELECT state FROM versions")} == {"deleted"}

    def test_diffusion_of_another_record_is_not_withheld(self) -> None:
        """Near miss: the same source, sent at the same time."""
        one = told(bureau(), retraction(FIRST), diffusion(label="other"))
        assert (outcomes(one, "diffusion"), len(bodies(one))) == (["applied"], 1)

    def test_correspondence_about_an_ended_record_is_withheld(self) -> None:
        """A question that comes late would bring personal data back."""
        question = issued(
            InformationRequest, SECRETARIAT, ("XB",),
            ReviewQuestionClaims(ReviewQuestion.WARRANT, "2024-03-02T09:00:00.000Z"),
            record=version_of(FIRST), body=TextBody("CANARY"),
        )  # fmt: skip
        late = told(bureau(), FIRST, retraction(FIRST), question)
        assert (outcomes(late, "information_request"), bodies(late)) == (["withheld"], [])
        early = told(bureau(), FIRST, question, retraction(FIRST))
        assert (outcomes(early, "information_request"), bodies(early)) == (["applied"], [])

    def test_nothing_of_a_deleted_record_is_left_in_the_database(self) -> None:
        """Neither in tables nor in free pages."""
        one = told(bureau(), FIRST, amendment(FIRST))
        assert b"CANARY" in one.database.image()
        told(one, retraction(FIRST))
        assert b"CANARY" not in one.database.image()


class TestReview:
    """Marks, decisions and blocks."""

    def test_rejected_version_is_erased_before_its_retraction_comes(self) -> None:
        """A rejection is enough to stop reading; the receipt is signed when it is asked for."""
        one = told(bureau(), FIRST, decision(FIRST, 2, ReviewOutcome.REJECTED))
        assert (bodies(one), receipts(one)) == ([], [])
        assert events(one).count("version_erased") == 1
        told(one, retraction(FIRST))
        assert answers(one) == ["deleted"]

    def test_rejection_of_one_version_leaves_the_other(self) -> None:
        """Near miss: the amendment is still pending."""
        second = amendment(FIRST)
        one = told(bureau(), FIRST, second, decision(FIRST, 2, ReviewOutcome.REJECTED))
        assert len(bodies(one)) == 1
        assert one.stores.records.body(second.digest) is not None

    def test_blocked_record_is_kept(self) -> None:
        """A block is provisional and may be lifted."""
        assert len(bodies(told(bureau(), FIRST, block(FIRST, 2)))) == 1

    def test_source_keeps_the_reasons_when_the_data_are_deleted(self) -> None:
        """They speak of rules and not of the person."""
        reasons = decision(
            FIRST, 2, ReviewOutcome.REJECTED, body=ReasonsBody("Article 3", "It is political.")
        )
        one = told(bureau(), FIRST, reasons, retraction(FIRST))
        assert one.stores.records.body(reasons.digest) is not None
        assert one.stores.records.body(FIRST.digest) is None

    def test_statement_that_changes_nothing_has_no_effect(self) -> None:
        """A mark with a lower number came too late to matter."""
        one = told(bureau(), FIRST, review_opened(FIRST, 2), review_opened(FIRST, 1))
        assert sorted(outcomes(one, "review_opened")) == ["applied", "no_effect"]


@pytest.mark.parametrize("kind", ["message"])
def test_message_is_kept_for_the_people_of_the_bureau(kind: str) -> None:
    """It is no diffusion: nobody reviews it, and it is not copied to the secretariat."""
    one = told(bureau(), message(text="good morning"))
    assert outcomes(one, kind) == ["applied"]
    assert one.stores.records.body(message(text="good morning").digest) is not None
