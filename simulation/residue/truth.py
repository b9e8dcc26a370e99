"""Which canaries nothing may contain any more, judged from statements alone.

A version is dead when its record was ended, by retraction or withdrawal, or when it was rejected.
A person is dead when no live record holds them. What was sent and never became a record, such as a
forged alert, was never alive.
"""

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from bus.identifiers import QueueKind
from bus.storage.records import RecordKey
from bus.topology import STRAY_QUEUES, queue_name
from simulation.evidence.gathered import Evidence
from simulation.evidence.store_copies import StoreCopy
from simulation.residue.scan import DeadCanary, ScanResult, Surface, SurfaceKind, scan


def scan_run(
    evidence: Evidence,
    stores: Mapping[str, StoreCopy],
    logs: Mapping[str, bytes],
    exports: Mapping[str, bytes],
    broker_disk: Mapping[str, bytes],
) -> ScanResult:
    """Scan everything that a run left behind; arguments as for `read_evidence`."""
    surfaces = [
        *_queue_surfaces(evidence),
        *(Surface(SurfaceKind.LOG, party, "log", octets) for party, octets in logs.items()),
        *(Surface(SurfaceKind.EXPORT, "run", name, octets) for name, octets in exports.items()),
        *(
            Surface(SurfaceKind.BROKER_DISK, "broker", path, octets)
            for path, octets in broker_disk.items()
        ),
    ]
    return scan(evidence.facts.canaries, dead_canaries(evidence), stores, surfaces)


def _queue_surfaces(evidence: Evidence) -> Iterator[Surface]:
    """A party's queue is the party's; what strayed belongs to nobody, and its queue is named."""
    owners = {
        queue_name(kind, party): party for kind in QueueKind for party in evidence.facts.parties
    }
    for name, messages in evidence.queues.items():
        if messages:
            kind = SurfaceKind.DEAD_LETTER if name in STRAY_QUEUES else SurfaceKind.QUEUE
            yield Surface(kind, owners.get(name, name), name, b"\x00".join(messages))


def dead_canaries(evidence: Evidence) -> dict[str, DeadCanary]:
    """Return the canaries of all versions and persons that are gone, by canary."""
    facts, canaries = evidence.facts, evidence.facts.canaries
    dead: dict[str, DeadCanary] = {}
    live_canaries: set[str] = set()
    live_subjects: set[str] = set()
    last: dict[str, DeadCanary] = {}
    for version in facts.versions:
        key = RecordKey(version.source, version.record_id)
        canary = canaries.of_version(version.label, version.number)
        subject = facts.subjects.get(version.label, version.label)
        if not evidence.is_deleted(key, version.digest):
            live_canaries.add(canary)
            live_subjects.add(subject)
            continue
        entry = DeadCanary(canary, version.label, subject, version.source, version.record_id)
        dead[canary] = last[subject] = entry
    issued = {version.label for version in facts.versions}
    for label, subject in facts.subjects.items():
        if label not in issued:
            canary = canaries.of_version(label, 1)
            dead[canary] = DeadCanary(canary, label, subject, "", label)
            last.setdefault(subject, dead[canary])
    for subject, entry in last.items():
        if subject not in live_subjects:
            canary = canaries.of_person(subject)
            dead[canary] = replace(entry, canary=canary, is_person=True)
    return {canary: entry for canary, entry in dead.items() if canary not in live_canaries}
