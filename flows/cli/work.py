"""The commands that start work, or say what it would be."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from alerting.instant import utc_now
from alerting.ranges import compress_dates
from alerting.wording import plural
from flows.asked import AskedFamily
from flows.cli.output import (
    Also,
    AnyEnd,
    AnyStart,
    Entities,
    FamilyOrSource,
    Json,
    RunEnd,
    RunStart,
    Skip,
    Source,
    Why,
    check_range,
    finish,
    say,
    show,
    table,
)
from flows.cli.start import (
    asked_of,
    asked_of_family,
    beside,
    keys_of_cause,
    keys_of_run,
    listed_in,
    planned_of,
    published_as,
    refuse_for_family,
    refuse_without_family,
    reviewed_by_source,
    split_over,
    start_family,
    start_keys,
    start_run,
)
from flows.parameters import PASTED_WAIT_S, Mode, Publish, Reason
from flows.planning.canary import choose_canaries
from flows.planning.family import plan_family
from flows.planning.query_bytes import plan_dry_run
from flows.truth import auditing
from flows.truth.deficits import Deficit, Finding, summarised
from flows.views.inspection import failed_keys
from flows.wiring import build_services
from scrapers.registry import families

app = typer.Typer()
BIG_RUN = 1_000
Dates = Annotated[str, typer.Option(metavar="DATES", help="Only these dates: 2025-01-03, 2025-01-07..2025-01-09.")]
DatesFile = Annotated[
    typer.FileText | None,
    typer.Option("--from-file", metavar="FILE", help="Only the dates in a file; - is standard input."),
]
ModeOption = Annotated[Mode, typer.Option(help="What is missing, everything, or only reload or recount.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="Another parameter of the form, as JSON or text."),
]
Concurrency = Annotated[int | None, typer.Option("--max-concurrency", min=1, max=64, help="Dates fetched at once.")]
Parallel = Annotated[
    int, typer.Option("--parallel", min=0, max=64, help="Spread it over so many child runs on any workers; 0: none.")
]
AcceptShrink = Annotated[
    bool,
    typer.Option("--accept-shrink", help="Only load landed dates that have fewer rows than before."),
]
PublishOption = Annotated[Publish, typer.Option(help="after_approval: publish after you approve the diff.")]
NoFollow = Annotated[bool, typer.Option("--no-follow", help="Start it and return.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


@app.command()
def run(
    source: FamilyOrSource,
    reason: Why,
    start: RunStart = None,
    end: RunEnd = None,
    entities: Entities = "",
    mode: ModeOption = Mode.INCREMENTAL,
    publish: PublishOption = Publish.AT_ONCE,
    dates: Dates = "",
    from_file: DatesFile = None,
    max_concurrency: Concurrency = None,
    parallel: Parallel = 0,
    accept_shrink: AcceptShrink = False,
    skip: Skip = None,
    also: Also = None,
    parameters: Parameters = None,
    no_follow: NoFollow = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Run a backfill and follow it to its end. Ctrl+C cancels it (exit code 130)."""
    if source in families():
        refuse_for_family(
            source,
            entities=entities,
            dates=dates,
            from_file=from_file,
            parallel=parallel,
            accept_shrink=accept_shrink,
        )
        wanted = {"mode": mode.value, "max_concurrency": max_concurrency, "skip": skip, "also": also}
        wanted = beside(wanted, parameters, AskedFamily)
        services, asked_family = build_services(), asked_of_family(source, start, end, reason, wanted)
        whole = plan_family(services, asked_family, utc_now())
        if publish is not Publish.AT_ONCE:
            raise reviewed_by_source(whole)
        say(as_json, whole.describe())
        _ask_before_a_big_run(sum(len(step.planned.plan.to_fetch) for step in whole.steps), yes)
        start_family(services, asked_family, no_follow=no_follow, as_json=as_json)
    refuse_without_family(source, skip=skip, also=also)
    listed = listed_in(dates, from_file)
    given = {
        "dates": listed,
        "entities": entities,
        "mode": mode.value,
        "max_concurrency": max_concurrency,
        "publish": publish.value,
        **({"accept_shrink": True} if accept_shrink else {}),
        **(split_over(parallel, max_concurrency) if parallel else {}),
    }
    services, asked = build_services(), asked_of(source, start, end, reason, beside(given, parameters))
    planned = planned_of(services, asked)
    say(as_json, planned.describe())
    _ask_before_a_big_run(len(planned.plan.to_fetch), yes)
    start_run(services, asked, no_follow=no_follow, as_json=as_json)


