"""`python -m benchmarks`: run all benchmarks, or those named, and print their figures."""

import asyncio
import os
import platform
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Final

from benchmarks import embedded_deliveries, first_light, node_memory, rabbitmq_intake
from benchmarks.figures import Figure

_BENCHMARKS: Final[dict[str, Callable[[], Coroutine[None, None, Sequence[Figure]]]]] = {
    "embedded_deliveries": embedded_deliveries.measure,
    "rabbitmq_intake": rabbitmq_intake.measure,
    "first_light": first_light.measure,
    "node_memory": node_memory.measure,
}


def main(names: Sequence[str]) -> int:
    """Run benchmarks and print a line per figure; return the exit code."""
    unknown = [name for name in names if name not in _BENCHMARKS]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are {', '.join(_BENCHMARKS)}")
        return 2
    print(f"machine: {_processor()}, {os.cpu_count()} cores, {platform.platform()}")
    print(f"python {platform.python_version()}")
    for name in names or _BENCHMARKS:
        for figure in asyncio.run(_BENCHMARKS[name]()):
            print(f"{name}: {figure}")
    return 0


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            models = [line.partition(":")[2].strip() for line in file if line.startswith("model n")]
    except OSError:
        models = []
    return models[0] if models else platform.processor() or "unknown processor"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
