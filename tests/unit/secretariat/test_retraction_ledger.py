"""The ledger: who owes a receipt, until when, and what each has answered."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.instants import DAY
from bus.messages.retraction import DISCHARGING, RetractionAction, RetractionOutcome
from bus.storage.database import Database
from bus.storage.records import RecordKey
from secretariat.retraction import SCHEMA, Campaign, ObligationState, RetractionLedger, state_after

KEY = RecordKey("XA", "0f8fad5b-d9cb-469f-a165-70867728950e")
OTHER = RecordKey("XC", KEY.record_id)


def campaign(message_id: str, key: RecordKey, action: str) -> Campaign:
    """Return a retraction that is overdue after three days."""
    return Campaign(message_id, key, b"d" * 32, 3, action, "rejected", 0, 3 * DAY)


@pytest.fixture
def ledger() -> RetractionLedger:
    """A ledger with one deleting retraction, owed by two members for three days."""
    one = RetractionLedger(Database("IPSG", [SCHEMA]))
    one.open_campaign(campaign("m1", KEY, "delete"), ["XA", "XB"], DAY)
    return one


def settled(ledger: RetractionLedger, member: str, outcome: RetractionOutcome) -> ObligationState:
    """Enter a receipt for the retraction."""
    owed = ledger.obligation("m1", member)
    assert owed is not None
    return ledger.settle(owed, outcome, DAY)


class TestReceipts:
    """What a receipt does to what its signer owes."""

    @pytest.mark.parametrize(
        ("outcome", "state"),
        [
            (RetractionOutcome.DELETED, ObligationState.DISCHARGED),
            (RetractionOutcome.NOT_HELD, ObligationState.DISCHARGED),
            (RetractionOutcome.DECLINED, ObligationState.DECLINED),
        ],
    )
    def test_receipt_settles_what_its_signer_owed(
        self, ledger: RetractionLedger, outcome: RetractionOutcome, state: ObligationState
    ) -> None:
        """And nobody else's debt."""
        assert settled(ledger, "XB", outcome) is state
        assert ledger.unsettled() == 1
        other = ledger.obligation("m1", "XA")
        assert other is not None
        assert other.state is ObligationState.OWED

    def test_update_of_what_was_to_be_deleted_settles_nothing(
        self, ledger: RetractionLedger
    ) -> None:
        """Its signer keeps owing, and is reminded on."""
        assert settled(ledger, "XB", RetractionOutcome.UPDATED) is ObligationState.OWED
        assert [owed.member for owed in ledger.to_repeat(DAY)] == ["XA", "XB"]

    def test_deletion_supersedes_the_updates_of_its_record(self, ledger: RetractionLedger) -> None:
        """Those of other records, and older deletions, are owed as before."""
        ledger.open_campaign(campaign("m2", OTHER, "update"), ["XB"], DAY)
        ledger.open_campaign(campaign("m3", OTHER, "delete"), ["XB"], DAY)
        owed = [(each.message_id, each.member) for each in ledger.to_repeat(DAY)]
        assert owed == [("m1", "XA"), ("m1", "XB"), ("m3", "XB")]
        update = ledger.obligation("m2", "XB")
        assert update is not None
        assert update.state is ObligationState.SUPERSEDED
        assert ledger.settle(update, RetractionOutcome.DECLINED, DAY) is ObligationState.SUPERSEDED

    def test_member_that_owes_nothing_has_no_obligation(self, ledger: RetractionLedger) -> None:
        """A receipt of a stranger, or for an unheard retraction, finds nothing to settle."""
        assert ledger.obligation("m1", "XD") is None
        assert ledger.obligation("m2", "XB") is None

    def test_overdue_holder_that_answers_at_last_is_discharged(
        self, ledger: RetractionLedger
    ) -> None:
        """Late is better than never, and it is named no longer."""
        owed = ledger.obligation("m1", "XB")
        assert owed is not None
        ledger.name_overdue(owed, 4 * DAY)
        assert ledger.unsettled() == 2
        assert settled(ledger, "XB", RetractionOutcome.DELETED) is ObligationState.DISCHARGED
        assert ledger.unsettled() == 1


@given(
    st.sampled_from(RetractionAction),
    st.lists(st.sampled_from(RetractionOutcome), min_size=1, max_size=5),
)
def test_order_of_receipts_does_not_matter(
    action: RetractionAction, outcomes: list[RetractionOutcome]
) -> None:
    """One discharge among them is enough, and no later decline undoes it."""
    ends = set()
    for order in permutations(outcomes):
        state = ObligationState.OWED
        for outcome in order:
            state = state_after(state, action, outcome)
        ends.add(state)
    expected = ObligationState.OWED
    if RetractionOutcome.DECLINED in outcomes:
        expected = ObligationState.DECLINED
    if DISCHARGING[action].intersection(outcomes):
        expected = ObligationState.DISCHARGED
    assert ends == {expected}


class TestReminders:
    """Silent holders are reminded; others are left in peace."""

    def test_silent_holders_come_up_when_their_repeat_is_due(
        self, ledger: RetractionLedger
    ) -> None:
        """Not before, and sorted."""
        assert ledger.next_due() == DAY
        assert ledger.to_repeat(DAY - 1) == []
        assert [owed.member for owed in ledger.to_repeat(DAY)] == ["XA", "XB"]

    def test_reminded_holder_comes_up_again_after_the_next_period(
        self, ledger: RetractionLedger
    ) -> None:
        """The other one stays due."""
        [first, _] = ledger.to_repeat(DAY)
        ledger.repeated(first, 2 * DAY)
        assert [owed.member for owed in ledger.to_repeat(DAY)] == ["XB"]
        assert [owed.member for owed in ledger.to_repeat(2 * DAY)] == ["XA", "XB"]

    def test_settled_holders_are_not_reminded(self, ledger: RetractionLedger) -> None:
        """Whether discharged or declined."""
        settled(ledger, "XA", RetractionOutcome.DELETED)
        settled(ledger, "XB", RetractionOutcome.DECLINED)
        assert (ledger.to_repeat(9 * DAY), ledger.next_due(), ledger.unsettled()) == ([], None, 0)


def test_ending_is_remembered_by_record(ledger: RetractionLedger) -> None:
    """An update does not end a record, and another source's record is another record."""
    ledger.open_campaign(campaign("m2", OTHER, "update"), ["XB"], DAY)
    assert (ledger.was_ended(KEY), ledger.was_ended(OTHER)) == (True, False)
    assert ledger.asked_to_delete(KEY) == {"XA", "XB"}
    assert ledger.asked_to_delete(OTHER) == frozenset()
