"""The NDTF at work: marks, capacity, questions, decisions, and who is told what."""

from msgspec.structs import replace

from bus.envelope import open_envelope
from bus.identifiers import SECRETARIAT
from bus.instants import DAY, HOUR, instant_to_text
from bus.messages.case_file import CaseFile
from bus.messages.correspondence import Answer, InformationRequest, ReviewQuestion
from bus.messages.review import Ground, ReasonsBody, ReviewDecision, ReviewOpened
from ncb_nodes.orders import IssueAmendment, IssueInformationReply, IssueWithdrawal
from secretariat.screening import person_key
from tests.factories import MATCHING_KEY, NOW, case_file, offence, person, warrant
from tests.post_office import bodies, events, outcomes, said
from tests.unit.secretariat.office import DECIDED, SETTINGS, SLOT, Office, with_reviewers

INCOMPLETE = case_file(subject=person(date_of_birth=None))
POLITICAL = case_file(offence=offence(code="insult_of_head_of_state"))


class TestMark:
    """Every version gets its case and its signed mark."""

    def test_version_is_marked_at_all_addressees_and_the_source(self) -> None:
        """With a number on the record and the case that it opened."""
        office = Office()
        done = office.diffuse(to=("XB", "XC"))
        [mark] = said(office.gs, "review_opened")
        assert isinstance(mark, ReviewOpened)
        assert mark.addressees == ["XA", "XB", "XC"]
        assert (mark.claims.number, mark.record and mark.record.statement_digest) == (
            1,
            done.digest,
        )
        assert [office.states(office.members[each]) for each in ("XA", "XB", "XC", "XD")] == [
            ["pending_review"], ["pending_review"], ["pending_review"], [],
        ]  # fmt: skip

    def test_version_has_one_case_however_often_it_comes(self) -> None:
        """A repeat opens nothing."""
        office = Office()
        office.diffuse()
        office.members["XA"].stores.outbox.send_again(
            said(office.members["XA"], "diffusion")[0].message_id, SECRETARIAT, NOW
        )
        office.run(DECIDED)
        assert len(office.cases()) == len(said(office.gs, "review_opened")) == 1

    def test_each_version_has_a_case_of_its_own(self) -> None:
        """The secretariat numbers its statements on the record through."""
        office = Office()
        office.diffuse()
        office.order("XA", IssueAmendment("one", case_file=case_file()), NOW + HOUR)
        office.post.tick(NOW + HOUR)
        numbers = [each.claims.number for each in said(office.gs, "review_opened")
                   if isinstance(each, ReviewOpened)]  # fmt: skip
        assert (numbers, len(office.cases())) == ([1, 2], 2)


class TestValidation:
    """A compliant version."""

    def test_compliant_version_is_validated_everywhere(self) -> None:
        """Holders learn outcome and number, and no reasons are sent."""
        office = Office()
        office.diffuse(to=("XB", "XC"))
        office.run(DECIDED)
        [decision] = said(office.gs, "review_decision")
        assert isinstance(decision, ReviewDecision)
        assert (decision.claims.outcome, decision.claims.ground) == ("validated", None)
        assert decision.body_commitment is None
        assert office.states(office.members["XC"]) == ["validated"]
        assert office.gs.open_work(DECIDED) == 0

    def test_review_takes_its_time(self) -> None:
        """Six hours at least, and it ends on a slot."""
        office = Office()
        office.diffuse()
        office.run(NOW + 3 * HOUR)
        assert [state for state, _, _ in office.cases()] == ["under_review"]
        office.run(NOW + 6 * HOUR, NOW + 6 * HOUR)
        assert [state for state, _, _ in office.cases()] == ["decided"]


