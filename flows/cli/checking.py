"""The commands that compare and count: gaps, verify, coverage, audit, preflight; exit code 1 where something lacks."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import typer

from alerting.errors import WrongUsage
from alerting.instant import utc_now
from alerting.ranges import compress_dates
from alerting.wording import plural
from flows.cli.output import (
    Also,
    AnyEnd,
    AnyStart,
    FamilyOrSource,
    Json,
    RunEnd,
    RunStart,
    Skip,
    Source,
    check_range,
    day,
    finish,
    show,
    table,
)
from flows.cli.side_by_side import coverage_document, coverage_lines
from flows.cli.start import range_of
from flows.truth import auditing
from flows.truth.deficits import Deficit, find_gaps, not_at_source, summarised
from flows.truth.inventory import read_inventory, refuse_unsettled
from flows.truth.kept_look import keep_look
from flows.truth.recount import recount_range
from flows.truth.side_by_side import read_side_by_side
from flows.wiring import build_services
from scrapers.registry import sources_of_family

app = typer.Typer()
_SHOWN_LINES = 20
_GONE_COLUMNS = ("verdict", "partitions", "ranges", "why")


@app.command()
def gaps(source: Source, start: AnyStart = None, end: AnyEnd = None, as_json: Json = False) -> None:
    """Show dates without rows, as ranges per entity and table. Exit code 1 if there are any."""
    check_range(start, end)
    services = build_services(for_a_person=True)
    refuse_unsettled(services.source_kit(source).scraper, start, end, utc_now())
    inventory = read_inventory(services, source, utc_now(), start, end)
    found = [gap.to_dict() for gap in find_gaps(source, inventory, services.source_kit(source).scraper.tables)]
    span = compress_dates(known.partition.key for known in inventory) or "nothing is known of this source yet"
    gone = not_at_source(inventory)
    data = {"source": source, "looked_at": span, "partitions": len(inventory), "gaps": found, "unavailable": gone}
    lines = [f"{source}, {span}: {plural(len(found), 'gap') if found else 'no gaps'}"]
    lines += table(found, ("entity", "table", "partitions", "ranges", "why"))
    show(data, [*lines, *table(gone, _GONE_COLUMNS)], as_json)
    finish(not found and bool(inventory))


@app.command()
def verify(
    source: Source,
    start: AnyStart = None,
    end: AnyEnd = None,
    by_month: Annotated[
        bool, typer.Option("--by-month", help="Show coverage, rows and children per parent by month, not by year.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Recount finished dates in BigQuery. Writes nothing. Exit code 1 if anything differs."""
    check_range(start, end)
    found = recount_range(build_services(for_a_person=True), source, utc_now(), start, end)
    lines = [f"{'PASS' if check.passed else 'FAIL'}  {check.name:<18} {check.detail}" for check in found.checks]
    periods = found.by_month if by_month else found.by_year
    coverage: list[dict[str, Any]] = [{"period": period, **numbers} for period, numbers in periods.items()]
    columns = list(coverage[0]) if by_month and coverage else ["period", "partitions", "done", "percent"]
    problems = _first_of([f"{key}: {problem}" for key, problem in found.problems.items()])
    problems += _first_of([f"{key}: no fault, {text}" for key, text in found.told.items()])
    lines += [*table(coverage, columns), *problems]
    show(found.to_dict(), [*lines, *table(found.unavailable, _GONE_COLUMNS)], as_json)
    finish(found.passed)


def _first_of(lines: list[str]) -> list[str]:
    """As many as a screen takes, and how many more there are."""
    more = len(lines) - _SHOWN_LINES
    return [*lines[:_SHOWN_LINES], *([f"and {plural(more, 'more line')}: --json has all"] if more > 0 else [])]


@app.command()
def coverage(
    source: FamilyOrSource,
    start: RunStart,
    end: RunEnd = None,
    skip: Skip = None,
    also: Also = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Also write the tables gapless_coverage and gapless_disagreements.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare sources by items expected, landed and verified.

    Exit code 1 unless exactly the expected items are there and verified.
    """
    services = build_services(for_a_person=True)
    first, last = range_of(source, start, end)
    wanted = [one for one in (sources_of_family(source) or [source]) if one not in (skip or [])] + (also or [])
    dated = [one for one in wanted if services.source_kit(one).scraper.step != "whole"]
    if not dated:
        raise WrongUsage(
            f"{', '.join(wanted) or source} {'has' if len(wanted) == 1 else 'have'} no dates to compare",
            stage="coverage",
        )
    now = utc_now()
    found = read_side_by_side(services, dated, first, last, now)
    if keep:
        keep_look(services, found, now)
    show(coverage_document(source, found), coverage_lines(source, found), as_json)
    finish(found.is_whole)


@app.command()
def audit(
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE", help="Names of sources; default all.")
    ] = None,
    start: Annotated[dt.date | None, typer.Option("--from", parser=day, metavar="DATE", help="First date.")] = None,
    end: Annotated[dt.date | None, typer.Option("--to", parser=day, metavar="DATE", help="Last date.")] = None,
    only: Annotated[list[Deficit] | None, typer.Option(help="Only these kinds; can be repeated.")] = None,
    below: Annotated[int, typer.Option("--below", min=0, help="Also list finished dates with fewer rows.")] = 0,
    as_json: Json = False,
) -> None:
    """Find what is missing or wrong. Compares ledger, payloads and tables; changes nothing."""
    check_range(start, end)
    findings = auditing.audit_sources(build_services(for_a_person=True), sources or [], utc_now(), start, end, below)
    lines = summarised(one for one in findings if not only or one.deficit in only)
    text = table(lines, ("source", "deficit", "count", "ranges", "why")) or [
        "clean: every partition is done at every level"
    ]
    show({"clean": not lines, "deficits": lines}, text, as_json)
    finish(not lines)


@app.command()
def preflight(
    source: Source,
    test_mail: Annotated[bool, typer.Option("--test-mail", help="Send a test mail through every channel.")] = False,
    canary: Annotated[bool, typer.Option("--canary", help="Also fetch one date, without keeping it.")] = False,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Test Google only: every load and statement, in a scratch dataset."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check everything that a run needs. Each failure has its remedy; exit code 1 if one fails."""
    from flows.views import preflight as checking
    from flows.views.deep_preflight import deep_preflight
    from flows.views.server_checks import server_checks

    services = build_services(for_a_person=True)
    if deep:
        checks = deep_preflight(services, source)
    else:
        checks = [
            *checking.preflight(services, source, utc_now(), test_mail=test_mail, canary=canary),
            *server_checks(source, services.source_kit(source).access.rate),
        ]
    found = checking.summary(checks)
    width = max(13, *(len(one.name) for one in checks))
    lines = [f"{one.result.upper():<4}  {one.name:<{width}} {one.detail}" for one in checks]
    helped: dict[str, list[str]] = {}
    for one in checks:
        if one.remedy and one.result in ("fail", "warn"):
            helped.setdefault(one.remedy, []).append(one.name)
    remedies = [f"      {', '.join(names)}: {remedy}" for remedy, names in helped.items()]
    show(found, [*lines, *(["to do:", *remedies] if remedies else ["ready"])], as_json)
    finish(bool(found["passed"]))
