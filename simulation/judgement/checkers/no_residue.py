"""Did the scan find a canary of a deleted body anywhere?

A holder that declined in a signed receipt keeps what it keeps openly: `retraction_complete` judges
it. A person's canary beside that of one of the person's deleted versions is the same copy; alone it
is a derived one.
"""

from typing import Final

from bus.storage.records import RecordKey
from simulation.evidence.gathered import Evidence
from simulation.judgement.checkers.finding import CheckerResult, Findings
from simulation.residue.scan import DeadCanary, Sighting

NAME: Final = "no_residue"


def check(evidence: Evidence) -> CheckerResult:
    """Report what the scan saw, by node and record."""
    findings = Findings(NAME)
    findings.exercised = len(evidence.scan.dead)
    for sighting, dead in unexplained_copies(evidence):
        detail = f"{sighting.kind} {sighting.name}: {sighting.encoding}"
        findings.add(sighting.node, RecordKey(dead.source, dead.record_id), detail)
    return findings.result()


def unexplained_copies(evidence: Evidence) -> list[tuple[Sighting, DeadCanary]]:
    """Return what was seen of deleted bodies, without what a holder openly declines to delete."""
    scan = evidence.scan
    subjects = {RecordKey(dead.source, dead.record_id): dead.subject for dead in scan.dead.values()}
    declined = {(node, subjects[key]) for node, key in evidence.declined if key in subjects}
    seen = [
        (sighting, scan.dead[sighting.canary])
        for sighting in sorted(scan.sightings, key=_order)
        if (sighting.node, scan.dead[sighting.canary].subject) not in declined
    ]
    whole = {(sighting.node, dead.subject) for sighting, dead in seen if not dead.is_person}
    return [
        (sighting, dead)
        for sighting, dead in seen
        if not dead.is_person or (sighting.node, dead.subject) not in whole
    ]


def _order(sighting: Sighting) -> tuple[str, ...]:
    return (
        sighting.node, sighting.kind, sighting.name, sighting.canary, sighting.encoding
    )  # fmt: skip
