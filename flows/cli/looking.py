"""The commands that show what was: status, calendar, runs, reviews, errors, record."""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from alerting.coverage import build_coverage, coverage_text
from alerting.errors import ConfigurationError, StateUnreadable, WrongUsage
from alerting.instant import utc_now
from alerting.object_store import ObjectMissing
from alerting.run_facts import GOOD_VERDICTS
from alerting.wording import plural
from flows.cli.output import (
    AnyFamilyOrSource,
    AnySource,
    Json,
    say,
    show,
    show_unreadable,
    table,
)
from flows.closing.review import diff_lines
from flows.coordination.lease import list_leases, read_lease, seems_taken, suspended_runs
from flows.ledger.reviews import ReviewState, list_reviews, named_review
from flows.planning.known_first_date import known_scraper
from flows.planning.period import period_dates
from flows.truth.whole_history import History, read_histories, within
from flows.views.calendar_page import Links, calendar_page
from flows.views.inspection import describe_run, recent_errors
from flows.views.status import source_status
from flows.views.stored_runs import recent_runs
from flows.wiring import Services, build_services
from scrapers.registry import families, scraper, sources_of_family
from scrapers.registry import sources as known_sources

app = typer.Typer()
RUN_COLUMNS = ("backfill_id", "source", "range", "verdict", "started_at", "wall_s", "calls", "mail")
WATCH_S = 5
_CLEARED = "\x1b[2J\x1b[H"
_REVIEW_COLUMNS = ("review_id", "source", "state", "partitions", "ranges", "expires_at", "decided_by", "reason")
_STATUS_COLUMNS = ("source", "state", "done", "last_update", "next")
_UNKNOWN: dict[str, Any] = {"state": "unreadable", "verdicts": {}, "partitions": 0, "last_update": None}
_FAILED_COLUMNS = ("verdict", "error_type", "ranges", "example")
_CAUSE_COLUMNS = ("cause", "count", "severity", "source", "error_type", "ranges", "message")


@app.command()
def status(
    source: AnyFamilyOrSource = "",
    failed: Annotated[bool, typer.Option("--failed", help="Only failed partitions, with their last error.")] = False,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Only partitions with fewer rows than landed.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every 5 s until Ctrl+C.")] = False,
    as_json: Json = False,
) -> None:
    """Show state, failures and next command. One line per source, or fifteen answers about one."""
    if watch and (as_json or not sys.stdout.isatty()):
        raise typer.BadParameter("needs a terminal, and no --json", param_hint="--watch")
    while True:
        unreadable: list[StateUnreadable] = []
        services = build_services(for_a_person=True)
        documents, lines = _told(services, source, unreadable, failed=failed, incomplete=incomplete)
        if not watch:
            break
        typer.echo(_CLEARED, nl=False)
        head = f"{utc_now():%Y-%m-%d %H:%M:%S} UTC, again in {WATCH_S} s; Ctrl+C ends it"
        show(None, [head, *lines, *(f"error: {error}" for error in unreadable)], as_json)
        time.sleep(WATCH_S)
    show(documents.get(source, documents), lines or ["none"], as_json)
    show_unreadable(unreadable)


def _told(
    services: Services, source: str, unreadable: list[StateUnreadable], *, failed: bool, incomplete: bool
) -> tuple[dict[str, Any], list[str]]:
    """What is known of one source, of a family, or of all, as data and as lines.

    What cannot be read is added to ``unreadable``.
    """
    documents: dict[str, Any] = {}
    lines: list[str] = []
    members = sources_of_family(source) if source else known_sources()
    for name in members or [source]:
        try:
            if incomplete:
                documents[name] = _incomplete(services, name, unreadable)
                lines += table(documents[name], ("partition", "table", "expected", "actual", "verdict"))
                continue
            found = source_status(services, name, utc_now(), unreadable=unreadable)
        except StateUnreadable as error:
            if not members:
                raise
            error.located(source=name)
            unreadable.append(error)
            documents[name] = [] if failed or incomplete else {**_UNKNOWN, "source": name, "next_step": error.hint}
            continue
        documents[name] = found["failed"] if failed else found
        if failed:
            lines += table(found["failed"], _FAILED_COLUMNS)
        elif not members:
            lines += _status_lines(found)
    if members and not (failed or incomplete):
        lines = table([_in_one_line(found) for found in documents.values()], _STATUS_COLUMNS)
    if source in families():
        lines = [*_family_at_work(services, source, unreadable), *lines]
    return documents, lines


