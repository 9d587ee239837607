"""The daily run: the newest settled dates, and late changes of those before; of whole entities a new snapshot.

Alerts are live; there is no summary.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Collection, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import FlowStateHook
from prefect.runtime import flow_run as current
from prefect.states import Completed, Failed

from alerting.errors import ConfigurationError, LandingDamaged, PipelineError
from alerting.incident import Incident
from alerting.instant import utc_now
from alerting.ranges import date_of
from alerting.redaction import redact
from alerting.wording import plural
from flows.asked import Asked
from flows.closing.announcing import Origin, announce, verified_event
from flows.closing.close import free_lease_of
from flows.coordination.cooldown import refuse_while_cooling
from flows.coordination.kept_lease import kept_alive
from flows.coordination.lease import Lease
from flows.coordination.lease_loan import acquire_when_free
from flows.dropdowns import AnySource
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.ledger.reviews import waiting_review
from flows.log import lets_out_redacted, partition_logger
from flows.mapping import map_windows
from flows.parameters import NO_DATE, Concurrency, DaysBack, Mode, Reason, WaitSeconds
from flows.planning.expectations import by_oracles
from flows.planning.known_first_date import known_scraper
from flows.planning.left_alone import besides_left_alone
from flows.planning.named_settings import refuse_unknown_names
from flows.planning.plan import Path, Plan, PlannedPartition
from flows.planning.planner import refuse_unsaid
from flows.planning.requirements import Waiver, in_order
from flows.planning.tiers import refuse_closed
from flows.planning.versions import changed_partitions, refresh_versions
from flows.run.artifacts import ended, now_of, report_progress
from flows.run.calendar_artifact import calendar_artifacts
from flows.run.heartbeat import keep_alive
from flows.run.interruption import end_children, reason_of
from flows.run.metrics import metered
from flows.run.prefect_orchestrator import PrefectOrchestrator
from flows.run.progress_artifact import end_progress, has_page
from flows.run.run import Run
from flows.run_id import daily_id_of
from flows.wiring import Services, SourceKit, build_services
from scrapers.base import Scraper
from scrapers.partition import Partition, partitions_between
from scrapers.platforms.catalogue import Versioned

# A year of days back is a backfill, and belongs there.
MOST_CHANGED = 60
_NEWEST = "newest or may have changed"


def settled_window(scraper: Scraper, days_back: int, now: dt.datetime) -> list[Partition]:
    """The newest ``days_back`` settled partitions of the source, oldest first, by the clock of its own zone.

    Of a source that keeps no history it is the one of today: no other can be asked for. Of one that is asked by entity
    it is every entity that may still change.

    Raises ``ConfigurationError`` for a source of which no entity is known.
    """
    today = now.astimezone(ZoneInfo(scraper.zone)).date()
    if scraper.step == "whole":
        names = scraper.entities_of(today)
        _refuse_nobody(scraper, names)
        return [Partition.whole(name, scraper.zone) for name in sorted(names)]
    # Two periods more than asked for cover the settling time and the unfinished period itself.
    length = dt.timedelta(days=31 if scraper.step == "month" else 1)
    earliest = max(scraper.floor, today - length * (days_back + 2) - scraper.settles_after)
    earliest = max(earliest, scraper.earliest(now))
    names = scraper.names_of_entities if scraper.has_series else ("",)
    _refuse_nobody(scraper, names)
    found = [partitions_between(earliest, today, scraper.zone, scraper.step, name) for name in names]
    settled = [[one for one in partitions if scraper.settled_at(one) <= now][-days_back:] for partitions in found]
    return sorted((one for partitions in settled for one in partitions), key=lambda one: (one.start, one.entity))


def _refuse_nobody(scraper: Scraper, names: Collection[str]) -> None:
    if not names:
        raise ConfigurationError(
            f"no entity of {scraper.source} is known. Nothing was done",
            source=scraper.source,
            stage="plan",
            hint="see GAPLESS_SOURCE_ENTITIES",
        )


def tell_of_end(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """State hook: a daily run that crashed or was cancelled frees its lease and is an alert of its own."""
    services = build_services()
    daily_id = daily_id_of(flow_run.id)
    aborted = "crashed" if state.is_crashed() else "user"
    end_children(flow_run.id, aborted)
    end_progress(str(flow_run.id), f"ended early ({aborted}); what it read is in the ledger")
    free_lease_of(services, daily_id, utc_now())
    if state.is_crashed():
        services.alerts.send_alert(
            str(flow_run.parameters.get("source", "daily")),
            f"the daily run {daily_id} crashed: {state.message or 'its process is gone'}",
            "ERROR",
            {"error_type": "DeadRun", "stage": "daily", "hint": "run it again: it reads the same dates"},
        )


HOOKS: list[FlowStateHook[..., Any]] = [tell_of_end]


def _flow_run_name() -> str:
    source = current.parameters["source"]
    return f"daily {getattr(source, 'value', source)} {utc_now():%Y-%m-%d}"


@lets_out_redacted
@flow(
    name="daily",
    flow_run_name=_flow_run_name,
    retries=0,
    persist_result=False,
    on_crashed=HOOKS,
    on_cancellation=HOOKS,
)
async def daily(
    source: AnySource,
    days_back: DaysBack = 3,
    max_concurrency: Concurrency = 4,
    ignore_requires: bool = False,
    wait_for_lease_s: WaitSeconds = 900.0,
) -> State[Any]:
    """Fetches the newest settled dates of one source, and loads what is new or has changed.

    Of a source without history it fetches today; of a source of entities, those that may still change (schedules: the
    current season). Errors are live alerts, never a summary.

    Args:
        source: What to fetch.
        days_back: How many settled dates, the newest included; earlier ones are read again for late changes. Not for
            sources of entities.
        max_concurrency: How many dates are fetched at once, 1 to 64.
        ignore_requires: Also run dates whose required source is not done, such as results before their cards.
        wait_for_lease_s: How long to wait for a backfill of the source to end, in seconds.
    """
    name = str(getattr(source, "value", source))
    now = utc_now()
    try:
        services = build_services()
        refuse_unknown_names(services.settings)
        await asyncio.to_thread(refuse_while_cooling, services.store, name, now)
        window = settled_window(known_scraper(services, name), days_back, now)
        if not window:
            return Completed(message=f"no date of {name} is settled at {now:%Y-%m-%d %H:%M} UTC")
        window = await asyncio.to_thread(without_reviewed, services, name, window)
        if not window:
            left = "every date that would be read waits for approval, or was rejected"
            return Completed(message=f"{left}: gapless reviews --source {name}")
        await asyncio.to_thread(_refuse_at_once, services, name, window)
        lease = await acquire_when_free(
            services,
            name,
            backfill_id=daily_id_of(current.id or "local"),
            mode="daily",
            range_text=_range_text(window),
            wait_s=wait_for_lease_s,
        )
        async with kept_alive(lease, services.settings.heartbeat_s):
            plan = await _planned(services, name, window, lease, ignore_requires=ignore_requires)
    except PipelineError as error:
        return await asyncio.to_thread(_refused, name, error)
    return await _work(services, plan, max_concurrency, lease)


async def _planned(
    services: Services, source: str, window: list[Partition], lease: Lease, *, ignore_requires: bool
) -> Plan:
    """The plan of the holder of ``lease``, which is free again when that fails."""
    with contextlib.ExitStack() as held:
        held.callback(lambda: lease.release(utc_now()))
        # Again, because the source may have blocked the run that this one waited for.
        await asyncio.to_thread(refuse_while_cooling, services.store, source, utc_now())
        plan = await asyncio.to_thread(live_plan, services, source, window, ignore_requires=ignore_requires)
        await asyncio.to_thread(lease.check)
        held.pop_all()
    return plan


def _refuse_at_once(services: Services, source: str, window: Sequence[Partition]) -> None:
    """Raises ``ConfigurationError`` for what the settings close, however long the source's lease is waited for."""
    kit = services.source_kit(source)
    plan, entries = _read_all(kit, [PlannedPartition(one, Path.FETCH, _NEWEST) for one in window])
    plan = by_oracles(services, kit.scraper, plan, entries, utc_now())
    refuse_unsaid(kit.scraper, plan.to_fetch)
    refuse_closed(kit, plan.to_fetch)