class TestRejection:
    """A version that does not comply."""

    def test_rejected_record_is_retracted_at_every_holder(self) -> None:
        """And gone from the secretariat's own store."""
        office = Office()
        office.diffuse(POLITICAL, to=("XB", "XC"))
        office.run(DECIDED)
        assert office.cases() == [("decided", "rejected", Ground.ARTICLE_3)]
        parties = [office.gs, *(office.members[each] for each in ("XA", "XB", "XC"))]
        assert [bodies(each) for each in parties] == [[], [], [], []]
        assert office.obligations() == dict.fromkeys(("XA", "XB", "XC"), "discharged")

    def test_reasons_go_to_the_source_alone(self) -> None:
        """Holders learn what to do and not why."""
        office = Office()
        office.diffuse(POLITICAL, to=("XB", "XC"))
        office.run(NOW + 6 * HOUR)
        assert [each.addressees for each in said(office.gs, "review_decision")] == [["XA"]]
        assert outcomes(office.members["XB"], "review_decision") == []
        [retraction] = said(office.gs, "retraction")
        assert retraction.addressees == ["XA", "XB", "XC"]
        assert retraction.body_commitment is None

    def test_reasons_name_article_and_ground_and_survive_the_data(self) -> None:
        """The source can read them after its record is gone."""
        office = Office()
        office.diffuse(POLITICAL)
        office.run(DECIDED)
        [decision] = said(office.gs, "review_decision")
        assert isinstance(decision, ReviewDecision)
        assert decision.claims.ground is Ground.ARTICLE_3
        opened = open_envelope(office.gs.stores.outbox.content(decision.message_id) or b"")
        assert isinstance(opened.body, ReasonsBody)
        assert "Article 3" in opened.body.article
        assert office.members["XA"].stores.records.body(opened.digest) is not None

    def test_refugee_is_never_named_as_one(self) -> None:
        """Reasons under Article 2 tell the source nothing that it could use."""
        office = Office(refugees={person_key(MATCHING_KEY, person()): ["XA"]})
        office.diffuse()
        office.run(DECIDED)
        [decision] = said(office.gs, "review_decision")
        opened = open_envelope(office.gs.stores.outbox.content(decision.message_id) or b"")
        assert isinstance(opened.body, ReasonsBody)
        assert not any(word in opened.body.reasons.casefold() for word in ("asylum", "refugee"))
        assert office.cases()[0][2] == Ground.ARTICLE_2

    def test_second_alert_on_a_closed_case_is_rejected_though_nothing_else_is_wrong(self) -> None:
        """The closing outlives the deleted data, for this source and person."""
        office = Office()
        office.diffuse(POLITICAL)
        office.run(DECIDED)
        office.diffuse(label="again", now=DECIDED)
        office.diffuse(label="other source", source="XC", now=DECIDED)
        office.diffuse(case_file(subject=person(forename="Kim")), label="other person", now=DECIDED)
        office.run(DECIDED + 12 * HOUR, DECIDED)
        grounds = sorted(str(ground) for _, _, ground in office.cases())
        assert grounds == ["None", "None", "art3", "other:cooperation_closed"]

    def test_rejection_on_form_does_not_close_the_case(self) -> None:
        """Near miss: with a valid warrant the source may try again."""
        office = Office()
        office.diffuse(case_file(warrant=None))
        office.run(DECIDED)
        office.diffuse(label="again", now=DECIDED)
        office.run(DECIDED + 12 * HOUR, DECIDED)
        assert [outcome for _, outcome, _ in office.cases()] == ["rejected", "validated"]

    def test_warrant_is_judged_on_the_day_of_the_decision(self) -> None:
        """It was valid when the alert was sent and has run out meanwhile."""
        office = Office(with_reviewers(5))
        slow = replace(SETTINGS, review_shortest=DAY, review_longest=DAY)
        office = Office(slow)
        office.diffuse(case_file(warrant=warrant(valid_until="2024-03-01")))
        office.run(NOW + 27 * HOUR)
        assert office.cases() == [("decided", "rejected", Ground.WARRANT_EXPIRED)]


