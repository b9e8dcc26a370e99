"""Running one party as a process of its own: the edge that both kinds of party share.

It loads settings and keys, opens the store on a thread of its own, logs in to the broker, and ends
in order when it is asked to. A process that was killed starts again from its store: the authority's
opening statements are taken up only where there is none yet, and whatever was under way is
delivered or sent once more.
"""

import argparse
import asyncio
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, NoReturn, ParamSpec, TypeVar

import structlog
from msgspec import Struct

from bus import log
from bus.control.served_party import PartyWork, ServedParty
from bus.control.server import ControlServer
from bus.control.wire import ControlAddress, control_address
from bus.errors import BadInput, EnvironmentFailed, I247Error
from bus.identifiers import Role, is_party_code, role_of
from bus.instants import Instant, instant_from_text
from bus.participant import Duties
from bus.party_files import open_participant, server_access, tls_files
from bus.settings import ProcessSettings, load_settings
from bus.transport.amqp import AmqpTransport

stop_seconds_max: Final = 5.0
"""For mail to leave after the process was asked to end."""
child_stop_seconds_max: Final = 1.0
"""The same for a child of a runner, which asks when nothing is under way or all is lost."""
orphan_seconds_max: Final = 10.0
"""After these a process whose parent is gone ends, however busy it is."""
_CHUNK_BYTES: Final = 4_096
_NANOSECONDS_PER_MILLISECOND: Final = 1_000_000
_INTERRUPTED: Final = 130

_log: Final = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
Settings = TypeVar("Settings", bound=ProcessSettings)


class Program(Struct, Generic[Settings], frozen=True):
    """One kind of process: its name, role, settings, and what it does with messages and orders."""

    name: str
    role: Role
    settings: type[Settings]
    compose: Callable[[Settings], tuple[Duties, PartyWork]]


class _Options(Struct, frozen=True):
    settings: Path
    control: ControlAddress | None
    ends_with_stdin: bool


class StoreThread:
    """Runs a party's synchronous work, in order, on the one thread that owns its store."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="store")

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the work returns; meanwhile the event loop serves heartbeats."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(work, *args, **kwargs))

    def close(self) -> None:
        """End the thread once its work is done."""
        self._executor.shutdown()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInput(message)


def run(program: Program[Settings], arguments: Sequence[str] | None = None) -> int:
    """Run a party until it is asked to end; return the exit code.

    What goes wrong from outside is told in one line on standard error.
    """
    try:
        options = _options(program.name, arguments)
        settings = load_settings(options.settings, program.settings)
        if not is_party_code(settings.party) or role_of(settings.party) is not program.role:
            raise BadInput(
                f"{options.settings}: party: {settings.party!r} is no {program.role.value}"
            )
        log.configure(level=settings.log.level, file=settings.log.file)
        log.log_uncaught_errors()
        return asyncio.run(_run(program, settings, options))
    except I247Error as error:
        sys.stderr.write(f"{program.name}: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED


def _options(name: str, arguments: Sequence[str] | None) -> _Options:
    parser = _Parser(prog=name)
    parser.add_argument("--settings", type=Path, required=True, help="TOML file")
    parser.add_argument(
        "--control", help="be driven through unix:PATH or tls://HOST:PORT instead of the clock"
    )
    parser.add_argument(
        "--end-with-stdin", action="store_true", help="end when standard input is closed"
    )
    parsed = parser.parse_args(arguments)
    address = control_address(parsed.control) if parsed.control is not None else None
    return _Options(parsed.settings, address, parsed.end_with_stdin)


async def _run(program: Program[Settings], settings: Settings, options: _Options) -> int:
    duties, work = program.compose(settings)
    tls = tls_files(settings, _wall_now())
    worker = StoreThread()

    async def connect(url: str) -> AmqpTransport:
        address = url or settings.broker.url
        if not address:
            raise BadInput(f"{options.settings}: broker.url: is missing")
        return await AmqpTransport.open(address, tls, settings.party)

    driven = options.control is not None
    now = _begins(settings, options.settings) if driven else _wall_now()
    participant = await worker(
        open_participant, settings, duties, now, time.time_ns, secrets.token_hex()
    )
    party = ServedParty(participant, work, worker, connect, now)
    _log.info("process_started", party=party.party)
    try:
        return await _serve(party, settings, options)
    finally:
        seconds_max = child_stop_seconds_max if options.ends_with_stdin else stop_seconds_max
        await party.stop(seconds_max)
        worker.close()
        _log.info("process_ended", party=party.party)


async def _serve(party: ServedParty, settings: ProcessSettings, options: _Options) -> int:
    """Work until asked to end; raise what makes it impossible to go on."""
    signals = _ends_on_signals(party)
    if options.ends_with_stdin:
        _end_with_stdin(party, asyncio.get_running_loop())
    if options.control is None:
        await party.join()
        await party.subscribe()
        party.keep_time(_wall_now)
        await _first_of(party.stop_asked, party.failed)
        return signals.exit_code
    server = await ControlServer.open(options.control, party, server_access(settings))
    try:
        if settings.broker.url:
            await party.join()
        await _first_of(party.stop_asked, party.failed, server.failed)
    finally:
        await server.close()
    return signals.exit_code


async def _first_of(event: asyncio.Event, *failures: asyncio.Future[None]) -> None:
    asked = asyncio.ensure_future(event.wait())
    waiting: list[asyncio.Future[Any]] = [asked, *failures]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
    for failure in failures:
        if failure.done():
            failure.result()


class _Signals(Struct):
    """Which exit code the signals that came so far make."""

    exit_code: int = 0
    came: int = 0


def _ends_on_signals(party: ServedParty) -> _Signals:
    """End in order on the first SIGTERM or SIGINT, and at once on the second."""
    signals = _Signals()

    def end(number: signal.Signals) -> None:
        signals.came += 1
        if signals.came > 1:
            os._exit(128 + number)
        signals.exit_code = _INTERRUPTED if number is signal.SIGINT else 0
        party.ask_to_stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    return signals


def _end_with_stdin(party: ServedParty, loop: asyncio.AbstractEventLoop) -> None:
    """End when the parent closes our standard input, or is gone, which closes it too.

    As with the broker's guardian, a pipe tells of a parent's death however it died.
    """

    def watch() -> None:
        while os.read(0, _CHUNK_BYTES):
            pass
        if not loop.is_closed():
            loop.call_soon_threadsafe(party.ask_to_stop)
        time.sleep(orphan_seconds_max)
        os._exit(EnvironmentFailed.exit_code)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _wall_now() -> Instant:
    return time.time_ns() // _NANOSECONDS_PER_MILLISECOND


def _begins(settings: ProcessSettings, path: Path) -> Instant:
    try:
        return instant_from_text(settings.begins)
    except ValueError:
        raise BadInput(
            f"{path}: begins: {settings.begins!r} is no instant such as 2024-03-01T09:00:00.000Z"
        ) from None
