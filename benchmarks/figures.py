"""What a benchmark reports."""

import statistics
from collections.abc import Sequence

from msgspec import Struct


class Figure(Struct, frozen=True):
    """One measured quantity over several rounds: median, and the range beside it."""

    what: str
    unit: str
    values: tuple[float, ...]
    goal: str = ""

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        middle = statistics.median(self.values)
        goal = f"   goal {self.goal}" if self.goal else ""
        rounds = f"({low:,.2f} to {high:,.2f} in {len(self.values)} rounds)"
        return f"{self.what}: {middle:,.2f} {self.unit} {rounds}{goal}"


def ratio(what: str, over: Sequence[float], under: Sequence[float], goal: str) -> Figure:
    """Return the ratio of two series, pair by pair."""
    pairs = tuple(a / b for a, b in zip(over, under, strict=True))
    return Figure(what, "times", pairs, goal)
