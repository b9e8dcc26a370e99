"""What hostile bureaus write down for the verdict alone; checkers never see it."""

from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

import msgspec
from msgspec import Struct


class DeviationKind(StrEnum):
    """What a bureau did against its word."""

    SIGNED_WITHOUT_DELETING = "signed_without_deleting"
    ACTED_ON_PENDING = "acted_on_pending"


class Deviation(Struct, frozen=True):
    """One deed, at one record."""

    kind: DeviationKind
    node: str
    source: str
    record_id: str


VIOLATIONS_OF: Final[dict[DeviationKind, tuple[str, ...]]] = {
    DeviationKind.SIGNED_WITHOUT_DELETING: ("receipts_match_stores", "no_residue"),
    DeviationKind.ACTED_ON_PENDING: ("acts_as_declared",),
}
"""The checkers that must report each kind of deed."""


class DeviationLedger(Protocol):
    """Where a hostile bureau confesses."""

    def confess(self, deviation: Deviation) -> None:
        """Write one deed down, once."""


class MemoryLedger:
    """A ledger for parties of one process."""

    def __init__(self) -> None:
        self.deviations: set[Deviation] = set()

    def confess(self, deviation: Deviation) -> None:
        """Write one deed down, once."""
        self.deviations.add(deviation)


class FileLedger:
    """A ledger that outlives its process: one line a deed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def confess(self, deviation: Deviation) -> None:
        """Append one deed."""
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(deviation) + b"\n")


def read_ledger(path: Path) -> set[Deviation]:
    """Return the deeds in a ledger file; a file that was never written holds none."""
    if not path.exists():
        return set()
    lines = path.read_bytes().splitlines()
    return {msgspec.json.decode(line, type=Deviation) for line in lines}
