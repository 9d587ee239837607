"""The watchdog: finds runs that died without a word, tells people, and tidies up after them."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from alerting.errors import PipelineError
from alerting.instant import utc_now
from alerting.outbox import Outbox
from alerting.redaction import redact
from alerting.store_clock import StoreClock
from alerting.wording import plural
from flows.closing.close import close_backfill, close_dead_runs
from flows.closing.review import look_after_reviews
from flows.coordination.lease import LeaseRecord, has_run_out, list_leases, release_lease
from flows.log import failed, lets_out_redacted, partition_logger
from flows.run.interruption import end_run, is_over
from flows.run.progress_artifact import end_progress
from flows.wiring import Services, build_services

P = ParamSpec("P")
R = TypeVar("R")


@lets_out_redacted
@flow(name="watchdog", flow_run_name="watchdog", retries=0, persist_result=False)
async def watchdog() -> State[Any]:
    """Closes dead runs: the mail they owe is sent from the journal, parent and children become Crashed.

    A run is dead when its lease has had no heartbeat for the lease's time to live, by the clock of the store as well.
    Every step can be repeated.
    """
    try:
        return await _watch(build_services(), utc_now())
    except PipelineError as error:
        return failed(error)


async def _watch(services: Services, now: dt.datetime) -> State[Any]:
    log, troubles = partition_logger(), list[str]()

    async def tried(what: str, work: Callable[P, R], *args: P.args, **given: P.kwargs) -> R | None:
        try:
            return await asyncio.to_thread(work, *args, **given)
        except Exception as error:  # whatever is wrong with one run keeps no mail of another one back
            troubles.append(f"{what}: {redact(str(error) or type(error).__name__)}")
            log.error("%s", troubles[-1])
            return None

    # `close_dead_runs` raises for what cannot be read, when all others are closed.
    leases = await asyncio.to_thread(lambda: list(list_leases(services.store, unreadable=[])))
    dead = await asyncio.to_thread(_dead, services, leases, now)
    for lease in leases:
        if lease.state == "paused" and await tried(lease.source, _is_given_up, lease):
            log.warning("%s: ended while paused: %s", lease.source, lease.describe())
            await tried(lease.source, close_backfill, services, lease.backfill_id, aborted="user", now=now)
    for told in await tried("reviews", look_after_reviews, services, now) or ():
        log.warning("%s", told)
    for lease in dead:
        log.warning("%s: dead %s", lease.source, lease.describe())
        await tried(lease.source, _end, services, lease)
    closed = await tried("dead runs", close_dead_runs, services, now) or []
    for backfill_id in closed:
        log.warning("closed dead run %s; its mail is sent or stays in the outbox", backfill_id)
    for lease in dead:
        await tried(lease.source, _free, services, lease, now)
    if troubles:
        return Failed(message="; ".join(troubles))
    return Completed(message=f"{plural(len(dead), 'dead run')}, {plural(len(closed), 'mail')} handled")


def _is_given_up(lease: LeaseRecord) -> bool:
    """Its run has ended while it was paused. One that Prefect never knew is known by its process alone."""
    return bool(lease.flow_run_id) and is_over(lease.flow_run_id)


def _free(services: Services, lease: LeaseRecord, now: dt.datetime) -> None:
    """What owes no mail has nobody who closes it: a person's command, or a run that died before it promised one, or
    between its mail and the end."""
    owed = Outbox(services.store).read(lease.backfill_id)
    if owed is None or owed.closed:
        release_lease(services.store, lease.source, lease.backfill_id, now)


def _end(services: Services, lease: LeaseRecord) -> None:
    """Declares one dead run Crashed. One that owes no mail (the daily run) is told as an alert."""
    message = f"no heartbeat since {lease.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC; declared dead by the watchdog"
    if lease.flow_run_id:
        end_run(lease.flow_run_id, message)
    if lease.mode == "daily":
        end_progress(lease.flow_run_id, message)
        services.alerts.send_alert(
            lease.source,
            f"the daily run {lease.backfill_id} ({lease.range_text}) died: {message}",
            "ERROR",
            {"error_type": "DeadRun", "stage": "daily", "hint": f"prefect deployment run daily/{lease.source}"},
        )


def _dead(services: Services, leases: Iterable[LeaseRecord], now: dt.datetime) -> list[LeaseRecord]:
    clock = StoreClock(services.store)
    return [lease for lease in leases if lease.state == "held" and has_run_out(clock, lease, now)]
