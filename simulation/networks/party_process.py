"""One party's process, as the runner that started it sees it.

It holds the pipe to the process's standard input. When that closes - because the runner ends it, or
is gone, however it went - the process ends by itself, as the broker's guardian does. Each process
has a session of its own, so that a Ctrl-C on the terminal reaches the runner alone.
"""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Final

import bus
from bus.control.client import ControlClient
from bus.control.wire import UnixAddress
from bus.errors import EnvironmentFailed
from bus.identifiers import SECRETARIAT
from bus.settings import child_environment

ready_seconds_max: Final = 60.0
end_seconds_max: Final = 10.0
_poll_seconds: Final = 0.02
_line_characters_max: Final = 500
_TAIL_BYTES: Final = 8_192


class PartyProcess:
    """A started process; `end` it, or let the runner die."""

    def __init__(self, party: str, module: str, settings: Path, console: Path) -> None:
        self.party = party
        self._console = console
        self._settings = settings
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, address: UnixAddress) -> None:
        """Start it; raise `EnvironmentFailed` when the system starts no process."""
        command = [sys.executable, "-P", "-m", self._module]
        command += ["--settings", str(self._settings), "--control", str(address)]
        command += ["--end-with-stdin"]
        code = Path(str(bus.__file__)).parents[1]
        try:
            with self._console.open("ab") as console:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=console,
                    bufsize=0,
                    cwd="/",
                    env=child_environment({"PYTHONPATH": str(code)}),
                    start_new_session=True,
                )
        except OSError as error:
            raise EnvironmentFailed(
                f"{self.party}: its process cannot be started: {error.strerror}"
            ) from error

    @property
    def pid(self) -> int:
        """The process id, 0 before it was started."""
        return self._process.pid if self._process is not None else 0

    @property
    def has_ended(self) -> bool:
        """Whether it was started and is no longer there."""
        return self._process is not None and self._process.poll() is not None

    def why_it_ended(self) -> str:
        """Return one line about a process that ended by itself."""
        status = self._process.returncode if self._process is not None else None
        how = f"was killed by signal {-status}" if status and status < 0 else f"ended ({status})"
        return self._last_line() or f"{self.party}: its process {how}"

    async def control(self, address: UnixAddress) -> ControlClient:
        """Connect once it listens; raise `EnvironmentFailed` when it ends first or takes long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ready_seconds_max
        while not self.has_ended:
            try:
                return await ControlClient.connect(address, self.party)
            except EnvironmentFailed:
                # Not there yet, or left behind by an earlier process of the same party.
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(_poll_seconds)
        raise EnvironmentFailed(self.why_it_ended())

    def ask_to_end(self) -> None:
        """Close its standard input, upon which it ends in order."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def end(self) -> None:
        """Have it end in order, or kill it after a while; return when it is gone."""
        self.ask_to_end()
        process = self._process
        if process is None:
            return
        try:
            await asyncio.to_thread(process.wait, end_seconds_max)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)

    def _last_line(self) -> str:
        """Return the last thing it said to a person, if anything."""
        try:
            text = self._console.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
        except OSError:
            return ""
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("{")]
        return f"{self.party}: {lines[-1][:_line_characters_max]}" if lines else ""


def party_module(party: str, *, has_profile: bool) -> str:
    """Return the module that runs a party's process."""
    if party == SECRETARIAT:
        return "secretariat"
    return "simulation.networks.hosted_node" if has_profile else "ncb_nodes"
