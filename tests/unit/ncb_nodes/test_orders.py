"""What a bureau can be told to issue, and what it refuses to."""

from collections.abc import Mapping
from functools import partial

import pytest

from bus.envelope import open_envelope
from bus.errors import BadInput
from bus.identifiers import SECRETARIAT
from bus.instants import DAY, HOUR, instant_to_text
from bus.messages.alerts import WithdrawalReason
from bus.messages.correspondence import Answer, ReviewQuestion
from bus.participant import Participant
from bus.registry import Registry
from ncb_nodes.order_port import pack_order, take_order, unpack_result
from ncb_nodes.orders import (
    AnyOrder,
    IssueAmendment,
    IssueDiffusion,
    IssueInformationReply,
    IssueMessage,
    IssueWithdrawal,
    OrderDone,
    RepeatStatement,
    expanded,
)
from tests.factories import NOW, bureau, case_file, registry
from tests.post_office import bodies, mail_states, rows, said

EVERYONE = ("XA", "XB", "XC", "XD")


def told(one: Participant, order: AnyOrder, now: int = NOW) -> OrderDone:
    """Carry out an order as it comes through the control port."""
    return unpack_result(one.act(now, partial(take_order, packed=pack_order(order))))


def with_record() -> tuple[Participant, OrderDone]:
    """Return a bureau that has diffused one record to two others."""
    one = bureau("XA")
    return one, told(one, IssueDiffusion("theft", to=("XB", "XC"), case_file=case_file()))


ADDRESSES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "a list": (("XC", "XB"), ("XB", "XC")),
    "a zone without oneself": (("Z-NORTH",), ("XB",)),
    "everyone without oneself": (("ALL",), ("XB", "XC", "XD")),
    "a zone and a member of it": (("Z-NORTH", "XB"), ("XB",)),
}


@pytest.mark.parametrize(("to", "codes"), ADDRESSES.values(), ids=ADDRESSES)
def test_recipients_are_expanded_under_the_membership_in_force(
    to: tuple[str, ...], codes: tuple[str, ...]
) -> None:
    """A statement lists codes only: zones are the source's own shorthand."""
    assert expanded(to, registry(), "XA") == codes


@pytest.mark.parametrize("name", ["QQ", "Z-SOUTH", "all", ""])
def test_recipient_that_nobody_knows_is_bad_input(name: str) -> None:
    """One line names it."""
    with pytest.raises(BadInput, match=f"^{name} is no member, zone or ALL$"):
        expanded(("XB", name), registry(), "XA")


def test_member_that_left_cannot_be_addressed() -> None:
    """The membership in force decides."""
    later: Registry = registry().with_membership(2, ("XA", "XB"), {}, sealed=False)
    assert expanded(("ALL",), later, "XA") == ("XB",)
    with pytest.raises(BadInput, match="XC is no member"):
        expanded(("XC",), later, "XA")


class TestDiffusion:
    """Opening a record."""

    def test_diffusion_goes_to_the_addressees_and_always_to_the_secretariat(self) -> None:
        """A source cannot forget the copy that opens its review."""
        one, done = with_record()
        [diffusion] = said(one, "diffusion")
        assert diffusion.addressees == [SECRETARIAT, "XB", "XC"]
        assert diffusion.record is not None
        assert diffusion.record.record_id == done.record_id
        assert set(mail_states(one, "diffusion")) == {SECRETARIAT, "XB", "XC"}

    def test_source_is_a_holder_of_its_own_record(self) -> None:
        """Its copy has to be deleted like any other."""
        one, done = with_record()
        assert len(bodies(one)) == 1
        assert rows(one, "SELECT digest, known FROM versions") == [(done.digest, 1)]

    def test_expiry_and_delay_are_taken_from_the_order(self) -> None:
        """Expiry is signed; a delay is a matter of this sender's relay alone."""
        one = bureau("XA")
        held_back = {"XC": NOW + HOUR}
        order = IssueDiffusion(
            "theft",
            to=("XB", "XC"),
            case_file=case_file(),
            expires_at=NOW + DAY,
            held_back=held_back,
        )
        told(one, order)
        assert said(one, "diffusion")[0].expires_at == instant_to_text(NOW + DAY)
        leaves = {each.recipient: each.leaves_at for each in one.take_mail(NOW, 10, ())}
        assert leaves == {"XB": NOW, "XC": NOW + HOUR, SECRETARIAT: NOW}

    def test_same_label_cannot_open_two_records(self) -> None:
        """A label is the name under which a scenario speaks of one record."""
        one, _ = with_record()
        with pytest.raises(BadInput, match="XA has already issued a record 'theft'"):
            told(one, IssueDiffusion("theft", to=("XB",), case_file=case_file()), NOW + DAY)
        assert len(said(one, "diffusion")) == 1


