"""Frames, messages and addresses of the control port: what passes, what is refused, and how."""

import asyncio

import pytest

from bus.control import wire
from bus.control.wire import TlsAddress, UnixAddress, control_address
from bus.errors import (
    BadInput,
    BrokerUnavailable,
    EnvironmentFailed,
    I247Error,
    KeyFileError,
    TransportDenied,
)
from bus.host import Activity, Injection
from bus.identifiers import QueueKind
from bus.refusals import EXPIRED, EnvelopeRefused
from bus.storage.history import HistoryRow
from bus.transport.amqp_connection import LoginRefused

INJECTION = Injection("diffusion", ("XB", "IPSG"), b"\x00\xff", "an id", b"d" * 32, "XC")
ACTIVITY = Activity(
    7, {"i247.data.XB": 2}, {}, pending=False, parked=("XC",), next_due=9, open_work=1
)
ROW = HistoryRow(1, 2, 3, "diffusion_applied", "m", "XA", "r", "pending", b"d", "")

REQUESTS: list[wire.AnyRequest] = [
    wire.Greet(1, "token"),
    wire.Join("amqps://localhost:5671/i247"),
    wire.Tick(1_709_510_400_000),
    wire.Issue(b"order"),
    wire.Inject(INJECTION),
    wire.Subscribe((QueueKind.DATA,)),
    wire.GoAway(),
    wire.ReadActivity(),
    wire.CatchUp({"i247.data.XB": 3}, 0.5),
    wire.Hold(),
    wire.ReadHistory(12),
    wire.Stop(),
]
ANSWERS: list[wire.AnyAnswer] = [
    wire.Greeted("XA"),
    wire.Done(),
    wire.OrderResult(b"result"),
    wire.Outcomes(("confirmed", "overflow")),
    wire.Counted(ACTIVITY),
    wire.Events((ROW,)),
    wire.Failed("BadInput", "a line"),
]


def content_of(frame: bytes) -> bytes:
    """Return a frame's content, its length checked."""
    assert wire.content_bytes(frame[: wire.LENGTH_BYTES]) == len(frame) - wire.LENGTH_BYTES
    return frame[wire.LENGTH_BYTES :]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda each: type(each).__name__)
def test_request_comes_out_as_it_went_in(request_: wire.AnyRequest) -> None:
    """Every request survives its frame, octets included."""
    assert wire.request_in(content_of(wire.frame(request_))) == request_


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda each: type(each).__name__)
def test_answer_comes_out_as_it_went_in(answer: wire.AnyAnswer) -> None:
    """Every answer survives its frame, octets and absent values included."""
    assert wire.answer_in(content_of(wire.frame(answer))) == answer


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="no msgpack"),
        pytest.param(b"\x81\xa4verb\xa3fly", id="unknown verb"),
        pytest.param(b"\x82\xa4verb\xa4hold\xa1x\x01", id="unknown field"),
        pytest.param(b"\x81\xa4verb\xa4tick", id="missing field"),
        pytest.param(b"\x91" * 5_000, id="nested without end"),
    ],
)
def test_octets_that_are_no_request_are_refused(content: bytes) -> None:
    """What is not one whole known request is bad input, in one line."""
    with pytest.raises(BadInput, match=r"^control port: no request") as refused:
        wire.request_in(content)
    assert "\n" not in str(refused.value)


def test_octets_that_are_no_answer_are_the_other_sides_fault() -> None:
    """A runner does not blame a person for what a process answers."""
    with pytest.raises(EnvironmentFailed, match="no answer"):
        wire.answer_in(b"\x81\xa6answer\xa3fly")


def test_message_that_is_too_large_is_not_sent() -> None:
    """An injection over the limit of a frame is refused before anything is written."""
    with pytest.raises(BadInput, match="more than the"):
        wire.frame(wire.Issue(b"x" * (wire.frame_bytes_max + 1)))


async def test_frame_that_announces_too_much_is_refused_before_it_is_read() -> None:
    """The length alone is enough to refuse, so that nobody fills our memory."""
    reader = asyncio.StreamReader()
    reader.feed_data(b"\xff\xff\xff\xff")
    with pytest.raises(BadInput, match="4294967295 octets"):
        await wire.read_content(reader)


async def test_frame_that_ends_early_is_an_end() -> None:
    """A connection that breaks within a frame ends the reading, not the process."""
    reader = asyncio.StreamReader()
    reader.feed_data(b"\x00\x00\x00\x09half")
    reader.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError):
        await wire.read_content(reader)


@pytest.mark.parametrize(
    ("error", "arrives_as"),
    [
        (BadInput("no such record"), BadInput),
        (KeyFileError("no such key"), KeyFileError),
        (BrokerUnavailable("no broker"), BrokerUnavailable),
        (LoginRefused("no such user"), BrokerUnavailable),
        (TransportDenied("not yours"), TransportDenied),
        (EnvelopeRefused(EXPIRED), EnvironmentFailed),
    ],
    ids=lambda each: each.__name__ if isinstance(each, type) else type(each).__name__,
)
def test_error_arrives_in_its_class_with_its_line(
    error: I247Error, arrives_as: type[I247Error]
) -> None:
    """An error keeps its line, and its class where the other side knows it."""
    failed = wire.failure_of(error)
    arrived = wire.error_of(failed)
    assert type(arrived) is arrives_as
    assert str(arrived) == str(error)


def test_unknown_kind_of_failure_is_a_failure_all_the_same() -> None:
    """A later release may know more errors than we do."""
    assert type(wire.error_of(wire.Failed("Novelty", "new"))) is EnvironmentFailed


def test_failure_is_told_on_one_line() -> None:
    """Whatever an error says crosses the port as one line of bounded length."""
    line = wire.failure_of(BadInput("first\nsecond " + "x" * 5_000)).line
    assert line.startswith("first second x")
    assert len(line) <= 1_000


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/i247/XA.sock", UnixAddress("/run/i247/XA.sock")),
        ("tls://xa.example:7000", TlsAddress("xa.example", 7000)),
        ("tls://[::1]:7000", TlsAddress("::1", 7000)),
    ],
)
def test_address_is_read(text: str, address: wire.ControlAddress) -> None:
    """Both forms of an address are understood."""
    assert control_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unix:",
        "/run/x.sock",
        "tls://host",
        "tls://:7",
        "tls://h:99999",
        "tcp://h:1",
        "tls://[:1",
    ],
)
def test_address_of_another_form_is_bad_input(text: str) -> None:
    """Whatever is neither form is named, with what would be one."""
    with pytest.raises(BadInput, match=r"looks like unix:PATH or tls://HOST:PORT"):
        control_address(text)
