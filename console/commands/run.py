"""`i247 run`: one story, a verdict, a folder, an exit code."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import Abort

from bus.errors import BadInput
from bus.instants import Instant
from console.buses import BusChoice, chosen_bus, open_network
from console.rendering import Progress, say, show_run
from simulation.plan import Plan
from simulation.run_folder import check_out
from simulation.runner import DEFAULT_SEED, Narrator, Run, RunRequest, prepared
from simulation.runner import run as run_story
from simulation.scenario import Keep, load

ScenarioName = Annotated[str, typer.Argument(help="shipped name, or path to a TOML file")]
BusOption = Annotated[BusChoice, typer.Option(help="which bus carries the mail")]
BrokerOption = Annotated[
    str, typer.Option("--broker-url", help="amqps://host:port/vhost of a broker to use")
]
PkiOption = Annotated[
    Path | None, typer.Option("--pki", help="key folder that the given broker trusts")
]
AttachOption = Annotated[
    Path | None, typer.Option("--attach", help="folder that tells of a network started elsewhere")
]
SeedOption = Annotated[str, typer.Option(help="what all chance is drawn from")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(  # noqa: PLR0913, PLR0917  (one parameter per option of the command)
    scenario: ScenarioName,
    bus: BusOption = BusChoice.AUTO,
    broker_url: BrokerOption = "",
    pki: PkiOption = None,
    attach: AttachOption = None,
    seed: SeedOption = DEFAULT_SEED,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value put over the scenario; repeatable")
    ] = None,
    keep: Annotated[Keep | None, typer.Option(help="how much of the run is written")] = None,
    out: Annotated[Path | None, typer.Option(help="the folder itself; must be empty")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="print results.json and nothing else")
    ] = False,
) -> None:
    """Run a scenario and judge it.

    Exit codes: 0 valid, 1 invalid, 2 bad input, 3 unknown, 4 environment failed, 130 interrupted.
    """
    story = load(scenario, read_settings(settings or []))
    request = RunRequest(story, seed, keep or story.keep, out)
    done = to_its_end(carried_out(request, bus, broker_url, pki, attach))
    if json:
        sys.stdout.buffer.write((done.folder / "results.json").read_bytes())
    else:
        show_run(done.results, done.judgement, done.folder)
    raise typer.Exit(done.judgement.exit_code)


def to_its_end(work: Coroutine[Any, Any, Run]) -> Run:
    """Carry a run out; raise `Abort` where a person breaks it off, before anything is written."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise Abort("interrupted; nothing was written") from None


async def carried_out(
    request: RunRequest,
    bus: BusChoice,
    broker_url: str,
    pki: Path | None,
    attach: Path | None = None,
) -> Run:
    """Start a network, run the story on it, and end whatever was started."""
    planned = prepared(request.scenario, request.seed)
    check_out(request.out)
    choice = chosen_bus(bus, broker_url, say, attach)
    progress = Progress()
    network = await open_network(
        choice, request.scenario, planned, request.seed, broker_url, pki, attach
    )
    try:
        return await run_story(request, network, planned, Narrator(say, breaking_off(progress)))
    finally:
        await network.stop()
        progress.done()


def breaking_off(progress: Callable[[Instant, Plan], None]) -> Callable[[Instant, Plan], None]:
    """Return a progress at which an interrupted run ends, also one that never waits by itself."""

    def tell(now: Instant, planned: Plan) -> None:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        progress(now, planned)

    return tell


def read_settings(pairs: list[str]) -> dict[str, str]:
    """Read `key=value` pairs; raise `BadInput` for one that is none."""
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            message = f"--set {pair}: expected key=value"
            raise BadInput(message)
        settings[key.strip()] = value.strip()
    return settings