def _range_text(window: Sequence[Partition]) -> str:
    if window[0].is_whole:
        return plural(len(window), "entity") if len(window) > 1 else window[0].key
    return f"{date_of(window[0].key)}..{date_of(window[-1].key)}"


def without_reviewed(services: Services, source: str, window: list[Partition]) -> list[Partition]:
    """Those of ``window`` of which no rows wait for approval or were rejected: what a person decides stays as it is."""
    review = waiting_review(services.store, source)
    entries = services.source_kit(source).ledger.refresh(window[0].key, window[-1].key)
    known = {one.key: entry for one in window if (entry := entries.get(one.key))}
    staged = [key for key, entry in known.items() if review is not None and entry.verdict is Verdict.STAGED]
    rejected = [key for key, entry in known.items() if entry.rejected and key not in staged]
    if staged and review is not None:
        partition_logger().warning("%s is not read: it waits for approval in %s", ", ".join(staged), review.review_id)
    for key in rejected:
        partition_logger().warning("%s is not read: not approved: %s", key, known[key].rejected)
    return [one for one in window if one.key not in {*staged, *rejected}]


def live_plan(services: Services, source: str, window: list[Partition], *, ignore_requires: bool = False) -> Plan:
    """Everything of ``window`` is asked for, but for what has to wait for another source; and what changed at this one.

    What a site that blocked us answers for waits, too. Raises ``ConfigurationError`` when all of it waits.
    """
    kit = services.source_kit(source)
    again = changed_items(services, source, {partition.key for partition in window})
    items = [*again, *(PlannedPartition(partition, Path.FETCH, _NEWEST) for partition in window)]
    plan, entries = _read_all(kit, sorted(items, key=lambda item: (item.partition.start, item.partition.key)))
    refuse_unsaid(kit.scraper, plan.to_fetch)
    plan = in_order(services, kit.scraper, plan, entries, utc_now(), Waiver(ignore_requires))
    plan = by_oracles(services, kit.scraper, plan, entries, utc_now())
    plan = besides_left_alone(services, kit.scraper, plan, utc_now())
    refuse_closed(kit, plan.to_fetch)
    return plan


