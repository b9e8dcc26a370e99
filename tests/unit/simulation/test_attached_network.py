"""A network that others have started: what its folder must say before anybody is called."""

from pathlib import Path

import pytest

from bus.errors import BadInput, BrokerUnavailable
from simulation.networks.attached import AttachedNetwork, NetworkFolder, story_digest
from simulation.scenario import load
from simulation.workload import plan
from tests.unit.simulation.compose_sample import SEED, STORY, write_network


@pytest.fixture
def folder(tmp_path: Path) -> NetworkFolder:
    """The runner's folder of a network that nobody has started."""
    write_network(tmp_path / "network")
    return NetworkFolder(tmp_path / "network" / "runner")


async def attach(folder: NetworkFolder, seed: str = SEED, **settings: str) -> AttachedNetwork:
    """Attach with the shipped story, or one that is set otherwise."""
    scenario = load(STORY, settings)
    return await AttachedNetwork.attach(scenario, plan(scenario, seed), seed, folder.path)


async def test_network_of_another_seed_is_refused(folder: NetworkFolder) -> None:
    """The parties draw their identifiers from the seed that they were set up with."""
    with pytest.raises(BadInput, match=r"made for --seed 7, and the run has 8"):
        await attach(folder, "8")


async def test_network_of_another_story_is_refused(folder: NetworkFolder) -> None:
    """Policies and reviewers are in the parties' settings, so a story cannot change them."""
    with pytest.raises(BadInput, match=r"made for another story than first_light_of_three"):
        await attach(folder, **{"review.reviewers": "9"})


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("format_version = 1", "format_version = 9", "format version 9; this release reads 1"),
        ("format_version = 1", "format_version", r"--attach: .*network\.toml: "),
        ("seed = ", "sead = ", "unknown field `sead`"),
        ('broker = "amqps', 'broker = "amqp', r"only TLS is spoken"),
    ],
)
async def test_description_that_cannot_be_used_is_named(
    folder: NetworkFolder, old: str, new: str, line: str
) -> None:
    """What is wrong in network.toml is told in one line."""
    text = folder.description.read_text()
    assert old in text
    folder.description.write_text(text.replace(old, new))
    with pytest.raises(BadInput, match=line):
        await attach(folder)


async def test_folder_that_is_none_is_named(tmp_path: Path) -> None:
    """A folder without a description is no network's."""
    with pytest.raises(BadInput, match=r"network\.toml cannot be read \(No such file"):
        await attach(NetworkFolder(tmp_path))


@pytest.mark.parametrize("content", [None, b"\xc1"])
async def test_opening_statements_that_cannot_be_read_are_named(
    folder: NetworkFolder, content: bytes | None
) -> None:
    """Without the opening statements the run has nothing to verify anybody by."""
    folder.opening.unlink()
    if content is not None:
        folder.opening.write_bytes(content)
    with pytest.raises(BadInput, match=r"opening\.msgpack"):
        await attach(folder)


async def test_broker_that_is_not_there_ends_the_run(folder: NetworkFolder) -> None:
    """Nobody has started the containers: the broker's address leads nowhere."""
    text = folder.description.read_text()
    folder.description.write_text(text.replace("//broker:5671", "//127.0.0.1:9"))
    with pytest.raises(BrokerUnavailable):
        await attach(folder)


def test_digest_of_a_story_hangs_on_all_that_it_says() -> None:
    """Equal stories are told to be equal, and one changed number makes another story."""
    assert story_digest(load(STORY)) == story_digest(load(STORY))
    assert story_digest(load(STORY)) != story_digest(load(STORY, {"review.reviewers": "9"}))
