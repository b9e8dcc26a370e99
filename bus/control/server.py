"""A party's end of its control port: it listens, and answers each caller in order."""

import asyncio
import hmac
import os
import ssl
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, Self

from msgspec import Struct

from bus.control import wire
from bus.control.wire import ControlAddress, TlsAddress, UnixAddress
from bus.errors import BadInput, I247Error
from bus.host import Activity, Injection
from bus.identifiers import QueueKind
from bus.instants import Instant
from bus.storage.history import HistoryRow

greet_seconds_max: Final = 10.0
connections_max: Final = 8
_SOCKET_MODE: Final = 0o600
_OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class Controlled(Protocol):
    """A party as its control port serves it; every verb may raise one of `bus.errors`."""

    party: str

    async def join(self, broker_url: str) -> None:
        """Log in to the broker; an empty address stands for the one in the settings."""

    async def tick(self, now: Instant) -> None:
        """Let it be `now`, do what is due, and hold what would travel."""

    async def issue(self, order: bytes) -> bytes:
        """Carry out a packed order and return its packed result."""

    async def inject(self, injection: Injection) -> tuple[str, ...]:
        """Publish octets as they are; return each recipient's publish outcome."""

    async def subscribe(self, kinds: tuple[QueueKind, ...]) -> None:
        """Receive from these of the party's own queues."""

    async def go_away(self) -> None:
        """Stop receiving."""

    async def activity(self) -> Activity:
        """Return the counters."""

    async def catch_up(self, settled: dict[str, int], wait_seconds: float) -> Activity:
        """Let things travel until so much is settled by queue, or time is up."""

    async def hold(self) -> Activity:
        """Finish what is in hand and let nothing travel any more."""

    async def history(self, after: int) -> Sequence[HistoryRow]:
        """Return a page of events."""

    def ask_to_stop(self) -> None:
        """Have the process end in order, soon."""


class ServerAccess(Struct, frozen=True):
    """What a TLS control port needs: who it is, and the token that callers must know."""

    certificate: Path
    key: Path
    token: str


class ControlServer:
    """Serves one party's control port; made by `open`."""

    def __init__(self, controlled: Controlled, token: str) -> None:
        self._controlled = controlled
        self._token = token
        self._callers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._socket: Path | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends with whatever a verb raised that is none of our own errors: a defect."""

    @classmethod
    async def open(
        cls, address: ControlAddress, controlled: Controlled, access: ServerAccess | None = None
    ) -> Self:
        """Begin to listen.

        Raises `BadInput` for a folder that is open to others, a token that is too short or
        missing, an address in use, or files that do not fit.
        """
        server = cls(controlled, access.token if access else "")
        try:
            if isinstance(address, UnixAddress):
                await server._listen_on_socket(Path(address.path))
            else:
                await server._listen_on_port(address, access)
        except OSError as error:
            raise BadInput(f"control port {address}: {error.strerror or error}") from error
        return server

    async def _listen_on_socket(self, path: Path) -> None:
        _check_folder(path.parent)
        if await _answers(path):
            raise BadInput(f"control port unix:{path}: another process serves it")
        # It gets its name last, so that whoever sees it finds it listening and private.
        unnamed = path.with_name(f"{path.name}.new")
        self._server = await asyncio.start_unix_server(self._accept, unnamed)
        _name_socket(unnamed, path)
        self._socket = path

    async def _listen_on_port(self, address: TlsAddress, access: ServerAccess | None) -> None:
        if access is None or len(access.token) < wire.token_characters_min:
            raise BadInput(
                f"control port {address}: TLS needs certificate, key and a token of at least "
                f"{wire.token_characters_min} characters"
            )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(access.certificate, access.key)
        self._server = await asyncio.start_server(
            self._accept, address.host, address.port, ssl=context
        )

    @property
    def port(self) -> int:
        """The TCP port, once it listens on one."""
        sockets = self._server.sockets if self._server else ()
        return int(sockets[0].getsockname()[1]) if sockets else 0

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for caller in list(self._callers):
            caller.cancel()
        if self._callers:
            await asyncio.wait(self._callers)
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._callers) >= connections_max:
            writer.close()
            return
        caller = asyncio.create_task(self._serve(reader, writer))
        self._callers.add(caller)
        caller.add_done_callback(self._forget)

    def _forget(self, caller: asyncio.Task[None]) -> None:
        self._callers.discard(caller)
        error = None if caller.cancelled() else caller.exception()
        if error is not None and not self.failed.done():
            self.failed.set_exception(error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one caller's requests in order until it goes."""
        try:
            async with asyncio.timeout(greet_seconds_max):
                content = await wire.read_content(reader, wire.greeting_bytes_max)
            writer.write(wire.frame(self._greeted(wire.request_in(content))))
            while True:
                request = wire.request_in(await wire.read_content(reader, wire.frame_bytes_max))
                writer.write(await self._answer(request))
                await writer.drain()
        except BadInput as error:
            # What follows a frame that cannot be read cannot be told from rubbish: say so and end.
            writer.write(wire.frame(wire.failure_of(error)))
        except (asyncio.IncompleteReadError, OSError):
            return  # The caller has gone; a time-out is among these.
        finally:
            writer.close()

    def _greeted(self, request: wire.AnyRequest) -> wire.Greeted:
        if not isinstance(request, wire.Greet):
            raise BadInput("control port: greet first")
        if request.format_version != wire.FORMAT_VERSION:
            raise BadInput(
                f"control port: format version {request.format_version} asked, "
                f"{wire.FORMAT_VERSION} is spoken here"
            )
        if not hmac.compare_digest(request.token.encode(), self._token.encode()):
            raise BadInput("control port: the token is not the one of this party")
        return wire.Greeted(self._controlled.party)

    async def _answer(self, request: wire.AnyRequest) -> bytes:
        try:
            return wire.frame(await self._carry_out(request))
        except I247Error as error:
            return wire.frame(wire.failure_of(error))

    async def _carry_out(self, request: wire.AnyRequest) -> wire.AnyAnswer:  # noqa: C901
        """Do what was asked. One case a verb."""
        controlled = self._controlled
        match request:
            case wire.Tick(now):
                await controlled.tick(now)
            case wire.CatchUp(settled, wait_seconds):
                return wire.Counted(await controlled.catch_up(settled, wait_seconds))
            case wire.Hold():
                return wire.Counted(await controlled.hold())
            case wire.ReadActivity():
                return wire.Counted(await controlled.activity())
            case wire.Issue(order):
                return wire.OrderResult(await controlled.issue(order))
            case wire.Inject(injection):
                return wire.Outcomes(await controlled.inject(injection))
            case wire.ReadHistory(after):
                return wire.Events(tuple(await controlled.history(after)))
            case wire.Subscribe(kinds):
                await controlled.subscribe(kinds)
            case wire.GoAway():
                await controlled.go_away()
            case wire.Join(broker_url):
                await controlled.join(broker_url)
            case wire.Stop():
                controlled.ask_to_stop()
            case wire.Greet():
                raise BadInput("control port: greeted already")
        return wire.Done()


async def _answers(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    return True


def _name_socket(unnamed: Path, path: Path) -> None:
    unnamed.chmod(_SOCKET_MODE)
    unnamed.replace(path)


def _check_folder(folder: Path) -> None:
    """Make the socket's folder, private to its owner; raise `BadInput` for one that is not."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix" and folder.stat().st_mode & _OPEN_TO_OTHERS:
        raise BadInput(
            f"control port: other users have access to {folder}; run 'chmod 700 {folder}'"
        )
