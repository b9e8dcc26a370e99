"""Telling from counters whether a network is quiet."""

from msgspec.structs import replace

from bus.host import Activity
from simulation.networks.counters import to_reach, uncounted_queues, under_way, who_is_not_quiet

NOTHING = Activity(0, {}, {}, pending=False, parked=(), next_due=None, open_work=0)
DATA, STATEMENTS = "i247.data.XB", "i247.statements.XB"


def counting(
    confirmed: dict[str, int] | None = None,
    settled: dict[str, int] | None = None,
    *,
    pending: bool = False,
) -> Activity:
    """Return what a party counts."""
    return replace(NOTHING, confirmed=confirmed or {}, settled=settled or {}, pending=pending)


def test_what_all_parties_sent_and_one_settled_agrees() -> None:
    """Sums are over all parties: several send to one queue, one settles it."""
    activities = {
        "XA": counting({DATA: 2}),
        "XB": counting(settled={DATA: 3}),
        "XC": counting({DATA: 1}),
    }
    assert under_way(activities, ()) == {}
    assert to_reach(activities, {}) == {}


def test_missing_deliveries_are_goals_for_the_queues_owner() -> None:
    """Who reads a queue is told up to what it has to come."""
    activities = {
        "XA": counting({DATA: 5, STATEMENTS: 1}),
        "XB": counting(settled={DATA: 3, STATEMENTS: 1}),
    }
    waiting = under_way(activities, ())
    assert waiting == {DATA: 2}
    assert to_reach(activities, waiting) == {"XB": {DATA: 5}}


def test_dead_letter_settled_by_another_party_makes_the_sums_agree() -> None:
    """The secretariat counts a dead letter under the queue it came from."""
    activities = {
        "XA": counting({DATA: 2}),
        "XB": counting(settled={DATA: 1}),
        "IPSG": counting(settled={DATA: 1}),
    }
    assert under_way(activities, ()) == {}


def test_duplicates_after_a_broken_connection_do_not_disturb() -> None:
    """More settled than confirmed is no work to wait for."""
    assert under_way({"XA": counting({DATA: 1}), "XB": counting(settled={DATA: 2})}, ()) == {}


def test_queues_of_those_away_do_not_count() -> None:
    """Away, neither queue counts; coming back, only the data queue does not."""
    activities = {"XA": counting({DATA: 1, STATEMENTS: 1}), "XB": counting()}
    away = uncounted_queues(frozenset({"XB"}), frozenset())
    returning = uncounted_queues(frozenset(), frozenset({"XB"}))
    assert under_way(activities, away) == {}
    assert under_way(activities, returning) == {STATEMENTS: 1}


def test_party_with_work_of_its_own_is_asked_to_go_on() -> None:
    """Pending mail keeps a network from being quiet although all sums agree."""
    activities = {"XA": counting(pending=True), "XB": counting()}
    assert to_reach(activities, under_way(activities, ())) == {"XA": {}}


def test_queue_that_no_party_reads_is_nobodys_goal() -> None:
    """Mail to the Commission, which has no process yet, does not hold a run up."""
    activities = {"XA": counting({"i247.statements.CCF": 1})}
    assert to_reach(activities, under_way(activities, ())) == {}


def test_who_is_not_quiet_is_named() -> None:
    """A person reads which queue and which party it is."""
    activities = {"XA": counting({DATA: 2}, pending=True), "XB": counting(settled={DATA: 1})}
    assert who_is_not_quiet(activities, ()) == [
        "i247.data.XB has 1 not settled",
        "XA has mail to send",
    ]
