"""Logging that cannot tell of persons: JSON lines of known events with identifiers only.

A line has an event of the catalogue below and fields of a list, each of which has a closed form:
a party's code, a queue, a digest, a number. What is not listed, or does not have its form, is left
out and counted. Of an exception only its class and the places in the code are told, never its text,
because texts of parsers and databases quote what they choke on.

The one free text, `reason`, is taken from the transports alone: they say why a connection broke,
and never look into an envelope.
"""

import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import Any, Final, Protocol

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from bus.errors import BadInput
from bus.identifiers import PARTY_CODE_PATTERN
from bus.ports import PublishOutcome
from bus.refusals import CATALOGUE
from bus.topology import ADMIN_USER

EVENTS: Final[Mapping[str, str]] = {
    "batch_failed": "a batch of deliveries could not be taken up; it is tried again",
    "broker_joined": "the party is logged in to the broker",
    "connection_lost": "the connection to the broker broke",
    "connection_restored": "the party is connected to the broker again",
    "consumer_rebuilt": "the broker no longer delivered to us, and does again",
    "event_withheld": "something was logged that is not in this catalogue",
    "library_warned": "a library or the interpreter logged something; its text is left out",
    "mail_parked": "mail to a recipient cannot leave at present",
    "process_ended": "the process ends in order",
    "process_failed": "the process ends because of a defect",
    "process_started": "the process has opened its store and waits for work",
    "restoration_failed": "an attempt to connect or consume again failed",
}
"""Every event that is logged, with its meaning; names are noun, then past verb."""

_party: Final = re.compile(rf"{PARTY_CODE_PATTERN}|^{ADMIN_USER}\Z")
_FRAMES_MAX: Final = 12
_FILE_MODE: Final = 0o600
_reason_characters_max: Final = 240
_FREE_TEXT_SPEAKERS: Final = ("bus.transport.",)
_LIBRARIES: Final = re.compile(r"(?:asyncio|aio_pika|aiormq|pamqp|py\.warnings)\Z")

Form = Callable[[object], bool]
"""Tells whether a field's value has the form that it must have."""


def _matching(pattern: str | re.Pattern[str]) -> Form:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.match(value) is not None


def _one_of(values: frozenset[str]) -> Form:
    return lambda value: isinstance(value, str) and value in values


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


FIELDS: Final[Mapping[str, Form]] = {
    "code": _one_of(frozenset(CATALOGUE)),
    "digest": _matching(r"[0-9a-f]{64}\Z"),
    "error": _matching(
        r"[A-Z][A-Za-z]{1,40}(?:Error|Exception|Group|Interrupt|Refused|Input|Unavailable"
        r"|Unreadable|Denied|Failed|Warning|Exit)\Z"
    ),
    "library": _matching(_LIBRARIES),
    "message_id": _matching(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z"),
    "messages": _number,
    "outcome": _one_of(frozenset(PublishOutcome)),
    "party": _matching(_party),
    "queue": _matching(r"i247\.(?:(?:data|statements)\.[A-Z]{2,4}|quarantine|unroutable)\Z"),
    "recipient": _matching(_party),
    "record_id": _matching(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z"),
    "seconds": _number,
    "source": _matching(_party),
    "user": _matching(_party),
}
"""Every field that may be logged, and the form that its value must have."""


class Lines:
    """Writes whole lines to one place; `name` is the module that speaks."""

    def __init__(self, name: str, write: Callable[[str], object]) -> None:
        self.name = name
        self._write = write

    def msg(self, line: str) -> None:
        """Write one line at once."""
        self._write(f"{line}\n")

    debug = info = warning = warn = error = critical = exception = fatal = log = msg


class TextSink(Protocol):
    """Whatever takes text: a stream, or what stands for one."""

    def write(self, text: str, /) -> object:
        """Write a text."""

    def flush(self) -> object:
        """Pass on what was written."""


def configure(
    *, level: str = "info", file: Path | None = None, stream: TextSink | None = None
) -> None:
    """Log from `level` on to a file, or to a stream: standard error if none is given.

    Raises `BadInput` when the file cannot be opened. Applies to the whole process, and to what
    libraries log as well.
    """
    write = _appends(file) if file is not None else _writes(stream or sys.stderr)
    severity = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[_keep_only_identifiers, _add_level_and_time, _as_json],
        wrapper_class=structlog.make_filtering_bound_logger(severity),
        logger_factory=lambda name="", *_: Lines(str(name), write),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler(logging.WARNING))
    logging.captureWarnings(capture=True)


def log_uncaught_errors() -> None:
    """Have this process's uncaught exceptions logged like everything else, without their text."""

    def uncaught(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        _logger().critical("process_failed", exc_info=(kind, error, trace))

    sys.excepthook = uncaught


def _logger() -> FilteringBoundLogger:
    logger: FilteringBoundLogger = structlog.get_logger(__name__)
    return logger


class _LibraryHandler(logging.Handler):
    """Passes on that a library said something, and not what."""

    def emit(self, record: logging.LogRecord) -> None:
        library = record.name.partition(".")[0] if record.name != "py.warnings" else record.name
        _logger().warning("library_warned", library=library, exc_info=record.exc_info)


def _keep_only_identifiers(logger: object, _: str, event_dict: EventDict) -> EventDict:
    """Keep what is listed and has its form; of an exception, what it is and where it was."""
    speaker = getattr(logger, "name", "")
    event = event_dict.pop("event", None)
    error = _exception(event_dict.pop("exc_info", None))
    kept: dict[str, Any] = {"event": event if event in EVENTS else "event_withheld"}
    withheld = 0
    for name, value in event_dict.items():
        form = FIELDS.get(name)
        if form is not None and form(value):
            kept[name] = value
        elif name == "reason" and speaker.startswith(_FREE_TEXT_SPEAKERS):
            kept[name] = _one_line(value)
        else:
            withheld += 1
    if error is not None:
        kept["error"] = type(error).__name__
        kept["at"] = _places(error)
    if withheld:
        kept["fields_withheld"] = withheld
    return kept


def _add_level_and_time(_: object, method: str, event_dict: EventDict) -> EventDict:
    now = datetime.now(UTC)
    level = "error" if method == "exception" else method
    return {"wall": f"{now:%Y-%m-%dT%H:%M:%S.%f}Z", "level": level, **event_dict}


def _as_json(_: object, __: str, event_dict: EventDict) -> str:
    return msgspec.json.encode(event_dict).decode()


def _exception(exc_info: object) -> BaseException | None:
    match exc_info:
        case BaseException():
            return exc_info
        case (_, BaseException() as error, _):
            return error
        case None | False:
            return None
        case _:
            return sys.exc_info()[1]


def _places(error: BaseException) -> list[str]:
    """Return where an exception came from, innermost place last."""
    places = [
        f"{Path(frame.f_code.co_filename).name}:{line} {frame.f_code.co_name}"
        for frame, line in walk_tb(error.__traceback__)
    ]
    return places[-_FRAMES_MAX:]


def _one_line(value: object) -> str:
    printable = "".join(each if each.isprintable() else " " for each in str(value))
    return printable[:_reason_characters_max]


def _writes(stream: TextSink) -> Callable[[str], object]:
    def write(line: str) -> None:
        stream.write(line)
        stream.flush()

    return write


def _appends(file: Path) -> Callable[[str], object]:
    """Return what adds whole lines to a file, for as long as the process lives."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _FILE_MODE)
    except OSError as error:
        raise BadInput(f"log file {file}: {error.strerror}") from error
    return lambda line: os.write(descriptor, line.encode())
