"""The shipped stories over a real RabbitMQ, as a person runs them, end as they do embedded."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from simulation.broker.server_tree import ServerTree
from simulation.evidence.store_copies import opened
from simulation.run_folder import RunFolder

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]

_STATES = "SELECT source, record_id, state, count(*) FROM versions GROUP BY 1, 2, 3"
_REFUSALS = "SELECT code, count(*) FROM quarantine GROUP BY 1"


class Ending(Struct, frozen=True):
    """How a run ended: its results, and record states and refusals at every party."""

    results: dict[str, Any]
    states: dict[str, list[tuple[object, ...]]]
    refusals: dict[str, list[tuple[object, ...]]]


def _ending(story: str, bus: str, out: Path) -> Ending:
    command = ("run", story, "--bus", bus, "--seed", "7", "--json", "--out", str(out))
    done = subprocess.run(
        (sys.executable, "-m", "console.cli", *command), check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    states, refusals = {}, {}
    for party, store in RunFolder.existing(out).read_stores().items():
        with opened(party, store) as connection:
            states[party] = sorted(connection.execute(_STATES).fetchall())
            refusals[party] = sorted(connection.execute(_REFUSALS).fetchall())
    return Ending(json.loads(done.stdout), states, refusals)


def _found(ending: Ending) -> list[tuple[str, str, int, list[tuple[str, str]]]]:
    """Return each check with what it found, without where in a store a copy lay."""
    return [
        (
            check["name"],
            check["verdict"],
            check["exercised"],
            [(each["node"], each["record"]) for each in check["found"]],
        )
        for check in ending.results["checks"]
    ]


@pytest.mark.parametrize("story", ["first_light", "planted"])
def test_story_over_rabbitmq_ends_valid_with_every_record_as_embedded(
    story: str, tmp_path: Path, server_tree: ServerTree
) -> None:
    """The bus changes nothing of what becomes of a record, nor of what is refused."""
    assert server_tree.version
    embedded = _ending(story, "embedded", tmp_path / "embedded")
    rabbitmq = _ending(story, "rabbitmq", tmp_path / "rabbitmq")
    assert rabbitmq.results["verdict"] == embedded.results["verdict"] == "valid"
    assert len(rabbitmq.states) == 9
    assert rabbitmq.states == embedded.states
    assert rabbitmq.refusals == embedded.refusals
    assert _found(rabbitmq) == _found(embedded)
    assert rabbitmq.results["exposure_node_seconds"] == embedded.results["exposure_node_seconds"]
