"""The command that breaks things on purpose, in memory: simulate."""

from __future__ import annotations

import datetime as dt
import logging
import os
import sys
from typing import Annotated

import typer

from alerting.errors import ConfigurationError, WrongUsage
from flows.asked import Asked
from flows.cli.output import Json, Source, check_range, day, finish, show
from flows.settings import Settings

app = typer.Typer()
_MOST_DATES = 31


@app.command()
def simulate(
    source: Source,
    start: Annotated[dt.date, typer.Argument(parser=day, metavar="START", help="First date.", show_default=False)],
    end: Annotated[dt.date, typer.Argument(parser=day, metavar="END", help="Last date.", show_default=False)],
    faults: Annotated[bool, typer.Option("--faults", help="Kill, cut, stall and lose; else only reorder.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the first schedule; the same seed, the same trace.")] = 0,
    schedules: Annotated[int, typer.Option(min=1, help="How many, each with the next seed.")] = 200,
    as_json: Json = False,
) -> None:
    """Backfills a few dates again and again in memory, under faults, and says what did not hold. Touches nothing.

    Each question is asked of the source once; storage, BigQuery, mail, clock and chance are simulated. Exit code 1
    when something broke.
    """
    check_range(start, end)
    if (end - start).days >= _MOST_DATES:
        raise WrongUsage(
            f"{(end - start).days + 1} dates are to be simulated, at most {_MOST_DATES} can be. Nothing was done",
            stage="simulate",
            hint="three dates meet every fault; take a full one, an empty one and one with several pages",
        )
    _with_fixed_hashes()
    try:
        from flows.simulate.explore import explore
        from flows.simulate.schedule import subject_of
    except ImportError as missing:
        raise ConfigurationError(
            f"the simulator needs {missing.name}, which is not installed. Nothing was done",
            stage="simulate",
            hint="pip install 'gapless[local]'",
        ) from None
    logging.disable(logging.CRITICAL)
    # What another source has to be done with first is not simulated.
    asked = Asked.model_validate(
        {"source": source, "start_date": start, "end_date": end, "max_concurrency": 2, "ignore_requires": True}
    )
    found = explore(subject_of(Settings(), asked), seed=seed, schedules=schedules, faults=faults)
    arguments = f"{start} {end}{' --faults' if faults else ''}"
    data = {
        "source": source,
        "schedules": found.schedules,
        "runs": found.runs,
        "operations": found.operations,
        "faults": dict(found.faults),
        "broken": [{"seed": one.seed, "told": one.told, "faults": one.met} for one in found.broken],
    }
    show(data, found.lines(source, arguments), as_json)
    finish(not found.broken)


def _with_fixed_hashes() -> None:
    """Begins this process anew unless sets of texts have the same order in every process: traces depend on it."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        sys.stdout.flush()
        os.execve(  # noqa: S606 - this very command
            sys.executable, [sys.executable, "-m", "gapless", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"}
        )
