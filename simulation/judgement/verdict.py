"""The verdict: what was found against what was done and what was stated.

Three sides are compared, checker by checker, as (node, record): the violations *found*, those that
the private *ledger* of hostile bureaus demands, and those that the scenario *states*. Without
faults all three must be equal; with faults found and ledger must be, and both a part of stated. A
holder that declines by its declared policy has stated so itself. What is missing makes a verdict
unknown; whatever contradicts makes it invalid; the worst counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from msgspec import Struct

from bus.errors import BadInput
from bus.identifiers import SECRETARIAT
from bus.storage.records import RecordKey
from simulation.evidence.gathered import Evidence
from simulation.judgement.checkers import CHECKERS, Checker, Violation, retraction_complete
from simulation.profiles.ledger import VIOLATIONS_OF, Deviation
from simulation.scenario import PlantedViolation, Scenario

"""In a stated violation: whatever records the culprit gets at."""


class Verdict(StrEnum):
    """What a run is worth as evidence, the best first."""

    VALID = "valid"
    UNKNOWN = "unknown"
    INVALID = "invalid"


_SEVERITY: Final = tuple(Verdict)
EXIT_CODES: Final[Mapping[Verdict, int]] = {
    Verdict.VALID: 0,
    Verdict.INVALID: 1,
    Verdict.UNKNOWN: 3,
}
Place = tuple[str, RecordKey]
"""A node and a record: what two sides must agree on."""


class Named(Struct, frozen=True, order=True):
    """A violation for a person: the record by its label, where the scenario gave it one."""

    node: str
    record: str
    detail: str = ""


class CheckVerdict(Struct, frozen=True):
    """What became of one checker. `expected` is what ledger and declared policies demand."""

    name: str
    verdict: Verdict
    exercised: int
    found: Sequence[Named]
    expected: Sequence[Named]


class Judgement(Struct, frozen=True):
    """The verdict on a run.

    `reasons` says in one line each why it is not valid. `not_exercised` lists what was stated and
    never had its chance, in a run with faults. `unplanned` are the violations that nobody planted.
    """

    verdict: Verdict
    checks: Sequence[CheckVerdict]
    reasons: Sequence[str]
    not_exercised: Sequence[str]
    unplanned: frozenset[Violation]

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return EXIT_CODES[self.verdict]


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of some verdicts; valid where there is none."""
    return max(verdicts, key=_SEVERITY.index, default=Verdict.VALID)


def judge(
    evidence: Evidence,
    scenario: Scenario,
    ledger: Iterable[Deviation],
    checkers: Mapping[str, Checker] = CHECKERS,
    *,
    faults: bool = False,
) -> Judgement:
    """Run the checkers and compare. Raises `BadInput` where the scenario states nonsense."""
    check_statements(scenario)
    court = _Court(evidence, scenario, frozenset(ledger), faults=faults)
    for name, checker in checkers.items():
        court.hear(name, checker)
    return court.judgement()


def check_statements(scenario: Scenario) -> None:
    """Raise `BadInput` for a checker or node that a scenario names and that does not exist."""
    named = [
        *((stated.checker, "violations") for stated in scenario.violations),
        *((name, "must_exercise") for name in scenario.must_exercise),
    ]
    for name, where in named:
        if name not in CHECKERS:
            message = f"scenario {scenario.name}: {where}: there is no checker {name!r}"
            raise BadInput(message)
    for stated in scenario.violations:
        if stated.node not in (*scenario.members, SECRETARIAT):
            message = f"scenario {scenario.name}: violations: {stated.node!r} takes no part"
            raise BadInput(message)


