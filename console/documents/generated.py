"""Which documents are generated, and whether those in a folder are up to date."""

from pathlib import Path

from console.documents import FOLDER
from console.documents.asyncapi import asyncapi_text
from console.documents.protocol import protocol_text


def documents() -> dict[str, str]:
    """Return the text of each generated document by its name in `docs/`."""
    return {"protocol.md": protocol_text(), "asyncapi.json": asyncapi_text()}


def stale(folder: Path = FOLDER) -> list[str]:
    """Return the names of documents in a folder that are missing or say something else."""
    return [
        name
        for name, text in documents().items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]


def write(folder: Path = FOLDER) -> None:
    """Write every document anew."""
    for name, text in documents().items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
