"""Which files the house rules look at: all that git tracks or would add, read as text."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]

PACKAGES: Final = ("bus", "ncb_nodes", "secretariat", "simulation", "console")
"""What the distribution ships."""


@cache
def tracked_text() -> dict[str, str]:
    """Return path to text of every tracked or addable text file; binary files are left out."""
    # safe.directory: root may test a clone that belongs to somebody else.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"]
    listing = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout
    texts: dict[str, str] = {}
    for name in sorted({name for name in listing.decode().split("\0") if name}):
        path = REPOSITORY / name
        if not path.is_file():
            continue
        content = path.read_bytes()
        if b"\0" not in content:
            texts[name] = content.decode()
    return texts


def python_sources(*folders: str) -> dict[str, str]:
    """Return path to text of every Python file below `folders`."""
    return {
        path: text
        for path, text in tracked_text().items()
        if path.endswith(".py") and path.split("/", maxsplit=1)[0] in folders
    }