def _read_all(kit: SourceKit, items: Sequence[PlannedPartition]) -> tuple[Plan, dict[str, LedgerEntry]]:
    """The plan of all ``items``, in order of time, and what the ledger knows of them."""
    ends = [item.partition.end for item in items if not item.partition.is_whole]
    first, last = (items[0].partition.start, max(ends) - dt.timedelta(days=1)) if ends else (NO_DATE, NO_DATE)
    plan = Plan(kit.source, first, last, kit.scraper.zone, tuple(items))
    keys = [item.partition.key for item in items]
    return plan, kit.ledger.refresh(min(keys), max(keys))


def changed_items(services: Services, source: str, window: Collection[str]) -> list[PlannedPartition]:
    """Dates outside of the window that the source has changed since they were landed.

    At most `MOST_CHANGED`, the newest ones: more of them are a backfill's work.
    """
    kit = services.source_kit(source, "live")
    if not isinstance(kit.scraper, Versioned):
        return []
    try:
        for told in refresh_versions(services, kit.scraper, kit.client, utc_now()):
            partition_logger().warning("%s: %s", source, told)
    finally:
        kit.close()
    entries = kit.ledger.refresh()
    changed = changed_partitions(services, kit.scraper, entries)
    keys = sorted(
        key
        for key in changed.keys() - set(window)
        if entries[key].attempt and entries[key].verdict is not Verdict.STAGED and not entries[key].rejected
    )
    if len(keys) > MOST_CHANGED:
        partition_logger().warning(
            "%s: %d dates have changed at the source; the newest %d are read, a backfill reads the others",
            source, len(keys), MOST_CHANGED,
        )  # fmt: skip
    planned = []
    for key in keys[-MOST_CHANGED:]:
        try:
            partition = services.landing.read_manifest(entries[key].manifest_name).as_partition()
        except LandingDamaged as error:
            services.alerts.record_error(Incident.from_error(error, source=source, partition=key, stage="daily"))
            continue
        planned.append(PlannedPartition(partition, Path.FETCH, changed[key]))
    return planned


