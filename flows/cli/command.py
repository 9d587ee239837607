"""The `gapless` command: thin. Every verb is also a deployment (`prefect deployment run 'operate/gapless'`).

Exit codes: 0 good, 1 not good (the message says what to type next), 2 wrong usage, 130 Ctrl+C.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from alerting.errors import PipelineError, WrongUsage
from flows.cli import care, checking, looking, simulating, work
from flows.cli.examples import examples_of
from flows.cli.once import StrictCommand
from flows.cli.output import show_error
from flows.settings import code_version, unfit

INTERRUPTED, WRONG_USAGE = 130, 2

app = typer.Typer(
    name="gapless",
    help="Refills any range of dates of any source, without holes, and sends one mail.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (work.app, looking.app, checking.app, care.app, simulating.app):
    app.registered_commands.extend(part.registered_commands)
for command in app.registered_commands:
    command.cls = StrictCommand
    command.epilog = examples_of(command.name or str(getattr(command.callback, "__name__", "")))


def _version(asked: bool) -> None:
    if asked:
        typer.echo(code_version())
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Version and commit.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log lines on standard error.")] = False,
) -> None:
    """Options before the command."""
    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL, stream=sys.stderr)


@functools.cache
def _command() -> Callable[..., Any]:
    """Calling `app` would make the parser anew from all signatures, for each line of a process that runs several."""
    return typer.main.get_command(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; never raises for what it understands, never prompts a script."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    try:
        _command()(args=given, prog_name="gapless")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1 if end.code else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except PipelineError as error:
        show_error(error, as_json)
        return WRONG_USAGE if isinstance(error, WrongUsage) else 1
    except (ValidationError, SettingsError) as error:
        show_error(unfit(error), as_json)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
