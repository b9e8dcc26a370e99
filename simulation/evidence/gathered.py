"""What a run leaves behind for its judges: plain values, read from stores, queues and the run.

Checkers see this and nothing else. It holds no personal data: of a body only its commitment. It
says who declared what, and nothing about who is hostile.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from msgspec import Struct

from bus.identifiers import SECRETARIAT
from bus.instants import Instant
from bus.messages.retraction import RetractionOutcome, RetractionReceipt
from bus.messages.review import ReviewOutcome
from bus.standing import NOTHING_KNOWN, Standing
from bus.storage.records import RecordKey
from ncb_nodes.orders import IssueDiffusion
from ncb_nodes.receiving_policy import ReceivingPolicy
from simulation.canaries import Canaries
from simulation.evidence.folds import (
    VERSION_TYPES,
    Replay,
    network_standings,
    replacing_versions,
)
from simulation.evidence.rows import SignedStatement, StoreEvidence
from simulation.evidence.trust import Trustees
from simulation.plan import Plan
from simulation.residue.scan import NOTHING_SCANNED, ScanResult
from simulation.scenario import Scenario
from simulation.story import IssuedVersion


class RunFacts(Struct, frozen=True):
    """What the run itself knows, and no store could forge.

    `subjects` and `offences` are by label: the person an alert is about, and the offence code.
    `certificates` are the signing leaves by party as the run issued them, in DER.
    """

    scenario: str
    seed: str
    bus: str
    begins: Instant
    ends: Instant
    ended_at: Instant
    members: tuple[str, ...]
    policies: Mapping[str, ReceivingPolicy]
    open_at_end_max: int
    root_der: bytes
    certificates: Mapping[str, bytes]
    versions: Sequence[IssuedVersion]
    subjects: Mapping[str, str]
    offences: Mapping[str, str]
    canaries: Canaries

    @property
    def parties(self) -> tuple[str, ...]:
        """Everybody who runs a node: the members and the secretariat."""
        return (*self.members, SECRETARIAT)


def run_facts(
    scenario: Scenario,
    plan: Plan,
    *,
    seed: str,
    bus: str,
    root_der: bytes,
    certificates: Mapping[str, bytes],
    versions: Sequence[IssuedVersion],
    ended_at: Instant,
) -> RunFacts:
    """Gather what a run knows of itself, for its evidence."""
    return RunFacts(
        scenario=scenario.name,
        seed=seed,
        bus=bus,
        begins=plan.begins,
        ends=plan.ends,
        ended_at=ended_at,
        members=tuple(scenario.members),
        policies={member: scenario.policy_of(member) for member in scenario.members},
        open_at_end_max=scenario.open_at_end_max,
        root_der=root_der,
        certificates=certificates,
        versions=tuple(versions),
        subjects={label: truth.subject for label, truth in plan.truths.items()},
        offences={
            step.label: step.order.case_file.offence.code
            for step in plan.steps
            if isinstance(step.order, IssueDiffusion)
        },
        canaries=plan.canaries,
    )


class Evidence(Struct, frozen=True, dict=True):
    """Everything that a verdict rests on.

    `stores` lacks the parties whose store could not be read; `missing` says in one line each what
    is not there; `gaps` are the parties whose history is not whole, so that nothing that rests on
    its order can be judged. `queues` is what waited in every queue at the end, by queue name.
    """

    facts: RunFacts
    stores: Mapping[str, StoreEvidence]
    missing: tuple[str, ...]
    gaps: frozenset[str]
    queues: Mapping[str, Sequence[bytes]]
    scan: ScanResult = NOTHING_SCANNED

    @property
    def secretariat(self) -> StoreEvidence | None:
        """The secretariat's store, where it could be read."""
        return self.stores.get(SECRETARIAT)

    @property
    def bureaus(self) -> Mapping[str, StoreEvidence]:
        """The members' stores that could be read."""
        return {party: store for party, store in self.stores.items() if party != SECRETARIAT}

    @cached_property
    def trustees(self) -> Trustees:
        """The keys that count, from the run's own certificates."""
        return Trustees(self.facts.root_der, self.facts.certificates)

    @cached_property
    def statements(self) -> Mapping[bytes, SignedStatement]:
        """Every statement found in any store, by its digest; a proven copy rather than another."""
        found: dict[bytes, SignedStatement] = {}
        for store in self.stores.values():
            for _, statement in store.kept():
                other = found.setdefault(statement.digest, statement)
                if other is not statement and self.trustees.fault_of(other) is not None:
                    found[statement.digest] = statement
        return found

    @cached_property
    def proven(self) -> Mapping[RecordKey, Sequence[SignedStatement]]:
        """Per record the statements about it whose signature counts."""
        found: dict[RecordKey, list[SignedStatement]] = {}
        for statement in self.statements.values():
            if statement.key is not None and self.trustees.fault_of(statement) is None:
                found.setdefault(statement.key, []).append(statement)
        return found

    @cached_property
    def versions(self) -> Mapping[bytes, SignedStatement]:
        """Every proven statement that carries a version of a record, by digest."""
        return {
            statement.digest: statement
            for statements in self.proven.values()
            for statement in statements
            if statement.message_type in VERSION_TYPES
        }

    def version_digests(self, key: RecordKey) -> Iterator[bytes]:
        """Yield the digests of all versions of a record."""
        for statement in self.proven.get(key, ()):
            if statement.message_type in VERSION_TYPES:
                yield statement.digest

    @cached_property
    def replacements(self) -> Mapping[bytes, bytes]:
        """Which version each update retraction puts in force, by the retraction's digest."""
        return replacing_versions(self.stores)

    @cached_property
    def standings(self) -> Mapping[RecordKey, Standing]:
        """How each record stands for one who knows every proven statement."""
        return network_standings(self.proven, self.replacements)

    def is_deleted(self, key: RecordKey, digest: bytes) -> bool:
        """Tell whether a version was taken back: its record ended, or it was rejected."""
        standing = self.standings.get(key, NOTHING_KNOWN)
        return standing.ended or self.is_rejected(key, digest)

    def is_rejected(self, key: RecordKey, digest: bytes) -> bool:
        """Tell whether the last decision on a version rejected it."""
        version = self.standings.get(key, NOTHING_KNOWN).versions.get(digest)
        return version is not None and version.outcome is ReviewOutcome.REJECTED

    @property
    def told(self) -> Mapping[str, StoreEvidence]:
        """The stores whose history is whole."""
        return {party: store for party, store in self.stores.items() if party not in self.gaps}

    def replay(self, party: str) -> Replay:
        """Return what a party knew when, folded from its own statements in its own order."""
        return Replay(self.stores[party], self.replacements)

    @cached_property
    def labels(self) -> Mapping[RecordKey, str]:
        """The labels under which the scenario speaks of records."""
        return {
            RecordKey(version.source, version.record_id): version.label
            for version in self.facts.versions
        }

    def name_of(self, source: str, record_id: str) -> str:
        """Return a record's label, or its key where it has none; both are empty for no record."""
        if not source:
            return record_id or "no record"
        return self.labels.get(RecordKey(source, record_id), f"{source}/{record_id}")

    @cached_property
    def declined(self) -> frozenset[tuple[str, RecordKey]]:
        """The (holder, record) pairs for which a signed receipt declines to delete."""
        return frozenset(
            (statement.header.source, key)
            for key, statements in self.proven.items()
            for statement in statements
            if isinstance(statement.header, RetractionReceipt)
            and statement.header.claims.outcome is RetractionOutcome.DECLINED
        )
