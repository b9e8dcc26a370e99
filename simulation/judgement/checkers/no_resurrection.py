"""Did something come to life again that was ended or rejected?

When a record ended is folded anew from the node's own statements. After that no version of it may
be stored, nothing that was erased may be there, and the store's own columns must say so still.
"""

from typing import Final

from bus.messages.review import ReviewOutcome
from bus.standing import RecordState, Standing, VersionStanding
from bus.storage.inbox import Outcome
from bus.storage.records import RecordKey
from simulation.evidence.folds import VERSION_TYPES, Replay, Step
from simulation.evidence.gathered import Evidence
from simulation.evidence.rows import StoreEvidence
from simulation.judgement.checkers.finding import CheckerResult, Findings

NAME: Final = "no_resurrection"
_OVER: Final = frozenset({RecordState.DELETED, RecordState.REJECTED})


def check(evidence: Evidence) -> CheckerResult:
    """Follow every tombstone from its making to the final read, where the history is whole."""
    findings = Findings(NAME)
    for party, store in evidence.told.items():
        replay = evidence.replay(party)
        erased = _watch(party, replay, findings)
        _check_bodies(store, erased, findings)
        _check_columns(store, replay, findings)
    return findings.result()


class _Erased:
    def __init__(self) -> None:
        self.records: set[RecordKey] = set()
        self.versions: set[bytes] = set()


def _watch(party: str, replay: Replay, findings: Findings) -> _Erased:
    """Go through the history: count the tombstones, and see whether one is overrun."""
    erased = _Erased()
    ended: set[RecordKey] = set()
    for step in replay.steps():
        for key, _, after in step.changed:
            if after.ended and key not in ended:
                ended.add(key)
                findings.exercised += 1
        if step.row.event == "record_erased":
            erased.records.add(step.row.key)
        elif step.row.event == "version_erased" and step.row.digest is not None:
            erased.versions.add(step.row.digest)
        fault = _stored_anew(replay, step)
        if fault is not None:
            findings.add(party, step.row.key, fault)
    return erased


def _stored_anew(replay: Replay, step: Step) -> str | None:
    statement = step.statement
    if statement is None or statement.message_type not in VERSION_TYPES or statement.key is None:
        return None
    if step.row.event not in (
        f"{statement.message_type}_{Outcome.APPLIED}",
        f"{statement.message_type}_issued",
    ):
        return None
    before = step.changed[0][1] if step.changed else replay.standing(statement.key)
    if before.ended:
        return "a version was stored after the record had ended"
    if _is_rejected(before, statement.digest):
        return "a version was stored after it had been rejected"
    return None


def _is_rejected(standing: Standing, digest: bytes) -> bool:
    version = standing.versions.get(digest, VersionStanding())
    return version.outcome is ReviewOutcome.REJECTED


def _check_bodies(store: StoreEvidence, erased: _Erased, findings: Findings) -> None:
    for body in store.bodies.values():
        if body.key in erased.records or body.digest in erased.versions:
            findings.add(store.party, body.key, "a body that was erased is there again")


def _check_columns(store: StoreEvidence, replay: Replay, findings: Findings) -> None:
    """The columns must still say what the statements say: readers of the store go by them."""
    for record in store.records:
        if replay.standing(record.key).ended and record.ending is None:
            findings.add(store.party, record.key, "the store calls an ended record live")
    for version in store.versions:
        standing = replay.standing(version.key)
        if not version.known or standing.state_of(version.digest) not in _OVER:
            continue
        if not standing.ended:
            findings.exercised += 1
        if version.state not in _OVER:
            state = version.state.replace("_", " ")
            findings.add(store.party, version.key, f"the store calls a dead version {state}")
