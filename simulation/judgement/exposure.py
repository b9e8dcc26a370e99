"""Exposure: for how long data that had to be rejected could be read, and acted on. Pure.

Counted are versions whose last decision rejects them, at every bureau but their source, from
storing to erasure, within the stated period. A body that the final read still finds was never
erased, whatever its holder's history says. The secretariat, which has to read what it reviews, is
not counted.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from bus.instants import SECOND, Instant
from bus.storage.inbox import Outcome
from bus.storage.records import RecordKey
from bus.verification import CLOCK_SKEW_MAX
from ncb_nodes.receiving_policy import (
    RETRACTION_SET_PERIODS_MAX,
    ReceivingPolicy,
    is_actionable,
)
from simulation.evidence.folds import VERSION_TYPES, Replay, Step
from simulation.evidence.gathered import Evidence
from simulation.evidence.rows import StoreEvidence

_STORED_EVENTS: Final = frozenset(
    f"{message_type}_{Outcome.APPLIED}" for message_type in VERSION_TYPES
)


class Exposure(Struct, frozen=True):
    """Node-seconds in which rejected versions could be read, and of which acted on by policy."""

    readable: float
    of_which_actionable: float


class _Copy(Struct):
    """One rejected version at one bureau, counted up to `since`."""

    key: RecordKey
    digest: bytes
    since: Instant
    actionable: bool


def exposure(evidence: Evidence) -> Exposure:
    """Return the exposure of a run, in simulated node-seconds."""
    readable = actionable = 0
    for party, store in evidence.bureaus.items():
        meter = _Meter(evidence, store, evidence.facts.policies[party])
        meter.run(evidence.replay(party))
        readable += meter.readable
        actionable += meter.actionable
    return Exposure(readable / SECOND, actionable / SECOND)


class _Meter:
    """Measures one bureau while its history is replayed."""

    def __init__(self, evidence: Evidence, store: StoreEvidence, policy: ReceivingPolicy) -> None:
        self._evidence = evidence
        self._store = store
        self._policy = policy
        self._copies: dict[bytes, _Copy] = {}
        self._fresh_until: Instant | None = None
        self.readable = 0
        self.actionable = 0

    def run(self, replay: Replay) -> None:
        """Measure in milliseconds."""
        for step in replay.steps():
            self._follow(step, replay)
        self._count(self._copies.values(), self._evidence.facts.ends)

    def _follow(self, step: Step, replay: Replay) -> None:
        at = step.row.at
        self._begin(step)
        self._end(step)
        until = self._fresh_limit(replay)
        if until != self._fresh_until:
            self._count(self._copies.values(), at)
            self._fresh_until = until
        changed = {key for key, _, _ in step.changed}
        affected = [copy for copy in self._copies.values() if copy.key in changed]
        self._count(affected, at)
        for copy in affected:
            standing = replay.standing(copy.key)
            copy.actionable = is_actionable(self._policy, standing, copy.digest)

    def _fresh_limit(self, replay: Replay) -> Instant | None:
        """Return until when the bureau may act on anything, by its newest retraction set."""
        if replay.set_issued_at is None:
            return None
        period = self._policy.retraction_set_period
        return replay.set_issued_at + RETRACTION_SET_PERIODS_MAX * period + CLOCK_SKEW_MAX

    def _begin(self, step: Step) -> None:
        statement, digest = step.statement, step.row.digest
        if statement is None or step.row.event not in _STORED_EVENTS or digest is None:
            return
        key = statement.key
        if key is not None and self._evidence.is_rejected(key, digest):
            self._copies[digest] = _Copy(key, digest, step.row.at, actionable=False)

    def _end(self, step: Step) -> None:
        row = step.row
        if row.event == "record_erased":
            gone = [copy for copy in self._copies.values() if copy.key == row.key]
        elif row.event == "version_erased" and row.digest in self._copies:
            gone = [self._copies[row.digest]]
        else:
            return
        gone = [copy for copy in gone if copy.digest not in self._store.bodies]
        self._count(gone, row.at)
        for copy in gone:
            del self._copies[copy.digest]

    def _count(self, copies: Iterable[_Copy], until: Instant) -> None:
        """Add what passed since each copy was last counted, as far as it is in the period."""
        facts = self._evidence.facts
        for copy in copies:
            begin, end = max(copy.since, facts.begins), min(until, facts.ends)
            self.readable += max(end - begin, 0)
            if copy.actionable and self._fresh_until is not None:
                self.actionable += max(min(end, self._fresh_until) - begin, 0)
            copy.since = until
