"""A story of four members and five days, run on the embedded bus, and ways to tamper with its end.

=============  ======  ==========  =====================================================
alert          source  addressees  what becomes of it
=============  ======  ==========  =====================================================
icons          XA      all         validated; every bureau acts on it
listed         XA      XB          validated
treasurer      XB      XC, XD      rejected under Article 3 and deleted
found at home  XA      XB          withdrawn by its source
birth date     XC      XA, XD      lacks data; replaced by an amendment (an update)
late to one    XD      XA, XC      rejected; reaches XC only after its own retraction
forged         XB      XA          its signature does not verify
=============  ======  ==========  =====================================================
"""

import asyncio
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Final

from msgspec import Struct

from bus.identifiers import IdentifierSource
from bus.messages import codec
from ncb_nodes.orders import IssueDiffusion
from ncb_nodes.receiving_policy import ActsOn, ReceivingPolicy
from secretariat.review import ReviewSettings
from simulation.evidence.gathered import Evidence, RunFacts, run_facts
from simulation.evidence.reading import read_evidence
from simulation.evidence.store_copies import StoreCopy
from simulation.judgement.checkers import CHECKERS
from simulation.networks.embedded import EmbeddedNetwork
from simulation.plan import Plan
from simulation.profiles.ledger import Deviation
from simulation.run_tools import abuse_tools
from simulation.scenario import Alert, Defect, Event, Scenario
from simulation.story import Story
from simulation.workload import plan

SEED: Final = "7"
HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR

SMALL: Final = Scenario(
    format_version=1,
    name="small",
    title="Small",
    summary="A small story for tests.",
    begins="2024-03-04T00:00:00.000Z",
    days=5,
    members=("XA", "XB", "XC", "XD"),
    review=ReviewSettings(reviewers=9, review_shortest=6 * HOUR, review_longest=12 * HOUR),
    policy=ReceivingPolicy(located_share=1.0),
    policies={"XB": ReceivingPolicy(acts_on=ActsOn.PENDING)},
    alerts=(
        Alert("icons", "XA", "3h", ("ALL",)),
        Alert("listed", "XA", "3h", ("XB",)),
        Alert("treasurer", "XB", "6h", ("XC", "XD"), Defect.POLITICAL),
        Alert("found at home", "XA", "6h", ("XB",)),
        Alert("birth date", "XC", "9h", ("XA", "XD"), Defect.REQUIRED_DATA_MISSING),
        Alert("late to one", "XD", "12h", ("XA", "XC"), Defect.WARRANT_MISSING, {"XC": "3d"}),
    ),
    events=(
        Event(kind="withdraw", label="found at home", at="2d"),
        Event(kind="reply", label="birth date", at="1d 06h"),
        Event(kind="amend", label="birth date", at="1d 09h"),
        Event(
            kind="inject",
            abuse="forged_signature",
            member="XB",
            label="forged",
            at="1d",
            to=("XA",),
        ),
        Event(kind="message", member="XB", at="1d", to=("XA",), text="Thank you."),
    ),
    must_exercise=tuple(CHECKERS),
)


Command = tuple[str, tuple[object, ...]]
"""A piece of SQL and its values."""


class SmallRun(Struct, frozen=True):
    """What a run left behind, still whole."""

    scenario: Scenario
    plan: Plan
    facts: RunFacts
    stores: Mapping[str, StoreCopy]
    queues: Mapping[str, Sequence[bytes]]
    deviations: frozenset[Deviation]

    def evidence(
        self,
        *tampered: tuple[str, StoreCopy],
        queues: Mapping[str, Sequence[bytes]] | None = None,
        logs: Mapping[str, bytes] | None = None,
        broker_disk: Mapping[str, bytes] | None = None,
    ) -> Evidence:
        """Read the evidence, with some stores in another state than the run left them."""
        return read_evidence(
            self.facts,
            {**self.stores, **dict(tampered)},
            queues=queues or self.queues,
            logs=logs,
            broker_disk=broker_disk,
        )

    def tampered(self, party: str, *commands: Command) -> tuple[str, StoreCopy]:
        """Return a party's store after some SQL."""
        return party, changed(self.stores[party], *commands)

    def rows(self, party: str, query: str, *values: object) -> list[tuple[object, ...]]:
        """Return what a query finds in a party's store."""
        with closing(sqlite3.connect(":memory:")) as store:
            store.deserialize(self.stores[party].image)
            return store.execute(query, values).fetchall()

    def digest(self, label: str, number: int = 1) -> bytes:
        """Return the digest of a version by its label."""
        for version in self.facts.versions:
            if (version.label, version.number) == (label, number):
                return version.digest
        raise KeyError(label)

    def record_id(self, label: str) -> str:
        """Return the record id of a label."""
        return next(each.record_id for each in self.facts.versions if each.label == label)

    def body(self, label: str) -> tuple[bytes, bytes]:
        """Return nonce and body of an alert as its source once made them."""
        order = next(
            step.order
            for step in self.plan.steps
            if isinstance(step.order, IssueDiffusion) and step.label == label
        )
        source = next(each.source for each in self.facts.versions if each.label == label)
        nonce = IdentifierSource(SEED, source).octets("nonce", f"diffusion:{label}")
        return nonce, codec.encode(order.case_file)


def sql(text: str, *values: object) -> Command:
    """Return a piece of SQL to tamper with."""
    return text, values


def insertion(table: str, row: tuple[object, ...]) -> Command:
    """Return the SQL that puts a whole row into a table; None numbers it anew."""
    return f"INSERT OR REPLACE INTO {table} VALUES ({','.join('?' * len(row))})", row  # noqa: S608


def changed(copy: StoreCopy, *commands: Command) -> StoreCopy:
    """Return a store after some SQL; what it deletes may stay in free pages."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as store:
        store.deserialize(copy.image)
        store.execute("PRAGMA secure_delete = OFF")
        for command, values in commands:
            store.execute(command, values)
        return StoreCopy(store.serialize())


def run_story(scenario: Scenario = SMALL) -> SmallRun:
    """Run a story on the embedded bus."""
    return asyncio.run(_run(scenario))


async def _run(scenario: Scenario) -> SmallRun:
    planned = plan(scenario, SEED)
    network = await EmbeddedNetwork(scenario, planned, SEED, time.monotonic_ns).start()
    tools = abuse_tools(scenario, planned, SEED, network)
    told = await Story(scenario, planned, network, tools, lambda _: None).tell()
    stores, queues = await network.store_copies(), await network.queue_contents()
    deviations = frozenset(network.deviations())
    await network.stop()
    facts = run_facts(
        scenario,
        planned,
        seed=SEED,
        bus="embedded",
        root_der=network.trust.root_der,
        certificates=network.trust.certificates,
        versions=told.versions,
        ended_at=told.ended_at,
    )
    return SmallRun(scenario, planned, facts, stores, queues, deviations)


def found(evidence: Evidence) -> dict[str, set[tuple[str, str]]]:
    """Return what all checkers found, as (node, label), by the checkers that found anything."""
    every = {
        name: {
            (violation.node, evidence.name_of(violation.source, violation.record_id))
            for violation in checker(evidence).found
        }
        for name, checker in CHECKERS.items()
    }
    return {name: places for name, places in every.items() if places}
