"""Every shipped story ends as it states, with several seeds; one seed always ends alike."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from simulation.evidence.gathered import Evidence
from simulation.judgement.checkers import CHECKERS
from simulation.judgement.checkers.finding import CheckerResult
from simulation.judgement.verdict import Verdict, judge
from simulation.run_folder import RunFolder
from simulation.scenario import Keep, load, shipped_names
from tests.scenario.told import finished

YEAR_SECONDS_MAX = 600
"""Ten times what it takes where nothing else runs."""
RESULT_KEYS = {
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
}
COUNT_KEYS = {
    "deliveries",
    "diffusions",
    "validated",
    "rejected",
    "retracted",
    "receipts",
    "quarantined",
}


@pytest.mark.parametrize("seed", ["1", "7", "8", "a seed in words"])
@pytest.mark.parametrize("name", ["first_light", "first_light_of_three", "hard_cases", "planted"])
def test_story_with_any_seed_ends_valid(name: str, seed: str, tmp_path: Path) -> None:
    """A shipped story states what happens in it, and that does not hang on one seed."""
    done = finished(load(name), seed, tmp_path / "run")
    assert done.results["verdict"] == "valid", f"seed {seed}: {done.judgement.reasons}"


def test_forty_days_of_the_year_at_a_250th_end_valid(tmp_path: Path) -> None:
    """A story with 196 members is judged like any other, with every checker at work."""
    story = load("year_2024", {"scale": "0.004", "days": "40"})
    done = finished(story, "7", tmp_path / "run")
    assert done.results["verdict"] == "valid", done.judgement.reasons
    assert done.results["counts"]["diffusions"] == round(12_940 * 0.004)


@pytest.mark.timeout(YEAR_SECONDS_MAX)
def test_whole_year_at_a_fiftieth_ends_valid(tmp_path: Path) -> None:
    """The year with 196 members, all of its 366 days long, keeps what it promises."""
    done = finished(load("year_2024", {"scale": "0.02"}), "7", tmp_path / "run", Keep.RESULTS)
    assert done.results["verdict"] == "valid", done.judgement.reasons
    assert done.results["counts"]["diffusions"] == round(12_940 * 0.02)
    assert done.results["simulated_seconds"] >= 366 * 86_400
    assert all(check["exercised"] > 0 for check in done.results["checks"])


def test_same_seed_gives_the_same_trace_and_another_seed_another(tmp_path: Path) -> None:
    """All chance comes from the seed."""
    story = load("first_light")
    first, again, other = (
        finished(story, seed, tmp_path / name).results["trace_digest"]
        for seed, name in (("7", "first"), ("7", "again"), ("8", "other"))
    )
    assert first == again
    assert first != other


def test_results_of_first_light_have_the_keys_that_others_rely_on(tmp_path: Path) -> None:
    """results.json has every key of the design, and the story exercises every ground."""
    done = finished(load("first_light"), "7", tmp_path / "run")
    assert set(done.results) == RESULT_KEYS
    assert set(done.results["counts"]) == COUNT_KEYS
    assert [check["name"] for check in done.results["checks"]] == list(CHECKERS)
    assert all(check["exercised"] > 0 for check in done.results["checks"])
    assert set(done.results["retraction_latency_seconds"]) == {"simulated", "wall"}
    assert done.results["refusals"] == {"signature_invalid": 4}
    assert done.results["overdue_holders"] == []


@pytest.mark.parametrize("node", ["XD", "XF"])
def test_culprit_left_out_of_the_statement_makes_planted_invalid(node: str, tmp_path: Path) -> None:
    """What a culprit does and the story does not state is a violation nobody planned."""
    story = load("planted")
    stated = tuple(each for each in story.violations if each.node != node)
    done = finished(replace(story, violations=stated), "7", tmp_path / "run")
    assert done.results["verdict"] == "invalid"
    assert any(reason.split(": ")[1] == node for reason in done.judgement.reasons)


@pytest.mark.parametrize("blinded", ["receipts_match_stores", "no_residue", "acts_as_declared"])
def test_checker_blinded_on_purpose_makes_planted_invalid(blinded: str, tmp_path: Path) -> None:
    """A planted culprit that is not found is as bad as one that nobody planted."""
    done = finished(load("planted"), "7", tmp_path / "run", Keep.ALL)
    assert done.judgement.verdict is Verdict.VALID
    confessed = RunFolder.existing(done.folder).read_record().deviations

    def sees_nothing(evidence: Evidence) -> CheckerResult:
        return replace(CHECKERS[blinded](evidence), found=frozenset())

    checkers = {**CHECKERS, blinded: sees_nothing}
    judgement = judge(done.evidence, load("planted"), ledger=confessed, checkers=checkers)
    assert judgement.verdict is Verdict.INVALID
    assert any(reason.startswith(blinded) for reason in judgement.reasons)


def test_every_shipped_scenario_is_told_here() -> None:
    """A story that is added to the package is added to these tests."""
    assert shipped_names() == [
        "first_light",
        "first_light_of_three",
        "hard_cases",
        "planted",
        "year_2024",
    ]
