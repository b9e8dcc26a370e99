"""A small process that owns the broker's processes, so that none of them outlives the runner.

The runner starts it in a session of its own and holds a pipe to its standard input. The guardian
starts what it is told to, and when the pipe closes - the runner stopped it, was interrupted, was
killed or crashed - it kills everything it started and everything those started, removes the
folder if asked, and ends. Should the guardian itself be killed, the kernel kills its children.

It uses the standard library alone and is started by its file's name (or with
``python -m simulation.broker.guardian``), so that it is up within some 20 ms wherever the runner
was started. Orders come as JSON lines on standard input:

    {"order": "start", "helper": [...], "main": [...], "environment": {...}, "console": "..."}
    {"order": "signal", "number": 15}            to the main process alone
    {"order": "kill"}                            main process, helper and all they started
    {"order": "remove", "folder": "..." | null}  what to remove at the end

and news goes out as JSON lines: ``started`` (`pid`, `helper_pid`), ``ended`` and ``helper_ended``
(`pid`, `status`), ``killed`` and ``failed`` (`reason`).
"""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

poll_seconds: Final = 1.0
end_seconds_max: Final = 10.0
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_CHUNK_BYTES: Final = 65_536


class Guardian:
    """Starts, signals and ends one main process and its helper, on orders from a pipe."""

    def __init__(self) -> None:
        self._parent_pid = os.getppid()
        self._main: subprocess.Popen[bytes] | None = None
        self._helper: subprocess.Popen[bytes] | None = None
        self._folder: str | None = None
        self._buffer = b""
        self._end_asked = False

    def run(self) -> None:
        """Serve orders until the pipe closes, the parent is gone or SIGTERM comes; then end all."""
        become_reaper()
        wake_fd = self._wake_on_signals()
        try:
            while not self._end_asked and os.getppid() == self._parent_pid:
                ready, _, _ = select.select([0, wake_fd], [], [], poll_seconds)
                if wake_fd in ready:
                    os.read(wake_fd, _CHUNK_BYTES)
                    self._reap()
                if 0 in ready and not self._serve_orders():
                    break
        finally:
            self._kill_all()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _wake_on_signals(self) -> int:
        read_fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        # A handler that does nothing, unlike SIG_IGN, is not inherited by what is started here.
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_end_asked", True))
        return read_fd

    def _serve_orders(self) -> bool:
        """Carry out the orders that have arrived; return False once the pipe is closed."""
        chunk = os.read(0, _CHUNK_BYTES)
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        for line in lines:
            order: dict[str, Any] = json.loads(line)
            match order["order"]:
                case "start":
                    self._start(order)
                case "signal":
                    if self._main is not None:
                        self._main.send_signal(order["number"])
                case "kill":
                    self._kill_all()
                    tell(news="killed")
                case "remove":
                    self._folder = order["folder"]
        return bool(chunk)

    def _start(self, order: dict[str, Any]) -> None:
        self._kill_all()
        environment, console = order["environment"], order["console"]
        try:
            self._helper = launch(order["helper"], environment, console)
            self._main = launch(order["main"], environment, console)
        except (OSError, subprocess.SubprocessError) as error:
            tell(news="failed", reason=str(error))
        else:
            tell(news="started", pid=self._main.pid, helper_pid=self._helper.pid)

    def _reap(self) -> None:
        if self._helper is not None and self._helper.poll() is not None:
            tell(news="helper_ended", pid=self._helper.pid, status=self._helper.returncode)
            self._helper = None
        if self._main is not None and self._main.poll() is not None:
            tell(news="ended", pid=self._main.pid, status=self._main.returncode)
            self._main = None
        known = {process.pid for process in (self._main, self._helper) if process is not None}
        for pid in descendants(os.getpid()):
            if pid not in known:
                reap(pid)

    def _kill_all(self) -> None:
        """Kill main, helper and every process that descends from them, and reap them."""
        deadline = time.monotonic() + end_seconds_max
        for process in (self._main, self._helper):
            if process is not None and process.poll() is None:
                kill_group(process.pid)
        for process in (self._main, self._helper):
            if process is not None:
                process.wait()
        # Orphans of the killed come to us, being their reaper, so nothing of them is left once we
        # have no child. (One look at /proc is no proof: parents change while it is read.)
        while reap_any() and time.monotonic() < deadline:
            for pid in descendants(os.getpid()):
                kill_one(pid)
            time.sleep(0.002)
        self._reap()


def launch(
    command: list[str], environment: dict[str, str], console: str
) -> "subprocess.Popen[bytes]":
    """Start a command in a session of its own, writing to a console file."""
    with Path(console).open("ab") as output:
        return subprocess.Popen(
            command,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (the guardian has one thread)
        )


def become_reaper() -> None:
    """Have orphaned descendants become children of this process (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def descendants(ancestor: int) -> list[int]:
    """Return the process ids below `ancestor`, as /proc tells; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def parents() -> Iterable[tuple[int, int]]:
    """Yield (process id, parent's id) for every process that can be seen."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(errors="replace")
        except OSError:
            continue
        # The command's name is in parentheses and may hold anything, so read behind the last;
        # of a process that ends meanwhile there may be nothing to read.
        fields = stat.rpartition(")")[2].split()
        if len(fields) > 1:
            yield int(folder.name), int(fields[1])


def kill_group(pid: int) -> None:
    """Kill a process group, if it still exists."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        kill_one(pid)


def kill_one(pid: int) -> None:
    """Kill a process, if it still exists."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def reap(pid: int) -> None:
    """Take the exit status of an ended child, if `pid` is one."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def reap_any() -> bool:
    """Take the exit status of every ended child; tell whether any child is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def tell(**news: object) -> None:
    """Write one line of news; when the runner is gone nobody reads it, and that is all right."""
    try:
        os.write(1, json.dumps(news).encode() + b"\n")
    except BrokenPipeError:
        return


if __name__ == "__main__":
    os.umask(0o077)
    Guardian().run()
