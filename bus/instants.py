"""Simulated time as plain integers, and its one text form on the wire."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

Instant = int
"""Milliseconds since the Unix epoch, UTC. Rules receive instants; they never read a clock."""

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=4096)
def instant_to_text(instant: Instant) -> str:
    """Return the RFC 3339 UTC form with milliseconds, as in ``2024-03-01T09:00:00.000Z``."""
    moment = _EPOCH + timedelta(milliseconds=instant)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{instant % SECOND:03d}Z"


@lru_cache(maxsize=4096)
def instant_from_text(text: str) -> Instant:
    """Read what `instant_to_text` writes; raise `ValueError` for a day or hour that is none."""
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)
