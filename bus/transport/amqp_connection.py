"""One connection to RabbitMQ by client certificate, and every way it can fail in one line."""

import asyncio
import logging
import ssl
from typing import Final

import aio_pika
from aiormq.connection import TransportFactory
from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    AuthenticationError,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from msgspec import Struct
from yarl import URL

from bus.errors import BadInput, BrokerUnavailable, KeyFileError
from bus.pki.keystore import TlsFiles

connect_seconds_max: Final = 5.0
confirm_seconds_max: Final = 20.0
request_seconds_max: Final = 10.0
close_seconds_max: Final = 5.0
heartbeat_seconds: Final = 10
watchdog_seconds: Final = 15.0
reconnect_seconds_first: Final = 0.1
reconnect_seconds_max: Final = 10.0
restoration_wait_seconds_max: Final = 5.0
publications_under_way_max: Final = 256
prefetch_messages_max: Final = 300
"""Per queue. More is no faster; and RabbitMQ 3.10 counts each message that a dying consumer held
as delivered once, read or not."""

_CERTIFICATE_ALERTS: Final = ("alert", "ALERT")
_NAME_MISMATCHES: Final = (62, 64)
"""OpenSSL's codes for a host name and an IP address that the certificate does not name."""

_REASON_CHARACTERS_MAX: Final = 200
_CUT_SECONDS_MAX: Final = 2.0
_ABOVE_EVERY_LEVEL: Final = logging.CRITICAL + 1
BROKEN: Final = (AMQPError, OSError, RuntimeError)
"""What the driver raises when a channel or connection is gone or does not answer in time; its own
state error is a `RuntimeError`, and `TimeoutError` an `OSError`."""


class AmqpSettings(Struct, frozen=True):
    """How long to wait and how much to have under way; the defaults are this module's constants."""

    connect_seconds_max: float = connect_seconds_max
    confirm_seconds_max: float = confirm_seconds_max
    request_seconds_max: float = request_seconds_max
    close_seconds_max: float = close_seconds_max
    heartbeat_seconds: int = heartbeat_seconds
    watchdog_seconds: float = watchdog_seconds
    reconnect_seconds_first: float = reconnect_seconds_first
    reconnect_seconds_max: float = reconnect_seconds_max
    restoration_wait_seconds_max: float = restoration_wait_seconds_max
    publications_under_way_max: int = publications_under_way_max
    prefetch_messages_max: int = prefetch_messages_max


class LoginRefused(BrokerUnavailable):
    """The broker is there and does not let this user or this certificate in."""


class _Wire(TransportFactory):
    """Opens the socket and remembers it, because the driver can close one only politely."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._writer: asyncio.StreamWriter | None = None

    async def create(
        self, url: URL, **_: object
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect with TLS; raise what the driver's own factory would."""
        try:
            reader, writer = await asyncio.open_connection(url.host, url.port, ssl=self._context)
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self._writer = writer
        return reader, writer

    def cut(self) -> None:
        """Drop the socket without a word."""
        if self._writer is not None:
            self._writer.transport.abort()


class BrokerConnection(aio_pika.Connection):
    """The driver's connection, which can also be cut when the other side answers no more."""

    def __init__(self, url: URL, context: ssl.SSLContext, name: str) -> None:
        super().__init__(url, client_properties={"connection_name": name})
        self._wire = _Wire(context)
        self.kwargs["transport_factory"] = self._wire

    def __del__(self) -> None:
        # The driver's own would start a task to close what we have closed or lost already.
        return

    def cut(self) -> None:
        """End the connection at once; whoever waits for it is told."""
        self._wire.cut()


async def connect(url: str, tls: TlsFiles, user: str, settings: AmqpSettings) -> BrokerConnection:
    """Open a connection as `user`, whom the certificate must name.

    Raises `BadInput` for a URL that is no ``amqps://`` one, `KeyFileError` for unusable files,
    `LoginRefused` where the broker turns us away and `BrokerUnavailable` for all else.
    """
    address = broker_address(url)
    context = tls_context(tls)
    silence_driver_logs()
    full_url = URL(url).update_query(auth="external", heartbeat=str(settings.heartbeat_seconds))
    connection = BrokerConnection(full_url, context, user)
    try:
        await connection.connect(timeout=settings.connect_seconds_max)
    except TimeoutError:
        connection.cut()
        raise BrokerUnavailable(
            f"no answer from the broker at {address} in {settings.connect_seconds_max:g} s"
        ) from None
    except (AMQPError, OSError) as error:
        raise _explained(error, address, user) from error
    return connection