class TestCapacity:
    """Reviewers are few, and each has one case at a time."""

    def test_case_waits_for_a_free_reviewer(self) -> None:
        """The oldest goes first; waiting costs time and nothing else."""
        office = Office(with_reviewers(1))
        office.diffuse(label="one")
        office.diffuse(label="two", now=NOW + HOUR)
        states = [state for state, _, _ in office.cases()]
        assert states == ["under_review", "queued"]
        office.run(NOW + 6 * HOUR, NOW + 3 * HOUR)
        assert [state for state, _, _ in office.cases()] == ["decided", "under_review"]
        office.run(NOW + 12 * HOUR, NOW + 9 * HOUR)
        assert [state for state, _, _ in office.cases()] == ["decided", "decided"]

    def test_case_that_waits_for_its_source_occupies_nobody(self) -> None:
        """The reviewer takes the next one."""
        office = Office(with_reviewers(1))
        office.diffuse(INCOMPLETE, label="one")
        office.diffuse(label="two", now=NOW + HOUR)
        office.run(NOW + 6 * HOUR, NOW + 3 * HOUR)
        assert [state for state, _, _ in office.cases()] == ["awaiting_information", "under_review"]

    def test_free_reviewer_makes_the_secretariat_due(self) -> None:
        """The runner need not guess when to tick."""
        office = Office(with_reviewers(0))
        office.diffuse()
        due = office.gs.next_due(NOW)
        assert due is not None
        assert due > NOW


class TestInformation:
    """Data that can be supplied are asked for once; silence rejects."""

    def asked(self, office: Office) -> list[InformationRequest]:
        """Return the questions that were sent."""
        return [each for each in said(office.gs, "information_request")
                if isinstance(each, InformationRequest)]  # fmt: skip

    def test_source_is_asked_for_what_is_missing_until_a_deadline(self) -> None:
        """Privately: no other holder learns of it."""
        office = Office()
        office.diffuse(INCOMPLETE, to=("XB", "XC"))
        office.run(NOW + 6 * HOUR)
        [question] = self.asked(office)
        assert question.addressees == ["XA"]
        assert question.claims.question is ReviewQuestion.MISSING_DATA
        assert question.claims.deadline == instant_to_text(NOW + 6 * HOUR + 2 * DAY)
        assert outcomes(office.members["XA"], "information_request") == ["applied"]
        assert outcomes(office.members["XB"], "information_request") == []

    def test_silence_rejects_when_the_deadline_has_passed(self) -> None:
        """Not a moment before, and the source is not asked a second time."""
        office = Office()
        office.diffuse(INCOMPLETE)
        deadline = NOW + 6 * HOUR + 2 * DAY
        office.run(deadline - SLOT)
        assert office.cases() == [("awaiting_information", None, None)]
        office.run(deadline, deadline)
        assert office.cases() == [("decided", "rejected", Ground.REQUIRED_DATA_MISSING)]
        assert len(self.asked(office)) == 1
        assert bodies(office.members["XB"]) == []

    def test_answer_without_an_amendment_does_not_cure(self) -> None:
        """What holders have stays incomplete; the answer itself goes with the record."""
        office = Office()
        office.diffuse(INCOMPLETE)
        office.run(NOW + 6 * HOUR)
        answer = IssueInformationReply(
            "one",
            question=ReviewQuestion.MISSING_DATA,
            answer=Answer.PROVIDED,
            text="CANARY-answer",
        )
        office.order("XA", answer, NOW + 7 * HOUR)
        office.run(NOW + 3 * DAY, NOW + 9 * HOUR)
        assert office.cases() == [("decided", "rejected", Ground.REQUIRED_DATA_MISSING)]
        assert b"CANARY-answer" not in office.gs.database.image()

    def test_compliant_amendment_takes_the_place_of_the_incomplete_version(self) -> None:
        """By one update retraction that carries it to every holder."""
        office = Office()
        old = office.diffuse(INCOMPLETE, to=("XB", "XC"))
        office.run(NOW + 6 * HOUR)
        amendment = IssueAmendment("one", case_file=case_file())
        new = office.order("XA", amendment, NOW + 9 * HOUR)
        office.run(NOW + DAY, NOW + 9 * HOUR)
        assert sorted(office.cases()) == [
            ("decided", "rejected", Ground.REQUIRED_DATA_MISSING),
            ("decided", "validated", None),
        ]
        for code in ("XA", "XB", "XC"):
            assert sorted(office.states(office.members[code])) == ["rejected", "validated"]
            records = office.members[code].stores.records
            assert (records.body(old.digest), records.body(new.digest) is None) == (None, False)
        assert office.obligations() == dict.fromkeys(("XA", "XB", "XC"), "discharged")

    def test_amendment_that_is_incomplete_too_cures_nothing(self) -> None:
        """Near miss: an amendment came, and the same is missing."""
        office = Office()
        office.diffuse(INCOMPLETE)
        office.run(NOW + 6 * HOUR)
        office.order("XA", IssueAmendment("one", case_file=INCOMPLETE), NOW + 9 * HOUR)
        office.run(NOW + 4 * DAY, NOW + 9 * HOUR)
        assert {outcome for _, outcome, _ in office.cases()} <= {"rejected", None}
        assert bodies(office.members["XB"]) == []