def _family_at_work(services: Services, family: str, unreadable: list[StateUnreadable]) -> list[str]:
    try:
        lease = read_lease(services.store, family)
    except StateUnreadable as error:
        unreadable.append(error)
        return []
    if lease is None:
        return []
    is_at_work = seems_taken(services.store, lease, utc_now())
    return [f"{family}: {'at work, ' if is_at_work else 'last run '}{lease.describe()}"]


def _in_one_line(found: dict[str, Any]) -> dict[str, Any]:
    good = sum(count for verdict, count in found["verdicts"].items() if verdict in GOOD_VERDICTS)
    done = f"{good:,} of {found['partitions']:,}" if found["partitions"] else "-"
    newest = f"{found['last_update']:%Y-%m-%d %H:%M}" if found["last_update"] else "-"
    return {
        "source": found["source"],
        "state": found["state"],
        "done": done,
        "last_update": newest,
        "next": found["next_step"],
    }


def _incomplete(services: Services, source: str, unreadable: list[StateUnreadable]) -> list[dict[str, Any]]:
    return [
        {
            "partition": key,
            "table": name,
            "expected": rows,
            "actual": entry.loaded.get(name, 0),
            "verdict": entry.verdict,
        }
        for key, entry in services.source_kit(source).ledger.refresh(unreadable=unreadable).items()
        for name, rows in entry.landed.items()
        if entry.loaded.get(name, 0) < rows
    ]


