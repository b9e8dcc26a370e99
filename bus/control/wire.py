"""What goes over a control port: requests, answers and addresses as values, and their frames.

A frame is four octets of length, big-endian, and that many octets of msgpack: one request, or one
answer. The caller greets first; after that every request has one answer, in the order asked.
"""

import re
from asyncio import StreamReader
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from bus.errors import (
    BadInput,
    BrokerUnavailable,
    EnvironmentFailed,
    I247Error,
    KeyFileError,
    StoreUnreadable,
    TransportDenied,
)
from bus.host import Activity, Injection
from bus.identifiers import QueueKind
from bus.instants import Instant
from bus.storage.history import HistoryRow

FORMAT_VERSION: Final = 1
frame_bytes_max: Final = 4 * 1024 * 1024
greeting_bytes_max: Final = 1_024
LENGTH_BYTES: Final = 4
token_characters_min: Final = 32
_TLS_ADDRESS: Final = re.compile(r"tls://.+:\d{1,5}/?\Z")
_line_characters_max: Final = 1_000


class Request(Struct, frozen=True, tag_field="verb", forbid_unknown_fields=True):
    """Base of what a runner asks of a party."""


class Greet(Request, frozen=True, tag="greet"):
    """Begin; `token` proves the right to, where no file permission does."""

    format_version: int
    token: str = ""


class Join(Request, frozen=True, tag="join"):
    """Log in to the broker; an empty address stands for the one in the party's settings."""

    broker_url: str = ""


class Tick(Request, frozen=True, tag="tick"):
    """Let simulated time be `now`, do what is due, and hold what would travel."""

    now: Instant


class Issue(Request, frozen=True, tag="issue"):
    """Carry out a packed order."""

    order: bytes


class Inject(Request, frozen=True, tag="inject"):
    """Publish octets as they are."""

    injection: Injection


class Subscribe(Request, frozen=True, tag="subscribe"):
    """Receive from these of the party's own queues."""

    kinds: tuple[QueueKind, ...]


class GoAway(Request, frozen=True, tag="go_away"):
    """Stop receiving."""


class ReadActivity(Request, frozen=True, tag="activity"):
    """Tell the counters."""


class CatchUp(Request, frozen=True, tag="catch_up"):
    """Let things travel; answer with the counters once so many deliveries are settled by queue.

    The answer comes after `wait_seconds` in any case.
    """

    settled: dict[str, int]
    wait_seconds: float


class Hold(Request, frozen=True, tag="hold"):
    """Finish what is in hand, let nothing travel any more, and tell the counters."""


class ReadHistory(Request, frozen=True, tag="history"):
    """Tell a page of events with a higher number than `after`."""

    after: int


class Stop(Request, frozen=True, tag="stop"):
    """End in order."""


AnyRequest = (
    Greet
    | Join
    | Tick
    | Issue
    | Inject
    | Subscribe
    | GoAway
    | ReadActivity
    | CatchUp
    | Hold
    | ReadHistory
    | Stop
)


class Answer(Struct, frozen=True, tag_field="answer", forbid_unknown_fields=True):
    """Base of what a party answers."""


class Greeted(Answer, frozen=True, tag="greeted"):
    """Who serves this port."""

    party: str


class Done(Answer, frozen=True, tag="done"):
    """It was done, and there is nothing to tell."""


class OrderResult(Answer, frozen=True, tag="result"):
    """A packed result."""

    result: bytes


class Outcomes(Answer, frozen=True, tag="outcomes"):
    """The publish outcome for each recipient, in the order asked."""

    outcomes: tuple[str, ...]


class Counted(Answer, frozen=True, tag="counted"):
    """The counters."""

    activity: Activity


class Events(Answer, frozen=True, tag="events"):
    """A page of events."""

    rows: tuple[HistoryRow, ...]


class Failed(Answer, frozen=True, tag="failed"):
    """It was not done; `kind` names one of our error classes, `line` is for a person."""

    kind: str
    line: str


AnyAnswer = Greeted | Done | OrderResult | Outcomes | Counted | Events | Failed

_ERRORS: Final[dict[str, type[I247Error]]] = {
    kind.__name__: kind
    for kind in (
        BadInput,
        KeyFileError,
        EnvironmentFailed,
        BrokerUnavailable,
        StoreUnreadable,
        TransportDenied,
    )
}
_ENCODER: Final = msgspec.msgpack.Encoder()
_REQUESTS: Final = msgspec.msgpack.Decoder(AnyRequest)
_ANSWERS: Final = msgspec.msgpack.Decoder(AnyAnswer)


def frame(message: AnyRequest | AnyAnswer) -> bytes:
    """Return the octets that carry a message; raise `BadInput` when they would be too many."""
    content = _ENCODER.encode(message)
    if len(content) > frame_bytes_max:
        raise BadInput(
            f"control port: {len(content)} octets are more than the {frame_bytes_max} of a frame"
        )
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


def content_bytes(length: bytes, octets_max: int = frame_bytes_max) -> int:
    """Read the length before a frame's content; raise `BadInput` for one that is too long."""
    size = int.from_bytes(length, "big")
    if size > octets_max:
        raise BadInput(f"control port: a frame of {size} octets is over {octets_max}")
    return size


def request_in(content: bytes) -> AnyRequest:
    """Return the request in a frame's content; raise `BadInput` when it is none."""
    try:
        request: AnyRequest = _REQUESTS.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise BadInput(f"control port: no request: {error}") from error
    return request


def answer_in(content: bytes) -> AnyAnswer:
    """Return the answer in a frame's content; raise `EnvironmentFailed` when it is none."""
    try:
        answer: AnyAnswer = _ANSWERS.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise EnvironmentFailed(f"control port: no answer: {error}") from error
    return answer


def failure_of(error: I247Error) -> Failed:
    """Return an error in the form in which it crosses the control port."""
    kind = type(error).__name__
    line = " ".join(str(error).split())[:_line_characters_max]
    if kind in _ERRORS:
        return Failed(kind, line)
    nearest = (base.__name__ for base in type(error).__mro__ if base.__name__ in _ERRORS)
    return Failed(next(nearest, EnvironmentFailed.__name__), line)


def error_of(failed: Failed) -> I247Error:
    """Return the error that a party met with, of the class that it had there."""
    return _ERRORS.get(failed.kind, EnvironmentFailed)(failed.line)


class UnixAddress(Struct, frozen=True):
    """A Unix socket in a folder that is private to its owner."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


class TlsAddress(Struct, frozen=True):
    """A TCP port behind TLS and a token, for containers."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tls://{self.host}:{self.port}"


ControlAddress = UnixAddress | TlsAddress


def control_address(text: str) -> ControlAddress:
    """Read ``unix:PATH`` or ``tls://HOST:PORT``; raise `BadInput` for anything else."""
    if text.startswith("unix:") and len(text) > len("unix:"):
        return UnixAddress(text.removeprefix("unix:"))
    if _TLS_ADDRESS.match(text):
        try:
            parsed = urlsplit(text)
            host, port = parsed.hostname, parsed.port
        except ValueError:
            host = port = None
        if host is not None and port is not None:
            return TlsAddress(host, port)
    raise BadInput(f"control port {text!r}: looks like unix:PATH or tls://HOST:PORT")


async def read_content(reader: StreamReader, octets_max: int = frame_bytes_max) -> bytes:
    """Read one frame's content; raise `BadInput`, or `asyncio.IncompleteReadError` at the end."""
    length = await reader.readexactly(LENGTH_BYTES)
    return await reader.readexactly(content_bytes(length, octets_max))
