"""A RabbitMQ of one run's own: TLS only, every port on 127.0.0.1, gone when the run is.

The processes belong to a guardian (`simulation.broker.guardian`), which outlives the runner by
just long enough to end them. Here the guardian is given its orders and its news is awaited.
"""

import asyncio
import json
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from bus.errors import BadInput, BrokerUnavailable
from bus.pki.keystore import TlsFiles
from simulation.broker.broker_files import BrokerFiles, new_broker_files, write_private
from simulation.broker.broker_log import StartLog
from simulation.broker.configuration import (
    HOST,
    LOOPBACK,
    configuration_text,
    control_command,
    environment,
    free_ports,
    helper_command,
    main_command,
)
from simulation.broker.definitions_check import differences
from simulation.broker.guardian_link import GuardianLink
from simulation.broker.readiness import shows_certificate
from simulation.broker.server_tree import ServerTree

start_seconds_max: Final = 60.0
shut_down_seconds_max: Final = 15.0
control_seconds_max: Final = 30.0
_poll_seconds: Final = 0.03
port_attempts_max: Final = 3


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
        self._start_log = StartLog(files.log, files.console)

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
        files = new_broker_files(folder, definitions)
        link = await GuardianLink.open(files.folder)
        broker = cls(files, vhost, _absolute(tls), tree, link)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(link.close)
            link.order(order="remove", folder=str(files.folder) if remove_folder else None)
            try:
                await broker._start_on_free_ports()
            except BrokerUnavailable:
                link.keep_folder()
                raise
            undo.pop_all()
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

    @property
    def administration(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """The command `rabbitmqctl` of this broker, and the whole environment it needs."""
        return (
            control_command(self._tree),
            environment(self._ports, self._files, self._tree),
        )

    async def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` against this broker and return what it printed.

        Raises `BrokerUnavailable` with its last line when it fails or takes too long.
        """
        command, variables = self.administration
        process = await asyncio.create_subprocess_exec(
            *command,
            *arguments,
            env=variables,
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

    async def definition_differences(self) -> list[str]:
        """Return what of the definitions the broker passed over at boot, one line each."""
        exported = await self.control("export_definitions", "-", "--silent")
        wanted = json.loads(self._files.definitions.read_text())
        return differences(wanted, json.loads(exported))

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
        for _ in range(port_attempts_max - 1):
            try:
                await self._start_once()
                return
            except _PortTakenError:
                self._ports = free_ports()
        await self._start_once()

    async def _start_once(self) -> None:
        files, ports = self._files, self._ports
        self._link.require_open()
        write_private(files.configuration, configuration_text(ports, files, self._tls))
        self._start_log = StartLog(files.log, files.console)
        self._link.expect_start()
        self._link.order(
            order="start",
            helper=helper_command(ports, self._tree),
            main=main_command(self._tree),
            environment=environment(ports, files, self._tree),
            console=str(files.console),
        )
        try:
            await asyncio.wait_for(self._until_ready(), start_seconds_max)
        except TimeoutError:
            raise await self._failure(f"was not ready after {start_seconds_max:.0f} s") from None

    async def _until_ready(self) -> None:
        while not self._start_log.is_up():
            if self._link.failure is not None:
                raise await self._failure(f"could not be started ({self._link.failure})")
            if self._link.helper_ended.is_set() or self._link.ended.is_set():
                raise await self._failure("ended while it was starting")
            await asyncio.sleep(_poll_seconds)
        # Started does not mean listening: another process may have taken the port.
        while not await asyncio.to_thread(shows_certificate, (LOOPBACK, self.port), self._tls):
            if self._start_log.port_was_taken() or self._link.ended.is_set():
                raise await self._failure("opened no TLS port")
            await asyncio.sleep(_poll_seconds)

    async def _failure(self, what: str) -> BrokerUnavailable:
        """End what is left of a failed start and return the error that tells of it."""
        taken = self._link.helper_ended.is_set() or self._start_log.port_was_taken()
        if not self._link.is_gone:
            self._link.expect_end()
            await self._link.kill()
        reason = "another process has one of its ports" if taken else self._start_log.reason()
        told = f": {reason}" if reason else ""
        kind = _PortTakenError if taken else BrokerUnavailable
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
