"""The command `i247`: every command, and the one place where errors become exit codes."""

import sys
import traceback
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.exceptions import Abort, Exit, TyperException

from bus import log
from bus.errors import I247Error
from console.commands import compose, evidence, inject, network, processes, run, stories
from console.rendering import StandardError, say

INTERRUPTED: Final = 130
BAD_INPUT: Final = 2
FAILED: Final = 4
TRACEBACK: Final = "--traceback"

_PROJECT: Final = Path(__file__).resolve().parent.parent

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


@app.callback()
def options(
    *,
    with_traceback: Annotated[
        bool, typer.Option(TRACEBACK, help="show where in the program a defect came up")
    ] = False,
) -> None:
    """Take what holds for every command; `main` looks at it once a command has failed."""


def main() -> None:
    """Run the command line; an error ends in one line and its own exit code."""
    log.configure(level="warning", stream=StandardError())
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            say("i247: interrupted")
    except I247Error as error:
        say(f"i247: {error}")
        code = error.exit_code
    except TyperException as error:
        say(f"i247: {error.format_message()} (--help shows what there is)")
        code = BAD_INPUT
    except (Abort, KeyboardInterrupt) as interrupted:
        say(f"i247: {str(interrupted) or 'interrupted'}")
        code = INTERRUPTED
    except Exit as ended:
        code = ended.exit_code
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say(f"i247: {where}{error.strerror or type(error).__name__}")
        code = FAILED
    except Exception as error:  # noqa: BLE001  (its exit code must be none of a verdict's)
        say(_defect(error))
        code = FAILED
    sys.exit(code or 0)


def _defect(error: Exception) -> str:
    """Return the line on an error that nobody foresaw, and before it where it came up, if asked."""
    if TRACEBACK in sys.argv:
        sys.stderr.write("".join(traceback.format_exception(error)))
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PROJECT)] or frames
    place = f"{Path(own[-1].filename).stem}:{own[-1].lineno}" if own else "an unknown place"
    return f"i247: failed: {type(error).__name__} at {place} (this is a defect; see {TRACEBACK})"


if __name__ == "__main__":
    main()
