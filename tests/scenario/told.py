"""Telling a story on the embedded bus, as the command line does, and reading what it wrote."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from simulation.evidence.gathered import Evidence
from simulation.judgement.verdict import Judgement
from simulation.networks.embedded import EmbeddedNetwork
from simulation.runner import Narrator, RunRequest, run
from simulation.scenario import Keep, Scenario
from simulation.workload import plan

SILENT = Narrator(lambda _: None, lambda _, __: None)


class Finished(Struct, frozen=True):
    """A finished run and what its results.json says."""

    folder: Path
    results: Mapping[str, Any]
    judgement: Judgement
    evidence: Evidence


def finished(scenario: Scenario, seed: str, folder: Path, keep: Keep = Keep.HISTORY) -> Finished:
    """Run a scenario from beginning to end into a folder."""
    return asyncio.run(_finished(scenario, seed, folder, keep))


async def _finished(scenario: Scenario, seed: str, folder: Path, keep: Keep) -> Finished:
    planned = plan(scenario, seed)
    network = await EmbeddedNetwork(scenario, planned, seed, time.monotonic_ns).start()
    done = await run(RunRequest(scenario, seed, keep, folder), network, planned, SILENT)
    written = msgspec.json.decode((done.folder / "results.json").read_bytes())
    return Finished(done.folder, written, done.judgement, done.evidence)
