"""`i247 topology`, `pki` and `compose`: what a network is built from."""

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from bus.definitions import definitions
from bus.errors import BadInput, EnvironmentFailed
from bus.identifiers import SECRETARIAT
from bus.instants import DAY, Instant, instant_from_text
from bus.pki.keystore import PkiFolder, create_pki
from bus.topology import network_topology
from console.rendering import say
from simulation.scenario import BEGINS_YEARS, load

MEMBERS_MAX: Final = 26
_VALIDITY_DEFAULT_DAYS: Final = 400
_VALIDITY_DAYS_MAX: Final = 36_500

Members = Annotated[
    str, typer.Option(help="member codes with commas, a count of fictional ones, or a scenario")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    topology = typer.Typer(
        help="Print the broker's definitions, or apply them.", invoke_without_command=True
    )
    topology.callback()(print_topology)
    topology.command("apply")(apply_topology)
    app.add_typer(topology, name="topology")
    pki = typer.Typer(help="Make a network's keys and certificates.", no_args_is_help=True)
    pki.command("init")(init_pki)
    app.add_typer(pki, name="pki")


def chosen_members(text: str) -> tuple[str, ...]:
    """Return the members that a person named: codes, a count, or a scenario's own."""
    if text.isdigit():
        count = int(text)
        if not 1 <= count <= MEMBERS_MAX:
            message = f"--members {text}: there are 1 to {MEMBERS_MAX} fictional members"
            raise BadInput(message)
        return tuple(f"X{chr(ord('A') + index)}" for index in range(count))
    if "," in text or (len(text) == 2 and text.isupper()):  # noqa: PLR2004  (a code's length)
        return tuple(code.strip() for code in text.split(",") if code.strip())
    return load(text).members


def print_topology(context: typer.Context, members: Members = "3") -> None:
    """Print the RabbitMQ definitions of a network as JSON."""
    if context.invoked_subcommand is not None:
        return
    document = definitions(network_topology(chosen_members(members)))
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document)) + b"\n")


def apply_topology(
    members: Members = "3",
    through: Annotated[
        str, typer.Option(help="the command that administers the broker, such as 'docker exec b …'")
    ] = "rabbitmqctl",
) -> None:
    """Load the definitions into a running broker through its own rabbitmqctl."""
    document = definitions(network_topology(chosen_members(members)))
    command = [*shlex.split(through), "import_definitions"]
    try:
        done = subprocess.run(
            command, input=msgspec.json.encode(document), capture_output=True, check=False
        )
    except OSError as error:
        message = f"--through {through}: {error.strerror}"
        raise BadInput(message) from error
    if done.returncode != 0:
        told = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        message = f"{shlex.join(command)} failed: {told[-1]}"
        raise EnvironmentFailed(message)
    say(f"definitions for {members} applied")


def init_pki(
    out: Annotated[Path, typer.Option(help="the folder to make; must not exist")],
    members: Members = "3",
    begins: Annotated[
        str, typer.Option(help="first simulated instant of the signing keys (RFC 3339, UTC)")
    ] = "2024-01-01T00:00:00.000Z",
    days: Annotated[
        int, typer.Option(min=1, max=_VALIDITY_DAYS_MAX, help="how long they are valid")
    ] = (_VALIDITY_DEFAULT_DAYS),
    broker_name: Annotated[
        list[str] | None, typer.Option(help="further DNS names of the broker; repeatable")
    ] = None,
) -> None:
    """Make the root, a signing key and a TLS key for every party, and the broker's."""
    first = _instant(begins)
    folder: PkiFolder = create_pki(
        out,
        (*chosen_members(members), SECRETARIAT),
        simulated_not_before=first,
        simulated_not_after=first + days * DAY,
        wall_now=int(time.time() * 1_000),
        broker_dns_names=broker_name or (),
    )
    say(f"keys for {members} written to {folder.path}; the private ones are readable by you alone")


def _instant(text: str) -> Instant:
    try:
        begins = instant_from_text(text)
    except ValueError as error:
        message = f"--begins {text}: expected an instant such as 2024-01-01T00:00:00.000Z"
        raise BadInput(message) from error
    if int(text[:4]) not in BEGINS_YEARS:
        message = f"--begins {text}: the year is not {BEGINS_YEARS[0]} to {BEGINS_YEARS[-1]}"
        raise BadInput(message)
    return begins
