"""Retraction sets as they are sent: deltas, heartbeats, pages, full sets on request."""

from functools import partial

from bus.instants import DAY, HOUR, Instant
from bus.messages.retraction import (
    SET_ENTRIES_MAX,
    RetractionSet,
    RetractionSetClaims,
    RetractionSetRequest,
    RetractionSetRequestClaims,
)
from bus.retraction_sets import FIRST_HASH, running_hash
from bus.storage.records import RecordKey
from bus.turn import Turn
from ncb_nodes.national_store import RetractionSetState
from secretariat.case_store import CaseStore
from secretariat.set_office import SetOffice
from tests.factories import MEMBERS, NOW, case_file, delivery, identifiers, issued, offence
from tests.post_office import outcomes, said
from tests.unit.secretariat.office import DECIDED, Office

MIDNIGHT = NOW + 15 * HOUR
POLITICAL = case_file(offence=offence(code="insult_of_head_of_state"))


def sets_to(office: Office, member: str) -> list[RetractionSetClaims]:
    """Return what was sent to a member, in the order of the numbers."""
    claims = [each.claims for each in said(office.gs, "retraction_set")
              if isinstance(each, RetractionSet) and each.addressees == [member]]  # fmt: skip
    return sorted(claims, key=lambda each: each.number)


def follows(office: Office, member: str) -> RetractionSetState:
    """Return how far a member has followed."""
    return RetractionSetState.kept_in(office.members[member].database)


def end_many(turn: Turn, count: int, member: str) -> None:
    """Enter so many ended records of XA that one member holds."""
    for number in range(count):
        key = RecordKey("XA", identifiers("XA").record_id(f"{number}"))
        CaseStore(turn.stores.database).add_holders(key, [member, "XA"], "addressed", turn.now)
        SetOffice(turn.stores.database).note_ended(key, turn.now)


def ask(office: Office, member: str, now: Instant, have: int = 0) -> None:
    """Bring a member's request for what it is missing."""
    claims = RetractionSetRequestClaims(have)
    request = issued(RetractionSetRequest, member, ("IPSG",), claims, subject=f"{now}", now=now)
    office.gs.receive([delivery(request, "IPSG")], now)


class TestRhythm:
    """One set per member and period."""

    def test_first_set_is_full_and_goes_to_every_member_at_the_start(self) -> None:
        """Nobody acts before it has one."""
        office = Office()
        for member in MEMBERS:
            [first] = sets_to(office, member)
            assert (first.number, first.previous_number, first.full, first.last_page) == (
                1, 0, True, True,
            )  # fmt: skip
            assert follows(office, member).issued_at == NOW

    def test_heartbeat_is_sent_at_the_shared_instant_of_each_period(self) -> None:
        """Empty lists and the next link of the chain."""
        office = Office()
        assert office.gs.next_due(NOW) == MIDNIGHT
        office.post.tick(MIDNIGHT - 1)
        assert len(sets_to(office, "XB")) == 1
        office.post.tick(MIDNIGHT)
        _, heartbeat = sets_to(office, "XB")
        assert (heartbeat.ended, heartbeat.full, heartbeat.previous_number) == ([], False, 1)
        assert heartbeat.running_hash == running_hash(
            running_hash(FIRST_HASH, 1, [], [], []), 2, [], [], []
        )

    def test_period_that_was_slept_through_is_made_up_for_once(self) -> None:
        """After three days of silence there is one set, not three."""
        office = Office()
        office.post.tick(MIDNIGHT + 2 * DAY)
        assert len(sets_to(office, "XB")) == 2
        assert office.gs.next_due(MIDNIGHT + 2 * DAY) == MIDNIGHT + 3 * DAY


