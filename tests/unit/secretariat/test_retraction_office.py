"""Retractions: to every holder, again to the silent ones, and to those found only later."""

from bus.instants import DAY, HOUR
from bus.messages.correspondence import Hit, HitBody, HitClaims, HitKind
from bus.messages.header import Version
from bus.messages.retraction import (
    Retraction,
    RetractionOutcome,
    RetractionReceipt,
    RetractionReceiptClaims,
)
from ncb_nodes.orders import IssueAmendment, IssueWithdrawal
from ncb_nodes.receiving_policy import ReceivingPolicy
from tests.factories import (
    MEMBERS,
    NOW,
    case_file,
    delivery,
    diffusion,
    issued,
    offence,
    person,
    version_of,
)
from tests.post_office import bodies, events, outcomes, rows, said
from tests.unit.secretariat.office import DECIDED, SLOT, Office

POLITICAL = case_file(offence=offence(code="insult_of_head_of_state"))
EVERYONE = ("XB", "XC", "XD")


def overdue_notes(office: Office) -> int:
    """Return how often a holder was named overdue."""
    return events(office.gs).count("holder_named_overdue")


class TestReminders:
    """A holder that stays silent."""

    def test_silent_holder_is_reminded_every_day_with_the_same_octets(self) -> None:
        """The others are left in peace."""
        office = Office(absent=("XC",))
        office.diffuse(POLITICAL, to=EVERYONE)
        office.run(NOW + 3 * DAY)
        assert office.obligations() == {
            "XA": "discharged", "XB": "discharged", "XC": "owed", "XD": "discharged",
        }  # fmt: skip
        assert len(said(office.gs, "retraction")) == 1
        assert events(office.gs).count("retraction_repeated_to_holder") == 2

    def test_holder_that_is_silent_past_the_deadline_is_named_once(self) -> None:
        """And reminded on, until it answers."""
        office = Office(absent=("XC",))
        office.diffuse(POLITICAL, to=EVERYONE)
        office.run(NOW + 6 * DAY)
        assert office.obligations()["XC"] == "overdue"
        assert overdue_notes(office) == 1
        assert office.gs.open_work(NOW + 6 * DAY) == 1

    def test_overdue_holder_that_comes_back_deletes_and_discharges_itself(self) -> None:
        """The repeat finds it, and its receipt closes the matter."""
        office = Office(absent=("XC",))
        office.diffuse(POLITICAL, to=EVERYONE)
        office.run(NOW + 5 * DAY)
        office.post.parties["XC"] = office.members["XC"]
        office.members["XC"].receive([delivery(diffusion(), "XC")], NOW + 5 * DAY)
        office.run(NOW + 6 * DAY, NOW + 5 * DAY + SLOT)
        assert office.obligations()["XC"] == "discharged"
        assert office.gs.open_work(NOW + 6 * DAY) == 0

    def test_update_that_never_left_is_owed_no_longer_once_the_record_ends(self) -> None:
        """What it carried is gone; the member that was away owes the deletion instead."""
        office = Office(absent=("XC",))
        office.diffuse(case_file(subject=person(date_of_birth=None)), to=("XB", "XC"))
        office.run(NOW + 6 * HOUR)
        office.order("XA", IssueAmendment("one", case_file=case_file()), NOW + 9 * HOUR)
        office.run(NOW + DAY, NOW + 9 * HOUR)
        assert office.obligations()["XC"] == "owed"
        office.order("XA", IssueWithdrawal("one"), NOW + DAY)
        office.run(NOW + 2 * DAY, NOW + DAY + SLOT)
        states = rows(
            office.gs,
            "SELECT action, state FROM obligations JOIN campaigns USING (message_id)"
            " WHERE member = 'XC' ORDER BY number",
        )
        assert states == [("update", "superseded"), ("delete", "owed")]
        office.post.parties["XC"] = office.members["XC"]
        office.run(NOW + 4 * DAY, NOW + 2 * DAY)
        assert office.gs.open_work(NOW + 4 * DAY) == 0

    def test_next_reminder_makes_the_secretariat_due(self) -> None:
        """Nothing else would wake it before the next set."""
        office = Office(absent=("XC",))
        office.diffuse(POLITICAL, to=EVERYONE)
        office.run(NOW + 6 * HOUR)
        due = office.gs.next_due(NOW + 6 * HOUR)
        assert due is not None
        assert due <= NOW + 6 * HOUR + DAY


