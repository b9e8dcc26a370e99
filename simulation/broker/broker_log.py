"""Reading what a RabbitMQ wrote about one start: that it is up, or why it is not."""

import re
from pathlib import Path
from typing import Final

# On the console, because Erlang's log leaves lines out when many come at once.
_STARTED: Final = re.compile(r"Starting broker\.\.\. completed with [0-9]+ plugins")
_PORT_TAKEN: Final = re.compile(r"eaddrinuse|could not bind to distribution port")
_LOG_PREFIX: Final = re.compile(r"^[0-9-]+ [0-9:.+]+ \[(?P<level>[a-z]+)\] <[0-9.]+> ?")
_BOOT_FAILED: Final = "BOOT FAILED"
_reason_characters_max: Final = 240


class StartLog:
    """What was written to log and console since this object was made."""

    def __init__(self, log: Path, console: Path) -> None:
        self._begin_bytes = {path: _size(path) for path in (log, console)}

    def is_up(self) -> bool:
        """Tell whether the server says that it has started.

        It says so even when another process has the port of its listener.
        """
        return _STARTED.search(self._text()) is not None

    def port_was_taken(self) -> bool:
        """Tell whether the start failed because another process had one of the ports."""
        return _PORT_TAKEN.search(self._text()) is not None

    def reason(self) -> str | None:
        """Return the line that best tells why the start failed, or None.

        That is the line below RabbitMQ's own verdict, else the first error (the cause; what
        follows are the layers above that fell over it), else the last line.
        """
        lines = self._text().splitlines()
        plain = [_LOG_PREFIX.sub("", line).strip() for line in lines]
        errors = [
            text
            for line, text in zip(lines, plain, strict=True)
            if (found := _LOG_PREFIX.match(line)) and found["level"] in {"error", "critical"}
        ]
        verdict = plain[plain.index(_BOOT_FAILED) :] if _BOOT_FAILED in plain else []
        for candidates in (verdict, errors, plain[::-1]):
            for text in candidates:
                if re.search(r"\w", text) and text != _BOOT_FAILED:
                    return text.removeprefix("ERROR: ")[:_reason_characters_max]
        return None

    def _text(self) -> str:
        return "\n".join(_tail(path, begin) for path, begin in self._begin_bytes.items())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _tail(path: Path, begin_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(begin_bytes)
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