def _refused(source: str, error: PipelineError) -> State[Any]:
    """Nobody looks at a schedule: whoever waits for its rows is told of every refusal."""
    partition_logger().error("%s", error)
    try:
        build_services().alerts.record_error(Incident.from_error(error, source=source, stage="daily"))
    except PipelineError as problem:  # without a transport there is nobody to tell; the run's state says it
        partition_logger().error("nobody was told of the refusal: %s", problem)
    return Failed(message=f"{source}: {redact(str(error))}")


async def _work(services: Services, plan: Plan, max_concurrency: int, lease: Lease) -> State[Any]:
    asked = Asked(
        source=plan.source,
        start_date=plan.start_date,
        end_date=plan.end_date,
        entities="" if plan.start_date != NO_DATE else ", ".join(plan.keys),
        reason=Reason.STALE,
        mode=Mode.FULL,
        max_concurrency=max_concurrency,
    )
    with contextlib.ExitStack() as held:
        held.callback(lambda: lease.release(utc_now()))
        run = held.enter_context(Run(services, asked, lease.record.backfill_id, PrefectOrchestrator(), purpose="live"))
        held.enter_context(metered(run))
        partition_logger().info("daily %s", plan.date_echo())
        for note in plan.notes:
            run.note(note)
            await run.in_thread(
                services.alerts.record_error,
                Incident(source=plan.source, stage="plan", error_type="OutOfOrder", message=note, severity="WARNING"),
            )
        watching: list[asyncio.Task[None]] = []
        try:
            await run.in_thread(run.begin_live, plan)
            watching = [asyncio.create_task(keep_alive(run, lease)), asyncio.create_task(report_progress(run))]
            await map_windows(run, plan)
            await ended(watching.pop())
        except BaseException as error:
            # Blocking on purpose: a cancelled task may not await again.
            aborted = reason_of(error)
            end_children(str(current.id or ""), aborted)
            end_progress(str(current.id or ""), f"ended early ({aborted}): {now_of(run).counts}")
            raise
        finally:
            for task in watching:
                task.cancel()
    await asyncio.to_thread(_show_end, run, str(current.id or ""))
    return _verdict(run)


def _show_end(run: Run, flow_run_id: str) -> None:
    shown = [run.source] if has_page(flow_run_id) else []
    end_progress(flow_run_id, _told(run), calendar_artifacts(run.services, shown, utc_now(), flow_run_id))
    entries = [entry for key in run.work.planned if (entry := run.ledger.get(key))]
    origin = Origin(run.source, run.backfill_id, flow_run_id, run.services.table_names(run.source))
    if verified := verified_event(origin, entries, run.begun_at):
        announce([verified])


def _verdict(run: Run) -> State[Any]:
    return Failed(message=_told(run)) if _not_well(run) else Completed(message=_told(run))


def _not_well(run: Run) -> list[str]:
    return [key for key in run.work.partitions if not ((entry := run.ledger.get(key)) and entry.verdict.is_good)]


def _told(run: Run) -> str:
    """What came of it, in one line: for its state and its progress artifact."""
    keys, bad, same = list(run.work.partitions), _not_well(run), len(run.work.unchanged)
    what = plural(len(keys), "entity" if run.kit.scraper.step == "whole" else "date")
    message = (
        f"{what} read ({', '.join(keys)}): {len(keys) - len(bad) - same} loaded, {same} unchanged, {len(bad)} not well"
    )
    ours = [entry for key in keys if (entry := run.ledger.get(key)) and entry.backfill_id == run.backfill_id]
    if removed := sum(one.get("removed", 0) for entry in ours for one in entry.changes.values()):
        message += f", {plural(removed, 'row')} removed"
    return f"{message}: {', '.join(bad)}" if bad else message
