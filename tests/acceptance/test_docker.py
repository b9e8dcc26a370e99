"""The smallest network of containers: built, started, judged, and gone afterwards.

The images that it is built from and run beside can be named by PYTHON_IMAGE and RABBITMQ_IMAGE.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import Struct

from simulation.evidence.store_copies import opened
from simulation.run_folder import RunFolder

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

REPOSITORY: Final = Path(__file__).parents[2]
STORY: Final = "first_light_of_three"
PROJECT: Final = f"i247-test-{os.getpid()}"
IMAGE: Final = f"{PROJECT}:latest"
SERVICES: Final = frozenset({"broker", "ipsg", "xa", "xb", "xc", "runner"})
BUILD_SECONDS_MAX: Final = 200
STORY_SECONDS_MAX: Final = 100
_STATES: Final = "SELECT source, record_id, hex(digest), state FROM versions"
_ENDINGS: Final = "SELECT source, record_id, ending, blocked FROM records"


class Started(Struct, frozen=True):
    """What one start of the network came to: exit code, output, and its containers by service."""

    exit_code: int
    output: str
    containers: Mapping[str, Mapping[str, Any]]


class Told(Struct, frozen=True):
    """What was seen of the network: its first start, a second one over it, and what was left."""

    first: Started
    second: Started
    network: Path
    left: Mapping[str, list[str]]

    @property
    def run(self) -> Path:
        """The run's folder on the host."""
        return self.network / "runs" / f"{STORY}-rabbitmq-1"


def call(*command: str, seconds_max: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command with our image named; standard error goes with the output."""
    return subprocess.run(
        command,
        cwd=REPOSITORY,
        env=os.environ | {"I247_IMAGE": IMAGE},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds_max,
        check=False,
    )


def done(*command: str, seconds_max: float = 60) -> str:
    """Run a command that must not fail, and return what it says."""
    result = call(*command, seconds_max=seconds_max)
    assert result.returncode == 0, f"{' '.join(command)}: {result.stdout[-2_000:]}"
    return result.stdout


def i247(*arguments: str) -> str:
    """Run our own command on the host."""
    return done(sys.executable, "-m", "console.cli", *arguments)


def compose(network: Path) -> list[str]:
    """Return the beginning of every command about these containers."""
    file = str(network / "compose.yaml")
    return ["docker", "compose", "--project-name", PROJECT, "--file", file]


def start(network: Path) -> Started:
    """Start all containers and wait until the runner has ended."""
    up = call(*compose(network), "up", "--exit-code-from", "runner", seconds_max=STORY_SECONDS_MAX)
    ids = done(*compose(network), "ps", "--all", "--quiet").split()
    containers = json.loads(done("docker", "inspect", *ids)) if ids else []
    by_service = {
        each["Config"]["Labels"]["com.docker.compose.service"]: each for each in containers
    }
    return Started(up.returncode, up.stdout, by_service)


def left_over() -> dict[str, list[str]]:
    """Return what the engine still has of our project, by kind."""
    label = f"label=com.docker.compose.project={PROJECT}"
    quiet = ("--quiet", "--filter", label)
    return {
        "containers": done("docker", "ps", "--all", *quiet).split(),
        "volumes": done("docker", "volume", "ls", *quiet).split(),
        "networks": done("docker", "network", "ls", *quiet).split(),
    }


@pytest.fixture(scope="module")
def image() -> Iterator[None]:
    """Our image, built from this tree; removed again."""
    python = os.environ.get("PYTHON_IMAGE")
    base = ("--build-arg", f"PYTHON_IMAGE={python}") if python else ()
    build = ("docker", "build", "--tag", IMAGE, "--file", "docker/Dockerfile", *base, ".")
    done(*build, seconds_max=BUILD_SECONDS_MAX)
    yield
    done("docker", "image", "rm", "--force", IMAGE)


@pytest.fixture(scope="module")
def told(image: None, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The story told by containers, then started once more, then taken down."""
    del image  # it only has to be there
    network = tmp_path_factory.mktemp("docker") / "network"
    i247("compose", "--members", "3", "--out", str(network))
    try:
        first = start(network)
        second = start(network)
    finally:
        done(*compose(network), "down", "--volumes", "--timeout", "5")
    return Told(first, second, network, left_over())


def test_story_of_three_members_ends_valid(told: Told) -> None:
    """The runner's exit code is the verdict, and the results lie on the host."""
    assert told.first.exit_code == 0, told.first.output[-4_000:]
    results = json.loads((told.run / "results.json").read_bytes())
    assert (results["verdict"], results["bus"], results["scenario"]) == ("valid", "rabbitmq", STORY)
    assert all(check["exercised"] for check in results["checks"])
    assert results["residual_copies"] == 0


def test_records_end_as_in_the_embedded_run(told: Told, tmp_path: Path) -> None:
    """Every record and version has the same state at each party, with the same refusals."""
    i247("run", STORY, "--bus", "embedded", "--out", str(tmp_path / "run"))
    embedded = json.loads((tmp_path / "run" / "results.json").read_bytes())
    contained = json.loads((told.run / "results.json").read_bytes())
    for key in ("counts", "refusals", "checks", "exposure_node_seconds", "trace_digest"):
        assert contained[key] == embedded[key], key
    states = record_states(told.run)
    assert states == record_states(tmp_path / "run")
    assert states.keys() == {"IPSG", "XA", "XB", "XC"}
    assert all(states.values())


def record_states(run: Path) -> dict[str, set[tuple[object, ...]]]:
    """Return the states of versions and records by party, from the stores of a run."""
    states: dict[str, set[tuple[object, ...]]] = {}
    for party, copy in RunFolder.existing(run).read_stores().items():
        with opened(party, copy) as store:
            states[party] = {*store.execute(_STATES), *store.execute(_ENDINGS)}
    return states


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_container_had_no_more_rights_than_it_needs(told: Told, service: str) -> None:
    """The engine gave each container an ordinary user, no capability, and its own folder alone."""
    container = told.first.containers[service]
    host = container["HostConfig"]
    assert container["Config"]["User"].split(":")[0] not in ("", "0", "root")
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["PortBindings"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert 0 < host["Memory"] <= 2**30
    assert host["PidsLimit"] > 0
    binds = {
        mount["Source"]: mount["RW"] for mount in container["Mounts"] if mount["Type"] == "bind"
    }
    own = {str(told.network / service): False}
    runs = {str(told.network / "runs"): True} if service == "runner" else {}
    assert binds == own | runs
    assert container["State"]["OOMKilled"] is False


def test_network_with_a_past_is_refused_in_one_line(told: Told) -> None:
    """Started again over its old stores, the runner says what to do and tells no story."""
    assert told.second.exit_code == 2, told.second.output[-4_000:]
    assert "IPSG has told a story already; remove its store" in told.second.output
    assert [path.name for path in told.run.parent.iterdir()] == [told.run.name]


def test_nothing_is_left_in_the_engine(told: Told) -> None:
    """All six services had run; containers, volumes and networks are gone with `down`."""
    assert told.first.containers.keys() == SERVICES
    assert told.left == {"containers": [], "volumes": [], "networks": []}
