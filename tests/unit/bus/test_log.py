"""Logging cannot tell of persons: every line is of known events with identifiers of closed form."""

import io
import json
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

import bus
from bus import log
from bus.errors import BadInput
from tests.factories import case_file, diffusion, packed

CANARY = "CANARY0123456789-V0123456789ab"
SHIPPED = ("bus", "ncb_nodes", "secretariat")


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """What is logged during a test; afterwards everything is as it was."""
    stream = io.StringIO()
    root, excepthook = logging.getLogger(), sys.excepthook
    handlers = list(root.handlers)
    configuration = structlog.get_config()
    log.configure(level="debug", stream=stream)
    yield stream
    root.handlers[:] = handlers
    logging.captureWarnings(capture=False)
    sys.excepthook = excepthook
    structlog.configure(**configuration)


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    """Return what was logged, line by line."""
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_line_has_time_level_event_and_identifiers(output: io.StringIO) -> None:
    """What is listed and of its form is logged as it is."""
    structlog.get_logger("bus.host").warning(
        "mail_parked", party="XA", recipient="IPSG", outcome="overflow"
    )
    [line] = lines(output)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("wall"))
    assert line == {
        "level": "warning",
        "event": "mail_parked",
        "party": "XA",
        "recipient": "IPSG",
        "outcome": "overflow",
    }


@pytest.mark.parametrize("field", [*log.FIELDS, "reason", "case_file", "name", "at", "exc_info"])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(CANARY, id="canary"),
        pytest.param(case_file(), id="case file"),
        pytest.param(msgspec.json.encode(case_file()), id="packed case file"),
        pytest.param(packed(diffusion()), id="envelope"),
        pytest.param("Muster", id="family name"),
        pytest.param("XA\nMuster", id="name behind a code"),
        pytest.param(["XA", "Muster"], id="list"),
        pytest.param({"XA": "Muster"}, id="map"),
    ],
)
def test_personal_data_is_logged_under_no_field(
    output: io.StringIO, field: str, value: object
) -> None:
    """Whatever somebody logs by mistake, under whatever field, nothing of it is written."""
    structlog.get_logger("ncb_nodes.handlers").error("batch_failed", **{field: value})
    text = output.getvalue()
    assert '"event":"batch_failed"' in text
    for secret in ("CANARY", "Muster", "1980-05-17", "Robbed", "Alex"):
        assert secret not in text


@pytest.mark.parametrize("event", [CANARY, f"mail_parked {CANARY}", "", "muster_arrested"])
def test_event_outside_the_catalogue_is_not_named(output: io.StringIO, event: str) -> None:
    """An event's name is no way around the fields."""
    structlog.get_logger("bus.host").info(event, party="XA")
    [line] = lines(output)
    assert (line["event"], line["party"]) == ("event_withheld", "XA")
    assert "CANARY" not in output.getvalue()


def test_text_of_an_exception_is_never_logged(output: io.StringIO) -> None:
    """Of an exception and its causes only the class and the places in the code are told."""
    logger = structlog.get_logger("bus.participant")

    def choke() -> None:
        raise ValueError(f"cannot read {CANARY}") from KeyError(CANARY)

    try:
        choke()
    except ValueError:
        logger.exception("batch_failed", party="XB", messages=3)
    [line] = lines(output)
    assert (line["error"], line["level"], line["messages"]) == ("ValueError", "error", 3)
    assert line["at"][-1].startswith("test_log.py:")
    assert "CANARY" not in output.getvalue()


def test_uncaught_exception_is_logged_without_its_text(output: io.StringIO) -> None:
    """A process that dies of a defect does not print the traceback's texts either."""
    log.log_uncaught_errors()
    error = ValueError(CANARY)
    sys.excepthook(ValueError, error, None)
    [line] = lines(output)
    assert (line["event"], line["error"]) == ("process_failed", "ValueError")
    assert "CANARY" not in output.getvalue()