def _status_lines(found: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{count} {name}" for name, count in found["verdicts"].items())
    lines = [
        f"{found['source']}: {found['headline']}",
        f"next: {found['next_step']}",
        f"{plural(found['partitions'], 'partition')}: {counts or 'none yet'}",
    ]
    if found["open"]:
        lines.append(f"open: {found['open']}")
    if found["items"]:
        items = found["items"]
        lines.append(f"expected items: {items.get('found', 0):,} of {items.get('expected', 0):,} are there")
        lines += [f"missing: {key}, {text}" for key, text in found["missing_items"].items()]
    lines += [
        f"loaded without items that are not final: {key}, {items}" for key, items in found["loaded_without"].items()
    ]
    lines += [
        f"{one['verdict']}: {one['partitions']} not started: {one['ranges']} ({one['why']})" for one in found["pending"]
    ]
    for answer in found["answers"]:
        first, *more = str(answer["answer"]).splitlines() or [""]
        lines += [f"{answer['number']:>2}. {answer['question']}", f"    {first}", *(f"    {line}" for line in more)]
    newest = [f"    {one['uri']} ({one['size_bytes']:,} bytes)" for one in found["newest_objects"]]
    lines += ["newest objects:", *newest] if newest else []
    return lines


@app.command()
def calendar(
    source: AnySource = "",
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write an HTML page instead.")] = None,
    period: Annotated[
        str, typer.Option("--in", metavar="PERIOD", help="Only what is missing in a year, month or season.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Show the whole history, one letter per date. Reads the ledger only."""
    names = [source] if source else known_sources()
    spans = _spans(names, period) if period else {}
    services, now = build_services(for_a_person=True), utc_now()
    histories = read_histories(services, names, now)
    if period:
        histories = [within(one, known_scraper(services, one.source), *spans[one.source], now) for one in histories]
    if html is not None:
        _write(html, calendar_page(histories, Links.of_bucket(services.store.root_uri), now))
        say(as_json, f"written: {html}")
        if not as_json:
            _show_unread(histories)
            return
    documents = {one.source: one.to_dict() for one in histories}
    lines = [
        line for one in histories for line in _calendar_lines(one, is_alone=bool(source), span=spans.get(one.source))
    ]
    show(documents[source] if source else documents, lines, as_json)
    _show_unread(histories)


def _show_unread(histories: Sequence[History]) -> None:
    show_unreadable([text for one in histories for text in one.unreadable])


def _spans(names: Sequence[str], period: str) -> dict[str, tuple[dt.date, dt.date]]:
    """First and last date for each source; one without seasons is shown the season of the others."""
    known, refused = {}, list[WrongUsage]()
    for name in names:
        try:
            known[name] = period_dates(period, scraper(name).seasons)
        except WrongUsage as error:
            refused.append(error)
    if not known:
        raise refused[0]
    return {name: known.get(name, next(iter(known.values()))) for name in names}


def _calendar_lines(history: History, *, is_alone: bool, span: tuple[dt.date, dt.date] | None) -> list[str]:
    floor = scraper(history.source).floor
    is_later = span is not None and not history.cells and not history.unreadable and floor > span[1]
    lines = [f"{history.source}: {f'begins {floor}' if is_later else history.headline}"]
    if is_alone or not span:
        lines += coverage_text(build_coverage(history.states, most_day_years=1_000 if is_alone else 0))
    if is_alone or span:
        lines += [
            f"  {plural(len(one.cells), 'partition')} {one.state}{f' ({one.why})' if one.why else ''}: {one.ranges}"
            for one in history.attention()
        ]
    return lines


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be written: {error.strerror}. Nothing was written", stage="calendar", hint="another FILE"
        ) from error


@app.command()
def runs(
    last: Annotated[int, typer.Option("--last", "-n", min=1, max=1_000_000, help="How many.")] = 10,
    source: Annotated[str, typer.Option("--source", metavar="SOURCE", help="Only this source.")] = "",
    as_json: Json = False,
) -> None:
    """List recent backfills: range, verdict, time, calls, mail."""
    now, services = utc_now(), build_services(for_a_person=True)
    store = services.store
    unreadable: list[StateUnreadable] = []
    suspended = suspended_runs(list_leases(store, unreadable))
    found = [describe_run(entry, now, suspended) for entry in recent_runs(store, last, source, unreadable)]
    if source and not found:
        services.source_kit(source)
    show(found, table(found, RUN_COLUMNS) or ["no backfill yet"], as_json)
    show_unreadable(unreadable)


@app.command()
def reviews(
    review: Annotated[str, typer.Argument(metavar="ID", help="Id of a review, to show its diff: bf-...")] = "",
    source: Annotated[str, typer.Option("--source", metavar="SOURCE", help="Only this source.")] = "",
    as_json: Json = False,
) -> None:
    """List reviews, or show the diff of one."""
    services = build_services(for_a_person=True)
    store = services.store
    if source:
        services.source_kit(source)
    if review:
        found = named_review(store, review)
        head = f"{found.state.value}: {plural(len(found.keys), 'partition')} of {found.source} ({found.ranges})"
        ways = [found.approve_command, found.reject_command] if found.state is ReviewState.OPEN else []
        decided = [f"by {found.decided_by}: {found.reason}"] if found.decided_by else []
        show(found.model_dump(mode="json"), [head, *decided, *diff_lines(found), *ways], as_json)
        return
    unreadable: list[StateUnreadable] = []
    rows = [
        {**one.model_dump(mode="json", include=set(_REVIEW_COLUMNS)), "partitions": len(one.keys)}
        for one in list_reviews(store, source=source, unreadable=unreadable)
    ]
    show(rows, table(rows, _REVIEW_COLUMNS) or ["no reviews"], as_json)
    show_unreadable(unreadable)


@app.command()
def errors(
    hours: Annotated[float, typer.Option("--hours", min=0, max=876_600, help="How far back.")] = 24.0,
    source: Annotated[str, typer.Option("--source", metavar="SOURCE", help="Only this source.")] = "",
    as_json: Json = False,
) -> None:
    """Group recent errors by type, source and cause. Includes live alerts."""
    services = build_services(for_a_person=True)
    unreadable: list[StateUnreadable] = []
    found = recent_errors(services, hours, utc_now(), source, unreadable)
    if source and not found["errors"]:
        services.source_kit(source)
    by = [f"{count:>6} {name}" for counts in (found["by_type"], found["by_source"]) for name, count in counts.items()]
    counts = f"{plural(found['errors'], 'error')}, {plural(len(found['causes']), 'cause')}"
    lines = [f"{counts} in the last {plural(hours, 'hour')}", *by]
    show(found, [*lines, *table(found["causes"], _CAUSE_COLUMNS)], as_json)
    show_unreadable(unreadable)


@app.command()
def record(
    backfill_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the backfill: bf-...")], as_json: Json = False
) -> None:
    """Print the record of a backfill: request, result, failures."""
    store = build_services(for_a_person=True).store
    names = ["summary.json"] if as_json else ["record.md", "mail.txt", "summary.json", "plan.json"]
    for name in names:
        try:
            data, _ = store.read(f"runs/backfill={backfill_id}/{name}")
        except ObjectMissing:
            continue
        text = data.decode()
        show(json.loads(text) if as_json else None, text.splitlines(), as_json)
        return
    raise ConfigurationError(
        f"no {' or '.join(names)} under {store.root_uri}/runs/backfill={backfill_id}/",
        stage="record",
        hint="gapless runs",
    )
