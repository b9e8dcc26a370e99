"""Does a node hold something that was neither signed to it, nor by it, nor released to it?"""

from typing import Final

from simulation.evidence.gathered import Evidence
from simulation.evidence.rows import SignedStatement, StoreEvidence
from simulation.judgement.checkers.finding import CheckerResult, Findings

NAME: Final = "nothing_at_non_addressees"


def check(evidence: Evidence) -> CheckerResult:
    """Compare what lies in each store with the signed addressees."""
    findings = Findings(NAME)
    for store in evidence.stores.values():
        released = _released(store)
        copies = {version.digest for version in store.versions if version.known}
        for digest in copies | set(store.bodies) | {row.kept_digest for row in store.inbox}:
            statement = evidence.statements.get(digest)
            if statement is None:
                continue
            findings.exercised += 1
            if digest not in released and not _may_have(store.party, statement):
                detail = f"{statement.message_type} was not addressed to it"
                findings.add(store.party, statement.key, detail)
    return findings.result()


def _may_have(party: str, statement: SignedStatement) -> bool:
    return party == statement.header.source or party in statement.header.addressees


def _released(store: StoreEvidence) -> frozenset[bytes]:
    """Return the statements that came inside a release which was addressed to the node."""
    releases = {
        row.statement.header.message_id
        for row in store.inbox
        if row.statement.message_type == "release" and _may_have(store.party, row.statement)
    }
    return frozenset(row.statement.digest for row in store.inbox if row.carrier in releases)
