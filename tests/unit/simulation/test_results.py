"""Results: the keys that others rely on, and figures that can be computed by hand."""

from collections.abc import Sequence

import msgspec
import pytest
from msgspec.structs import replace

from ncb_nodes.receiving_policy import ActsOn, ReceivingPolicy
from simulation.judgement.exposure import exposure
from simulation.judgement.figures import (
    actions_on_rejected,
    counts,
    nearest_rank,
    overdue,
    percentiles,
    refusals,
    retraction_latency,
)
from simulation.judgement.results import merged_history, results, trace_digest
from simulation.judgement.verdict import judge
from simulation.scenario import Event
from tests.unit.simulation.small_run import DAY, HOUR, SMALL, SmallRun, insertion, run_story

KEYS = [
    "format_version",
    "scenario",
    "seed",
    "bus",
    "verdict",
    "checks",
    "counts",
    "refusals",
    "retraction_latency_seconds",
    "exposure_node_seconds",
    "actions_on_rejected",
    "residual_copies",
    "residual_copies_by_node",
    "overdue_holders",
    "trace_digest",
    "simulated_seconds",
    "wall_seconds",
]


def test_results_have_exactly_the_keys_that_others_rely_on(small_run: SmallRun) -> None:
    """The content survives JSON, and every part has its own keys."""
    evidence = small_run.evidence()
    content = results(evidence, judge(evidence, SMALL, ()), wall_seconds=1.5)
    again = msgspec.json.decode(msgspec.json.encode(content))
    assert list(again) == KEYS
    assert all(
        list(check) == ["name", "verdict", "exercised", "found", "expected"]
        for check in again["checks"]
    )
    assert list(again["retraction_latency_seconds"]) == ["simulated", "wall"]
    assert list(again["retraction_latency_seconds"]["wall"]) == ["p50", "p95", "p99", "max"]
    assert list(again["exposure_node_seconds"]) == ["readable", "of_which_actionable"]
    assert (again["verdict"], again["residual_copies"], again["wall_seconds"]) == ("valid", 0, 1.5)
    assert again["simulated_seconds"] == 5 * DAY / 1_000


def _taken_from_queues(run: SmallRun) -> int:
    query = (
        "SELECT (SELECT count(*) FROM inbox WHERE source != 'AUTH' AND carrier IS NULL)"
        " + (SELECT count(*) FROM quarantine)"
        " + (SELECT count(*) FROM history WHERE event LIKE '%_repeated')"
    )
    return sum(int(str(count)) for party in run.stores for (count,) in run.rows(party, query))


def test_counts_are_those_of_the_story(small_run: SmallRun) -> None:
    """Six alerts, one amendment; three versions are rejected and four records retracted."""
    assert counts(small_run.evidence()) == {
        "deliveries": _taken_from_queues(small_run),
        "diffusions": 6,
        "validated": 4,
        "rejected": 3,
        "retracted": 4,
        "receipts": 11,
        "quarantined": 2,
    }
    assert refusals(small_run.evidence()) == {"signature_invalid": 2}


def test_figures_leave_out_what_happened_while_the_run_settled(small_run: SmallRun) -> None:
    """With a stated period that ends before any decision there is none to count."""
    short = replace(small_run.facts, ends=small_run.facts.begins + 7 * HOUR)
    evidence = replace(small_run.evidence(), facts=short)
    assert counts(evidence)["validated"] == 0
    assert counts(evidence)["diffusions"] == 4
    assert refusals(evidence) == {}
    assert exposure(evidence).readable == 2 * HOUR / 1_000


def test_latency_is_measured_from_the_retraction_to_each_erasure() -> None:
    """A member that was away for days erases when it comes back; the others do at once."""
    away = Event(kind="away", member="XD", at="8h", until="3d")
    run = run_story(replace(SMALL, alerts=SMALL.alerts[2:3], events=(away,)))
    ((ordered_at,),) = run.rows("IPSG", "SELECT opened_at FROM campaigns")
    latency = retraction_latency(run.evidence())
    late = (run.facts.begins + 3 * DAY - int(str(ordered_at))) / 1_000
    assert sorted(latency.simulated) == [0.0, 0.0, late]
    assert len(latency.wall) == 3
    assert all(seconds > 0 for seconds in latency.wall)


