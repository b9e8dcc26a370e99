"""The folder of one private broker: what lies where, and making it new."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from bus.errors import BadInput, BrokerUnavailable
from simulation.broker.plugin_pruning import ENABLED_PLUGIN

folder_characters_max: Final = 200
"""Erlang's paths grow by another 120 characters below this folder."""


class BrokerFiles(Struct, frozen=True):
    """Where one private broker keeps what; everything lies in `folder`."""

    folder: Path

    @property
    def configuration(self) -> Path:
        """RabbitMQ's own configuration file."""
        return self.folder / "rabbitmq.conf"

    @property
    def definitions(self) -> Path:
        """Users, permissions, exchanges, queues and bindings, loaded at boot."""
        return self.folder / "definitions.json"

    @property
    def plugins(self) -> Path:
        """The list of enabled plugins."""
        return self.folder / "enabled_plugins"

    @property
    def data(self) -> Path:
        """Queues, message stores and write-ahead files: what may hold copies of bodies."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """The broker's log."""
        return self.folder / "broker.log"

    @property
    def console(self) -> Path:
        """What the broker's processes wrote to standard output and error."""
        return self.folder / "console.log"


def new_broker_files(folder: Path, definitions: Mapping[str, Any]) -> BrokerFiles:
    """Make a broker's folder, or take an empty one, and write what never changes in it.

    Raises `BadInput` when the folder is not empty, its path does not fit or cannot be written.
    """
    try:
        files = BrokerFiles(folder.resolve())
        if len(str(files.folder)) > folder_characters_max or not str(files.folder).isprintable():
            raise BadInput(f"{folder}: too long or odd a path for a broker's folder")
        files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(files.folder.iterdir()):
            raise BadInput(f"{folder}: not empty; a private broker wants a folder of its own")
        write_private(files.plugins, f"[{ENABLED_PLUGIN}].\n")
        write_private(files.definitions, json.dumps(definitions))
    except (OSError, BrokerUnavailable) as error:
        raise BadInput(f"{folder}: cannot be made a broker's folder: {error}") from error
    return files


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read; raise `BrokerUnavailable` if that fails."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    except OSError as error:
        raise BrokerUnavailable(f"{path} cannot be written: {error.strerror}") from error