class TestReceipts:
    """What counts as an answer, and what does not."""

    def receipt(self, office: Office, source: str, **changes: object) -> RetractionReceipt:
        """Have a member sign a receipt that it never was asked for, and bring it."""
        [order] = said(office.gs, "retraction")
        assert isinstance(order, Retraction)
        claims = RetractionReceiptClaims(order.claims.number, RetractionOutcome.DELETED, None)
        signed = issued(
            RetractionReceipt, source, ("IPSG",), claims,
            record=order.record if "record" not in changes else version_of(diffusion(label="x")),
            in_reply_to=str(changes.get("in_reply_to", order.message_id)),
        )  # fmt: skip
        office.gs.receive([delivery(signed, "IPSG")], DECIDED)
        assert isinstance(signed.statement, RetractionReceipt)
        return signed.statement

    def rejected(self, *absent: str) -> Office:
        """Return an office that has retracted a record held by XA and XC."""
        office = Office(absent=absent)
        office.diffuse(POLITICAL, to=("XC",))
        office.run(DECIDED)
        return office

    def test_receipt_of_somebody_who_owes_nothing_has_no_effect(self) -> None:
        """It is taken up, and nobody is discharged by it."""
        office = self.rejected("XC")
        self.receipt(office, "XD")
        assert office.obligations()["XC"] == "owed"
        assert outcomes(office.gs, "retraction_receipt").count("no_effect") == 1

    def test_receipt_for_another_record_or_an_unheard_retraction_has_no_effect(self) -> None:
        """In whose reply and on which record both have to be right."""
        for change in ({"record": None}, {"in_reply_to": "018df93d-e680-75aa-b8ef-5c655ded19b0"}):
            office = self.rejected("XC")
            self.receipt(office, "XC", **change)
            assert office.obligations()["XC"] == "owed"

    def test_declining_holder_settles_the_matter_without_deleting(self) -> None:
        """It is neither reminded nor overdue, and the result counts its copy."""
        keeps = ReceivingPolicy(declines_offences=("insult_of_head_of_state",))
        office = Office(XC=keeps)
        office.diffuse(POLITICAL, to=("XB", "XC"))
        office.run(NOW + 5 * DAY)
        assert office.obligations() == {"XA": "discharged", "XB": "discharged", "XC": "declined"}
        assert (len(bodies(office.members["XC"])), overdue_notes(office)) == (1, 0)
        assert office.gs.open_work(NOW + 5 * DAY) == 0


