"""The one door to .venv: which interpreter it is made with, and when it is made anew."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[3] / "Makefile"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose .venv was made with ``python3``."""
    shutil.copy(MAKEFILE, tmp_path / "Makefile")
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".made-with").write_text("python3\n")
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def commands_of_setup(checkout: Path, *arguments: str) -> str:
    """Return what `make setup` would do; nothing of it is done."""
    return subprocess.run(
        ["make", "--dry-run", "setup", *arguments],
        cwd=checkout,
        env={"PATH": os.environ["PATH"]},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.parametrize("arguments", [(), ("PYTHON=python3",)])
def test_environment_that_is_there_is_kept(checkout: Path, arguments: tuple[str, ...]) -> None:
    """Neither no interpreter nor the one it was made with makes it anew."""
    assert "venv" not in commands_of_setup(checkout, *arguments)


def test_another_interpreter_makes_the_environment_anew(checkout: Path) -> None:
    """What the older one has left is cleared away, and the newer one is remembered."""
    commands = commands_of_setup(checkout, "PYTHON=/somewhere/python3.13")
    assert '"/somewhere/python3.13" -m venv --clear .venv' in commands
    assert '"/somewhere/python3.13" > .venv/.made-with' in commands
