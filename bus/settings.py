"""Settings of a process: frozen values from a TOML file, with variables of the environment over it.

A file names where keys lie and never holds a secret. Relative paths start at the file's own folder.
Every leaf has a variable: ``[broker] url`` is ``I247_BROKER_URL``. This is the only module that
reads the environment.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, Final, TypeVar, get_args

import msgspec
from msgspec import Struct

from bus.errors import BadInput

FORMAT_VERSION: Final = 1
VARIABLE_PREFIX: Final = "I247_"
settings_bytes_max: Final = 1024 * 1024
_VALIDATION: Final = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<where>[^`]*)`)?\Z", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>\w+)`")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")

Location = tuple[str, ...]
"""The names that lead to a setting, outermost first."""


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every part of the settings; a key that it does not name is refused."""


class LogLevel(StrEnum):
    """From which severity on something is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class KeySettings(Section, frozen=True):
    """Where a party's own keys and certificates lie."""

    signing_key: Path
    signing_certificate: Path
    tls_key: Path
    tls_certificate: Path


class TrustSettings(Section, frozen=True):
    """Whom a party trusts from the start.

    `opening` holds the authority's opening statements, packed one after the other in one list.
    """

    root: Path
    authority: Path
    opening: Path


class BrokerSettings(Section, frozen=True):
    """Where the bus is: ``amqps://HOST:PORT/i247``; empty until a runner tells."""

    url: str = ""


class ControlSettings(Section, frozen=True):
    """What a control port between containers needs: TLS files and the file with the token."""

    certificate: Path | None = None
    key: Path | None = None
    token: Path | None = None


class LogSettings(Section, frozen=True):
    """What is logged, and to which file; to standard error when there is none."""

    level: LogLevel = LogLevel.INFO
    file: Path | None = None


class ProcessSettings(Section, frozen=True, kw_only=True):
    """What every party's process is told.

    `seed` makes all identifiers and nonces follow from it, for a simulation; empty, they are
    random. `begins` is the simulated instant at which a driven process starts, as RFC 3339 text.
    """

    format_version: int
    party: str
    store: Path
    keys: KeySettings
    trust: TrustSettings
    seed: str = ""
    begins: str = ""
    broker: BrokerSettings = BrokerSettings()
    control: ControlSettings = ControlSettings()
    log: LogSettings = LogSettings()


Settings = TypeVar("Settings", bound=ProcessSettings)


def load_settings(
    path: Path, kind: type[Settings], environment: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings in a TOML file; variables win over it.

    Raises `BadInput` with the file, or the variable, and the key at fault.
    """
    variables = os.environ if environment is None else environment
    content = _read(path)
    overridden = _override(content, kind, variables)
    folder = path.absolute().parent

    def as_path(wanted: type, value: object) -> object:
        if wanted is Path and isinstance(value, str) and value:
            return folder / value
        raise ValueError("a path in quotes is wanted")

    try:
        settings = msgspec.convert(content, kind, dec_hook=as_path)
    except msgspec.ValidationError as error:
        raise _explained(error, path, overridden) from error
    if settings.format_version != FORMAT_VERSION:
        raise BadInput(
            f"{path}: format_version: {settings.format_version} is not {FORMAT_VERSION}, which "
            f"this release reads"
        )
    return settings


def child_environment(additions: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a process of ours: no settings in it, and some additions."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(VARIABLE_PREFIX)
    }
    return {**inherited, **additions}


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            octets = file.read(settings_bytes_max + 1)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
    if len(octets) > settings_bytes_max:
        raise BadInput(f"{path}: larger than {settings_bytes_max} bytes; give a settings file")
    try:
        return tomllib.loads(octets.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"{path}: not TOML: {error}") from error


def _override(
    content: dict[str, Any], kind: type[Struct], variables: Mapping[str, str]
) -> dict[Location, str]:
    """Put variables over a file's content; return which variable went where."""
    leaves = {VARIABLE_PREFIX + "_".join(leaf).upper(): leaf for leaf in _leaves(kind)}
    overridden = {}
    for name in sorted(variables):
        if not name.startswith(VARIABLE_PREFIX):
            continue
        if name not in leaves:
            raise BadInput(f"{name}: no such setting; there are {', '.join(sorted(leaves))}")
        *outer, last = leaves[name]
        place = content
        for part in outer:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                break
            place = inner
        else:
            place[last] = _value(variables[name], _type_of(kind, leaves[name]))
            overridden[leaves[name]] = name
    return overridden


def _leaves(kind: type[Struct], outer: Location = ()) -> Iterator[Location]:
    for field in msgspec.structs.fields(kind):
        location = (*outer, field.encode_name)
        if isinstance(field.type, type) and issubclass(field.type, Struct):
            yield from _leaves(field.type, location)
        else:
            yield location


def _type_of(kind: type[Struct], location: Location) -> object:
    found: Any = kind
    for name in location:
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(found)}
        found = fields[name]
    return found


def _value(text: str, wanted: object) -> object:
    """Read a variable as it stands where a text is wanted, and as a TOML value elsewhere."""
    choices = [choice for choice in get_args(wanted) if choice is not NoneType] or [wanted]
    if all(isinstance(each, type) and issubclass(each, (str, Path)) for each in choices):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explained(
    error: msgspec.ValidationError, path: Path, overridden: Mapping[Location, str]
) -> BadInput:
    """Turn a complaint about a nameless object into one about a key of a file."""
    complaint = _VALIDATION.match(str(error))
    what, where = complaint.group("what", "where") if complaint else (str(error), None)
    location = tuple(where.split(".")) if where else ()
    if missing := _MISSING.match(what):
        location, what = (*location, missing["name"]), "is missing"
    elif unknown := _UNKNOWN.match(what):
        location, what = (*location, unknown["name"]), "no such setting"
    if location in overridden:
        return BadInput(f"{overridden[location]}: {what}")
    return BadInput(f"{path}: {'.'.join(location) or 'the file'}: {what}")
