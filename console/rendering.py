"""What a person sees of a run. All text from messages is untrusted and made harmless here."""

import io
import sys
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bus.instants import DAY, Instant
from simulation.judgement.verdict import Judgement
from simulation.plan import Plan

ERRORS: Final = Console(stderr=True, highlight=False)
_STYLES: Final = {"valid": "green", "invalid": "red", "unknown": "yellow"}
_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
_SECONDS_PER_HOUR: Final = 3_600


def visible(text: str) -> str:
    """Return text with control and bidirectional characters spelt out as ``<U+202E>``."""
    return "".join(
        f"<U+{ord(character):04X}>"
        if unicodedata.category(character) in _HIDDEN_CATEGORIES
        else character
        for character in text
    )


def say(text: str) -> None:
    """Say one line on standard error."""
    ERRORS.print(Text(visible(text)), soft_wrap=True)


def harmless(text: str) -> Text:
    """Return text to print as it is: nothing in it moves the cursor or is read as markup."""
    return Text(visible(text))


def show(*parts: Table | Text) -> None:
    """Print on standard output, without the blanks with which a table fills its lines."""
    console = Console(highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, Text))
    for line in captured.get().removesuffix("\n").split("\n"):
        sys.stdout.write(line.rstrip(" ") + "\n")


class StandardError(io.TextIOBase):
    """Whatever standard error is at the moment of writing: where logs go, never to the output."""

    def write(self, text: str) -> int:
        """Write a text."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush it."""
        sys.stderr.flush()


class Progress:
    """Shows how far simulated time has come: one moving line on a terminal, a line a day else."""

    def __init__(self) -> None:
        self._day = -1

    def __call__(self, now: Instant, plan: Plan) -> None:
        """Tell that simulated time is `now`."""
        day = (now - plan.begins) // DAY
        if day == self._day:
            return
        self._day = day
        total = (plan.ends - plan.begins) // DAY
        phase = "settling" if now >= plan.ends else f"of {total}"
        if ERRORS.is_terminal:
            sys.stderr.write(f"\r\x1b[2Kday {day + 1} {phase}")
            sys.stderr.flush()
        elif day % max(total // 10, 1) == 0 or now >= plan.ends:
            say(f"day {day + 1} {phase}")

    def done(self) -> None:
        """Clear the moving line."""
        if ERRORS.is_terminal and self._day >= 0:
            sys.stderr.write("\r\x1b[2K")


def show_run(content: Mapping[str, Any], judgement: Judgement, folder: Path | None) -> None:
    """Print a run's verdict, checks and figures on standard output."""
    show(_checks_table(content), _figures_table(content))
    for reason in judgement.reasons:
        show(harmless(f"- {reason}"))
    verdict = str(content["verdict"])
    line = Text("verdict: ").append(verdict, style=f"bold {_STYLES.get(verdict, '')}")
    if folder is not None:
        line.append(visible(f"   results in {folder}"))
    show(line)


def _checks_table(content: Mapping[str, Any]) -> Table:
    title = f"{content['scenario']}, seed {content['seed']}, bus {content['bus']}"
    table = Table(title=harmless(title), title_justify="left", pad_edge=False, box=None)
    for name in ("check", "verdict", "judged", "found", "expected"):
        table.add_column(name, justify="left" if name in ("check", "verdict") else "right")
    for check in content["checks"]:
        verdict = str(check["verdict"])
        table.add_row(
            check["name"],
            Text(verdict, style=_STYLES.get(verdict, "")),
            str(check["exercised"]),
            str(len(check["found"])),
            str(len(check["expected"])),
        )
    return table


def _figures_table(content: Mapping[str, Any]) -> Table:
    table = Table(pad_edge=False, box=None, show_header=False)
    counts, exposure = content["counts"], content["exposure_node_seconds"]
    latency = content["retraction_latency_seconds"]["simulated"]
    table.add_row("diffusions", f"{counts['diffusions']}")
    table.add_row("validated / rejected", f"{counts['validated']} / {counts['rejected']}")
    table.add_row("deliveries", f"{counts['deliveries']}")
    table.add_row("retracted, receipts", f"{counts['retracted']}, {counts['receipts']}")
    refusals = ", ".join(f"{code} {count}" for code, count in content["refusals"].items())
    table.add_row("refused", harmless(refusals or "none"))
    table.add_row("retraction latency", _latency(latency))
    table.add_row(
        "exposure of rejected data",
        f"{exposure['readable'] / _SECONDS_PER_HOUR:.0f} node-hours readable, "
        f"{exposure['of_which_actionable'] / _SECONDS_PER_HOUR:.0f} of them actionable",
    )
    table.add_row("acts on rejected data", f"{content['actions_on_rejected']}")
    table.add_row("unplanned residual copies", f"{content['residual_copies']}")
    overdue = ", ".join(content["overdue_holders"]) or "none"
    table.add_row("overdue holders", harmless(overdue))
    days = content["simulated_seconds"] * 1_000 / DAY
    table.add_row("time", f"{days:.1f} simulated days in {content['wall_seconds']:.1f} s")
    return table


def _latency(latency: Mapping[str, float | None]) -> str:
    if latency.get("max") is None:
        return "no retraction"
    parts = [f"{name} {_hours(value)}" for name, value in latency.items() if value is not None]
    return ", ".join(parts)


def _hours(seconds: float) -> str:
    return f"{seconds / _SECONDS_PER_HOUR:.1f} h"
