"""The numbers of a run: counts, latency of retractions, acts, copies left over. Pure.

Figures count the stated period alone. What happened while the run settled afterwards enters only
where it ends something that began before: the erasure that a retraction in the period caused.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar

from msgspec import Struct

from bus.identifiers import AUTHORITY, SECRETARIAT
from bus.instants import SECOND, Instant
from bus.messages.review import ReviewOutcome
from bus.storage.inbox import Outcome
from bus.storage.records import RecordKey
from secretariat.retraction import ObligationState
from simulation.evidence.folds import FIRST_OUTCOME_EVENTS
from simulation.evidence.gathered import Evidence
from simulation.evidence.rows import HistoryRow, StoreEvidence
from simulation.judgement.checkers.acts_as_declared import ACTED
from simulation.judgement.checkers.no_residue import unexplained_copies

NANOSECONDS_PER_SECOND: Final = 1_000_000_000
ERASED_EVENTS: Final = frozenset({"record_erased", "version_erased"})
PERCENTILES: Final[Mapping[str, float]] = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}

_RECEIPT_EVENTS: Final = frozenset(f"retraction_receipt_{outcome}" for outcome in Outcome)

Number = TypeVar("Number", int, float)


class Latency(Struct, frozen=True):
    """Seconds from each retraction to each erasure after it, in simulated and in wall time."""

    simulated: Sequence[float]
    wall: Sequence[float]


class Copy(Struct, frozen=True, order=True):
    """A body left over at a node, or something derived from it; `canary` tells which."""

    node: str
    canary: str
    key: RecordKey


def nearest_rank(values: Sequence[Number], share: float) -> Number | None:
    """Return the smallest value that at least `share` of all values do not exceed.

    None where there are no values. Nothing is interpolated.
    """
    if not values:
        return None
    rank = max(math.ceil(share * len(values)), 1)
    return sorted(values)[rank - 1]


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """Return p50, p95, p99 and the maximum by nearest rank; None each where there are no values."""
    return {name: nearest_rank(values, share) for name, share in PERCENTILES.items()}


def in_period(evidence: Evidence, at: Instant) -> bool:
    """Tell whether an instant belongs to the stated period."""
    return evidence.facts.begins <= at <= evidence.facts.ends


def counts(evidence: Evidence) -> dict[str, int]:
    """Return how much of everything there was in the stated period.

    Deliveries are what nodes took from their queues, repeats and refused ones among them. Validated
    and rejected are decisions, retracted are records, receipts those that reached the secretariat.
    """
    events = Counter((party == SECRETARIAT, row.event) for party, row in _rows_in_period(evidence))
    secretariat = evidence.secretariat
    told = (
        [row for row in secretariat.history if in_period(evidence, row.at)] if secretariat else []
    )
    decisions = Counter(row.state.partition(":")[0] for row in told if row.event == "case_decided")
    quarantined = sum(refusals(evidence).values())
    return {
        "deliveries": sum(_deliveries(evidence)),
        "diffusions": events[False, "diffusion_issued"],
        "validated": decisions[ReviewOutcome.VALIDATED],
        "rejected": decisions[ReviewOutcome.REJECTED],
        "retracted": len({row.key for row in told if row.event == "retraction_issued"}),
        "receipts": sum(row.event in _RECEIPT_EVENTS for row in told),
        "quarantined": quarantined,
    }


def refusals(evidence: Evidence) -> dict[str, int]:
    """Return how many deliveries were refused in the stated period, by code."""
    codes = Counter(
        row.code
        for store in evidence.stores.values()
        for row in store.quarantine
        if in_period(evidence, row.received_at)
    )
    return dict(sorted(codes.items()))


def _rows_in_period(evidence: Evidence) -> Iterator[tuple[str, HistoryRow]]:
    for party, store in evidence.stores.items():
        for row in store.history:
            if in_period(evidence, row.at):
                yield party, row


def _deliveries(evidence: Evidence) -> Iterator[int]:
    """Yield for each store what it took from its queues; not what was handed over at its start."""
    for store in evidence.stores.values():
        apart = {
            row.kept_digest
            for row in store.inbox
            if row.carrier is not None
            or (row.statement.header.source == AUTHORITY and _is_opening(evidence, row.received_at))
        }
        yield sum(
            in_period(evidence, row.at) and _is_delivery(row) and row.digest not in apart
            for row in store.history
        )


def _is_opening(evidence: Evidence, received_at: Instant) -> bool:
    return received_at <= evidence.facts.begins


def _is_delivery(row: HistoryRow) -> bool:
    return (
        row.event in FIRST_OUTCOME_EVENTS
        or row.event == "envelope_refused"
        or row.event.endswith("_repeated")
    )


def retraction_latency(evidence: Evidence) -> Latency:
    """Measure from every retraction of the stated period to each bureau's erasure after it.

    A holder that had nothing left to erase, as after a withdrawal, is no measurement.
    """
    ordered: dict[RecordKey, list[HistoryRow]] = {}
    for row in evidence.secretariat.history if evidence.secretariat else ():
        if row.event == "retraction_issued":
            ordered.setdefault(row.key, []).append(row)
    simulated, wall = [], []
    for store in evidence.bureaus.values():
        for row in store.history:
            if row.event not in ERASED_EVENTS:
                continue
            causes = [order for order in ordered.get(row.key, ()) if _is_before(order, row)]
            if causes and in_period(evidence, causes[-1].at):
                simulated.append((row.at - causes[-1].at) / SECOND)
                wall.append((row.wall_ns - causes[-1].wall_ns) / NANOSECONDS_PER_SECOND)
    return Latency(simulated, wall)


def _is_before(order: HistoryRow, erasure: HistoryRow) -> bool:
    return order.at <= erasure.at and order.wall_ns <= erasure.wall_ns


def actions_on_rejected(evidence: Evidence) -> int:
    """Count the acts of the stated period on versions that were rejected, before or after."""
    return sum(
        row.event == ACTED and row.digest is not None and evidence.is_rejected(row.key, row.digest)
        for _, row in _rows_in_period(evidence)
    )


def copies_left(evidence: Evidence) -> list[Copy]:
    """Return the copies that the scan found and that nobody openly declined to delete."""
    return sorted(
        {
            Copy(sighting.node, sighting.canary, RecordKey(dead.source, dead.record_id))
            for sighting, dead in unexplained_copies(evidence)
        }
    )


def overdue(evidence: Evidence) -> list[tuple[str, RecordKey]]:
    """Return the (holder, record) pairs that the secretariat names overdue at the end."""
    secretariat: StoreEvidence | None = evidence.secretariat
    campaigns = secretariat.own.campaigns if secretariat and secretariat.own else ()
    return sorted(
        {
            (member, campaign.key)
            for campaign in campaigns
            for member, state in campaign.obligations.items()
            if state == ObligationState.OVERDUE
        }
    )
