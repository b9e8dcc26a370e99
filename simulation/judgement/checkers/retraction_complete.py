"""Has every holder of what was taken back deleted or updated, and signed so?

Who holds is computed twice: from the secretariat's delivery ledger, and from the signed addressees
of every version and from whoever disclosed a copy in a hit, a doubt or a receipt. A holder that the
secretariat never asked is a violation as much as one that stays silent or declines.
"""

from collections.abc import Collection, Sequence
from typing import Final

from bus.identifiers import SECRETARIAT
from bus.messages.retraction import (
    DISCHARGING,
    Retraction,
    RetractionAction,
    RetractionOutcome,
    RetractionReceipt,
)
from bus.messages.review import ReviewOutcome
from bus.storage.records import RecordKey
from simulation.evidence.folds import VERSION_TYPES
from simulation.evidence.gathered import Evidence
from simulation.evidence.rows import SignedStatement, StoreEvidence
from simulation.judgement.checkers.finding import CheckerResult, Findings

NAME: Final = "retraction_complete"
DECLINED: Final = "it declines to delete"


def check(evidence: Evidence) -> CheckerResult:
    """Compare what was taken back with its holders, with what they were told, and their receipts.

    A holder that became known late is told by a retraction of its own; of several that delete the
    same record each holder needs one, and owes a receipt for every one that it was sent.
    """
    findings = Findings(NAME)
    secretariat = evidence.secretariat
    if secretariat is None:
        return findings.result()
    receipts = _receipts(secretariat)
    retractions = _retractions(secretariat)
    for key in retractions.keys() | _taken_back(evidence):
        issued = retractions.get(key, [])
        for holder in holders_of(evidence, key):
            sent = [each for each in issued if holder in each.addressees]
            findings.exercised += max(len(sent), 1)
            if not _was_told(issued, sent):
                findings.add(holder, key, "it was never asked to delete")
            for retraction in sent:
                outcome = receipts.get((retraction.message_id, holder))
                if outcome is None and _superseded(retraction, sent):
                    continue  # the receipt for the deletion counts
                fault = _fault(retraction, outcome)
                if fault is not None:
                    findings.add(holder, key, fault)
    return findings.result()


def _retractions(secretariat: StoreEvidence) -> dict[RecordKey, list[Retraction]]:
    found: dict[RecordKey, list[Retraction]] = {}
    for row in secretariat.outbox:
        header, key = row.statement.header, row.statement.key
        if isinstance(header, Retraction) and key is not None:
            found.setdefault(key, []).append(header)
    return found


def _taken_back(evidence: Evidence) -> set[RecordKey]:
    """Return the records that ended, or of which a version was rejected, told to anybody or not."""
    return {
        key
        for key, standing in evidence.standings.items()
        if standing.ended
        or any(version.outcome is ReviewOutcome.REJECTED for version in standing.versions.values())
    }


def _was_told(issued: Sequence[Retraction], sent: Sequence[Retraction]) -> bool:
    """Tell whether a holder was sent what it needs: one deletion, or else every update.

    An update of one version may go out twice: with the replacing version to its addressees, and
    without it to the other holders.
    """
    deletes = RetractionAction.DELETE
    if any(each.claims.action is deletes for each in issued):
        return any(each.claims.action is deletes for each in sent)
    return bool(issued) and _versions(issued) == _versions(sent)


def _versions(retractions: Sequence[Retraction]) -> set[bytes | None]:
    return {each.record.statement_digest for each in retractions if each.record is not None}


def holders_of(evidence: Evidence, key: RecordKey) -> frozenset[str]:
    """Return the members that hold or held a record, by the ledger and by what was signed."""
    found: set[str] = {key.source}
    tables = evidence.secretariat.own if evidence.secretariat else None
    if tables is not None:
        found |= tables.holders.get(key, frozenset())
    proven = evidence.proven.get(key, ())
    known = {each.digest for each in proven if each.message_type in VERSION_TYPES}
    for statement in proven:
        if statement.message_type in VERSION_TYPES or statement.message_type == "release":
            found.update(statement.header.addressees)
        elif _discloses(statement, known):
            found.add(statement.header.source)
    return frozenset(found & set(evidence.facts.members) - {SECRETARIAT})


def _discloses(statement: SignedStatement, known: Collection[bytes]) -> bool:
    """Tell whether its signer admits to a copy; a hit on what nobody sent admits to nothing."""
    header = statement.header
    if isinstance(header, RetractionReceipt):
        return header.claims.outcome is not RetractionOutcome.NOT_HELD
    if statement.message_type == "hit":
        return statement.version in known
    return statement.message_type == "doubt"


def _superseded(retraction: Retraction, sent: Sequence[Retraction]) -> bool:
    """Tell whether a holder was sent a deletion after an update, so that the update is void."""
    return retraction.claims.action is RetractionAction.UPDATE and any(
        each.claims.action is RetractionAction.DELETE
        and each.claims.number > retraction.claims.number
        for each in sent
    )


def _receipts(secretariat: StoreEvidence) -> dict[tuple[str, str], RetractionOutcome]:
    """Return what each holder answered to each retraction; a discharge outlasts a decline."""
    found: dict[tuple[str, str], RetractionOutcome] = {}
    for row in secretariat.inbox:
        header = row.statement.header
        if isinstance(header, RetractionReceipt) and header.in_reply_to is not None:
            name = header.in_reply_to, header.source
            if found.get(name, RetractionOutcome.DECLINED) is RetractionOutcome.DECLINED:
                found[name] = header.claims.outcome
    return found


def _fault(retraction: Retraction, outcome: RetractionOutcome | None) -> str | None:
    if outcome is None:
        return "it has signed no receipt"
    if outcome is RetractionOutcome.DECLINED:
        return DECLINED
    if outcome not in DISCHARGING[retraction.claims.action]:
        return f"it answered {outcome} to an order to {retraction.claims.action}"
    return None