def _ask_before_a_big_run(partitions: int, yes: bool) -> None:
    if partitions > BIG_RUN and not yes and sys.stdin.isatty() and sys.stdout.isatty():
        typer.confirm(f"Fetch {plural(partitions, 'partition')}?", abort=True)


def _show_family_plan(family: str, asked: AskedFamily, as_json: bool) -> None:
    """Every step as a paragraph, then the whole."""
    found = plan_family(build_services(), asked, utc_now())
    show({"family": family, **found.to_dict()}, found.describe().splitlines(), as_json)


@app.command()
def plan(
    source: FamilyOrSource,
    start: RunStart = None,
    end: RunEnd = None,
    entities: Entities = "",
    mode: ModeOption = Mode.INCREMENTAL,
    dates: Dates = "",
    skip: Skip = None,
    also: Also = None,
    parameters: Parameters = None,
    as_json: Json = False,
) -> None:
    """Show what a run would do, and why. Makes no request and writes nothing."""
    if source in families():
        refuse_for_family(source, entities=entities, dates=dates)
        given = beside({"mode": mode.value, "skip": skip, "also": also}, parameters, AskedFamily)
        _show_family_plan(source, asked_of_family(source, start, end, "", given), as_json)
        return
    refuse_without_family(source, skip=skip, also=also)
    given = beside({"dates": dates, "entities": entities, "mode": mode.value}, parameters)
    services = build_services()
    found = planned_of(services, asked_of(source, start, end, "", given))
    dry_run = plan_dry_run(services, source, found.plan)
    grouped: dict[tuple[str, str], list[str]] = {}
    for item in found.plan.items:
        grouped.setdefault((item.path.value, item.why), []).append(item.partition.key)
    rows = [
        {"path": path, "count": len(keys), "ranges": compress_dates(keys), "why": why}
        for (path, why), keys in sorted(grouped.items())
    ]
    data = {"dates": found.plan.date_echo(), "counts": dict(found.plan.counts()), **json.loads(found.plan.to_json())}
    # As stored they have a "key", a name whose value is never shown.
    data["items"] = [{"partition": item.pop("key"), **item} for item in data["items"]]
    data["estimate"] = dataclasses.asdict(found.estimate)
    data["bigquery_dry_run"] = dataclasses.asdict(dry_run)
    show(data, [found.describe(), dry_run.describe(), *table(rows, ("path", "count", "ranges", "why"))], as_json)


@app.command()
def estimate(
    source: FamilyOrSource,
    start: RunStart = None,
    end: RunEnd = None,
    entities: Entities = "",
    mode: ModeOption = Mode.INCREMENTAL,
    dates: Dates = "",
    skip: Skip = None,
    also: Also = None,
    parameters: Parameters = None,
    as_json: Json = False,
) -> None:
    """Estimate calls, quota, bytes, jobs, cost and time."""
    if source in families():
        refuse_for_family(source, entities=entities, dates=dates)
        given = beside({"mode": mode.value, "skip": skip, "also": also}, parameters, AskedFamily)
        _show_family_plan(source, asked_of_family(source, start, end, "", given), as_json)
        return
    refuse_without_family(source, skip=skip, also=also)
    given = beside({"dates": dates, "entities": entities, "mode": mode.value}, parameters)
    found = planned_of(build_services(), asked_of(source, start, end, "", given))
    data = {
        "plan": found.plan.describe(),
        "hash": found.plan.hash,
        "tier": found.tier,
        **dataclasses.asdict(found.estimate),
    }
    show(data, found.describe().splitlines(), as_json)


@app.command()
def canary(
    source: Source,
    start: RunStart = None,
    end: RunEnd = None,
    entities: Entities = "",
    count: Annotated[int, typer.Option("-k", min=1, help="How many dates.")] = 3,
    no_follow: NoFollow = False,
    as_json: Json = False,
) -> None:
    """Run a few dates as a test. First, last, clock change, leap day, month end, random."""
    services = build_services()
    to_fetch = planned_of(services, asked_of(source, start, end, "", {"entities": entities})).plan.to_fetch
    chosen = [one.key for one in choose_canaries(to_fetch, count, f"{source} {start} {end}")]
    start_keys(services, source, chosen, Reason.TEST.value, no_follow=no_follow, as_json=as_json)


