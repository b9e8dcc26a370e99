"""The verdict: what is found, what was confessed and what is stated must agree."""

import pytest
from msgspec.structs import replace

from bus.errors import BadInput
from ncb_nodes.receiving_policy import ReceivingPolicy
from simulation.evidence.gathered import Evidence
from simulation.evidence.store_copies import StoreCopy
from simulation.judgement.checkers import CHECKERS, Checker, CheckerResult, Violation
from simulation.judgement.verdict import Judgement, Verdict, judge, worst
from simulation.profiles.ledger import Deviation, DeviationKind
from simulation.scenario import PlantedViolation, Scenario
from tests.unit.simulation.small_run import SMALL, SmallRun, run_story, sql

LIES = ("treasurer", "birth date", "late to one")
PLANTED = (
    PlantedViolation("receipts_match_stores", "XD", LIES),
    PlantedViolation("no_residue", "XD", LIES),
)
SIGNS_WITHOUT_DELETING = replace(
    SMALL, profiles={"XD": "signs_without_deleting"}, violations=PLANTED
)


@pytest.fixture(scope="session")
def culprit_run() -> SmallRun:
    """What a network with one bureau left behind that signs without deleting."""
    return run_story(SIGNS_WITHOUT_DELETING)


def _judge(run: SmallRun, scenario: Scenario, **changes: Checker) -> Judgement:
    return judge(run.evidence(), scenario, run.deviations, {**CHECKERS, **changes})


def _blind(_: Evidence) -> CheckerResult:
    return CheckerResult(frozenset(), 1)


def _idle(_: Evidence) -> CheckerResult:
    return CheckerResult(frozenset(), 0)


def _of(judgement: Judgement) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in judgement.checks}


def test_faithful_run_is_valid(small_run: SmallRun) -> None:
    """Ten checks, in the order of the design, nothing found and nothing expected."""
    judgement = _judge(small_run, SMALL)
    assert (judgement.verdict, judgement.exit_code) == (Verdict.VALID, 0)
    assert [check.name for check in judgement.checks] == list(CHECKERS)
    assert not any(check.found or check.expected for check in judgement.checks)
    assert judgement.reasons == []


def test_planted_culprit_that_is_found_leaves_the_run_valid(culprit_run: SmallRun) -> None:
    """Found, confessed and stated are the same records, told by their labels."""
    judgement = _judge(culprit_run, SIGNS_WITHOUT_DELETING)
    receipts = next(check for check in judgement.checks if check.name == "receipts_match_stores")
    assert judgement.verdict is Verdict.VALID
    assert {(each.node, each.record) for each in receipts.found} == {("XD", each) for each in LIES}
    assert {(each.node, each.record) for each in receipts.expected} == {
        ("XD", each) for each in LIES
    }
    assert judgement.unplanned == frozenset()


@pytest.mark.parametrize(
    ("violations", "reason"),
    [
        pytest.param((), "was done, and the scenario does not state it", id="nothing"),
        pytest.param(PLANTED[:1], "no_residue: XD: treasurer was done", id="one checker"),
        pytest.param(
            (PLANTED[0], PlantedViolation("no_residue", "XD", LIES[:2])),
            "no_residue: XD: late to one was done, and the scenario does not state it",
            id="one record short",
        ),
        pytest.param(
            (PLANTED[0], PlantedViolation("no_residue", "XD", (*LIES, "icons"))),
            "no_residue: XD: icons: the scenario states it, and it was not done",
            id="one record too many",
        ),
        pytest.param(
            (*PLANTED, PlantedViolation("acts_as_declared", "XC", ("icons",))),
            "acts_as_declared: XC: icons: the scenario states it, and it was not done",
            id="one culprit too many",
        ),
    ],
)
def test_scenario_that_states_something_else_makes_the_run_invalid(
    culprit_run: SmallRun, violations: tuple[PlantedViolation, ...], reason: str
) -> None:
    """A culprit left out, or one invented, contradicts what was confessed."""
    judgement = _judge(culprit_run, replace(SIGNS_WITHOUT_DELETING, violations=violations))
    assert (judgement.verdict, judgement.exit_code) == (Verdict.INVALID, 1)
    assert any(reason in line for line in judgement.reasons), judgement.reasons


