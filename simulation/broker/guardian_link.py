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
from typing import IO, Final, Self

from bus.errors import BrokerUnavailable
from simulation.broker import guardian

end_seconds_max: Final = 30.0
kill_seconds_max: Final = 15.0


class GuardianLink:
    """Knows what the guardian last told of its main process and helper."""

    def __init__(self, process: "subprocess.Popen[bytes]", pipe: IO[bytes]) -> None:
        self.main_pid: int | None = None
        self.failure: str | None = None
        """Why nothing could be started, or that the guardian itself is gone."""
        self.ended = asyncio.Event()
        """Set while no main process runs."""
        self.helper_ended = asyncio.Event()
        self.died = asyncio.Event()
        """Set when the main process ended without `expect_end`; cleared by `expect_start`."""
        self._process = process
        self._pipe = pipe
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
            process = subprocess.Popen(  # noqa: ASYNC220  (see the module's docstring)
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise BrokerUnavailable(f"no guardian could be started: {error.strerror}") from error
        assert process.stdin is not None  # noqa: S101  (it is a pipe)
        link = cls(process, process.stdin)
        link._listener = asyncio.create_task(link._listen())
        return link

    @property
    def is_gone(self) -> bool:
        """Tell whether the guardian has ended, by our order or not."""
        return self._listener is not None and self._listener.done()

    def require_open(self) -> None:
        """Raise `BrokerUnavailable` when no order can be given any more."""
        if self._closing:
            raise BrokerUnavailable("the private RabbitMQ was stopped already")
        if self.is_gone:
            raise BrokerUnavailable("the guardian of the private RabbitMQ was killed")

    def order(self, **order: object) -> None:
        """Send one order; raise `BrokerUnavailable` when the guardian is gone."""
        self.require_open()
        try:
            self._pipe.write(json.dumps(order).encode() + b"\n")
        except BrokenPipeError:
            raise BrokerUnavailable("the guardian of the private RabbitMQ was killed") from None

    def keep_folder(self) -> None:
        """Have the guardian, if it is still there, remove nothing when it ends."""
        if not self.is_gone:
            self.order(order="remove", folder=None)

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
        self._pipe.close()
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
