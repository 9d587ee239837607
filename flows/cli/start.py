"""From a command line to a started run: parameters, plan, deployment, exit code."""

from __future__ import annotations

import datetime as dt
import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import IO, TYPE_CHECKING, Any, NoReturn

import typer
from pydantic import ValidationError

from alerting.errors import WrongUsage
from alerting.instant import utc_now
from alerting.outbox import Outbox
from alerting.ranges import compress_dates
from flows.asked import Asked, AskedFamily
from flows.calendar_dates import listed_dates
from flows.cli.ending import ending_lines
from flows.cli.output import check_range, finish, say, show
from flows.parameters import NO_DATE, Engine, Mode, Publish, Reason
from flows.planning.period import period_dates
from flows.truth.inventory import span_of
from flows.wiring import Services
from scrapers.registry import families, scraper, sources_of_family

if TYPE_CHECKING:
    from flows.cli.prefect_runs import Look, Started
    from flows.planning.family import FamilyPlan
    from flows.planning.planner import Planned

_LONGEST_LIST_CHARS = 5_000_000


def asked_of(
    source: str, start: dt.date | str | None, end: dt.date | None, reason: str, given: dict[str, Any]
) -> Asked:
    """The parameters of a run; a reason in one's own words becomes the note, a period its dates."""
    if isinstance(start, str):
        if end is not None:
            raise typer.BadParameter(f"{start} is a period; an END needs a first date")
        start, end = period_dates(start, scraper(source).seasons)
    if not given.get("entities") and (start is None or end is None):
        raise typer.BadParameter("START and END are needed (or --entities, for a source that is asked by entity)")
    check_range(start, end)
    why = _reason(reason)
    said = {name: value for name, value in given.items() if value not in (None, "")}
    if start is not None:
        for name in ("dates", "exclude"):
            try:
                listed_dates(str(said.get(name, "")))
            except ValueError as error:
                raise typer.BadParameter(str(error), param_hint=f"--{name}") from None
    try:
        asked = Asked.model_validate({"source": source, "start_date": start, "end_date": end, **why, **said})
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False))
        raise typer.BadParameter("; ".join(problems), param_hint="--param") from None
    for name, argument in (("start_date", start), ("end_date", end)):
        if argument not in (None, found := getattr(asked, name)):
            raise typer.BadParameter(f"{name} is given twice: {argument} and {found}", param_hint="--param")
    return asked


def range_of(name: str, start: dt.date | str | None, end: dt.date | None) -> tuple[dt.date, dt.date]:
    """First and last date (inclusive) of a period of a source or family, or of START and END."""
    if isinstance(start, str):
        if end is not None:
            raise typer.BadParameter(f"{start} is a period; an END needs a first date")
        members = map(scraper, sources_of_family(name) or [name])
        return period_dates(start, next((one.seasons for one in members if one.seasons), None))
    if start is None or end is None:
        raise typer.BadParameter("a period (2024-25, 2024, 2024-03), or START and END, are needed")
    check_range(start, end)
    return start, end


def _reason(reason: str) -> dict[str, str]:
    if reason in {one.value for one in Reason}:
        return {"reason": reason}
    return {"reason": Reason.OTHER.value, "note": reason}


def refuse_for_family(family: str, **given: Any) -> None:
    """Raises for options that only make sense for one source."""
    if unfit := [f"--{name.replace('_', '-')}" for name, value in given.items() if value]:
        raise typer.BadParameter(f"{', '.join(unfit)}: for one source, and {family} is a family of them")


def reviewed_by_source(plan: FamilyPlan) -> WrongUsage:
    """Why a family is not reviewed as a whole, with a command for each of its sources in their order."""
    commands, how = [], "--publish after_approval --reason"
    for asked in (step.asked for step in plan.steps):
        dates = "" if asked.start_date == NO_DATE else f" {asked.start_date} {asked.end_date}"
        entities = f" --entities {shlex.quote(asked.entities)}" if asked.entities else ""
        mode = f" --mode {asked.mode.value}" if asked.mode is not Mode.INCREMENTAL else ""
        commands.append(f"  gapless run {asked.source}{dates}{entities}{mode} {how} {asked.reason.value}")
    return WrongUsage(
        f"{plan.family} is a family, and what needs a source goes by what is published of it, so --publish "
        "after_approval is for one source at a time. Nothing was done",
        hint="\n".join(["one after the other, each when the one before is published:", *commands]),
    )