class _Court:
    """Hears one checker after the other."""

    def __init__(
        self,
        evidence: Evidence,
        scenario: Scenario,
        ledger: frozenset[Deviation],
        *,
        faults: bool,
    ) -> None:
        self._evidence = evidence
        self._scenario = scenario
        self._ledger = ledger
        self._faults = faults
        self._checks: list[CheckVerdict] = []
        self._reasons = [f"missing evidence: {line}" for line in evidence.missing]
        self._not_exercised: list[str] = []
        self._unplanned: set[Violation] = set()

    def judgement(self) -> Judgement:
        """Return the worst of what was heard."""
        missing = Verdict.UNKNOWN if self._evidence.missing else Verdict.VALID
        return Judgement(
            worst([missing, *(check.verdict for check in self._checks)]),
            self._checks,
            self._reasons,
            self._not_exercised,
            frozenset(self._unplanned),
        )

    def hear(self, name: str, checker: Checker) -> None:
        """Let one checker look, and compare what it found with what had to be."""
        result = checker(self._evidence)
        found = {_place(violation): violation for violation in sorted(result.found)}
        owed = self._owed(name)
        faults = [*self._differences(set(found), owed), *self._misstatements(name, owed)]
        self._unplanned |= {violation for place, violation in found.items() if place not in owed}
        verdict = Verdict.VALID
        if faults:
            verdict = Verdict.INVALID
        elif self._evidence.missing:
            verdict = Verdict.UNKNOWN
        elif name in self._scenario.must_exercise and not result.exercised:
            verdict = Verdict.INVALID
            faults = ["it had nothing to judge, and the scenario demands that it has"]
        self._reasons += [f"{name}: {fault}" for fault in faults]
        self._checks.append(
            CheckVerdict(
                name,
                verdict,
                result.exercised,
                tuple(sorted({self._named(place, found[place].detail) for place in found})),
                tuple(sorted({self._named(place) for place in owed})),
            )
        )

    def _owed(self, name: str) -> set[Place]:
        """Return what the ledger and the declared policies demand of a checker."""
        owed = {
            (deviation.node, RecordKey(deviation.source, deviation.record_id))
            for deviation in self._ledger
            if name in VIOLATIONS_OF[deviation.kind]
        }
        return owed | (self._declined() if name == retraction_complete.NAME else set())

    def _declined(self) -> set[Place]:
        """Return the declines that a declared policy covers: such a holder has said so before."""
        return {(node, key) for node, key in self._evidence.declined if self._declares(node, key)}

    def _declares(self, node: str, key: RecordKey) -> bool:
        """Tell whether a policy keeps a record; the offence of an injected one is not known."""
        facts = self._evidence.facts
        offence = facts.offences.get(self._evidence.labels.get(key, ""))
        declines = facts.policies[node].declines_offences if node in facts.policies else ()
        return offence in declines if offence is not None else bool(declines)

    def _differences(self, found: set[Place], owed: set[Place]) -> list[str]:
        """Compare what was found with what was done, where there is evidence of it."""
        lines = [
            f"{self._line(place)} was planted and not found"
            for place in owed - found
            if place[0] in self._evidence.told
        ]
        lines += [f"{self._line(place)} was found and nobody planted it" for place in found - owed]
        return sorted(lines)

    def _misstatements(self, name: str, owed: set[Place]) -> list[str]:
        """Compare what was done with what the scenario states."""
        stated = [violation for violation in self._scenario.violations if violation.checker == name]
        by_policy = self._declined() if name == retraction_complete.NAME else set()
        lines = [
            f"{self._line(place)} was done, and the scenario does not state it"
            for place in owed - by_policy
            if not any(self._covers(violation, place) for violation in stated)
        ]
        never = [
            f"{violation.node}: {record}"
            for violation in stated
            if violation.node in self._evidence.told
            for record in violation.records
            if not any(self._covers(violation, place, record) for place in owed)
        ]
        if self._faults:
            self._not_exercised += [f"{name}: {line}" for line in never]
        else:
            lines += [f"{line}: the scenario states it, and it was not done" for line in never]
        return sorted(lines)

    def _covers(self, violation: PlantedViolation, place: Place, record: str | None = None) -> bool:
        node, key = place
        records = violation.records if record is None else (record,)
        name = self._evidence.name_of(key.source, key.record_id)
        return violation.node == node and any(fnmatchcase(name, pattern) for pattern in records)

    def _named(self, place: Place, detail: str = "") -> Named:
        node, key = place
        return Named(node, self._evidence.name_of(key.source, key.record_id), detail)

    def _line(self, place: Place) -> str:
        named = self._named(place)
        return f"{named.node}: {named.record}"


def _place(violation: Violation) -> Place:
    return violation.node, RecordKey(violation.source, violation.record_id)
