"""results.json, history.jsonl and the trace digest of a run. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from bus.instants import SECOND
from bus.storage.records import RecordKey
from simulation.evidence.gathered import Evidence
from simulation.judgement.checkers import no_residue
from simulation.judgement.exposure import exposure
from simulation.judgement.figures import (
    actions_on_rejected,
    copies_left,
    counts,
    overdue,
    percentiles,
    refusals,
    retraction_latency,
)
from simulation.judgement.verdict import CheckVerdict, Judgement, Named

FORMAT_VERSION: Final = 1
_WALL_DIGITS: Final = 6
_encode: Final = msgspec.json.Encoder().encode


def results(evidence: Evidence, judgement: Judgement, *, wall_seconds: float) -> dict[str, Any]:
    """Return the content of results.json."""
    facts = evidence.facts
    latency = retraction_latency(evidence)
    exposed = exposure(evidence)
    left = copies_left(evidence)
    unplanned = {
        (violation.node, RecordKey(violation.source, violation.record_id))
        for violation in judgement.unplanned
        if violation.checker == no_residue.NAME
    }
    return {
        "format_version": FORMAT_VERSION,
        "scenario": facts.scenario,
        "seed": facts.seed,
        "bus": facts.bus,
        "verdict": str(judgement.verdict),
        "checks": [_check(check) for check in judgement.checks],
        "counts": counts(evidence),
        "refusals": refusals(evidence),
        "retraction_latency_seconds": {
            "simulated": percentiles(latency.simulated),
            "wall": percentiles([round(seconds, _WALL_DIGITS) for seconds in latency.wall]),
        },
        "exposure_node_seconds": {
            "readable": exposed.readable,
            "of_which_actionable": exposed.of_which_actionable,
        },
        "actions_on_rejected": actions_on_rejected(evidence),
        "residual_copies": sum((copy.node, copy.key) in unplanned for copy in left),
        "residual_copies_by_node": dict(sorted(Counter(copy.node for copy in left).items())),
        "overdue_holders": [
            {"node": node, "source": key.source, "record_id": key.record_id}
            for node, key in overdue(evidence)
        ],
        "trace_digest": trace_digest(evidence),
        "simulated_seconds": (facts.ended_at - facts.begins) / SECOND,
        "wall_seconds": round(wall_seconds, _WALL_DIGITS),
    }


def _check(check: CheckVerdict) -> Mapping[str, Any]:
    return {
        "name": check.name,
        "verdict": str(check.verdict),
        "exercised": check.exercised,
        "found": _named(check.found),
        "expected": _named(check.expected),
    }


def _named(violations: Sequence[Named]) -> list[dict[str, str]]:
    return [
        {"node": each.node, "record": each.record}
        | ({"detail": each.detail} if each.detail else {})
        for each in violations
    ]


def trace_digest(evidence: Evidence) -> str:
    """Return SHA-256 over the sorted lines of what happened, in lower-case hex.

    A line holds virtual time, node, event, message id, source, record id and state. No key,
    signature, digest, wall time or order within an instant enters.
    """
    lines = sorted(
        _encode((row.at, party, row.event, row.message_id, row.source, row.record_id, row.state))
        for party, store in evidence.stores.items()
        for row in store.history
    )
    return sha256(b"\n".join(lines)).hexdigest()


def merged_history(evidence: Evidence) -> Iterator[bytes]:
    """Yield the lines of history.jsonl: all nodes' events, by time, node and their own order."""
    rows = [
        (row.at, party, row.seq, row)
        for party, store in evidence.stores.items()
        for row in store.history
    ]
    rows.sort(key=lambda each: each[:3])
    for at, party, seq, row in rows:
        line = {
            "at": at,
            "node": party,
            "seq": seq,
            "event": row.event,
            "message_id": row.message_id,
            "source": row.source,
            "record_id": row.record_id,
            "state": row.state,
            "digest": row.digest.hex() if row.digest else "",
            "detail": row.detail,
            "wall_ns": row.wall_ns,
        }
        yield _encode(line) + b"\n"
