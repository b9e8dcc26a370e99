"""How long the story `first_light` takes on both buses, and what a node process weighs."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure

ROUNDS: Final = 3


async def measure() -> Sequence[Figure]:
    """Run the command as a person would, broker start included."""
    embedded = tuple(_seconds("embedded") for _ in range(ROUNDS))
    rabbitmq = tuple(_seconds("rabbitmq") for _ in range(ROUNDS))
    return [
        Figure("embedded, whole command", "s", embedded, "under 5"),
        Figure("rabbitmq, whole command, nine processes", "s", rabbitmq, "under 60"),
    ]


def _seconds(bus: str) -> float:
    with tempfile.TemporaryDirectory(prefix="i247-bench-") as name:
        out = Path(name) / "run"
        began = time.perf_counter()
        command = ("run", "first_light", "--bus", bus, "--seed", "7", "--out", str(out))
        subprocess.run(
            (sys.executable, "-m", "console.cli", *command), check=True, capture_output=True
        )
        return time.perf_counter() - began
