"""The command that breaks things on purpose, in memory: simulate."""

from __future__ import annotations

import datetime as dt
import logging
import os
import shlex
from enum import StrEnum
from typing import Annotated, Any

import typer

from alerting.errors import ConfigurationError, WrongUsage
from alerting.wording import plural
from flows.asked import Asked
from flows.cli.output import Entities, Json, Source, day, finish, show
from flows.cli.start import asked_of
from flows.parameters import Engine
from flows.settings import Settings
from flows.wiring import build_services
from scrapers.partition import partitions_between
from scrapers.registry import scraper

app = typer.Typer()


class AnswersOf(StrEnum):
    """Who answers the questions of a simulated run, each of them once."""

    SOURCE = "source"
    LANDING = "landing"


_MOST_DATES = 31


@app.command()
def simulate(
    source: Source,
    start: Annotated[dt.date | None, typer.Argument(parser=day, metavar="START", help="First date, inclusive.")] = None,
    end: Annotated[dt.date | None, typer.Argument(parser=day, metavar="END", help="Last date, inclusive.")] = None,
    entities: Entities = "",
    today: Annotated[
        dt.date | None,
        typer.Option(
            parser=day,
            metavar="DATE",
            help="The simulated day; default ten days after END, or END if the source keeps no history.",
        ),
    ] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Run parent and windows as processes that die one by one.")
    ] = False,
    faults: Annotated[bool, typer.Option("--faults", help="Inject faults, not only other orders of events.")] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the first schedule; the same seed gives the same trace.")
    ] = 0,
    schedules: Annotated[int, typer.Option(min=1, help="Number of schedules, each with the next seed.")] = 200,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Processes that share the schedules.")] = (
        os.cpu_count() or 1
    ),
    most_broken: Annotated[int, typer.Option("--broken", min=1, help="Stop after this many broken schedules.")] = 3,
    answers: Annotated[
        AnswersOf,
        typer.Option(help="Where responses come from: the source, asked once, or the raw zone."),
    ] = AnswersOf.SOURCE,
    as_json: Json = False,
) -> None:
    """Test a source against simulated faults, in memory. Changes nothing.

    Storage, BigQuery, mail and clock are simulated; the source gets each request once. Exit code 1 if a promise
    broke.
    """
    # What another source has to be done with first is done, without a fault. One date goes first, as in long runs.
    given: dict[str, Any] = {"entities": entities, "max_concurrency": 2, "ignore_requires": True, "canary": 1}
    if distributed:
        given |= {"engine": Engine.DISTRIBUTED, "parallel": 2}
    asked = asked_of(source, start, end, "test", given)
    _refuse_too_many(asked)
    try:
        from flows.simulate.explore import explore
        from flows.simulate.recorded import take_landed, told
        from flows.simulate.subject import subject_of
    except ImportError as missing:
        raise ConfigurationError(
            f"the simulator needs {missing.name}, which is not installed. Nothing was done",
            stage="simulate",
            hint="pip install 'gapless[local]'",
        ) from None
    logging.disable(logging.CRITICAL)
    subject = subject_of(Settings(), asked, today)
    lines = [told(take_landed(subject, build_services(for_a_person=True)))] if answers is AnswersOf.LANDING else []
    found = explore(
        subject, seed=seed, schedules=schedules, faults=faults, most_broken=most_broken, processes=processes
    )
    dates = f"{start} {end} " if start else ""
    named = f"--entities {shlex.quote(entities)} " if entities else ""
    # A source that is asked without dates was asked on this very day.
    on_day = f"--today {subject.begins_at:%Y-%m-%d} " if today or not start else ""
    landed = "--answers landing " if lines else ""
    spread = "--distributed " if distributed else ""
    arguments = f"{dates}{named}{on_day}{landed}{spread}{'--faults' if faults else ''}".strip()
    data = {
        "source": source,
        "schedules": found.schedules,
        "runs": found.runs,
        "operations": found.operations,
        "trace": found.trace,
        "faults": dict(found.faults),
        "broken": [{"seed": one.seed, "told": one.told, "faults": one.met} for one in found.broken],
    }
    show(data, [*lines, *found.lines(source, arguments)], as_json)
    finish(not found.broken)


def _refuse_too_many(asked: Asked) -> None:
    of = scraper(asked.source)
    if of.step == "whole":
        return
    dates = partitions_between(asked.start_date, asked.end_date, of.zone, of.step)
    if len(dates) > _MOST_DATES:
        raise WrongUsage(
            f"{plural(len(dates), of.step)} are to be simulated, at most {_MOST_DATES} can be. Nothing was done",
            source=asked.source,
            stage="simulate",
            hint="three dates are enough: a full one, an empty one, one with several pages",
        )