class TestWithdrawal:
    """The source takes its record back while it is under review."""

    def test_open_case_is_closed_and_every_holder_signs(self) -> None:
        """No decision is made on what is no longer there."""
        office = Office()
        office.diffuse(to=("XB", "XC"))
        office.order("XA", IssueWithdrawal("one"), NOW + HOUR)
        office.run(DECIDED, NOW + SLOT)
        assert office.cases() == [("closed", None, None)]
        assert said(office.gs, "review_decision") == []
        assert office.obligations() == dict.fromkeys(("XA", "XB", "XC"), "discharged")
        assert office.gs.open_work(DECIDED) == 0


class TestTwoVersions:
    """An amendment comes while the version before it is still under review."""

    def test_versions_that_fall_due_together_are_each_decided_once(self) -> None:
        """The review of the first decides the second too, which then is no longer due."""
        office = Office()
        office.diffuse(INCOMPLETE, to=("XB",), now=NOW + 4 * HOUR)
        office.order("XA", IssueAmendment("one", case_file=case_file()), NOW + 5 * HOUR)
        office.post.tick(NOW + 5 * HOUR)
        office.run(NOW + DAY, NOW + 6 * HOUR)
        assert events(office.gs).count("case_decided") == 2
        assert sorted(office.states(office.members["XB"])) == ["rejected", "validated"]
        assert len(said(office.gs, "review_decision")) == 1

    def amended_at_once(self, body: CaseFile) -> Office:
        """Return an office where the amendment of a version has been reviewed before it."""
        office = Office(replace(SETTINGS, review_longest=36 * HOUR))
        office.diffuse(body, to=("XB",))
        office.order("XA", IssueAmendment("one", case_file=case_file()), NOW)
        office.post.tick(NOW)
        office.run(NOW + 2 * DAY)
        return office

    def test_rejection_of_an_old_version_leaves_the_one_in_force(self) -> None:
        """Its warrant was missing, the amendment names it and was validated already."""
        office = self.amended_at_once(case_file(warrant=None))
        assert sorted(office.cases()) == [
            ("decided", "rejected", Ground.WARRANT_MISSING),
            ("decided", "validated", None),
        ]
        for party in (office.gs, office.members["XA"], office.members["XB"]):
            assert sorted(office.states(party)) == ["rejected", "validated"]
        assert events(office.gs).count("case_decided") == 2
        assert office.obligations() == dict.fromkeys(("XA", "XB"), "discharged")

    def test_rejection_that_closes_co_operation_takes_the_version_in_force_along(self) -> None:
        """Near miss: after Article 3 nothing goes on on the person and case."""
        office = self.amended_at_once(POLITICAL)
        assert set(office.states(office.members["XB"])) == {"deleted"}
