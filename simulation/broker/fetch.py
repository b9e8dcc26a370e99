"""Fetching a RabbitMQ on Debian and Ubuntu without root and without installing anything.

apt downloads the packages of the machine's own, already trusted sources and checks their
signatures; its lists and cache go into a folder of ours, so neither root nor filled system lists
are needed. The packages are unpacked beside the final place, made to run from wherever they lie,
tried, and renamed: what has the final name is complete. One process fetches at a time.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bus.errors import BrokerUnavailable
from simulation.broker.plugin_pruning import prune_plugins
from simulation.broker.server_tree import (
    VERSION_MIN,
    ServerTree,
    cache_folder,
    find_cached_tree,
    find_server_tree,
    system_tag,
    tree_in,
)

command_seconds_max: Final = 300.0
lock_seconds_max: Final = 600.0
_lock_poll_seconds: Final = 0.2
_PARTIAL_PREFIX: Final = ".partial-"

WAYS: Final = (
    "install rabbitmq-server, give --broker-url, use Docker ('i247 compose'), "
    "or run with --bus embedded"
)
_PACKAGES_IF_UNRESOLVED: Final = (
    "rabbitmq-server",
    "erlang-asn1",
    "erlang-base",
    "erlang-crypto",
    "erlang-eldap",
    "erlang-ftp",
    "erlang-inets",
    "erlang-mnesia",
    "erlang-os-mon",
    "erlang-parsetools",
    "erlang-public-key",
    "erlang-runtime-tools",
    "erlang-snmp",
    "erlang-ssl",
    "erlang-syntax-tools",
    "erlang-tftp",
    "erlang-tools",
    "erlang-xmerl",
)
_WANTED_PACKAGE: Final = re.compile(r"^Inst (rabbitmq-server|erlang-[a-z0-9.+-]+) ", re.MULTILINE)
# Hooks of the machine's apt configuration are meant for root and for the system's own cache.
_APT_CONFIGURATION: Final = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::State::Lists "{work}/lists";
Dir::State::status "{work}/no-packages";
Dir::Cache "{work}/cache";
Dir::Cache::Archives "{work}/archives";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
"""
# Debian's own script names /usr/lib/erlang; this one finds the tree from its own place.
_ERL_SCRIPT: Final = """\
#!/bin/sh
here=$(readlink -f "$0")
ROOTDIR=$(dirname "$(dirname "$here")")
BINDIR=$ROOTDIR/{erts}/bin
EMU=beam
PROGNAME=erl
export ROOTDIR BINDIR EMU PROGNAME
exec "$BINDIR/erlexec" "$@"
"""
_TRIAL: Final = "{ok, _} = application:ensure_all_started(ssl), halt(0)."


def find_or_fetch(say: Callable[[str], None], *, cache: Path | None = None) -> ServerTree:
    """Return an installed or earlier fetched server, or fetch one, telling `say` in one line.

    Raises `BrokerUnavailable` with one line that names the other ways.
    """
    place = cache_folder() if cache is None else cache
    return find_server_tree(cache=place) or fetch_server_tree(say, cache=place)


def fetch_server_tree(say: Callable[[str], None], *, cache: Path | None = None) -> ServerTree:
    """Fetch RabbitMQ and Erlang into the cache, unless another process just did.

    Blocks for some seconds. Raises `BrokerUnavailable` with one line that names the other ways.
    """
    for command in ("apt-get", "dpkg-deb"):
        if shutil.which(command) is None:
            raise BrokerUnavailable(f"no RabbitMQ here, and no {command} to fetch one: {WAYS}")
    place = cache_folder() if cache is None else cache
    try:
        place.mkdir(parents=True, exist_ok=True)
        with _locked(place / "fetch.lock", say):
            return find_cached_tree(place) or _fetch(place, say)
    except OSError as error:
        raise _unavailable(f"{error.filename or place}: {error.strerror}") from error