def broker_address(url: str) -> str:
    """Return host and port of a broker's URL; raise `BadInput` unless it is an ``amqps://`` one."""
    try:
        parsed = URL(url)
    except ValueError:
        raise BadInput(f"not a broker URL: {url!r}") from None
    if parsed.scheme != "amqps" or not parsed.host:
        raise BadInput("a broker URL looks like amqps://HOST:PORT/i247; only TLS is spoken")
    return f"{parsed.host}:{parsed.port or 5671}"


def tls_context(tls: TlsFiles) -> ssl.SSLContext:
    """Return a context that shows our certificate and trusts the given root alone.

    Raises `KeyFileError` when a file cannot be read or the key does not fit.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(tls.root))
    except OSError as error:
        raise KeyFileError(f"{tls.root}: not a usable root certificate ({error})") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        raise KeyFileError(f"{tls.certificate}: certificate or key unusable ({error})") from error
    return context


def silence_driver_logs() -> None:
    """Keep the driver's own log records from every handler: they can quote messages.

    What an operator needs of them, our events say.
    """
    for name in ("aio_pika", "aiormq"):
        logging.getLogger(name).setLevel(_ABOVE_EVERY_LEVEL)


def one_line(error: BaseException | None) -> str:
    """Return what an exception of the driver says, short and on one line."""
    return " ".join(str(error).split())[:_REASON_CHARACTERS_MAX] or type(error).__name__


def pause_seconds(failures: int, settings: AmqpSettings, chance: float) -> float:
    """Return how long to wait after so many failed attempts, half of it left to `chance` in [0, 1).

    Without chance, all nodes would come back to a restarted broker at the same moments.
    """
    doubled = settings.reconnect_seconds_first * 2.0 ** min(failures - 1, 32)
    return min(doubled, settings.reconnect_seconds_max) * (1 + chance) / 2


async def close_quietly(connection: BrokerConnection, polite_seconds_max: float) -> None:
    """Close a connection that may be broken already: politely for a while, then by force.

    Whatever it holds, the broker takes back once it notices.
    """
    # A task, because the driver goes on closing, however long that takes, when it is cancelled.
    closing = asyncio.create_task(connection.close())
    _, unfinished = await asyncio.wait([closing], timeout=polite_seconds_max)
    if unfinished:
        connection.cut()
        await asyncio.wait([closing], timeout=_CUT_SECONDS_MAX)
    if closing.done() and not closing.cancelled():
        # Nobody is left to whom it would matter how the broken connection ended.
        closing.exception()


def _explained(error: AMQPError | OSError, address: str, user: str) -> BrokerUnavailable:
    """Return what a person can act on for whatever the driver raised while connecting."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    match cause:
        case ssl.SSLCertVerificationError(verify_code=code) if code in _NAME_MISMATCHES:
            return BrokerUnavailable(
                f"the broker at {address} shows a certificate for another host name"
            )
        case ssl.SSLCertVerificationError():
            return BrokerUnavailable(
                f"the broker at {address} shows a certificate that our root did not issue "
                f"({cause.verify_message})"
            )
        case ssl.SSLError() if any(word in str(cause) for word in _CERTIFICATE_ALERTS):
            return LoginRefused(
                f"the broker at {address} refused the certificate of {user} ({cause.reason})"
            )
        case ssl.SSLError():
            return BrokerUnavailable(f"no TLS with the broker at {address} ({cause.reason})")
        case ProbableAuthenticationError() | InvalidFrameError():
            return LoginRefused(
                f"the broker at {address} refused user {user}: unknown or forbidden"
            )
        case AuthenticationError():
            return BrokerUnavailable(f"the broker at {address} offers no login by certificate")
        case AMQPError() | ConnectionResetError() | BrokenPipeError():
            # With TLS 1.3 a broker's alert about our certificate can be lost in its hanging up.
            return BrokerUnavailable(
                f"the broker at {address} broke off the log-in of {user}: "
                "it does not trust the certificate, or is about to stop"
            )
        case _:
            return BrokerUnavailable(f"no broker answers at {address} ({cause.strerror or cause})")
