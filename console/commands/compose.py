"""`i247 compose`: a network of containers as a folder to start them from."""

import json
import os
import secrets
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from bus.errors import BadInput
from console.commands.network import Members, chosen_members
from console.rendering import say
from simulation.compose.document import Owner
from simulation.compose.files import ComposeRequest, write_compose_files
from simulation.run_folder import check_seed
from simulation.runner import DEFAULT_SEED
from simulation.scenario import load, shipped_names
from simulation.workload import plan

DEFAULT_STORY: Final = "first_light_of_three"
CONTAINER_ID: Final = 10_001
"""User and group of the image; they own the files that root makes."""
_TOKEN_BYTES: Final = 32


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compose")(compose)


def compose(
    members: Members = "3",
    out: Annotated[Path, typer.Option(help="the folder to make; must not exist")] = Path("network"),
    story: Annotated[str, typer.Option(help="shipped scenario that the runner tells")] = (
        DEFAULT_STORY
    ),
    seed: Annotated[str, typer.Option(help="what all chance is drawn from")] = DEFAULT_SEED,
) -> None:
    """Write compose.yaml, keys and settings for a broker, the secretariat, members and a runner."""
    if story not in shipped_names():
        message = f"--story {story}: containers have only {', '.join(shipped_names())}"
        raise BadInput(message)
    check_seed(seed)
    cast = chosen_members(members)
    settings = {} if cast == load(story).members else {"members": json.dumps(cast)}
    scenario = load(story, settings)
    told = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    request = ComposeRequest(
        scenario,
        plan(scenario, seed),
        seed,
        (story, "--seed", seed, *told),
        _owner(),
        time.time_ns() // 1_000_000,
        partial(secrets.token_hex, _TOKEN_BYTES),
    )
    write_compose_files(out, request)
    say(f"network of {len(scenario.members)} members written to {out}; start it with")
    say(f"  docker compose --file {out}/compose.yaml up --exit-code-from runner")


def _owner() -> Owner:
    """Return who runs the containers: the person who makes the files, but never root."""
    if not hasattr(os, "getuid"):
        message = "compose: needs a system with owners and modes of files; on Windows use WSL 2"
        raise BadInput(message)
    uid, gid = os.getuid(), os.getgid()
    return Owner(uid, gid) if uid else Owner(CONTAINER_ID, CONTAINER_ID)
