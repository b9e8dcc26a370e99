"""Scenarios: named stories as TOML, decoded strictly, with the violations that they plant."""

import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from bus.errors import BadInput
from bus.instants import DAY, HOUR, MINUTE, Instant
from bus.messages.alerts import Colour
from ncb_nodes.receiving_policy import ReceivingPolicy
from secretariat.review import ReviewSettings

FORMAT_VERSION: Final = 1
SCENARIO_FOLDER: Final = "scenarios"
DAYS_MAX: Final = 3_660
DIFFUSIONS_MAX: Final = 1_000_000
SCALE_MAX: Final = 100.0
SKEW_MAX: Final = 10.0
WEIGHT_MAX: Final = 1e9
LISTED_MAX: Final = 1_000
SLOT_HOURS_MAX: Final = 24 * 31
BEGINS_YEARS: Final = range(1970, 2200)
EXTENDS_MAX: Final = 8
"""How many scenarios may build on one another."""
_SPAN: Final = re.compile(r"^(?:([0-9]{1,8})d)?\s*(?:([0-9]{1,8})h)?\s*(?:([0-9]{1,8})m)?\Z")

Share = Annotated[float, Meta(ge=0, le=1)]
Weight = Annotated[float, Meta(ge=0, le=WEIGHT_MAX)]
Days = Annotated[int, Meta(ge=1, le=DAYS_MAX)]
Count = Annotated[int, Meta(ge=0, le=DIFFUSIONS_MAX)]
ScenarioName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z")]
"""A name that is safe in the name of a folder."""


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

    diffusions: Count = 0
    defective_share: Share = 0.0
    defects: Mapping[Defect, Weight] = {}
    sources: tuple[str, ...] = ()
    to_all: Share = 0.2
    to_zone: Share = 0.3
    listed_max: Annotated[int, Meta(ge=1, le=LISTED_MAX)] = 6
    skew: Annotated[float, Meta(ge=0, le=SKEW_MAX)] = 0.0
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
    name: ScenarioName
    title: str
    summary: str
    begins: str
    days: Days
    settle_days_max: Days = 14
    keep: Keep = Keep.ALL
    members: Annotated[tuple[str, ...], Meta(min_length=1)]
    zones: Mapping[str, tuple[str, ...]] = {}
    scale: Annotated[float, Meta(gt=0, le=SCALE_MAX)] = 1.0
    slot_hours: Annotated[int, Meta(ge=1, le=SLOT_HOURS_MAX)] = 3
    review: ReviewSettings = ReviewSettings()
    policy: ReceivingPolicy = ReceivingPolicy()
    policies: Mapping[str, ReceivingPolicy] = {}
    profiles: Mapping[str, str] = {}
    background: Background = Background()
    alerts: tuple[Alert, ...] = ()
    events: tuple[Event, ...] = ()
    violations: tuple[PlantedViolation, ...] = ()
    must_exercise: tuple[str, ...] = ()
    open_at_end_max: Count = 0

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
    milliseconds = days * DAY + hours * HOUR + minutes * MINUTE
    if milliseconds > DAYS_MAX * DAY:
        message = f"{text!r} is longer than {DAYS_MAX} days"
        raise BadInput(message)
    return milliseconds


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
    fault = _contradiction(scenario)
    if fault:
        message = f"scenario {name_or_path}: {fault}"
        raise BadInput(message)
    return scenario


def _contradiction(scenario: Scenario) -> str:
    """Return what two settings say against each other, each of them fit by itself."""
    background, review = scenario.background, scenario.review
    year = scenario.begins[:4]
    if year.isdecimal() and int(year) not in BEGINS_YEARS:
        return f"begins = {scenario.begins!r} is not within {BEGINS_YEARS[0]} to {BEGINS_YEARS[-1]}"
    if background.diffusions * scenario.scale > DIFFUSIONS_MAX:
        return f"background.diffusions times scale is more than {DIFFUSIONS_MAX}"
    if background.defective_share > 0 and not sum(background.defects.values()) > 0:
        return "background.defective_share needs background.defects that weigh something"
    if review.review_shortest > review.review_longest:
        return "review.review_shortest is longer than review.review_longest"
    return ""


def _read(name_or_path: str, depth: int = 0) -> dict[str, Any]:
    if depth > EXTENDS_MAX:
        message = f"scenario {name_or_path}: more than {EXTENDS_MAX} scenarios extend one another"
        raise BadInput(message)
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
    if base is None:
        return content
    if not isinstance(base, str):
        message = f"scenario {name_or_path}: extends = {base!r} names no scenario"
        raise BadInput(message)
    return _extended(_read(base, depth + 1), content)


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