@app.command("retry-failed")
def retry_failed(
    source: Source,
    reason: Why = Reason.ERRORS.value,
    run_id: Annotated[str, typer.Option("--run", metavar="ID", help="Only what failed in this backfill: bf-...")] = "",
    cause: Annotated[
        str, typer.Option(metavar="ID", help="Only all-retryable, or a cause in that run's mail: C2.")
    ] = "",
    no_follow: NoFollow = False,
    as_json: Json = False,
) -> None:
    """Run only the dates that failed (in one run, for one cause).

    Waits up to six hours for another run of the source. What failed in a run that publishes after approval waits for
    one again.
    """
    services = build_services()
    kit, given = services.source_kit(source), dict[str, Any](wait_for_lease_s=PASTED_WAIT_S)
    if cause:
        if not run_id:
            raise typer.BadParameter("a cause belongs to a run: --run bf-...", param_hint="--cause")
        keys_of_run(services, run_id, source)
        keys, runs = keys_of_cause(services, run_id, cause), {run_id}
        given["note"] = f"{cause} of {run_id}"
    else:
        entries = kit.ledger.refresh()
        keys = failed_keys(entries, keys_of_run(services, run_id, source) if run_id else None)
        runs = {run_id} if run_id else {entries[key].backfill_id for key in keys}
        given["retry_failed"] = True
    given |= published_as(services, runs)
    start_keys(services, source, keys, reason, no_follow=no_follow, as_json=as_json, **given)


@app.command()
def reprocess(
    source: Source,
    reason: Why,
    start: RunStart = None,
    end: RunEnd = None,
    entities: Entities = "",
    dates: Dates = "",
    no_follow: NoFollow = False,
    as_json: Json = False,
) -> None:
    """Load landed payloads again, after a processor fix. Makes no request."""
    given = {"dates": dates, "entities": entities, "mode": Mode.REPROCESS.value}
    services, asked = build_services(), asked_of(source, start, end, reason, given)
    planned_of(services, asked)
    start_run(services, asked, no_follow=no_follow, as_json=as_json)


@app.command()
def repair(
    source: Source,
    start: AnyStart = None,
    end: AnyEnd = None,
    reason: Why = Reason.GAP_REPAIR.value,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the plan.")] = False,
    no_follow: NoFollow = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Run exactly what the audit finds.

    Prints its plan, and asks for confirmation on a terminal only.
    """
    check_range(start, end)
    services, now = build_services(), utc_now()
    findings = auditing.audit_sources(services, [source], now, start, end)
    lines = summarised(findings)
    text = [*table(lines, ("deficit", "count", "ranges", "why")), _repair_plan(findings)]
    if dry_run or not findings:
        show({"source": source, "deficits": lines, "started": None}, text, as_json)
        finish(True)
    say(as_json, "\n".join(text))
    if not yes and sys.stdin.isatty() and sys.stdout.isatty():
        typer.confirm("Begin?", abort=True, err=as_json)
    entries = services.source_kit(source).ledger.refresh()
    keys = auditing.reopen(services, source, findings, f"repair-{now:%Y%m%dT%H%M%SZ}", now)
    left = {entry.backfill_id for key in keys if (entry := entries.get(key)) and not entry.verdict.is_good}
    given = published_as(services, left)
    start_keys(services, source, keys, reason, no_follow=no_follow, as_json=as_json, **given)


def _repair_plan(findings: Sequence[Finding]) -> str:
    """What a repair of these does, in one line."""
    keys = {one.partition for one in findings}
    if not keys:
        return "nothing to repair"
    landed = {one.partition for one in findings if one.deficit in (Deficit.SHORT, Deficit.LANDED_NOT_LOADED)}
    missed = {one.partition for one in findings if one.deficit is Deficit.MISSED}
    reviewed = {one.partition for one in findings if one.deficit is Deficit.IN_REVIEW}
    rejected = {one.partition for one in findings if one.deficit is Deficit.REJECTED}
    in_work = {one.partition for one in findings if one.deficit is Deficit.IN_WORK}
    asked = keys - landed - missed - reviewed - rejected - in_work
    steps = [
        f"{plural(len(asked), 'partition')} fetched again" if asked else "",
        f"{plural(len(missed), 'partition')} noted as gone for good" if missed else "",
        f"{plural(len(reviewed), 'partition')} left to the review: gapless reviews" if reviewed else "",
        f"{plural(len(rejected), 'partition')} left as rejected, until a new review" if rejected else "",
        f"{plural(len(in_work), 'partition')} left to the run that works on them" if in_work else "",
        f"{plural(len(landed), 'partition')} loaded again from what is landed, without a call" if landed else "",
    ]
    return f"Repair of {plural(len(keys), 'partition')}: {', '.join(step for step in steps if step)}."
