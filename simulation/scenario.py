"""Scenarios: named stories as TOML, decoded strictly, with the violations that they plant."""

import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from bus.errors import BadInput
from bus.instants import DAY, HOUR, MINUTE, Instant
from bus.messages.alerts import Colour
from ncb_nodes.receiving_policy import ReceivingPolicy
from secretariat.review import ReviewSettings

FORMAT_VERSION: Final = 1
SCENARIO_FOLDER: Final = "scenarios"
_SPAN: Final = re.compile(r"^(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\Z")


class Defect(StrEnum):
    """How a case file is spoilt: the hidden truth that review should find."""

    NONE = "none"
    REQUIRED_DATA_MISSING = "required_data_missing"
    WARRANT_MISSING = "warrant_missing"
    WARRANT_EXPIRED = "warrant_expired"
    POLITICAL = "political"
    RELIGIOUS = "religious"
    MILITARY = "military"
    RACIAL = "racial"
    REFUGEE = "refugee"
    PRIVATE_DISPUTE = "private_dispute"
    COOPERATION_CLOSED = "cooperation_closed"


class Keep(StrEnum):
    """How much of a run is written: results, history as well, or the stores too."""

    RESULTS = "results"
    HISTORY = "history"
    ALL = "all"


class _Part(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Alert(_Part, frozen=True):
    """A diffusion of the story. `at` is a span such as ``1d 06h`` after the beginning.

    `held_back` delays the mail to single members, or to IPSG, by a span. `same_person_as` names
    the label of an earlier alert on the same person.
    """

    label: str
    source: str
    at: str
    to: tuple[str, ...]
    defect: Defect = Defect.NONE
    held_back: Mapping[str, str] = {}
    same_person_as: str = ""
    colour: Colour = Colour.RED


class Event(_Part, frozen=True):
    """Something else that happens. What each kind needs is checked when the story is read."""

    kind: Literal["amend", "withdraw", "reply", "repeat", "away", "inject", "message"]
    at: str
    label: str = ""
    member: str = ""
    until: str = ""
    to: tuple[str, ...] = ()
    abuse: str = ""
    of: str = ""
    text: str = ""


class Background(_Part, frozen=True):
    """Seeded alerts beside the story. Shares are of all; `to_all` and `to_zone` of addressing.

    `defects` gives the share of each defect among the defective; `sources` restricts who sends
    defective ones (empty: everybody).
    """

    diffusions: int = 0
    defective_share: float = 0.0
    defects: Mapping[Defect, float] = {}
    sources: tuple[str, ...] = ()
    to_all: float = 0.2
    to_zone: float = 0.3
    listed_max: int = 6
    skew: float = 0.0
    """Exponent of a Zipf-like spread of volume over members; 0 is even."""


class PlantedViolation(_Part, frozen=True):
    """A violation that the story plants: found it must be, and nothing beside it.

    `records` are labels. A pattern such as ``alert-*`` stands for seeded alerts, whose labels
    differ from seed to seed; there, what is found must be what the culprit did.
    """

    checker: str
    node: str
    records: tuple[str, ...]


class Scenario(_Part, frozen=True, kw_only=True):
    """One story."""

    format_version: int
    name: str
    title: str
    summary: str
    begins: str
    days: int
    settle_days_max: int = 14
    keep: Keep = Keep.ALL
    members: tuple[str, ...]
    zones: Mapping[str, tuple[str, ...]] = {}
    scale: float = 1.0
    slot_hours: int = 3
    review: ReviewSettings = ReviewSettings()
    policy: ReceivingPolicy = ReceivingPolicy()
    policies: Mapping[str, ReceivingPolicy] = {}
    profiles: Mapping[str, str] = {}
    background: Background = Background()
    alerts: tuple[Alert, ...] = ()
    events: tuple[Event, ...] = ()
    violations: tuple[PlantedViolation, ...] = ()
    must_exercise: tuple[str, ...] = ()
    open_at_end_max: int = 0

    def policy_of(self, member: str) -> ReceivingPolicy:
        """Return the receiving policy that a member declares."""
        return self.policies.get(member, self.policy)


def span(text: str) -> Instant:
    """Read ``2d``, ``6h`` or ``1d 06h 30m`` as milliseconds; raise `BadInput` otherwise."""
    match = _SPAN.match(text.strip())
    if match is None or not any(match.groups()):
        message = f"{text!r} is no span of time such as 1d 06h"
        raise BadInput(message)
    days, hours, minutes = (int(group or 0) for group in match.groups())
    return days * DAY + hours * HOUR + minutes * MINUTE


def shipped_names() -> list[str]:
    """Return the names of the scenarios that come with the package."""
    folder = resources.files("simulation") / SCENARIO_FOLDER
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def load(name_or_path: str, settings: Mapping[str, str] | None = None) -> Scenario:
    """Return a shipped scenario by name, or one from a TOML file, with settings put over it.

    A setting's key is a field, with dots for what lies deeper: ``review.reviewers=3``. A file may
    start with ``extends = "name"``; its own keys win, and its lists of alerts and events add.
    Raises `BadInput` with the file and the key at fault.
    """
    content = _read(name_or_path)
    for key, value in (settings or {}).items():
        _set(content, key, value)
    try:
        scenario = msgspec.convert(content, Scenario, strict=True)
    except msgspec.ValidationError as error:
        message = f"scenario {name_or_path}: {error}"
        raise BadInput(message) from error
    if scenario.format_version != FORMAT_VERSION:
        message = (
            f"scenario {name_or_path} has format version {scenario.format_version}; this release "
            f"reads {FORMAT_VERSION}"
        )
        raise BadInput(message)
    return scenario


def _read(name_or_path: str) -> dict[str, Any]:
    path = Path(name_or_path)
    try:
        if path.suffix == ".toml":
            text = path.read_text("utf-8")
        elif name_or_path in shipped_names():
            folder = resources.files("simulation") / SCENARIO_FOLDER
            text = (folder / f"{name_or_path}.toml").read_text("utf-8")
        else:
            message = (
                f"no scenario {name_or_path!r}; shipped are {', '.join(shipped_names())}, or name "
                f"a .toml file"
            )
            raise BadInput(message)
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"scenario {name_or_path}: {error}"
        raise BadInput(message) from error
    base = content.pop("extends", None)
    return _extended(_read(base), content) if base else content


def _extended(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        if isinstance(value, list) and key in ("alerts", "events"):
            merged[key] = [*base.get(key, []), *value]
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = {**base[key], **value}
        else:
            merged[key] = value
    return merged


def _set(content: dict[str, Any], key: str, value: str) -> None:
    """Put a command-line setting into the content; numbers and booleans are read as TOML."""
    *path, last = key.split(".")
    place: Any = content
    for name in path:
        place = place.setdefault(name, {}) if isinstance(place, dict) else None
    if not isinstance(place, dict) or not last:
        message = f"--set {key}: there is no such setting"
        raise BadInput(message)
    try:
        place[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        place[last] = value
    if isinstance(place[last], int) and last in ("scale", "skew", "defective_share"):
        place[last] = float(place[last])
