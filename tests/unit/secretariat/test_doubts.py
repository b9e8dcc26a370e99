"""A source cannot hide a version from review: doubts, and what nobody else can do with one."""

from msgspec.structs import replace

from bus.envelope import Plain, pack
from bus.instants import DAY, HOUR, Instant
from bus.messages.alerts import AlertClaims, Amendment, Colour
from bus.messages.correspondence import Doubt, DoubtClaims, DoubtReason, EnvelopeBody
from bus.messages.header import Version
from bus.statements import IssuedStatement
from ncb_nodes.orders import IssueWithdrawal
from tests.factories import (
    NOW,
    case_file,
    delivery,
    diffusion,
    header_fields,
    issued,
    packed,
    retraction,
    signed_anew,
    version_of,
    withdrawal,
)
from tests.post_office import bodies, outcomes, refused, said
from tests.unit.secretariat.office import DECIDED, SLOT, Office

HIDDEN = diffusion(to=("XB", "XC"))


def doubt(
    envelope: bytes, record: Version, source: str = "XB", now: Instant = NOW
) -> IssuedStatement:
    """Return a bureau's doubt that carries an envelope."""
    claims = DoubtClaims(DoubtReason.UNREGISTERED)
    return issued(Doubt, source, ("IPSG",), claims, subject=f"{source}{envelope[-40:].hex()}",
                  record=record, body=EnvelopeBody(envelope), now=now)  # fmt: skip


def brought(office: Office, said: IssuedStatement, now: Instant = NOW) -> None:
    """Bring a statement to the secretariat."""
    office.gs.receive([delivery(said, "IPSG")], now)


def damaged() -> bytes:
    """Return the hidden diffusion with a body that is not the one its header commits to."""
    return pack(replace(HIDDEN.envelope, attachment=Plain(bytes(32), b"\x80")))


