"""The runner's end of the pipe to its guardian: orders go out, news comes in.

The guardian lives in a session of its own, so a Ctrl-C on the terminal does not reach it, and it
notices the end of this process by the closing of the pipe. Plain pipes are used instead of
asyncio's subprocesses, because those kill their child when a loop is closed in a hurry.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

from bus.errors import BrokerUnavailable
from simulation.broker import guardian

end_seconds_max: Final = 30.0
kill_seconds_max: Final = 15.0


class GuardianLink:
    """Knows what the guardian last told of its main process and helper."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.main_pid: int | None = None
        self.failure: str | None = None
        """Why nothing could be started, or that the guardian itself is gone."""
        self.ended = asyncio.Event()
        """Set while no main process runs."""
        self.helper_ended = asyncio.Event()
        self.died = asyncio.Event()
        """Set when the main process ended without `expect_end`; cleared by `expect_start`."""
        self._process = process
        self._helper_pid: int | None = None
        self._end_expected = False
        self._closing = False
        self._killed = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, folder: Path) -> Self:
        """Start a guardian; `folder` only labels it in a process list.

        Raises `BrokerUnavailable` when the system starts no process.
        """
        command = [sys.executable, "-I", "-S", guardian.__file__, str(folder)]
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 - see this module's docstring
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise BrokerUnavailable(f"no guardian could be started: {error.strerror}") from error
        link = cls(process)
        link._listener = asyncio.create_task(link._listen())
        return link

    def order(self, **order: object) -> None:
        """Send one order; raise `BrokerUnavailable` when the guardian is gone."""
        pipe = self._process.stdin
        if pipe is None or pipe.closed:
            raise BrokerUnavailable("the private RabbitMQ was stopped already")
        try:
            pipe.write(json.dumps(order).encode() + b"\n")
        except BrokenPipeError:
            raise BrokerUnavailable("the guardian of the private RabbitMQ was killed") from None

    def expect_start(self) -> None:
        """Forget the processes of before: news of them no longer counts."""
        self.main_pid = self._helper_pid = self.failure = None
        self._end_expected = False
        for event in (self.ended, self.helper_ended, self.died):
            event.clear()

    def expect_end(self) -> None:
        """From now on the end of the main process is no death."""
        self._end_expected = True

    async def kill(self) -> None:
        """Kill main process, helper and everything below them; return when all are gone."""
        self._killed.clear()
        self.order(order="kill")
        try:
            await asyncio.wait_for(self._killed.wait(), kill_seconds_max)
        except TimeoutError:
            raise BrokerUnavailable("the private RabbitMQ could not be killed") from None

    async def close(self) -> None:
        """Close the pipe, upon which the guardian ends everything, and wait for its end."""
        self._closing = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(asyncio.to_thread(self._process.wait), end_seconds_max)
        except TimeoutError:
            self._process.kill()
        if self._listener is not None:
            await self._listener

    async def _listen(self) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout
        )
        try:
            while line := await reader.readline():
                self._take_note(json.loads(line))
        finally:
            transport.close()
        self._note_guardian_is_gone()

    def _take_note(self, news: dict[str, object]) -> None:
        match news:
            case {"news": "started", "pid": int(pid), "helper_pid": int(helper_pid)}:
                self.main_pid, self._helper_pid = pid, helper_pid
            case {"news": "ended", "pid": int(pid)} if pid == self.main_pid:
                self._note_end()
            case {"news": "helper_ended", "pid": int(pid)} if pid == self._helper_pid:
                self.helper_ended.set()
            case {"news": "failed", "reason": str(reason)}:
                self.failure = reason
            case {"news": "killed"}:
                self._killed.set()

    def _note_end(self) -> None:
        self.main_pid = None
        self.ended.set()
        if not self._end_expected:
            self.died.set()

    def _note_guardian_is_gone(self) -> None:
        if not self._closing:
            self.failure = "its guardian was killed"
        self._note_end()
        self._killed.set()
