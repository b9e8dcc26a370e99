"""Reading what a RabbitMQ wrote about its own start: that it is up, or why it is not."""

import re
from pathlib import Path
from typing import Final

_STARTED: Final = "Server startup complete"
_ERROR_LINE: Final = re.compile(r"\[(?:error|critical)\] <[0-9.]+> (?P<text>.*\w.*)")
_reason_characters_max: Final = 240


def started(log: Path, begin_bytes: int) -> bool:
    """Tell whether the log says, after its first `begin_bytes`, that the server is up."""
    return _STARTED in _text(log, begin_bytes)


def why_it_failed(log: Path, console: Path, begin_bytes: int) -> str | None:
    """Return the first error of the log, else the last line of the console, or None.

    The first error is the cause; what follows are the layers above that fell over it.
    """
    errors = [match["text"] for match in _ERROR_LINE.finditer(_text(log, begin_bytes))]
    lines = [line.strip() for line in _text(console, 0).splitlines() if line.strip()]
    for reason in (*errors[:1], *lines[-1:]):
        return reason.strip()[:_reason_characters_max]
    return None


def _text(path: Path, begin_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(begin_bytes)
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