class TestHiddenVersion:
    """The source sent it to bureaus and not to the secretariat."""

    def test_doubted_version_gets_its_case_and_its_mark(self) -> None:
        """From the envelope that the holder brought, which names all addressees."""
        office = Office()
        brought(office, doubt(packed(HIDDEN), version_of(HIDDEN)))
        office.run(NOW)
        [mark] = said(office.gs, "review_opened")
        assert mark.addressees == ["XA", "XB", "XC"]
        office.run(DECIDED)
        assert office.cases() == [("decided", "validated", None)]

    def test_honest_bureau_finds_it_within_a_day_by_itself(self) -> None:
        """The whole way: unmarked, doubted, marked, decided."""
        office = Office()
        office.members["XB"].receive([delivery(HIDDEN, "XB")], NOW)
        office.run(NOW + DAY + 12 * HOUR)
        assert office.states(office.members["XB"]) == ["validated"]
        assert outcomes(office.gs, "doubt") == ["applied"]

    def test_version_that_comes_by_itself_after_all_has_one_case(self) -> None:
        """The doubt crossed with a copy that was only late."""
        office = Office()
        brought(office, doubt(packed(HIDDEN), version_of(HIDDEN)))
        brought(office, HIDDEN)
        office.run(DECIDED)
        assert len(office.cases()) == 1

    def test_doubt_about_a_version_that_is_known_has_no_effect(self) -> None:
        """Near miss: its mark was under way."""
        office = Office()
        brought(office, HIDDEN)
        brought(office, doubt(packed(HIDDEN), version_of(HIDDEN)))
        assert outcomes(office.gs, "doubt") == ["no_effect"]

    def test_mark_and_decision_that_were_lost_come_again_for_a_doubt(self) -> None:
        """The very same statements, to the doubter alone."""
        office = Office(absent=("XB",))
        brought(office, HIDDEN)
        office.run(DECIDED)
        office.post.parties["XB"] = office.members["XB"]
        office.members["XB"].receive([delivery(HIDDEN, "XB")], DECIDED)
        assert office.states(office.members["XB"]) == ["unregistered"]
        office.run(DECIDED + DAY + SLOT, DECIDED)
        assert office.states(office.members["XB"]) == ["validated"]
        assert outcomes(office.gs, "doubt") == ["no_effect"]
        assert len(said(office.gs, "review_opened")) == len(said(office.gs, "review_decision")) == 1

    def test_doubter_that_no_mark_was_addressed_to_gets_one_of_its_own(self) -> None:
        """It holds the version by another way than the source's addressees say."""
        office = Office()
        brought(office, HIDDEN)
        office.run(DECIDED)
        brought(office, doubt(packed(HIDDEN), version_of(HIDDEN), "XD"), DECIDED)
        office.run(DECIDED, DECIDED)
        told = [each.addressees for kind in ("review_opened", "review_decision")
                for each in said(office.gs, kind)]  # fmt: skip
        assert told == [["XA", "XB", "XC"], ["XD"], ["XA", "XB", "XC"], ["XD"]]
        assert office.states() == ["validated"]

    def test_version_that_nobody_can_read_is_rejected_at_all_signed_addressees(self) -> None:
        """Its header is signed, so the source cannot deny whom it sent it to."""
        office = Office()
        brought(office, doubt(damaged(), version_of(HIDDEN)))
        office.run(DECIDED)
        assert office.cases() == [("decided", "rejected", "other:unreadable")]
        assert set(office.obligations()) == {"XA", "XB", "XC"}

    def test_unreadable_version_whose_body_comes_in_time_is_reviewed(self) -> None:
        """A holder cannot have a version rejected by bringing it without its body."""
        office = Office()
        brought(office, doubt(damaged(), version_of(HIDDEN)))
        office.run(NOW + SLOT)
        brought(office, HIDDEN, NOW + SLOT)
        office.run(DECIDED, NOW + SLOT)
        assert office.cases() == [("decided", "validated", None)]

    def test_second_version_under_the_same_message_id_is_not_hidden_either(self) -> None:
        """The source told the secretariat one thing and the bureau another."""
        office = Office()
        fields = header_fields(HIDDEN) | {"addressees": ["IPSG", "XD"]}
        other = signed_anew(fields, "XA", HIDDEN.envelope.attachment)
        brought(office, HIDDEN)
        named = replace(version_of(HIDDEN), statement_digest=other.digest)
        brought(office, doubt(pack(other), named, "XD"))
        office.run(DECIDED)
        assert {outcome for _, outcome, _ in office.cases()} <= {"rejected", "validated", None}
        assert set(office.states(office.members["XD"])) == {"deleted"}
        assert set(office.obligations()) == {"XA", "XB", "XC", "XD"}

    def test_new_addressee_of_a_record_that_has_ended_is_told_at_once(self) -> None:
        """The amendment came to the secretariat after the end; nobody has to doubt it first."""
        office = Office()
        done = office.diffuse(to=("XB",))
        office.order("XA", IssueWithdrawal("one"), NOW + HOUR)
        office.run(DECIDED, NOW + SLOT)
        first = Version("XA", done.record_id, done.digest)
        late = issued(Amendment, "XA", ("IPSG", "XD"), AlertClaims(Colour.RED, 1), record=first,
                      body=case_file(), now=DECIDED)  # fmt: skip
        office.members["XD"].receive([delivery(late, "XD")], DECIDED)
        brought(office, late, DECIDED)
        assert outcomes(office.gs, "amendment") == ["withheld"]
        office.run(DECIDED + SLOT, DECIDED)
        assert bodies(office.members["XD"]) == []
        assert office.obligations()["XD"] == "discharged"

    def test_version_of_a_record_that_has_ended_is_retracted_where_it_was_found(self) -> None:
        """An amendment to an ended record, sent past the secretariat, ends at its holder too."""
        office = Office()
        done = office.diffuse(to=("XB",))
        office.order("XA", IssueWithdrawal("one"), NOW + HOUR)
        office.run(DECIDED, NOW + SLOT)
        first = Version("XA", done.record_id, done.digest)
        claims = AlertClaims(Colour.RED, 1)
        late = issued(Amendment, "XA", ("IPSG", "XD"), claims, record=first, body=case_file(),
                      now=DECIDED)  # fmt: skip
        office.members["XD"].receive([delivery(late, "XD")], DECIDED)
        assert len(bodies(office.members["XD"])) == 1
        office.run(DECIDED + 2 * DAY, DECIDED)
        assert bodies(office.members["XD"]) == []
        assert office.obligations()["XD"] == "discharged"


class TestMischief:
    """What a bureau cannot do by doubting."""

    def test_nobody_can_have_a_record_ended_by_doubting_a_version_that_never_was(self) -> None:
        """Only what the source signed opens a case."""
        office = Office()
        done = office.diffuse(to=("XB",))
        made_up = Version("XA", done.record_id, b"\x01" * 32)
        for envelope in (b"", packed(diffusion(label="other")), packed(retraction(HIDDEN))):
            brought(office, doubt(envelope, made_up, "XD"))
        office.run(DECIDED)
        assert refused(office.gs) == ["inner_envelope_refused"] * 3
        assert office.cases() == [("decided", "validated", None)]

    def test_envelope_under_another_signature_opens_no_case(self) -> None:
        """XD cannot pass its own words off as XA's."""
        office = Office()
        forged = signed_anew(header_fields(HIDDEN), "XD", HIDDEN.envelope.attachment)
        brought(office, doubt(pack(forged), version_of(HIDDEN), "XD"))
        office.run(NOW)
        assert refused(office.gs) == ["inner_envelope_refused"]
        assert office.cases() == []

    def test_doubt_keeps_no_second_copy_of_the_body(self) -> None:
        """The carrier has done its work; the version has a copy of its own."""
        office = Office()
        brought(office, doubt(packed(HIDDEN), version_of(HIDDEN)))
        assert len(bodies(office.gs)) == 1
        brought(office, withdrawal(HIDDEN))
        assert bodies(office.gs) == []
