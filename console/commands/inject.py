"""`i247 inject`: have a bureau abuse the network, and see what every node makes of it."""

from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec.structs import replace
from rich.table import Table

from bus.errors import BadInput
from console.buses import BusChoice
from console.commands.run import (
    BrokerOption,
    BusOption,
    PkiOption,
    SeedOption,
    carried_out,
    to_its_end,
)
from console.rendering import harmless, show
from simulation.abuses import abuse_named, is_octets_file
from simulation.aftermath import aftermath
from simulation.runner import DEFAULT_SEED, RunRequest
from simulation.scenario import Event, Scenario, load, span

DEFAULT_STORY = "first_light"
DEFAULT_TIME = "5d"
COUNT_MAX: Final = 1_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inject")(inject)


def inject(  # noqa: PLR0913, PLR0917  (one parameter per option of the command)
    abuse: Annotated[str, typer.Argument(help="id or name of an abuse, or a file of raw octets")],
    source: Annotated[str, typer.Option(help="the bureau that abuses the network")],
    to: Annotated[
        list[str] | None, typer.Option(help="code, zone or ALL; repeatable (default ALL)")
    ] = None,
    at: Annotated[str, typer.Option(help="when, as a span after the beginning")] = DEFAULT_TIME,
    count: Annotated[int, typer.Option(min=1, max=COUNT_MAX, help="how often, one slot apart")] = 1,
    of: Annotated[str, typer.Option(help="label of the earlier alert that it builds on")] = "",
    into: Annotated[str, typer.Option(help="the story into which it is injected")] = DEFAULT_STORY,
    bus: BusOption = BusChoice.EMBEDDED,
    broker_url: BrokerOption = "",
    pki: PkiOption = None,
    seed: SeedOption = DEFAULT_SEED,
    out: Annotated[Path | None, typer.Option(help="the run's folder; must be empty")] = None,
) -> None:
    """Run a story with an abuse in it, and say what each node did with it."""
    story = load(into)
    if source not in story.members:
        message = f"--source {source} is no member of {into}: {', '.join(story.members)}"
        raise BadInput(message)
    events = _events(story, abuse, source, tuple(to or ("ALL",)), at, count, of)
    story = replace(story, events=(*story.events, *events))
    request = RunRequest(story, seed, story.keep, out)
    done = to_its_end(carried_out(request, bus, broker_url, pki))
    table = Table(box=None, pad_edge=False)
    for heading in ("abuse", "node", "what it did"):
        table.add_column(heading)
    for event in events:
        for node, deed in aftermath(done.evidence, done.told, event.label):
            table.add_row(harmless(event.label), node, harmless(deed))
    show(table, harmless(f"verdict: {done.results['verdict']}   results in {done.folder}"))
    raise typer.Exit(done.judgement.exit_code)


def _events(
    story: Scenario,
    abuse: str,
    source: str,
    to: tuple[str, ...],
    at: str,
    count: int,
    of: str,
) -> list[Event]:
    name = abuse if is_octets_file(abuse) else abuse_named(abuse).name
    first_hour = span(at) // 3_600_000
    if not is_octets_file(abuse) and abuse_named(abuse).needs_earlier_alert and not of:
        of = _earlier_alert(story, source)
    return [
        Event(
            kind="inject",
            at=f"{first_hour + index * story.slot_hours}h",
            label=f"{Path(name).name} {index + 1}",
            member=source,
            to=to,
            abuse=name,
            of=of,
        )
        for index in range(count)
    ]


def _earlier_alert(story: Scenario, source: str) -> str:
    """Return an alert of the source that is rejected with its case closed."""
    closing = ("refugee", "political", "religious", "military", "racial")
    for alert in story.alerts:
        if alert.source == source and alert.defect in closing:
            return alert.label
    message = f"{source} has no alert that closes a case in this story; name one with --of"
    raise BadInput(message)