def refuse_without_family(source: str, **given: Any) -> None:
    """Raises for options that only make sense for a family."""
    if unfit := [f"--{name}" for name, value in given.items() if value]:
        known = ", ".join(families())
        raise typer.BadParameter(f"{', '.join(unfit)}: for a family ({known}), and {source} is one source")


def asked_of_family(
    family: str, start: dt.date | str | None, end: dt.date | None, reason: str, given: dict[str, Any]
) -> AskedFamily:
    """The parameters of a family's run."""
    if isinstance(start, str):
        if end is not None:
            raise typer.BadParameter(f"{start} is a period; an END needs a first date")
        dates = {"period": start}
    elif start is None or end is None:
        raise typer.BadParameter("a period (2024-25, 2024, 2024-03), or START and END, are needed")
    else:
        check_range(start, end)
        dates = {"start_date": start.isoformat(), "end_date": end.isoformat()}
    said = {name: value for name, value in given.items() if value not in (None, "", [], ())}
    try:
        return AskedFamily.model_validate({"family": family, **dates, **_reason(reason), **said})
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False))
        raise typer.BadParameter("; ".join(problems), param_hint="--param") from None


def split_over(parallel: int, max_concurrency: int | None) -> dict[str, Any]:
    """Parameters of one run that works in ``parallel`` child runs: one lease, one verdict, one mail.

    >>> split_over(12, None)
    {'engine': 'distributed', 'parallel': 12, 'max_concurrency': 12}
    """
    in_flight = max_concurrency or max(parallel, Asked(source="").max_concurrency)
    return {"engine": Engine.DISTRIBUTED.value, "parallel": parallel, "max_concurrency": in_flight}


def extra_parameters(parameters: Sequence[str] | None, of: type[Asked | AskedFamily] = Asked) -> dict[str, Any]:
    """``name=value`` texts as parameters; a value that is not JSON is text."""
    extra: dict[str, Any] = {}
    names = set(of.model_fields) - {"source", "family", "part_of"}
    for text in parameters or []:
        name, mark, value = text.partition("=")
        known = ", ".join(sorted(names))
        if not mark:
            raise typer.BadParameter(f"{text!r} is not name=value; parameters: {known}", param_hint="--param")
        if name not in names:
            raise typer.BadParameter(f"there is no parameter {name!r}; there are: {known}", param_hint="--param")
        if name in extra or not value.strip():
            what = "is given twice" if name in extra else "has no value"
            raise typer.BadParameter(f"{name} {what}", param_hint="--param")
        try:
            extra[name] = json.loads(value)
        except ValueError:
            extra[name] = value
    return extra


def beside(
    options: Mapping[str, Any], parameters: Sequence[str] | None, of: type[Asked | AskedFamily] = Asked
) -> dict[str, Any]:
    """What options and ``--param`` say together. Raises ``BadParameter`` where they say two things of one."""
    extra = extra_parameters(parameters, of)
    for name in extra.keys() & options.keys():
        usual = of.model_fields[name].default
        if options[name] not in (None, "", [], usual, getattr(usual, "value", usual), extra[name]):
            raise typer.BadParameter(f"{name} is given twice: {options[name]} and {extra[name]}", param_hint="--param")
    return {**options, **extra}


def listed_in(dates: str, file: IO[str] | None) -> str:
    """The list of dates of either option, "" where neither is given. Raises ``BadParameter``."""
    if file is None:
        return dates
    if dates:
        raise typer.BadParameter("give --dates or a file, not both", param_hint="--from-file")
    try:
        text = file.read(_LONGEST_LIST_CHARS + 1).removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"cannot be read as text: {type(error).__name__}", param_hint="--from-file") from None
    if len(text) > _LONGEST_LIST_CHARS or not text.strip():
        what = f"is longer than {_LONGEST_LIST_CHARS:,} characters" if text.strip() else "has no date in it"
        raise typer.BadParameter(what, param_hint="--from-file")
    return ",".join(text.splitlines())


