"""`i247 scenarios` and `i247 abuses`: what there is to run and to inject."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from console.rendering import harmless, show, visible
from simulation.abuses import ABUSES, abuse_named
from simulation.scenario import load, shipped_names

Name = Annotated[str, typer.Argument(help="name of a scenario, or path to its TOML file")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    scenarios = typer.Typer(
        help="List the shipped scenarios, or show one.", invoke_without_command=True
    )
    scenarios.callback()(list_scenarios)
    scenarios.command("show")(show_scenario)
    app.add_typer(scenarios, name="scenarios")
    abuses = typer.Typer(help="List the abuse catalogue, or show one.", invoke_without_command=True)
    abuses.callback()(list_abuses)
    abuses.command("show")(show_abuse)
    app.add_typer(abuses, name="abuses")


def list_scenarios(context: typer.Context) -> None:
    """List the shipped scenarios."""
    if context.invoked_subcommand is not None:
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("scenario", "members", "days", "title"):
        table.add_column(heading)
    for name in shipped_names():
        story = load(name)
        table.add_row(name, str(len(story.members)), str(story.days), harmless(story.title))
    show(table)


def show_scenario(name: Name) -> None:
    """Show what a scenario tells."""
    story = load(name)
    show(Text(visible(story.title), style="bold"))
    for line in story.summary.strip().splitlines():
        show(harmless(line))
    show(harmless(f"members: {', '.join(story.members)}"))
    show(harmless(f"from {story.begins} for {story.days} days"))
    for alert in story.alerts:
        show(harmless(f"{alert.at:>8}  {alert.source}  {alert.label} ({alert.defect})"))
    for event in story.events:
        whom = event.member or event.label
        show(harmless(f"{event.at:>8}  {event.kind}  {whom}"))
    for planted in story.violations:
        records = ", ".join(planted.records)
        show(harmless(f"planted: {planted.checker} at {planted.node}: {records}"))


def list_abuses(context: typer.Context) -> None:
    """List the abuse catalogue."""
    if context.invoked_subcommand is not None:
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "name", "title"):
        table.add_column(heading)
    for abuse in ABUSES:
        table.add_row(abuse.abuse_id, abuse.name, abuse.title)
    show(table)


def show_abuse(name: Annotated[str, typer.Argument(help="id or name of an abuse")]) -> None:
    """Show one abuse: the rule it breaks, what the network makes of it, and its lesson."""
    abuse = abuse_named(name)
    show(Text(f"{abuse.abuse_id} {abuse.title}", style="bold"))
    for label, text in (
        ("breaks", abuse.rule),
        ("expected", abuse.expected),
        ("lesson", abuse.lesson),
    ):
        show(harmless(f"{label}: {text}"))
