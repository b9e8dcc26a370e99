"""The house rules about texts: machine paths, package indexes, decisions, README and pins."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Brackets around one letter keep these lines from matching themselves.
_MACHINE_PATH: Final = re.compile(r"(?:^|[^A-Za-z0-9_./-])/(?:wor[k]|far[m])(?:/|\b)")
_PACKAGE_INDEX: Final = re.compile(
    r"--(?:extra-)?index-ur[l]|--find-link[s]|https?://[^\s\"'>]+/simpl[e](?:/|\b)"
)

_DECISION_PATH: Final = re.compile(r"docs/adr/(\d{4})-[a-z0-9-]+\.md\Z")
_DECISION_SECTIONS: Final = ("Context", "Options", "Decision", "Consequences")
_INDEX_ENTRY: Final = re.compile(r"\[(?P<title>\d{4} [^\]]+)\]\((?P<file>[^)]+)\)")

README_LINES_MAX: Final = 120
_README_MENTIONS: Final = (
    "make run",
    "make test",
    "i247 run first_light",
    "not affiliated with INTERPOL",
)

_PIN: Final = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==[A-Za-z0-9][A-Za-z0-9.!+]*\Z")


def names_machine(path: str, text: str) -> list[str]:
    """Complain about paths of one machine and about package indexes."""
    return [
        f"{path}:{number}: names {match.group().strip()!r}"
        for number, line in enumerate(text.splitlines(), start=1)
        for pattern in (_MACHINE_PATH, _PACKAGE_INDEX)
        if (match := pattern.search(line))
    ]


def decision_records(texts: Mapping[str, str]) -> list[str]:
    """Complain about decision records that are misnumbered, misshapen or not in the index."""
    complaints: list[str] = []
    titles: dict[str, str] = {}
    decisions = [path for path in sorted(texts) if _DECISION_PATH.match(path)]
    for expected, path in enumerate(decisions, start=1):
        lines = texts[path].splitlines()
        title = lines[0].removeprefix("# ") if lines else ""
        titles[path.rpartition("/")[2]] = title
        if not path.startswith(f"docs/adr/{expected:04d}-"):
            complaints.append(f"{path}: number {expected:04d} comes next")
        if not re.fullmatch(rf"{path[9:13]} \S.*", title):
            complaints.append(f"{path}: its first line is not '# {path[9:13]} <title>'")
        complaints += [
            f"{path}: no section {section}"
            for section in _DECISION_SECTIONS
            if f"## {section}" not in lines
        ]
    entries = _INDEX_ENTRY.finditer(texts.get("docs/adr/index.md", ""))
    indexed = {entry["file"]: entry["title"] for entry in entries}
    complaints += [
        f"docs/adr/index.md: {name} should read [{title}]({name})"
        for name, title in titles.items()
        if indexed.get(name) != title
    ]
    complaints += [
        f"docs/adr/index.md: {name} does not exist" for name in indexed if name not in titles
    ]
    return complaints


def readme(text: str) -> list[str]:
    """Complain about a README that a newcomer cannot start from."""
    complaints = [
        f"README.md: does not say {words!r}"
        for words in _README_MENTIONS
        if words not in " ".join(text.split())
    ]
    if len(text.splitlines()) > README_LINES_MAX:
        complaints.append(f"README.md: longer than {README_LINES_MAX} lines")
    return complaints


def broken_links(path: str, text: str, existing: Iterable[str]) -> list[str]:
    """Complain about relative links of a Markdown file at the top or below `docs/`."""
    folder = path.rpartition("/")[0]
    known = set(existing)
    complaints = []
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        resolved = _resolve(folder, target)
        if not any(name == resolved or name.startswith(f"{resolved}/") for name in known):
            complaints.append(f"{path}: links to {target}, which does not exist")
    return complaints


def unpinned(constraints: str, required: Iterable[str]) -> list[str]:
    """Complain about lines that are not pins, and about required distributions without one."""
    lines = [line for line in constraints.splitlines() if line and not line.startswith("#")]
    complaints = [f"constraints.txt: {line!r} is not NAME==VERSION" for line in lines
                  if not _PIN.match(line)]  # fmt: skip
    pinned = {canonicalize_name(pin["name"]) for line in lines if (pin := _PIN.match(line))}
    return complaints + [
        f"constraints.txt: {name} is required and not pinned"
        for name in sorted({canonicalize_name(name) for name in required} - pinned)
    ]


def requirement_names(requirements: Iterable[str], extras: Iterable[str] = ()) -> set[str]:
    """Return the names whose markers hold on this machine, with or without one of `extras`."""
    names = set()
    for text in requirements:
        requirement = Requirement(text)
        environments = [{"extra": extra} for extra in ("", *extras)]
        marker = requirement.marker
        if marker is None or any(marker.evaluate(environment) for environment in environments):
            names.add(str(canonicalize_name(requirement.name)))
    return names


def _resolve(folder: str, target: str) -> str:
    parts = folder.split("/") if folder else []
    for part in target.rstrip("/").split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
