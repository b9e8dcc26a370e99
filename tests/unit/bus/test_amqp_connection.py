"""The parts of the AMQP adapter that need no broker."""

import logging

import pytest
from aiormq.exceptions import (
    AMQPConnectionError,
    ChannelAccessRefused,
    ChannelClosed,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from bus.errors import BadInput
from bus.ports import Publication, PublishOutcome
from bus.transport.amqp_connection import (
    AmqpSettings,
    broker_address,
    one_line,
    pause_seconds,
    silence_driver_logs,
)
from bus.transport.amqp_publisher import judged

MAIL = Publication("i247.data", "XA.diffusion.XB", "m-1", b"")
TOPIC_3_10 = "ACCESS_REFUSED - access to topic '{}' in exchange '{}' in vhost 'i247' refused"
TOPIC_4 = (
    "ACCESS_REFUSED - write access to topic '{}' in exchange exchange '{}' in vhost 'i247' refused"
)
EXCHANGE_4 = "ACCESS_REFUSED - write access to exchange '{}' in vhost 'i247' refused for user 'XA'"

JUDGEMENTS: list[tuple[str, BaseException, PublishOutcome]] = [
    (
        "its key, 3.10",
        ChannelAccessRefused(TOPIC_3_10.format("XA.diffusion.XB", "i247.data")),
        PublishOutcome.DENIED,
    ),
    (
        "its key, 4.x",
        ChannelAccessRefused(TOPIC_4.format("XA.diffusion.XB", "i247.data")),
        PublishOutcome.DENIED,
    ),
    (
        "another key",
        ChannelAccessRefused(TOPIC_3_10.format("XB.diffusion.XA", "i247.data")),
        PublishOutcome.UNCONFIRMED,
    ),
    (
        "its key on the other exchange",
        ChannelAccessRefused(TOPIC_3_10.format("XA.diffusion.XB", "i247.statements")),
        PublishOutcome.UNCONFIRMED,
    ),
    (
        "its exchange, 4.x",
        ChannelAccessRefused(EXCHANGE_4.format("i247.data")),
        PublishOutcome.DENIED,
    ),
    (
        "another exchange",
        ChannelAccessRefused(EXCHANGE_4.format("i247.dead")),
        PublishOutcome.UNCONFIRMED,
    ),
    (
        "its exchange does not exist",
        ChannelNotFoundEntity("NOT_FOUND - no exchange 'i247.data' in vhost 'i247'"),
        PublishOutcome.UNROUTABLE,
    ),
    (
        "not our user",
        ChannelPreconditionFailed("PRECONDITION_FAILED - user_id property set to 'XA' but"),
        PublishOutcome.DENIED,
    ),
    (
        "another precondition",
        ChannelPreconditionFailed("PRECONDITION_FAILED - unknown delivery tag 7"),
        PublishOutcome.UNCONFIRMED,
    ),
    ("a close without words", ChannelClosed(None, None), PublishOutcome.UNCONFIRMED),
    ("connection lost", AMQPConnectionError(), PublishOutcome.UNCONFIRMED),
]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [case[1:] for case in JUDGEMENTS],
    ids=[case[0] for case in JUDGEMENTS],
)
def test_closed_channel_means_for_one_publication(
    error: BaseException, outcome: PublishOutcome
) -> None:
    """Only what the broker would refuse again is denied; the rest may be tried again."""
    assert judged(error, MAIL) is outcome


def test_pauses_grow_to_a_limit_and_leave_half_to_chance() -> None:
    """Attempts come ever more slowly, never further apart than the limit, and not in step."""
    settings = AmqpSettings(reconnect_seconds_first=0.5, reconnect_seconds_max=10.0)
    longest = [pause_seconds(failures, settings, 1.0) for failures in range(1, 8)]
    assert longest == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert pause_seconds(1, settings, 0.0) == 0.25
    assert pause_seconds(10_000, settings, 0.0) == 5.0


def test_address_of_a_url_has_the_usual_port() -> None:
    """A URL without a port means the port of AMQP over TLS."""
    assert broker_address("amqps://broker.example/i247") == "broker.example:5671"


@pytest.mark.parametrize(
    "url", ["amqp://h/i247", "http://h", "h:5671", "amqps://", "amqps://[", ""]
)
def test_text_that_is_no_broker_url_is_bad_input(url: str) -> None:
    """A person's slip is told in one line."""
    with pytest.raises(BadInput, match="broker URL"):
        broker_address(url)


def test_reason_is_one_short_line() -> None:
    """What the driver says is cut to a line, and an empty error still has a name."""
    assert one_line(OSError("a\n b")) == "a b"
    assert len(one_line(OSError("x" * 1_000))) == 200
    assert one_line(AMQPConnectionError()) == "AMQPConnectionError"


def test_driver_logs_nothing_that_could_quote_a_message(caplog: pytest.LogCaptureFixture) -> None:
    """The driver's records, which can hold whole messages, reach no handler."""
    silence_driver_logs()
    for name in ("aiormq.channel", "aio_pika.queue"):
        logging.getLogger(name).critical("message body")
    assert caplog.records == []