def planned_of(services: Services, asked: Asked) -> Planned:
    """The plan and its cost, as the run itself will make it. Imports Prefect, so only when it is needed."""

    from flows.planning.planner import plan_asked

    services.source_kit(asked.source)
    return plan_asked(services, asked, utc_now())


def keys_of_run(services: Services, backfill_id: str, source: str) -> list[str]:
    """All partitions that an earlier run of ``source`` planned. Raises ``ConfigurationError``, ``StateUnreadable``."""
    from flows.planning.stored_plan import named_plan

    return named_plan(services.store, backfill_id, source).keys


def keys_of_cause(services: Services, backfill_id: str, cause: str) -> list[str]:
    """All partitions of one cause of an ended run, done by now or not. Raises ``ConfigurationError``."""
    from flows.closing import mailing

    return mailing.keys_of_cause(services, backfill_id, cause)


def published_as(services: Services, runs: Iterable[str]) -> dict[str, str]:
    """The parameter of a run that does again what these runs left open: rows that a person wanted to see wait again.

    Empty where nobody wanted to see any. Raises ``StateUnreadable``.
    """
    outbox, after = Outbox(services.store), Publish.AFTER_APPROVAL.value
    owed = (outbox.read(one) for one in sorted(set(runs)))
    is_reviewed = any(one.run_facts.flags.get("publish") == after for one in owed if one is not None)
    return {"publish": after} if is_reviewed else {}


def start_keys(
    services: Services, source: str, keys: Sequence[str], reason: str, *, no_follow: bool, as_json: bool, **given: Any
) -> None:
    """A run of exactly these partitions, in the smallest range that holds them; none is nothing to do."""
    if not keys:
        show({"source": source, "started": None}, ["nothing to do; nothing was started"], as_json)
        finish(True)
    names, scraper = compress_dates(keys, join=".."), services.source_kit(source).scraper
    if scraper.step == "whole":
        asked = asked_of(source, None, None, reason, {"entities": names, **given})
    else:
        asked = asked_of(source, *span_of(scraper, keys), reason, {"dates": names, **given})
    start_run(services, asked, no_follow=no_follow, as_json=as_json)


def start_run(services: Services, asked: Asked, *, no_follow: bool, as_json: bool) -> NoReturn:
    """Starts the deployment with what differs from its defaults; follows it and ends with its exit code."""
    from flows.cli.prefect_runs import watched_run

    watch = partial(watched_run, services, asked.source)
    _start(services, asked.source, asked.given(), watch, no_follow=no_follow, as_json=as_json)


def start_family(services: Services, asked: AskedFamily, *, no_follow: bool, as_json: bool) -> NoReturn:
    """The same for a family."""
    from flows.cli.prefect_runs import watched_family

    watch = partial(watched_family, services)
    _start(services, asked.family, asked.given(), watch, no_follow=no_follow, as_json=as_json)


def _start(
    services: Services,
    name: str,
    parameters: dict[str, Any],
    watch: Callable[[Started], Callable[[], Look | None]],
    *,
    no_follow: bool,
    as_json: bool,
) -> NoReturn:
    from flows.cli.care import who
    from flows.cli.prefect_runs import child_runs, ended, follow, start

    started = start(f"backfill/{name}", parameters, asked_by=who(), followed=not no_follow)
    at = f" {started.url}" if started.url else ""
    say(as_json, f"started {started.backfill_id} as flow run {started.name} ({started.flow_run_id}){at}")
    if no_follow:
        show({**started.to_dict(), "state": "SCHEDULED"}, [f"look: gapless status {name}"], as_json)
        finish(True)
    state = follow(watch(started), started, lambda text: say(as_json, text))
    data = {**started.to_dict(), "windows": child_runs(started), **ended(state)}
    lines = ending_lines(services, name, started.backfill_id, state.name or "", state.message or "")
    show(data, lines, as_json)
    raise typer.Exit(data["exit_code"])
