"""What every node did with something that a story sent, read from the nodes' own histories."""

from collections.abc import Iterator

from bus.instants import DAY, HOUR, Instant
from simulation.evidence.gathered import Evidence
from simulation.evidence.rows import HistoryRow
from simulation.story import Told


def aftermath(evidence: Evidence, told: Told, label: str) -> Iterator[tuple[str, str]]:
    """Yield each node that met what a label names, and its events in order, in words."""
    digests = {each.digest for each in told.versions if each.label == label}
    records = {(each.source, each.record_id) for each in told.versions if each.label == label}
    digests |= {each.digest for each in told.injections if each.label == label}
    for party, store in evidence.stores.items():
        events = [
            _in_words(row, evidence.facts.begins)
            for row in store.history
            if row.digest in digests or (row.source, row.record_id) in records
        ]
        if events:
            yield party, "; ".join(_without_repeats(events))


def _in_words(row: HistoryRow, begins: Instant) -> str:
    days, rest = divmod(row.at - begins, DAY)
    when = f"{days}d {rest // HOUR:02d}h"
    name = row.event.replace("_", " ")
    return f"{when} {name} ({row.state})" if row.state else f"{when} {name}"


def _without_repeats(events: list[str]) -> Iterator[str]:
    previous = ""
    for event in events:
        if event != previous:
            yield event
        previous = event
