"""Canaries: marks planted in every body, by which a left-over copy is recognised.

All begin with one marker of the run. A version has its own, so has a person; the person's is in
every version on that person, so it is judged only when no live record holds the person any more.
"""

import re
from hashlib import sha256
from typing import Final

from msgspec import Struct

MARKER_PREFIX: Final = "CANARY"
_DIGITS: Final = 12


class Canaries(Struct, frozen=True):
    """Makes the canaries of one run."""

    marker: str

    def of_version(self, label: str, version: int) -> str:
        """Return the mark inside one version of an alert (1 is the first)."""
        return self._mark("V", f"{label}\x1f{version}")

    def of_person(self, subject: str) -> str:
        """Return the mark of one person."""
        return self._mark("P", subject)

    def _mark(self, kind: str, subject: str) -> str:
        digits = sha256(f"{self.marker}\x1f{kind}\x1f{subject}".encode()).hexdigest()[:_DIGITS]
        return f"{self.marker}-{kind}{digits}"

    @property
    def pattern(self) -> re.Pattern[str]:
        """What every canary of the run looks like."""
        return re.compile(rf"{re.escape(self.marker)}-[VP][0-9a-f]{{{_DIGITS}}}")


def canaries_of(seed: str) -> Canaries:
    """Return the canaries of a run with a seed."""
    return Canaries(f"{MARKER_PREFIX}{sha256(f'canary:{seed}'.encode()).hexdigest()[:10]}")
