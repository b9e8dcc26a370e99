"""One run from beginning to end: network, story, evidence, verdict, folder."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from bus.errors import BadInput
from bus.instants import Instant
from bus.pki.certificates import CertificateRefused
from simulation.abuses import check_abuses
from simulation.evidence.gathered import Evidence, run_facts
from simulation.evidence.reading import read_evidence
from simulation.evidence.store_copies import StoreCopy
from simulation.judgement.results import merged_history, results
from simulation.judgement.verdict import Judgement, check_statements, judge
from simulation.networks.network import Network
from simulation.plan import Plan
from simulation.profiles import MemoryLedger, conduct_of
from simulation.run_folder import FORMAT_VERSION, RunFolder, RunRecord, check_seed, folder_name
from simulation.run_tools import abuse_tools
from simulation.scenario import Keep, Scenario
from simulation.story import Story, Told
from simulation.workload import plan

DEFAULT_SEED: Final = "1"


class RunRequest(Struct, frozen=True):
    """What a person asked for."""

    scenario: Scenario
    seed: str
    keep: Keep
    out: Path | None = None


class Run(Struct, frozen=True):
    """What a run came to."""

    folder: Path
    results: Mapping[str, Any]
    judgement: Judgement
    evidence: Evidence
    told: Told


class Narrator(Struct, frozen=True):
    """How a run tells a person what goes on: lines, and simulated time as it passes."""

    say: Callable[[str], None]
    progress: Callable[[Instant, Plan], None]


def prepared(scenario: Scenario, seed: str) -> Plan:
    """Return the plan of a run, after everything in it was found to exist; raise `BadInput`."""
    check_seed(seed)
    planned = plan(scenario, seed)
    check_abuses(planned)
    check_statements(scenario)
    for member, profile in scenario.profiles.items():
        conduct_of(profile, member, MemoryLedger())
    return planned


async def run(request: RunRequest, network: Network, planned: Plan, narrator: Narrator) -> Run:
    """Drive a started network through its story, judge it, and write its folder."""
    scenario = request.scenario
    began = time.monotonic()
    tools = abuse_tools(scenario, planned, request.seed, network)
    story = Story(scenario, planned, network, tools, lambda now: narrator.progress(now, planned))
    told = await story.tell()
    stores = await network.store_copies()
    queues = await network.queue_contents()
    broker_disk = _contents(await network.broker_files())
    await network.stop()
    wall_seconds = time.monotonic() - began
    folder = RunFolder.create(folder_name(scenario.name, network.bus, request.seed), request.out)
    facts = run_facts(
        scenario,
        planned,
        seed=request.seed,
        bus=network.bus,
        root_der=network.trust.root_der,
        certificates=network.trust.certificates,
        versions=told.versions,
        ended_at=told.ended_at,
    )
    evidence = read_evidence(
        facts, stores, queues=queues, logs=network.logs(), broker_disk=broker_disk
    )
    judgement = judge(evidence, scenario, ledger=network.deviations())
    content = results(evidence, judgement, wall_seconds=wall_seconds)
    _write(folder, request, network, told, stores, evidence, content)
    return Run(folder.path, content, judgement, evidence, told)


def _write(
    folder: RunFolder,
    request: RunRequest,
    network: Network,
    told: Told,
    stores: Mapping[str, StoreCopy],
    evidence: Evidence,
    content: Mapping[str, Any],
) -> None:
    folder.write_results(content)
    folder.write_logs(network.logs())
    if request.keep is Keep.RESULTS:
        return
    folder.write_history(merged_history(evidence))
    if request.keep is Keep.ALL:
        record = RunRecord(
            FORMAT_VERSION,
            request.scenario,
            request.seed,
            network.bus,
            told.versions,
            told.ended_at,
            float(content["wall_seconds"]),
            sorted(network.deviations(), key=str),
        )
        folder.write_evidence(record, stores, network.trust.root_der, network.trust.certificates)


def _contents(paths: Sequence[Path]) -> dict[str, bytes]:
    """Read a broker's files; one that it has put away meanwhile holds nothing any more."""
    contents = {}
    for path in paths:
        with suppress(FileNotFoundError):
            contents[str(path)] = path.read_bytes()
    return contents


def judged_again(path: Path) -> tuple[Evidence, Judgement]:
    """Read a run folder and judge its stores anew, with every file of it scanned.

    Raises `BadInput` for a folder that was not kept whole, or whose certificates prove nothing.
    """
    folder = RunFolder.existing(path)
    record = folder.read_record()
    root_der, certificates = folder.read_trust()
    facts = run_facts(
        record.scenario,
        plan(record.scenario, record.seed),
        seed=record.seed,
        bus=record.bus,
        root_der=root_der,
        certificates=certificates,
        versions=record.versions,
        ended_at=record.ended_at,
    )
    try:
        evidence = read_evidence(facts, folder.read_stores(), exports=folder.other_files())
    except CertificateRefused as error:
        message = f"{path}/trust: {error}"
        raise BadInput(message) from error
    return evidence, judge(evidence, record.scenario, ledger=record.deviations)
