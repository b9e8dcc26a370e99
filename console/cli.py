"""The command `i247`: every command, and the one place where errors become exit codes."""

import sys
from typing import Final

import typer
from typer.exceptions import Abort, Exit, TyperException

from bus import log
from bus.errors import I247Error
from console.commands import compose, evidence, inject, network, processes, run, stories
from console.rendering import StandardError, say

INTERRUPTED: Final = 130
BAD_INPUT: Final = 2

app: Final = typer.Typer(
    name="i247",
    help="A simulation of INTERPOL's I-24/7 network. Fictional data; not affiliated with INTERPOL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for group in (run, stories, inject, evidence, network, compose, processes):
    group.register(app)


def main() -> None:
    """Run the command line; an error ends in one line and its own exit code."""
    log.configure(level="warning", stream=StandardError())
    try:
        code = app(standalone_mode=False)
    except I247Error as error:
        say(f"i247: {error}")
        code = error.exit_code
    except TyperException as error:
        say(f"i247: {error.format_message()} (--help shows what there is)")
        code = BAD_INPUT
    except (Abort, KeyboardInterrupt):
        say("i247: interrupted")
        code = INTERRUPTED
    except Exit as ended:
        code = ended.exit_code
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