class TestOwnRecord:
    """What a source does with a record that it opened."""

    def test_amendment_replaces_the_newest_version_and_goes_to_the_same_parties(self) -> None:
        """Amending an amendment names the amendment."""
        one, first = with_record()
        second = told(one, IssueAmendment("theft", case_file=case_file()), NOW + HOUR)
        told(one, IssueAmendment("theft", case_file=case_file()), NOW + 2 * HOUR)
        amendments = said(one, "amendment")
        assert [each.record.statement_digest for each in amendments if each.record] == [
            first.digest,
            second.digest,
        ]
        assert all(each.addressees == [SECRETARIAT, "XB", "XC"] for each in amendments)

    def test_withdrawal_erases_the_sources_own_copy_at_once(self) -> None:
        """And mail that had not left yet is cancelled, for there is no body to send."""
        one, _ = with_record()
        told(one, IssueWithdrawal("theft", reason=WithdrawalReason.BASIS_GONE), NOW + HOUR)
        assert bodies(one) == []
        mail = [each.message_type for each in one.take_mail(NOW + HOUR, 10, ())]
        assert mail == ["withdrawal"] * 3
        assert set(mail_states(one, "diffusion").values()) == {"cancelled"}

    def test_information_reply_goes_to_the_secretariat_alone(self) -> None:
        """It names the newest version and carries the answer."""
        one, first = with_record()
        reply_to = IssueInformationReply(
            "theft",
            question=ReviewQuestion.MISSING_DATA,
            answer=Answer.PROVIDED,
            text="Born on 17 May.",
        )
        told(one, reply_to)
        [reply] = said(one, "information_reply")
        assert reply.addressees == [SECRETARIAT]
        assert reply.record is not None
        assert reply.record.statement_digest == first.digest

    def test_repeat_sends_the_same_octets_to_one_recipient(self) -> None:
        """Nothing new is signed."""
        one, done = with_record()
        mail = {each.recipient: each.content for each in one.take_mail(NOW, 10, ())}
        one.mail_settled([(done.message_id, to) for to in mail], (), NOW)
        again = told(one, RepeatStatement("theft", to="XB"), NOW + HOUR)
        [letter] = one.take_mail(NOW + HOUR, 10, ())
        assert (letter.recipient, letter.content) == ("XB", mail["XB"])
        assert again.message_id == done.message_id

    @pytest.mark.parametrize(
        "order",
        [
            IssueAmendment("unheard", case_file=case_file()),
            IssueWithdrawal("unheard"),
            RepeatStatement("unheard", to="XB"),
        ],
        ids=["amendment", "withdrawal", "repeat"],
    )
    def test_record_that_was_never_issued_is_bad_input(self, order: AnyOrder) -> None:
        """The line names bureau and label."""
        with pytest.raises(BadInput, match="XA has issued no record 'unheard'"):
            told(bureau("XA"), order)


def test_message_goes_to_bureaus_and_not_to_the_secretariat() -> None:
    """Direct correspondence is nobody else's business."""
    one = bureau("XA")
    told(one, IssueMessage("greeting", to=("ALL",), text="good morning"))
    [message] = said(one, "message")
    assert message.addressees == ["XB", "XC", "XD"]
    letter = one.take_mail(NOW, 1, ())[0]
    assert open_envelope(letter.content).body is not None
