"""Finding a RabbitMQ server to run: an installed one, or a tree fetched into the cache earlier.

Nothing here starts anything or touches the network; see `simulation.broker.fetch` for that.
"""

import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from bus.errors import BrokerUnavailable

VERSION_MIN: Final = (3, 10)
"""The first release whose quorum queues dead-letter at least once."""

_SYSTEM_SERVERS: Final = Path("/usr/lib/rabbitmq")
_SYSTEM_ERLANGS: Final = (
    Path("/usr/lib/erlang/bin"),
    Path("/usr/local/lib/erlang/bin"),
    Path("/opt/erlang/lib/erlang/bin"),
)
_PLUGIN_VERSION: Final = re.compile(r"rabbit-([0-9]+(?:\.[0-9]+)+[0-9A-Za-z.+-]*?)(?:\.ez)?\Z")


class ServerTree(Struct, frozen=True):
    """A RabbitMQ that can be started without its packaged wrappers."""

    sbin: Path
    """Holds the real `rabbitmq-server` and `rabbitmq-env`, not a distribution's wrapper."""
    erlang_bin: Path
    """Holds `erl` and `epmd`."""
    version: str
    """Of the server, such as 3.10.8."""
    origin: str
    """For a person: `installed`, or `fetched`, and where it lies."""


def cache_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return this user's cache folder for us; raise `BrokerUnavailable` if there is no home."""
    variables = os.environ if environment is None else environment
    stated = variables.get("XDG_CACHE_HOME", "")
    if stated.startswith("/"):
        return Path(stated) / "i247-sim"
    try:
        return Path.home() / ".cache" / "i247-sim"
    except RuntimeError:
        raise BrokerUnavailable(
            "no home folder to keep a fetched RabbitMQ in: set XDG_CACHE_HOME"
        ) from None


def system_tag() -> str:
    """Name the distribution, its release and the processor: a fetched tree fits these alone."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    parts = (release.get("ID", "linux"), release.get("VERSION_ID", "0"), platform.machine())
    return "-".join(re.sub(r"[^A-Za-z0-9._]", "_", part) for part in parts)


def find_server_tree(
    *,
    search_path: str | None = None,
    system_servers: Path = _SYSTEM_SERVERS,
    cache: Path | None = None,
) -> ServerTree | None:
    """Return the first usable server: on the search path, in the system's folder, in the cache.

    A release older than `VERSION_MIN` is passed over. The defaults are this process's PATH, where
    Debian and Ubuntu install, and this user's cache.
    """
    installed = find_installed_tree(search_path=search_path, system_servers=system_servers)
    return installed or find_cached_tree(cache_folder() if cache is None else cache)


def find_installed_tree(
    *, search_path: str | None = None, system_servers: Path = _SYSTEM_SERVERS
) -> ServerTree | None:
    """Return the first usable server that somebody installed, or None."""
    erlang_bin = _find_erlang(search_path)
    if erlang_bin is None:
        return None
    trees = (
        _tree(sbin, erlang_bin, f"installed in {sbin.parent}")
        for sbin in _installed_sbins(search_path, system_servers)
    )
    return next((tree for tree in trees if tree is not None), None)


def find_cached_tree(cache: Path) -> ServerTree | None:
    """Return the newest complete tree in a cache folder that fits this system, or None."""
    trees = [tree_in(folder) for folder in _listing(cache, f"rabbitmq-*-{system_tag()}")]
    usable = [tree for tree in trees if tree is not None]
    return max(usable, key=lambda tree: version_tuple(tree.version), default=None)


def tree_in(root: Path) -> ServerTree | None:
    """Return the server whose packages were unpacked under `root`, or None if it is not usable."""
    for sbin in _listing(root, "usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"):
        tree = _tree(sbin, root / "usr/lib/erlang/bin", f"fetched into {root}")
        if tree is not None:
            return tree
    return None


def version_tuple(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, to compare by."""
    numbers = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(int(part) for part in numbers[0].split(".")) if numbers else ()


def _tree(sbin: Path, erlang_bin: Path, origin: str) -> ServerTree | None:
    needed = (
        sbin / "rabbitmq-server",
        sbin / "rabbitmq-env",
        erlang_bin / "erl",
        erlang_bin / "epmd",
    )
    version = _server_version(sbin.parent)
    if version is None or version_tuple(version) < VERSION_MIN:
        return None
    if not all(os.access(path, os.R_OK) for path in needed):
        return None
    return ServerTree(sbin, erlang_bin, version, origin)


def _server_version(home: Path) -> str | None:
    for plugin in _listing(home / "plugins", "rabbit-*"):
        matched = _PLUGIN_VERSION.match(plugin.name)
        if matched:
            return matched[1]
    return None


def _installed_sbins(search_path: str | None, system_servers: Path) -> Iterator[Path]:
    command = shutil.which("rabbitmq-server", path=search_path)
    # A packaged wrapper insists on being root; only the real script has rabbitmq-env beside it,
    # which `_tree` asks for.
    if command is not None:
        yield Path(command).resolve().parent
    yield from reversed(_listing(system_servers, "lib/rabbitmq_server-*/sbin"))


def _find_erlang(search_path: str | None) -> Path | None:
    candidates = list(_SYSTEM_ERLANGS)
    command = shutil.which("erl", path=search_path)
    if command is not None:
        candidates = [Path(command).resolve().parent, Path(command).parent, *candidates]
    for folder in candidates:
        if os.access(folder / "erl", os.X_OK) and os.access(folder / "epmd", os.X_OK):
            return folder
    return None


def _listing(folder: Path, pattern: str) -> list[Path]:
    """Return what matches, sorted; a folder that cannot be read has nothing for us."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []
