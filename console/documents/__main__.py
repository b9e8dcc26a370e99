"""Writes the generated documents, or tells whether they are up to date."""

import argparse
import sys
from pathlib import Path

from console.documents import FOLDER
from console.documents.generated import stale, write


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 1 where `--check` finds a document that is not up to date."""
    parser = argparse.ArgumentParser(prog="python -m console.documents", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing, exit 1 on a difference"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the documents lie")
    given = parser.parse_args(arguments)
    if not given.check:
        write(given.folder)
        return 0
    names = stale(given.folder)
    for name in names:
        sys.stderr.write(f"{given.folder / name} is not up to date: run 'make docs'\n")
    return int(bool(names))


if __name__ == "__main__":
    sys.exit(main())
