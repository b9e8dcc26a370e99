"""Did a message change state twice?

Two first outcomes of one (source, message id), two acts on one version, two decisions on one case,
or two different receipts for one retraction. A repeat that sends the stored receipt again changes
nothing, and is none.
"""

from collections import Counter
from typing import Final

from bus.messages.retraction import RetractionReceipt
from bus.storage.records import RecordKey
from simulation.evidence.folds import FIRST_OUTCOME_EVENTS
from simulation.evidence.gathered import Evidence
from simulation.evidence.rows import StoreEvidence
from simulation.judgement.checkers.acts_as_declared import ACTED
from simulation.judgement.checkers.finding import CheckerResult, Findings

NAME: Final = "effects_once"


def check(evidence: Evidence) -> CheckerResult:
    """Count the effects that each store's history tells of."""
    findings = Findings(NAME)
    for store in evidence.stores.values():
        _check_messages(store, findings)
        _check_events(store, ACTED, "it acted twice on one version", findings)
        _check_events(store, "case_decided", "it decided one case twice", findings)
        _check_receipts(store, findings)
    return findings.result()


def _check_messages(store: StoreEvidence, findings: Findings) -> None:
    names = {
        row.kept_digest: (row.statement.header.source, row.statement.header.message_id)
        for row in store.inbox
    }
    seen: Counter[tuple[str, str]] = Counter()
    for row in store.history:
        if row.event not in FIRST_OUTCOME_EVENTS or row.digest is None:
            continue
        name = names.get(row.digest, (row.source, row.message_id))
        seen[name] += 1
        if seen[name] > 1:
            key = row.key if row.record_id else None
            findings.add(store.party, key, f"{row.event}: a message took effect more than once")
    findings.exercised += len(seen)


def _check_events(store: StoreEvidence, event: str, detail: str, findings: Findings) -> None:
    seen: Counter[tuple[RecordKey, bytes | None]] = Counter(
        (row.key, row.digest) for row in store.history if row.event == event
    )
    for (key, _), count in seen.items():
        if count > 1:
            findings.add(store.party, key, detail)


def _check_receipts(store: StoreEvidence, findings: Findings) -> None:
    """Two receipts for one retraction say that it was carried out twice."""
    answered: dict[str, bytes] = {}
    for row in store.outbox:
        header = row.statement.header
        if isinstance(header, RetractionReceipt) and header.in_reply_to is not None:
            first = answered.setdefault(header.in_reply_to, row.statement.digest)
            if first != row.statement.digest:
                findings.add(store.party, row.statement.key, "it signed two receipts for one order")
