"""Does a signed receipt say that data are gone which the final read still finds?"""

from collections.abc import Sequence
from typing import Final

from bus.messages.retraction import (
    Retraction,
    RetractionAction,
    RetractionOutcome,
    RetractionReceipt,
)
from bus.storage.records import RecordKey
from simulation.evidence.gathered import Evidence
from simulation.evidence.rows import SignedStatement, StoreEvidence
from simulation.judgement.checkers.finding import CheckerResult, Findings

NAME: Final = "receipts_match_stores"


def check(evidence: Evidence) -> CheckerResult:
    """Compare every receipt, wherever it is kept, with its signer's store at the end."""
    findings = Findings(NAME)
    for key, statements in evidence.proven.items():
        updating = _updating(statements)
        for statement in statements:
            header = statement.header
            if not isinstance(header, RetractionReceipt):
                continue
            store = evidence.stores.get(header.source)
            outcome = header.claims.outcome
            if store is None or outcome is RetractionOutcome.DECLINED:
                continue
            findings.exercised += 1
            one_version = header.in_reply_to in updating and (
                outcome is not RetractionOutcome.DELETED
            )
            if _lies_there(evidence, store, key, statement.version if one_version else None):
                detail = f"it signed {outcome.replace('_', ' ')}, and a body is in its store"
                findings.add(store.party, key, detail)
    return findings.result()


def _updating(statements: Sequence[SignedStatement]) -> frozenset[str]:
    """Return the message ids of the retractions that replace one version only."""
    return frozenset(
        statement.header.message_id
        for statement in statements
        if isinstance(statement.header, Retraction)
        and statement.header.claims.action is RetractionAction.UPDATE
    )


def _lies_there(
    evidence: Evidence, store: StoreEvidence, key: RecordKey, digest: bytes | None
) -> bool:
    """Tell whether a store has the body of one version, or without one any body of a record."""
    if digest is not None:
        return digest in store.bodies
    return key in store.keys_of_bodies or any(
        version in store.bodies for version in evidence.version_digests(key)
    )