class TestHolders:
    """Who is told."""

    def test_party_that_can_sign_nothing_owes_nothing(self) -> None:
        """A source may list codes that no member has, or a reserved one; nobody waits for them."""
        office = Office()
        listed = diffusion(to=("CCF", "QQ", "XB"), body=POLITICAL)
        office.gs.receive([delivery(listed, "IPSG")], NOW)
        office.run(DECIDED)
        assert set(office.obligations()) == {"XA", "XB"}

    def hit(self, office: Office, source: str, record: Version, now: int) -> None:
        """Have a member report a hit on a version."""
        claims = HitClaims(HitKind.LOCATED, "2024-03-01T09:00:00.000Z")
        signed = issued(Hit, source, ("IPSG", "XA"), claims, record=record,
                        body=HitBody(source, "found"), now=now)  # fmt: skip
        office.gs.receive([delivery(signed, "IPSG")], now)

    def test_holder_that_a_hit_disclosed_is_told_too(self) -> None:
        """However it came by its copy."""
        office = Office()
        done = office.diffuse(POLITICAL, to=("XB",))
        self.hit(office, "XD", Version("XA", done.record_id, done.digest), NOW + HOUR)
        office.run(DECIDED, NOW + SLOT)
        assert set(office.obligations()) == {"XA", "XB", "XD"}

    def test_holder_that_is_disclosed_after_the_retraction_is_told_alone(self) -> None:
        """The others signed already and hear nothing more."""
        office = Office()
        done = office.diffuse(POLITICAL, to=("XB",))
        office.run(DECIDED)
        self.hit(office, "XD", Version("XA", done.record_id, done.digest), DECIDED)
        office.run(DECIDED + DAY, DECIDED)
        retractions = said(office.gs, "retraction")
        assert sorted(each.addressees for each in retractions) == [["XA", "XB"], ["XD"]]
        assert office.obligations()["XD"] == "discharged"

    def test_hit_of_a_holder_that_was_told_already_changes_nothing(self) -> None:
        """Near miss: its hit and the retraction crossed."""
        office = Office()
        done = office.diffuse(POLITICAL, to=("XB",))
        office.run(DECIDED)
        self.hit(office, "XB", Version("XA", done.record_id, done.digest), DECIDED)
        office.run(DECIDED + DAY, DECIDED)
        assert len(said(office.gs, "retraction")) == 1

    def test_hit_on_a_version_that_nobody_sent_discloses_nothing(self) -> None:
        """Whoever makes up a digest does not become a holder by it."""
        office = Office()
        done = office.diffuse(POLITICAL, to=("XB",))
        self.hit(office, "XD", Version("XA", done.record_id, b"\x07" * 32), NOW + HOUR)
        office.run(DECIDED, NOW + SLOT)
        assert set(office.obligations()) == {"XA", "XB"}
        assert outcomes(office.gs, "hit") == ["no_effect"]

    def test_new_version_goes_to_no_holder_that_its_source_did_not_address(self) -> None:
        """A holder by disclosure loses the record, and everybody else keeps it."""
        office = Office()
        old = office.diffuse(case_file(subject=person(date_of_birth=None)), to=("XB",))
        self.hit(office, "XD", Version("XA", old.record_id, old.digest), NOW + HOUR)
        office.run(NOW + 6 * HOUR, NOW + SLOT)
        office.order("XA", IssueAmendment("one", case_file=case_file()), NOW + 9 * HOUR)
        office.run(NOW + DAY, NOW + 9 * HOUR)
        sent = [(each.addressees, each.body_commitment is not None)
                for each in said(office.gs, "retraction")]  # fmt: skip
        assert sorted(sent) == [(["XA", "XB"], True), (["XD"], False)]
        assert bodies(office.members["XD"]) == []
        assert set(office.states(office.members["XD"])) == {"deleted"}
        assert sorted(office.states()) == ["rejected", "validated"]
        assert sorted(office.states(office.members["XB"])) == ["rejected", "validated"]
        assert office.obligations() == dict.fromkeys(("XA", "XB", "XD"), "discharged")

    def test_record_is_retracted_once_though_withdrawn_and_rejected(self) -> None:
        """Whichever came first ended it."""
        office = Office()
        office.diffuse(POLITICAL)
        office.run(NOW + 6 * HOUR - SLOT)
        office.order("XA", IssueWithdrawal("one"), NOW + 6 * HOUR)
        office.run(NOW + 2 * DAY, NOW + 6 * HOUR)
        assert len(said(office.gs, "retraction")) == 1
        [(cause,)] = rows(office.gs, "SELECT cause FROM campaigns")
        assert cause == "withdrawn"

    def test_every_member_can_be_a_holder_at_once(self) -> None:
        """One statement addresses them all, each gets its own mail."""
        office = Office()
        office.diffuse(POLITICAL, to=("ALL",))
        office.run(DECIDED)
        assert office.obligations() == dict.fromkeys(MEMBERS, "discharged")


def test_secretariat_keeps_nothing_of_a_retracted_record() -> None:
    """Neither the version nor the question about it, nor in a free page."""
    office = Office()
    office.diffuse(case_file(warrant=None))
    assert b"CANARY" in office.gs.database.image()
    office.run(DECIDED)
    assert b"CANARY" not in office.gs.database.image()
