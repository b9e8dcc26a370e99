"""What a checker says: violations, and how much it had to judge."""

from collections.abc import Callable

from msgspec import Struct

from bus.storage.records import RecordKey
from simulation.evidence.gathered import Evidence


class Violation(Struct, frozen=True, order=True):
    """One guarantee broken at one node about one record. `detail` is for a person alone."""

    checker: str
    node: str
    source: str
    record_id: str
    detail: str = ""


class CheckerResult(Struct, frozen=True):
    """What a checker found. With `exercised` 0 it had nothing to judge, and proves nothing."""

    found: frozenset[Violation]
    exercised: int


Checker = Callable[[Evidence], CheckerResult]


class Findings:
    """Gathers one checker's violations while it goes through the evidence."""

    def __init__(self, checker: str) -> None:
        self._checker = checker
        self._found: set[Violation] = set()
        self.exercised = 0

    def add(self, node: str, key: RecordKey | None, detail: str) -> None:
        """Report a violation; without a record it is about something else that was sent."""
        source, record_id = (key.source, key.record_id) if key else ("", "")
        self._found.add(Violation(self._checker, node, source, record_id, detail))

    def result(self) -> CheckerResult:
        """Return what was gathered."""
        return CheckerResult(frozenset(self._found), self.exercised)