def test_libraries_are_heard_without_their_words(output: io.StringIO) -> None:
    """Libraries and warnings quote what they work on; that they spoke is all that is kept."""
    logging.getLogger("asyncio").error("Task exception was never retrieved: %s", CANARY)
    logging.getLogger("pamqp.frame").warning("unexpected frame %r", CANARY.encode())
    logging.getLogger(CANARY).warning("hello")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(CANARY, stacklevel=1)
    assert [(line["event"], line.get("library")) for line in lines(output)] == [
        ("library_warned", "asyncio"),
        ("library_warned", "pamqp"),
        ("library_warned", None),
        ("library_warned", "py.warnings"),
    ]
    assert "CANARY" not in output.getvalue()


def test_only_transports_give_reasons(output: io.StringIO) -> None:
    """A transport says on one line why a connection broke; a handler cannot write free text."""
    reason = "no broker\nanswers at localhost:5671 " + "x" * 500
    structlog.get_logger("bus.transport.amqp").warning("connection_lost", user="XA", reason=reason)
    structlog.get_logger("ncb_nodes.handlers").warning("connection_lost", user="XA", reason=reason)
    first, second = lines(output)
    assert first["reason"].startswith("no broker answers at localhost:5671 xxx")
    assert len(first["reason"]) <= 240
    assert ("reason" in second, second["fields_withheld"]) == (False, 1)


def test_level_keeps_lesser_events_out() -> None:
    """What is below the level asked for is not written."""
    stream = io.StringIO()
    configuration = structlog.get_config()
    handlers = list(logging.getLogger().handlers)
    log.configure(level="warning", stream=stream)
    structlog.get_logger("bus.host").info("process_started", party="XA")
    structlog.get_logger("bus.host").warning("mail_parked", party="XA")
    logging.getLogger().handlers[:] = handlers
    logging.captureWarnings(capture=False)
    structlog.configure(**configuration)
    assert [line["event"] for line in lines(stream)] == ["mail_parked"]


def test_log_goes_to_a_file_that_is_appended_to(output: io.StringIO, tmp_path: Path) -> None:
    """A process that starts again does not lose what it logged before it died."""
    file = tmp_path / "logs" / "XA.jsonl"
    for _ in range(2):
        log.configure(file=file)
        structlog.get_logger("bus.process").info("process_started", party="XA")
    assert [json.loads(line)["party"] for line in file.read_text().splitlines()] == ["XA", "XA"]
    assert output.getvalue() == ""


def test_log_file_that_cannot_be_opened_is_bad_input(tmp_path: Path) -> None:
    """One line names the file."""
    with pytest.raises(BadInput, match=rf"^log file {re.escape(str(tmp_path))}: Is a directory"):
        log.configure(file=tmp_path)


def test_every_event_and_field_in_the_code_is_listed() -> None:
    """Nothing that our processes log is withheld: each call's event and fields are in the lists."""
    call = re.compile(
        r"_(?:log|logger\(\))\.(?:debug|info|warning|error|exception|critical)\(\s*"
        r'"(?P<event>\w+)"(?P<rest>[^;]*?)\)\n',
    )
    field = re.compile(r"\b(\w+)=")
    events, fields = set(), set()
    for package in SHIPPED:
        for path in (Path(str(bus.__file__)).parents[1] / package).rglob("*.py"):
            for found in call.finditer(path.read_text()):
                events.add(found["event"])
                fields |= set(field.findall(found["rest"]))
    assert {"batch_failed", "mail_parked", "connection_lost", "process_started"} <= events
    assert events <= set(log.EVENTS)
    assert fields <= {*log.FIELDS, "reason", "exc_info"}


def test_events_are_named_noun_then_past_verb() -> None:
    """A name in the catalogue is two or more words, the last one a verb in the past."""
    past = re.compile(r"[a-z]+(?:_[a-z]+)*_(?:[a-z]+ed|lost|withheld|rebuilt)\Z")
    assert [event for event in log.EVENTS if not past.match(event)] == []
