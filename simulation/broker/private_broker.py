"""A RabbitMQ of one run's own: TLS only, every port on 127.0.0.1, gone when the run is.

The processes belong to a guardian (`simulation.broker.guardian`), which outlives the runner by
just long enough to end them. Here the guardian is given its orders and its news is awaited.
"""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from bus.errors import BadInput, BrokerUnavailable
from bus.pki.keystore import TlsFiles
from simulation.broker.broker_log import started, why_it_failed
from simulation.broker.configuration import (
    HOST,
    BrokerFiles,
    configuration_text,
    control_command,
    environment,
    free_ports,
    helper_command,
    main_command,
)
from simulation.broker.guardian_link import GuardianLink
from simulation.broker.plugin_pruning import ENABLED_PLUGIN
from simulation.broker.server_tree import ServerTree

start_seconds_max: Final = 60.0
shut_down_seconds_max: Final = 15.0
control_seconds_max: Final = 30.0
folder_characters_max: Final = 200
_poll_seconds: Final = 0.03
_PORT_ATTEMPTS: Final = 3


class PrivateBroker:
    """One running RabbitMQ; make it with `start`, end it with `stop` or ``async with``.

    `died` is set when the server ends without `shut_down`, `restart` or `stop` having asked for
    it: by a crash, or by `kill`. A restart clears it.
    """

    def __init__(
        self, files: BrokerFiles, vhost: str, tls: TlsFiles, tree: ServerTree, link: GuardianLink
    ) -> None:
        self._files = files
        self._vhost = vhost
        self._tls = tls
        self._tree = tree
        self._link = link
        self._ports = free_ports()
        self._log_begin_bytes = 0

    @classmethod
    async def start(
        cls,
        folder: Path,
        definitions: Mapping[str, Any],
        tls: TlsFiles,
        tree: ServerTree,
        *,
        remove_folder: bool = True,
    ) -> Self:
        """Start a broker whose files lie in `folder` and return once it takes connections.

        With `remove_folder` the folder is removed by `stop` and also when this process dies;
        after a failed start it stays, for its log. `definitions` is a RabbitMQ definitions map;
        its first virtual host is the one in `url`. Raises `BadInput` for a folder that does not
        fit or `KeyFileError` for bad TLS files, and `BrokerUnavailable` with the log's path.
        """
        vhost = _first_vhost(definitions)
        tls.check()
        files = _new_files(folder, definitions)
        link = await GuardianLink.open(files.folder)
        broker = cls(files, vhost, _absolute(tls), tree, link)
        try:
            link.order(order="remove", folder=str(files.folder) if remove_folder else None)
            await broker._start_on_free_ports()
        except BaseException as error:
            if isinstance(error, BrokerUnavailable):
                link.order(order="remove", folder=None)
            await link.close()
            raise
        return broker

    @property
    def host(self) -> str:
        """The name to connect to, which is in the broker's certificate."""
        return HOST

    @property
    def port(self) -> int:
        """The TLS port; the same after a restart."""
        return self._ports.amqps

    @property
    def vhost(self) -> str:
        """The virtual host of the definitions."""
        return self._vhost

    @property
    def url(self) -> str:
        """The address without credentials: the client's certificate names the user."""
        return f"amqps://{self.host}:{self.port}/{quote(self._vhost, safe='')}"

    @property
    def data_folder(self) -> Path:
        """Where queues and message stores lie on disk, for the residual scan."""
        return self._files.data

    @property
    def log_path(self) -> Path:
        """The broker's log."""
        return self._files.log

    @property
    def pid(self) -> int | None:
        """The server's process id, or None while it is down."""
        return self._link.main_pid

    @property
    def died(self) -> asyncio.Event:
        """Set while the server is down without having been asked to shut down."""
        return self._link.died

    async def shut_down(self) -> None:
        """End the server in order (about a second) and keep its data, for a scan or a restart."""
        self._link.expect_end()
        self._link.order(order="signal", number=int(signal.SIGTERM))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._link.ended.wait(), shut_down_seconds_max)
        await self._link.kill()

    async def kill(self) -> None:
        """End the server at once, as a crash would (SIGKILL); its data stays as it is on disk."""
        await self._link.kill()

    async def restart(self) -> None:
        """Start again on the same ports and data; shut down in order first if it is running.

        Raises `BrokerUnavailable` as `start` does.
        """
        if self.pid is not None:
            await self.shut_down()
        await self._start_once()

    async def stop(self) -> None:
        """End everything, and remove the folder if that was asked for. May be called twice."""
        self._link.expect_end()
        await self._link.close()

    async def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` against this broker and return what it printed.

        Raises `BrokerUnavailable` with its last line when it fails or takes too long.
        """
        process = await asyncio.create_subprocess_exec(
            *control_command(self._tree),
            *arguments,
            env=environment(self._ports, self._files, self._tree),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), control_seconds_max)
        except TimeoutError:
            raise BrokerUnavailable(f"rabbitmqctl {arguments[0]} took too long") from None
        finally:
            if process.returncode is None:
                process.kill()
        text = output.decode(errors="replace")
        if process.returncode != 0:
            line = (text.split("\n\n")[0].strip().splitlines() or ["no reason given"])[-1]
            raise BrokerUnavailable(f"rabbitmqctl {arguments[0]} failed: {line}")
        return text

    async def __aenter__(self) -> Self:
        """Return the running broker."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop, whatever happened."""
        await self.stop()

    async def _start_on_free_ports(self) -> None:
        """Start, and choose other ports if another process was quicker to take one."""
        for _ in range(_PORT_ATTEMPTS - 1):
            try:
                await self._start_once()
                return
            except _PortTakenError:
                self._ports = free_ports()
        await self._start_once()

    async def _start_once(self) -> None:
        files, ports = self._files, self._ports
        _write_private(files.configuration, configuration_text(ports, files, self._tls))
        self._log_begin_bytes = _size(files.log)
        self._link.order(
            order="start",
            helper=helper_command(ports, self._tree),
            main=main_command(self._tree),
            environment=environment(ports, files, self._tree),
            console=str(files.console),
        )
        self._link.expect_start()
        try:
            await asyncio.wait_for(self._until_ready(), start_seconds_max)
        except TimeoutError:
            await self._link.kill()
            raise self._failure(f"was not ready after {start_seconds_max:.0f} s") from None

    async def _until_ready(self) -> None:
        while not (started(self._files.log, self._log_begin_bytes) and self._accepts()):
            if self._link.failure is not None:
                raise self._failure(f"could not be started ({self._link.failure})")
            if self._link.helper_ended.is_set() or self._link.ended.is_set():
                await self._link.kill()
                raise self._failure("ended while it was starting")
            await asyncio.sleep(_poll_seconds)

    def _accepts(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0):
                return True
        except OSError:
            return False

    def _failure(self, what: str) -> BrokerUnavailable:
        reason = why_it_failed(self._files.log, self._files.console, self._log_begin_bytes)
        kind = _PortTakenError if self._link.helper_ended.is_set() else BrokerUnavailable
        if reason is not None and "eaddrinuse" in reason:
            kind = _PortTakenError
        told = f": {reason}" if reason else ""
        return kind(f"the private RabbitMQ {what}{told}; its log: {self._files.log}")


class _PortTakenError(BrokerUnavailable):
    """Another process took a port between the choice and the start."""


def _first_vhost(definitions: Mapping[str, Any]) -> str:
    try:
        name = definitions["vhosts"][0]["name"]
    except (KeyError, IndexError, TypeError):
        raise BadInput("the broker's definitions name no virtual host") from None
    return str(name)


def _absolute(tls: TlsFiles) -> TlsFiles:
    return TlsFiles(tls.root.resolve(), tls.certificate.resolve(), tls.key.resolve())


def _new_files(folder: Path, definitions: Mapping[str, Any]) -> BrokerFiles:
    try:
        files = BrokerFiles(folder.resolve())
        # Erlang's paths grow by another 120 characters below this folder.
        if len(str(files.folder)) > folder_characters_max or not str(files.folder).isprintable():
            raise BadInput(f"{folder}: too long or odd a path for a broker's folder")
        files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(files.folder.iterdir()):
            raise BadInput(f"{folder}: not empty; a private broker wants a folder of its own")
        _write_private(files.plugins, f"[{ENABLED_PLUGIN}].\n")
        _write_private(files.definitions, json.dumps(definitions))
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written: {error.strerror}") from error
    return files


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
