"""Whether a network is quiet, told from what its parties count. Pure.

Over all parties, what the broker confirmed for a queue and what was settled from it agree once
nothing is under way. After a broken connection a publication or delivery may have been made twice,
so that more is settled than confirmed; never less.
"""

from collections import Counter
from collections.abc import Container, Mapping, Sequence

from bus.host import Activity
from bus.identifiers import QueueKind
from bus.topology import queue_name

Activities = Mapping[str, Activity]
"""What each party counts, by party."""


def uncounted_queues(away: frozenset[str], data_only_away: frozenset[str]) -> frozenset[str]:
    """Return the queues that nobody reads at present."""
    queues = [queue_name(kind, member) for member in away for kind in QueueKind]
    queues += [queue_name(QueueKind.DATA, member) for member in data_only_away]
    return frozenset(queues)


def under_way(activities: Activities, uncounted: Container[str]) -> dict[str, int]:
    """Return by queue how much was confirmed and is not settled yet."""
    confirmed: Counter[str] = Counter()
    settled: Counter[str] = Counter()
    for activity in activities.values():
        confirmed.update(activity.confirmed)
        settled.update(activity.settled)
    return {
        queue: number - settled[queue]
        for queue, number in sorted(confirmed.items())
        if number > settled[queue] and queue not in uncounted
    }


def to_reach(activities: Activities, waiting: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return by party what it should come to count as settled, by queue.

    Parties with work of their own that can go on without time passing are named too, with nothing.
    """
    goals: dict[str, dict[str, int]] = {
        party: {} for party, activity in activities.items() if activity.pending
    }
    for queue, number in waiting.items():
        owner = queue.rpartition(".")[2]
        if owner in activities:
            settled = activities[owner].settled.get(queue, 0)
            goals.setdefault(owner, {})[queue] = settled + number
    return goals


def who_is_not_quiet(activities: Activities, uncounted: Container[str]) -> Sequence[str]:
    """Return, for a person, each queue and party that is not quiet."""
    waiting = under_way(activities, uncounted)
    told = [f"{queue} has {number} not settled" for queue, number in waiting.items()]
    return told + [
        f"{party} has mail to send" for party, each in activities.items() if each.pending
    ]
