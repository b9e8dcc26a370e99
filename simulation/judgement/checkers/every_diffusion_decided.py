"""Was every record that anybody holds brought before the secretariat, and decided?

A case without a decision is a violation of the secretariat once there are more of them than the
scenario states as its open backlog. What has no case at all is reported at each of its holders.
"""

from typing import Final

from bus.identifiers import SECRETARIAT
from bus.instants import instant_from_text
from bus.standing import NOTHING_KNOWN, VersionStanding
from bus.storage.inbox import Outcome
from simulation.evidence.folds import VERSION_TYPES
from simulation.evidence.gathered import Evidence
from simulation.evidence.rows import SignedStatement
from simulation.judgement.checkers.finding import CheckerResult, Findings

NAME: Final = "every_diffusion_decided"


def check(evidence: Evidence) -> CheckerResult:
    """Compare what is held with the cases, and with the decisions that were signed."""
    findings = Findings(NAME)
    if evidence.secretariat is None or evidence.secretariat.own is None:
        return findings.result()
    tables = evidence.secretariat.own
    undecided: list[SignedStatement] = []
    for statement, holders in _held(evidence).values():
        findings.exercised += 1
        if _is_settled(evidence, statement):
            continue
        if statement.digest in tables.cases or statement.digest in tables.submitted:
            undecided.append(statement)
            continue
        for holder in holders:
            findings.add(holder, statement.key, "it holds a version that has no case")
    if len(undecided) > evidence.facts.open_at_end_max:
        for statement in undecided:
            findings.add(SECRETARIAT, statement.key, "a case without a decision")
    return findings.result()


def _held(evidence: Evidence) -> dict[bytes, tuple[SignedStatement, set[str]]]:
    """Return every version that somebody took up or issued, with who did."""
    held: dict[bytes, tuple[SignedStatement, set[str]]] = {}
    for store in evidence.stores.values():
        taken_up = [row.statement for row in store.inbox if row.outcome != Outcome.WITHHELD]
        for statement in (*(row.statement for row in store.outbox), *taken_up):
            if statement.message_type in VERSION_TYPES:
                held.setdefault(statement.digest, (statement, set()))[1].add(store.party)
    return held


def _is_settled(evidence: Evidence, statement: SignedStatement) -> bool:
    """Tell whether a version is decided, or its record ended, or its time is over."""
    expires_at = statement.header.expires_at
    if expires_at is not None and instant_from_text(expires_at) <= evidence.facts.ended_at:
        return True
    if statement.key is None:
        return False
    standing = evidence.standings.get(statement.key, NOTHING_KNOWN)
    version = standing.versions.get(statement.digest, VersionStanding())
    tables = evidence.secretariat.own if evidence.secretariat else None
    has_case = tables is not None and statement.digest in tables.cases
    return standing.ended or (has_case and version.outcome is not None)
