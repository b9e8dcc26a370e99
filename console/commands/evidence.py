"""`i247 verify`, `scan` and `export`: what a run folder proves, read without the run."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from console.rendering import harmless, say, show, show_run
from simulation.judgement.results import merged_history, results
from simulation.run_folder import RunFolder
from simulation.runner import judged_again
from simulation.statement_export import exported_statement

RunArgument = Annotated[Path, typer.Argument(help="a run's folder")]
RESIDUE_FOUND = 1


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("verify")(verify)
    app.command("scan")(scan)
    app.command("export")(export)


def verify(run: RunArgument) -> None:
    """Judge the stores of a run again, and compare with what its results say."""
    folder = RunFolder.existing(run)
    kept = folder.read_results()
    evidence, judgement = judged_again(run)
    content = results(evidence, judgement, wall_seconds=kept["wall_seconds"])
    plain = msgspec.json.decode(msgspec.json.encode(content))
    show_run(plain, judgement, None)
    differing = [key for key, value in plain.items() if kept.get(key) != value]
    for key in differing:
        say(f"{run}/results.json says something else about {key}")
    history = folder.read_history()
    if history is None:
        say(f"{run}/history.jsonl is missing")
    elif history != b"".join(merged_history(evidence)):
        say(f"{run}/history.jsonl says something else than the stores")
        history = None
    if (differing or history is None) and judgement.exit_code == 0:
        raise typer.Exit(1)
    raise typer.Exit(judgement.exit_code)


def scan(run: RunArgument) -> None:
    """Search every file of a run for left-over copies of deleted data."""
    evidence, _ = judged_again(run)
    table = Table(box=None, pad_edge=False)
    for heading in ("holder", "surface", "place", "data", "encoding"):
        table.add_column(heading)
    sightings = sorted(evidence.scan.sightings, key=str)
    for sighting in sightings:
        table.add_row(
            harmless(sighting.node),
            sighting.kind,
            harmless(sighting.name),
            harmless(evidence.scan.dead[sighting.canary].label),
            sighting.encoding,
        )
    if sightings:
        show(table)
    show(
        harmless(
            f"{len(evidence.scan.dead)} canaries of deleted data looked for in "
            f"{evidence.scan.octets:,} octets: {len(sightings)} copies found"
        )
    )
    raise typer.Exit(RESIDUE_FOUND if sightings else 0)


def export(
    run: RunArgument,
    message_id: Annotated[str, typer.Argument(help="message id, as the history shows it")],
) -> None:
    """Print a statement of a run as standard JSON DSSE, which other tools verify."""
    content = exported_statement(RunFolder.existing(run), message_id)
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