@pytest.mark.parametrize("checker", ["receipts_match_stores", "no_residue"])
def test_blinded_checker_makes_the_run_invalid(culprit_run: SmallRun, checker: str) -> None:
    """A checker that misses a confessed deed is itself the defect."""
    judgement = _judge(culprit_run, SIGNS_WITHOUT_DELETING, **{checker: _blind})
    assert judgement.verdict is Verdict.INVALID
    assert f"{checker}: XD: treasurer was planted and not found" in judgement.reasons


def test_finding_that_nobody_planted_makes_the_run_invalid(small_run: SmallRun) -> None:
    """It is named, and handed on as unplanned."""
    violation = Violation("nothing_lost", "XB", "XA", small_run.record_id("icons"), "it is gone")

    def finds(_: Evidence) -> CheckerResult:
        return CheckerResult(frozenset({violation}), 1)

    judgement = _judge(small_run, SMALL, nothing_lost=finds)
    assert judgement.verdict is Verdict.INVALID
    assert judgement.reasons == ["nothing_lost: XB: icons was found and nobody planted it"]
    assert judgement.unplanned == {violation}


def test_any_record_stands_for_whatever_the_culprit_gets_at(culprit_run: SmallRun) -> None:
    """It must be done at least once, and covers that node and checker alone."""
    anything = tuple(PlantedViolation(each.checker, "XD", ("*",)) for each in PLANTED)
    assert _judge(culprit_run, replace(SMALL, violations=anything)).verdict is Verdict.VALID
    elsewhere = (*anything, PlantedViolation("no_residue", "XC", ("*",)))
    judgement = _judge(culprit_run, replace(SMALL, violations=elsewhere))
    assert judgement.reasons == ["no_residue: XC: *: the scenario states it, and it was not done"]


def test_checker_that_had_nothing_to_judge_makes_the_run_invalid_where_it_must(
    small_run: SmallRun,
) -> None:
    """A checker without work proves nothing; whether that matters the scenario says."""
    judgement = _judge(small_run, SMALL, effects_once=_idle)
    assert _of(judgement)["effects_once"] is Verdict.INVALID
    assert judgement.verdict is Verdict.INVALID
    assert _judge(small_run, replace(SMALL, must_exercise=()), effects_once=_idle).exit_code == 0


def test_unreadable_store_makes_the_run_unknown(culprit_run: SmallRun) -> None:
    """What lay there can be neither found nor missed; the reason is told."""
    evidence = culprit_run.evidence(("XD", StoreCopy(b"garbage")))
    judgement = judge(evidence, SIGNS_WITHOUT_DELETING, culprit_run.deviations)
    assert (judgement.verdict, judgement.exit_code) == (Verdict.UNKNOWN, 3)
    assert judgement.reasons == ["missing evidence: store of XD cannot be read: it is no database"]
    assert set(_of(judgement).values()) == {Verdict.UNKNOWN}


def test_violation_beside_missing_evidence_makes_the_run_invalid(culprit_run: SmallRun) -> None:
    """The worst counts."""
    evidence = culprit_run.evidence(("XC", StoreCopy(b"garbage")))
    judgement = judge(evidence, SMALL, culprit_run.deviations)
    assert judgement.verdict is Verdict.INVALID
    assert _of(judgement)["acts_as_declared"] is Verdict.UNKNOWN


def test_act_that_a_gap_in_the_history_leaves_unexplained_makes_the_run_unknown(
    small_run: SmallRun,
) -> None:
    """Without the row that tells of the decision nobody can say whether the bureau erred."""
    holed = small_run.tampered(
        "XC",
        sql(
            "DELETE FROM history WHERE event = 'review_decision_applied' AND record_id = ?",
            small_run.record_id("icons"),
        ),
    )
    judgement = judge(small_run.evidence(holed), SMALL, ())
    assert judgement.verdict is Verdict.UNKNOWN
    assert len(judgement.reasons) == 2
    assert all("missing evidence: history of XC" in line for line in judgement.reasons)


