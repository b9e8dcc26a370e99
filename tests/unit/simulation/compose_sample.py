"""A network of three containers as tests need it: made by whoever runs the tests."""

import os
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from simulation.compose.document import Owner
from simulation.compose.files import ComposeRequest, write_compose_files
from simulation.scenario import load
from simulation.workload import plan

SEED = "7"
STORY = "first_light_of_three"


def compose_request(**changes: Any) -> ComposeRequest:  # noqa: ANN401  (fields of any type)
    """Return a request for the shipped story; tokens are numbered and long enough."""
    scenario = load(STORY)
    numbers = count(1)
    request = ComposeRequest(
        scenario,
        plan(scenario, SEED),
        SEED,
        (STORY, "--seed", SEED),
        Owner(os.getuid(), os.getgid()),
        time.time_ns() // 1_000_000,
        lambda: f"{next(numbers):064x}",
    )
    return replace(request, **changes)


def write_network(folder: Path, **changes: Any) -> Mapping[str, bytes]:  # noqa: ANN401
    """Write a network's files and return them by relative name."""
    write_compose_files(folder, compose_request(**changes))
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
