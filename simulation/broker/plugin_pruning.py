"""Removing from a fetched server the plugins that a private broker never enables.

At boot RabbitMQ reads every plugin it finds, and Erlang looks for each of some 600 modules in
every plugin's folder: without them a start takes a quarter less processor time. Only a tree in
our own cache is pruned, never an installed server.
"""

import re
import shutil
from pathlib import Path
from typing import Final

ENABLED_PLUGIN: Final = "rabbitmq_auth_mechanism_ssl"
_KEPT: Final = frozenset({"rabbit", "rabbit_common", "rabbitmq_prelaunch", ENABLED_PLUGIN})
_APPLICATIONS: Final = re.compile(r"\{\s*applications\s*,\s*\[([^\]]*)\]", re.DOTALL)
_VERSION: Final = re.compile(r"-[0-9][^/]*\Z")


def prune_plugins(folder: Path) -> list[str]:
    """Remove the optional plugins in a server's plugin folder and what only they need.

    A library that no application file names is kept: it may be needed without being named.
    Packed plugins (.ez) are left alone. Returns the names of the removed applications.
    """
    places = {_VERSION.sub("", path.name): path for path in folder.iterdir() if path.is_dir()}
    needs = {name: _applications(name, path) for name, path in places.items()}
    if not {"rabbit", ENABLED_PLUGIN} <= needs.keys():
        return []
    optional = {name for name in places if name.startswith("rabbitmq_")} - _KEPT
    removed = sorted(_closure(optional, needs) - _closure(set(_KEPT), needs))
    for name in removed:
        shutil.rmtree(places[name])
    return removed


def _closure(names: set[str], needs: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in needs and name not in found:
            found.add(name)
            waiting += needs[name]
    return found


def _applications(name: str, path: Path) -> set[str]:
    specification = path / "ebin" / f"{name}.app"
    if not specification.is_file():
        return set()
    listed = _APPLICATIONS.search(specification.read_text(errors="replace"))
    return set(re.findall(r"[a-z][A-Za-z0-9_]*", listed[1])) if listed else set()
