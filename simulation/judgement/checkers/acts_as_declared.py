"""Did a bureau act against its own declared policy, or against what it had been told?

What it had been told is folded anew from its own statements, up to the act. An act is what its
history or its list of acts says, and every hit that it signed. Acting at once on pending data is a
policy that a bureau may declare: such acts are judged like all others, and pass.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from bus.identifiers import SECRETARIAT
from bus.instants import Instant
from bus.storage.records import RecordKey
from ncb_nodes.receiving_policy import (
    ReceivingPolicy,
    is_actionable,
    retraction_set_is_fresh,
)
from simulation.evidence.folds import Replay, Step
from simulation.evidence.gathered import Evidence
from simulation.evidence.rows import ActionRow, StoreEvidence
from simulation.judgement.checkers.finding import CheckerResult, Findings

NAME: Final = "acts_as_declared"
ACTED: Final = "record_acted_on"


class _Act(Struct, frozen=True):
    key: RecordKey
    digest: bytes
    at: Instant


def check(evidence: Evidence) -> CheckerResult:
    """Judge every act of every bureau whose history is whole, at the moment of the act."""
    findings = Findings(NAME)
    for party, store in evidence.told.items():
        if party == SECRETARIAT:
            continue
        policy = evidence.facts.policies[party]
        replay = evidence.replay(party)
        for act in _acts(store, replay):
            findings.exercised += 1
            fault = _fault(policy, replay, act)
            if fault is not None:
                findings.add(party, act.key, fault)
    return findings.result()


def _acts(store: StoreEvidence, replay: Replay) -> Iterator[_Act]:
    """Yield acts while the history is replayed, so that the replay stands where the act did."""
    told = {row.digest for row in store.history if row.event == ACTED}
    untold = sorted(
        (act for act in store.actions if act.digest not in told), key=lambda act: act.acted_at
    )
    for step in replay.steps():
        yield from _before(untold, step.row.at)
        yield from _told(step)
    yield from _before(untold, None)


def _before(untold: list[ActionRow], at: Instant | None) -> Iterator[_Act]:
    while untold and (at is None or untold[0].acted_at < at):
        action = untold.pop(0)
        yield _Act(action.key, action.digest, action.acted_at)


def _told(step: Step) -> Iterator[_Act]:
    row, statement = step.row, step.statement
    if row.event == ACTED and row.digest is not None:
        yield _Act(row.key, row.digest, row.at)
    elif row.event == "hit_issued" and statement is not None:
        key, version = statement.key, statement.version
        if key is not None and version is not None:
            yield _Act(key, version, row.at)


def _fault(policy: ReceivingPolicy, replay: Replay, act: _Act) -> str | None:
    standing = replay.standing(act.key)
    version = standing.versions.get(act.digest)
    if version is None or not version.known:
        return "it acted on a version that it never received"
    if not is_actionable(policy, standing, act.digest):
        return f"it acted on a version that was {standing.state_of(act.digest).replace('_', ' ')}"
    if not retraction_set_is_fresh(policy, replay.set_issued_at, act.at):
        return "it acted although its newest retraction set was stale"
    return None