def test_missing_evidence_excuses_a_checker_that_had_nothing_to_judge(
    small_run: SmallRun,
) -> None:
    """Without the secretariat's store there is no retraction to judge, and that is all."""
    evidence = small_run.evidence(("IPSG", StoreCopy(b"garbage")))
    assert judge(evidence, SMALL, ()).verdict is Verdict.UNKNOWN


def test_decline_by_declared_policy_needs_no_statement_and_must_be_found(
    small_run: SmallRun,
) -> None:
    """Such a holder has said so before; a checker that misses it is blind."""
    offence = small_run.facts.offences["treasurer"]
    policies = {**SMALL.policies, "XD": ReceivingPolicy(declines_offences=(offence,))}
    scenario = replace(SMALL, policies=policies)
    run = run_story(scenario)
    judgement = _judge(run, scenario)
    complete = next(check for check in judgement.checks if check.name == "retraction_complete")
    assert judgement.verdict is Verdict.VALID
    assert [(each.node, each.record) for each in complete.expected] == [("XD", "treasurer")]
    assert _judge(run, scenario, retraction_complete=_blind).verdict is Verdict.INVALID


def test_decline_that_no_declared_policy_covers_makes_the_run_invalid(
    small_run: SmallRun,
) -> None:
    """Its receipt says so, and its policy did not."""
    offence = small_run.facts.offences["treasurer"]
    policies = {**SMALL.policies, "XD": ReceivingPolicy(declines_offences=(offence,))}
    run = run_story(replace(SMALL, policies=policies))
    declared = replace(run.facts, policies=small_run.facts.policies)
    judgement = judge(replace(run.evidence(), facts=declared), SMALL, ())
    assert judgement.reasons == [
        "retraction_complete: XD: treasurer was found and nobody planted it"
    ]


def test_with_faults_what_had_no_chance_is_listed_and_no_contradiction(
    culprit_run: SmallRun,
) -> None:
    """Found and ledger must still agree, and be a part of what is stated."""
    stated = (*PLANTED, PlantedViolation("acts_as_declared", "XC", ("icons",)))
    scenario = replace(SIGNS_WITHOUT_DELETING, violations=stated)
    evidence = culprit_run.evidence()
    judgement = judge(evidence, scenario, culprit_run.deviations, faults=True)
    assert judgement.verdict is Verdict.VALID
    assert judgement.not_exercised == ["acts_as_declared: XC: icons"]
    unstated = replace(scenario, violations=PLANTED[:1])
    again = judge(evidence, unstated, culprit_run.deviations, faults=True)
    assert again.verdict is Verdict.INVALID


def test_confession_without_a_finding_makes_the_run_invalid(small_run: SmallRun) -> None:
    """A ledger that speaks of a deed which no checker sees is a contradiction."""
    deed = Deviation(DeviationKind.ACTED_ON_PENDING, "XC", "XA", small_run.record_id("icons"))
    scenario = replace(SMALL, violations=(PlantedViolation("acts_as_declared", "XC", ("icons",)),))
    judgement = judge(small_run.evidence(), scenario, [deed])
    assert judgement.reasons == ["acts_as_declared: XC: icons was planted and not found"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"must_exercise": ("no_such",)}, "must_exercise: there is no checker 'no_such'"),
        (
            {"violations": (PlantedViolation("no_such", "XA", ()),)},
            "violations: there is no checker 'no_such'",
        ),
        (
            {"violations": (PlantedViolation("no_residue", "ZZ", ()),)},
            "violations: 'ZZ' takes no part",
        ),
    ],
)
def test_scenario_that_states_nonsense_is_bad_input(
    small_run: SmallRun, changes: dict[str, object], reason: str
) -> None:
    """One line says what is wrong and where."""
    with pytest.raises(BadInput, match=reason):
        _judge(small_run, replace(SMALL, **changes))


def test_worst_of_some_verdicts_counts() -> None:
    """Valid before unknown before invalid; nothing at all is valid."""
    assert worst([]) is Verdict.VALID
    assert worst([Verdict.VALID, Verdict.UNKNOWN]) is Verdict.UNKNOWN
    assert worst([Verdict.INVALID, Verdict.UNKNOWN, Verdict.VALID]) is Verdict.INVALID