class TestContent:
    """What has ended of what a member was once sent."""

    def test_ended_record_is_told_to_its_holders_alone(self) -> None:
        """Others must not learn that there was a record at all."""
        office = Office()
        done = office.diffuse(POLITICAL, to=("XB",))
        office.run(DECIDED)
        office.post.tick(MIDNIGHT)
        told = {member: [each.record_id for each in sets_to(office, member)[-1].ended]
                for member in MEMBERS}  # fmt: skip
        assert told == {"XA": [done.record_id], "XB": [done.record_id], "XC": [], "XD": []}

    def test_ended_record_is_told_once(self) -> None:
        """The next delta begins where this one ended."""
        office = Office()
        office.diffuse(POLITICAL, to=("XB",))
        office.run(DECIDED)
        office.post.tick(MIDNIGHT)
        office.post.tick(MIDNIGHT + DAY)
        assert [len(each.ended) for each in sets_to(office, "XB")] == [0, 1, 0]
        assert outcomes(office.members["XB"], "retraction_set") == ["applied"] * 3


class TestPages:
    """More than one page at a time."""

    COUNT = SET_ENTRIES_MAX + 1

    def test_long_set_is_sent_in_pages_that_chain(self) -> None:
        """Only the last one says so, and the member follows them all."""
        office = Office()
        office.gs.act(NOW, partial(end_many, count=self.COUNT, member="XB"))
        office.post.tick(MIDNIGHT)
        pages = sets_to(office, "XB")[1:]
        assert [(len(each.ended), each.last_page, each.full) for each in pages] == [
            (SET_ENTRIES_MAX, False, False),
            (1, True, False),
        ]
        assert follows(office, "XB").number == pages[-1].number
        assert follows(office, "XB").issued_at == MIDNIGHT

    def test_exactly_one_page_is_one_page(self) -> None:
        """Near miss: no empty page follows."""
        office = Office()
        office.gs.act(NOW, partial(end_many, count=SET_ENTRIES_MAX, member="XB"))
        office.post.tick(MIDNIGHT)
        assert [each.last_page for each in sets_to(office, "XB")[1:]] == [True]

    def test_newcomer_is_told_everything_in_pages(self) -> None:
        """Its first set of all is full and may be long; until the last page it is not fresh."""
        office = Office(absent=("XB",))
        office.gs.act(NOW, partial(end_many, count=self.COUNT, member="XB"))
        ask(office, "XB", NOW)
        office.gs.tick(NOW)
        pages = sets_to(office, "XB")[1:]
        assert [(each.full, each.last_page) for each in pages] == [(True, False), (False, True)]


class TestRequests:
    """A member that has a gap asks."""

    def test_full_set_answers_a_request_in_the_next_tick(self) -> None:
        """With everything from the beginning, whatever number the member has."""
        office = Office()
        office.gs.act(NOW, partial(end_many, count=3, member="XB"))
        office.post.tick(MIDNIGHT)
        ask(office, "XB", MIDNIGHT + HOUR, have=2)
        assert office.gs.next_due(MIDNIGHT + HOUR) == MIDNIGHT + HOUR
        office.post.tick(MIDNIGHT + HOUR)
        last = sets_to(office, "XB")[-1]
        assert (last.full, len(last.ended), last.number) == (True, 3, 3)
        assert len(sets_to(office, "XC")) == 2

    def test_many_requests_before_a_tick_get_one_answer(self) -> None:
        """Asking often does not make the secretariat send often."""
        office = Office()
        for minutes in range(3):
            ask(office, "XB", NOW + minutes)
        office.post.tick(NOW + HOUR)
        assert [each.full for each in sets_to(office, "XB")] == [True, True]

    def test_member_that_lost_a_set_converges_by_itself(self) -> None:
        """The whole way: a gap, a request, a full set, and the chain goes on."""
        office = Office()
        office.gs.act(NOW, partial(end_many, count=2, member="XB"))
        del office.post.parties["XB"]
        office.post.tick(MIDNIGHT)
        office.post.parties["XB"] = office.members["XB"]
        office.post.tick(MIDNIGHT + DAY)
        office.post.tick(MIDNIGHT + DAY + HOUR)
        office.post.tick(MIDNIGHT + 2 * DAY)
        assert outcomes(office.members["XB"], "retraction_set_request") == []
        assert len(said(office.members["XB"], "retraction_set_request")) == 1
        assert follows(office, "XB").number == sets_to(office, "XB")[-1].number
        assert set(office.states(office.members["XB"])) <= {"deleted"}