def test_exposure_lasts_from_storing_to_erasure_at_every_bureau_but_the_source() -> None:
    """XC may act on pending data by its policy, XD may not; XB is the source."""
    policies = {"XC": ReceivingPolicy(acts_on=ActsOn.PENDING)}
    run = run_story(replace(SMALL, alerts=SMALL.alerts[2:3], events=(), policies=policies))
    ((ordered_at,),) = run.rows("IPSG", "SELECT opened_at FROM campaigns")
    seconds = (int(str(ordered_at)) - run.facts.begins - 6 * HOUR) / 1_000
    exposed = exposure(run.evidence())
    assert exposed.readable == 2 * seconds
    assert exposed.of_which_actionable == seconds
    assert actions_on_rejected(run.evidence()) == 1


def test_copy_that_the_final_read_finds_was_exposed_to_the_end() -> None:
    """Whatever a history says of an erasure, a body that is there can be read."""
    alone = replace(SMALL, alerts=SMALL.alerts[2:3], events=())
    run = run_story(alone)
    restored = run.tampered(
        "XD",
        insertion(
            "kept_bodies",
            (run.digest("treasurer"), "XB", run.record_id("treasurer"), *run.body("treasurer")),
        ),
    )
    ((ordered_at,),) = run.rows("IPSG", "SELECT opened_at FROM campaigns")
    gained = (run.facts.ends - int(str(ordered_at))) / 1_000
    honest, kept = exposure(run.evidence()), exposure(run.evidence(restored))
    assert kept.readable == honest.readable + gained


def test_planted_copies_are_told_by_node_and_do_not_count_as_unplanned() -> None:
    """The same copies without a confession are unplanned."""
    run = run_story(replace(SMALL, profiles={"XD": "signs_without_deleting"}))
    evidence = run.evidence()
    planned = results(evidence, judge(evidence, SMALL, run.deviations), wall_seconds=0)
    unplanned = results(evidence, judge(evidence, SMALL, ()), wall_seconds=0)
    assert (planned["residual_copies"], planned["residual_copies_by_node"]) == (0, {"XD": 3})
    assert (unplanned["residual_copies"], unplanned["residual_copies_by_node"]) == (3, {"XD": 3})


def test_silent_holder_is_named_overdue() -> None:
    """By node and record, for as long as its receipt is owed."""
    away = Event(kind="away", member="XD", at="8h", until="90d")
    run = run_story(replace(SMALL, alerts=SMALL.alerts[2:3], events=(away,)))
    assert [(node, key.record_id) for node, key in overdue(run.evidence())] == [
        ("XD", run.record_id("treasurer"))
    ]


def test_trace_digest_depends_on_the_story_and_on_nothing_else(small_run: SmallRun) -> None:
    """Another run of the same story has other keys and another clock, and the same trace."""
    again, shorter = run_story(), run_story(replace(SMALL, alerts=SMALL.alerts[1:]))
    digest = trace_digest(small_run.evidence())
    assert again.facts.root_der != small_run.facts.root_der
    assert trace_digest(again.evidence()) == digest
    assert trace_digest(shorter.evidence()) != digest
    assert len(digest) == 64


def test_merged_history_tells_all_nodes_events_in_order_and_no_personal_data(
    small_run: SmallRun,
) -> None:
    """One JSON object a line: by time, node and the node's own order."""
    evidence = small_run.evidence()
    lines = list(merged_history(evidence))
    rows = [msgspec.json.decode(line) for line in lines]
    order = [(row["at"], row["node"], row["seq"]) for row in rows]
    assert order == sorted(order)
    assert len(rows) == sum(len(store.history) for store in evidence.stores.values())
    assert all(line.endswith(b"}\n") for line in lines)
    assert small_run.facts.canaries.marker.encode() not in b"".join(lines)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([5], 0.5, 5),
        ([1, 2], 0.5, 1),
        ([1, 2, 3], 0.5, 2),
        (list(range(1, 101)), 0.95, 95),
        (list(range(1, 101)), 0.99, 99),
        ([3, 1, 2], 1.0, 3),
        ([], 0.5, None),
    ],
)
def test_percentiles_are_values_that_were_measured(
    values: Sequence[int], share: float, expected: int | None
) -> None:
    """Nearest rank: the smallest value that the share of all values does not exceed."""
    assert nearest_rank(values, share) == expected


def test_percentiles_of_nothing_are_null() -> None:
    """A run without retractions has no latency, and not one of zero."""
    assert percentiles([]) == {"p50": None, "p95": None, "p99": None, "max": None}
