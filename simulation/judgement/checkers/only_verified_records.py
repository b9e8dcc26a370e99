"""Does a store hold a record whose envelope does not verify for its source at its time?

Judged by the run's own certificates. The body must be the one that the signed header commits to,
and a copy without its envelope proves nothing at all.
"""

from typing import Final

from bus.storage.records import RecordKey
from simulation.evidence.gathered import Evidence
from simulation.evidence.rows import StoreEvidence
from simulation.judgement.checkers.finding import CheckerResult, Findings

NAME: Final = "only_verified_records"


def check(evidence: Evidence) -> CheckerResult:
    """Verify anew everything that stores hold about records."""
    findings = Findings(NAME)
    for store in evidence.stores.values():
        _check_statements(evidence, store, findings)
        _check_copies(store, findings)
    return findings.result()


def _check_statements(evidence: Evidence, store: StoreEvidence, findings: Findings) -> None:
    for kept_digest, statement in store.kept():
        if statement.key is None:
            continue
        findings.exercised += 1
        fault = evidence.trustees.fault_of(statement)
        if kept_digest != statement.digest:
            fault = "it is kept under another digest than its own"
        if fault is not None:
            findings.add(store.party, statement.key, f"{statement.message_type}: {fault}")
    for malformed in store.malformed:
        findings.exercised += 1
        key = RecordKey(malformed.source, malformed.record_id)
        findings.add(store.party, key, f"{malformed.table}: a kept statement cannot be decoded")


def _check_copies(store: StoreEvidence, findings: Findings) -> None:
    """A version or a body without its statement, or a body that its statement does not mean."""
    statements = dict(store.kept())
    for version in store.versions:
        if version.known and version.digest not in statements:
            findings.add(store.party, version.key, "a version without its envelope")
    for body in store.bodies.values():
        statement = statements.get(body.digest)
        if statement is None:
            findings.add(store.party, body.key, "a body without its envelope")
        elif statement.header.body_commitment != body.commitment:
            findings.add(store.party, statement.key, "the body is not the one that was signed for")
