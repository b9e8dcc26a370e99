"""`i247 node` and `i247 secretariat`: one party as a process of its own."""

from pathlib import Path
from typing import Annotated

import typer

Settings = Annotated[Path, typer.Option(help="the process's settings, a TOML file")]
Control = Annotated[
    str,
    typer.Option(help="be driven through unix:PATH or tls://HOST:PORT instead of by the clock"),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("node")(node)
    app.command("secretariat")(secretariat)


def node(settings: Settings, control: Control = "") -> None:
    """Run one National Central Bureau until it is told to stop."""
    from ncb_nodes.process import main  # noqa: PLC0415  (needs what only POSIX has)

    raise typer.Exit(main(_arguments(settings, control)))


def secretariat(settings: Settings, control: Control = "") -> None:
    """Run the General Secretariat until it is told to stop."""
    from secretariat.process import main  # noqa: PLC0415  (needs what only POSIX has)

    raise typer.Exit(main(_arguments(settings, control)))


def _arguments(settings: Path, control: str) -> list[str]:
    return ["--settings", str(settings), *(("--control", control) if control else ())]