def _fetch(cache: Path, say: Callable[[str], None]) -> ServerTree:
    say(f"fetching RabbitMQ and Erlang packages into {cache} (about 35 MB, once; no root needed)")
    # The lock is ours, so whatever is partial was left by a process that was killed.
    for left_over in cache.glob(f"{_PARTIAL_PREFIX}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL_PREFIX, dir=cache))
    try:
        root = partial / "root"
        _download_and_unpack(partial, root)
        _make_relocatable(root)
        tree = _tried(root)
        prune_plugins(tree.sbin.parent / "plugins")
        final = cache / f"rabbitmq-{tree.version}-{system_tag()}"
        root.chmod(0o755)
        root.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    complete = tree_in(final)
    if complete is None:
        raise _unavailable(f"the tree in {final} cannot be read")
    return complete


def _download_and_unpack(work: Path, root: Path) -> None:
    for folder in ("lists/partial", "archives/partial", "cache", "debs"):
        (work / folder).mkdir(parents=True)
    (work / "no-packages").touch()
    configuration = work / "apt.conf"
    configuration.write_text(_APT_CONFIGURATION.format(work=work))
    apt = ["apt-get", "-q", "-c", str(configuration)]
    # A machine may have other sources that are out of reach: what counts is the download.
    updated = _run([*apt, "update"], work)
    downloaded = _run([*apt, "download", *_packages(apt, work)], work / "debs")
    if downloaded.returncode != 0:
        raise _unavailable(_last_complaint(downloaded) or _last_complaint(updated) or "apt failed")
    for package in sorted((work / "debs").glob("*.deb")):
        unpacked = _run(["dpkg-deb", "-x", str(package), str(root)], work)
        if unpacked.returncode != 0:
            raise _unavailable(f"{package.name}: {_last_complaint(unpacked) or 'not unpacked'}")


def _packages(apt: Sequence[str], work: Path) -> Sequence[str]:
    """Ask apt what an installation on an empty system takes; keep the server and Erlang.

    Everything else (libc, OpenSSL, ncurses) is on any Debian or Ubuntu system already.
    """
    planned = _run([*apt, "--simulate", "install", "rabbitmq-server"], work)
    names = sorted(set(_WANTED_PACKAGE.findall(planned.stdout)))
    return names if planned.returncode == 0 and names else _PACKAGES_IF_UNRESOLVED


def _make_relocatable(root: Path) -> None:
    erlang = root / "usr/lib/erlang"
    releases = sorted(erlang.glob("erts-*"))
    if not releases:
        raise _unavailable("the packages hold no Erlang runtime")
    script = erlang / "bin" / "erl"
    script.unlink(missing_ok=True)
    script.write_text(_ERL_SCRIPT.format(erts=releases[-1].name))
    script.chmod(0o755)
    for unneeded in ("usr/share", "etc", "lib", "var"):
        shutil.rmtree(root / unneeded, ignore_errors=True)


def _tried(root: Path) -> ServerTree:
    """Return the tree after its Erlang has really run here with TLS, or raise."""
    tree = tree_in(root)
    if tree is None:
        wanted = ".".join(map(str, VERSION_MIN))
        raise _unavailable(f"this system's packages hold no RabbitMQ {wanted} or newer")
    command = [str(tree.erlang_bin / "erl"), "-noinput", "-eval", _TRIAL]
    trial = _run(command, root)
    if trial.returncode != 0:
        raise _unavailable(f"Erlang does not run here: {_last_complaint(trial) or 'it failed'}")
    return tree


def _run(command: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=command_seconds_max,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _unavailable(f"{command[0]} took over {command_seconds_max:.0f} s") from None


def _last_complaint(ended: "subprocess.CompletedProcess[str]") -> str:
    """Return the most telling line of what a command wrote: apt's errors begin with `E:`."""
    lines = [line.strip() for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "Err:"))]
    return (errors or lines or [""])[-1][:300]


def _unavailable(reason: str) -> BrokerUnavailable:
    return BrokerUnavailable(f"RabbitMQ could not be fetched ({reason}): {WAYS}")


@contextmanager
def _locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the one fetch lock of a cache; the system frees it when its holder dies."""
    with path.open("a") as file:
        deadline = time.monotonic() + lock_seconds_max
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _unavailable(f"another process holds {path}") from None
            if not told:
                say("waiting for another process that is fetching RabbitMQ")
                told = True
            time.sleep(_lock_poll_seconds)
        yield
