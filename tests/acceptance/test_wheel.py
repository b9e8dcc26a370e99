"""The wheel that is built from this tree holds all that a run needs."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_VARIABLES = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("PYTHON", "VIRTUAL_ENV", "I247_"))
}


def _run(*command: str | Path, folder: Path) -> str:
    """Run a command to its end and return what it printed; fail with all it said."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=_VARIABLES,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _copied(source: Path) -> Path:
    """Copy what git tracks, so that nothing is built in the checkout or from its leavings."""
    listed = _run(
        "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder=_ROOT
    )
    for name in filter(None, listed.split("\0")):
        if (_ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_ROOT / name, source / name)
    return source


@pytest.mark.timeout(300)
def test_wheel_in_an_empty_environment_runs_first_light_from_an_empty_folder(
    tmp_path: Path,
) -> None:
    """Scenarios and all packages are in the wheel, and nothing of the checkout is needed."""
    wheels, home, empty = tmp_path / "wheels", tmp_path / "venv", tmp_path / "empty"
    empty.mkdir()
    source = _copied(tmp_path / "source")
    constraints = _ROOT / "constraints.txt"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    build = ("wheel", "--no-deps", "--wheel-dir", wheels)
    _run(*pip, *build, "--constraint", constraints, source, folder=tmp_path)
    [wheel] = wheels.glob("i247_sim-*.whl")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    install = (python, "-m", "pip", "--disable-pip-version-check", "-q", "install")
    _run(*install, "--constraint", constraints, wheel, folder=empty)
    command = (home / "bin" / "i247", "run", "first_light", "--bus", "embedded", "--seed", "7")
    results = json.loads(_run(*command, "--json", folder=empty))
    assert results["verdict"] == "valid"
    assert [path.name for path in (empty / "runs").iterdir()] == ["first_light-embedded-7"]
