"""A run that met a wall goes on by itself: the same deployment, scheduled for the instant of the reset.

What was scheduled is kept in `flows.ledger.resumes` and in the run's facts, so that status, message and mail say the
same.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment, flow_run
from prefect.states import Cancelled, Scheduled

from alerting.errors import BlockedBySource, PipelineError
from alerting.instant import utc_now
from alerting.ranges import compress_dates
from alerting.store_clock import StoreClock
from flows.ledger.cooldowns import held_back
from flows.ledger.ledger import Verdict
from flows.ledger.resumes import Resume, drop_resumes, is_done, keep_resume, read_resumes
from flows.ledger.verdicts import resumes_at
from flows.log import partition_logger
from flows.parameters import Mode
from flows.planning.plan import why_unaskable
from flows.run.interruption import impatient_client
from flows.run.run import Run
from flows.wiring import Services

# The reset is the source's clock; ours may be ahead of it.
AFTER_RESET = dt.timedelta(seconds=60)
_EVER = dt.datetime.min.replace(tzinfo=dt.UTC)


async def note_resume(run: Run) -> None:
    """Schedules the run that goes on, and says so in the mail, when a quota or a block is what stopped this one."""
    for error in (run.stopped_by, run.loading_stopped_by):
        at = resumes_at(error)
        if error is None or at is None:
            continue
        if isinstance(error, BlockedBySource) and run.asked.resume_of:
            run.note(f"{error.message}; blocked again after its cooldown: it no longer resumes automatically")
        else:
            waits_for = "block" if isinstance(error, BlockedBySource) else "quota"
            run.resumes = await _resumed(run, waits_for, await asyncio.to_thread(_due_at, run, at))
            run.note(f"{error.message}; {run.resumes}")
        return
    if run.client is not None:
        await _note_held_back(run)


def _due_at(run: Run, until: dt.datetime) -> dt.datetime:
    """When the run that goes on begins (UTC).

    A machine whose clock is behind would begin it before the wait is over by that clock, meet the wall again, and mail
    that again and again. Blocking.
    """
    behind = dt.timedelta()
    try:
        there = StoreClock(run.services.store).now()
        behind = max(behind, there - utc_now())
    except PipelineError as problem:
        partition_logger().warning("whether the clock of this machine is right is not known: %s", problem)
    return until.astimezone(dt.UTC) + AFTER_RESET + behind


async def _note_held_back(run: Run) -> None:
    """The same where one site, or the host of another account, is what blocked some partitions of this run."""
    entries = {key: run.ledger.get(key) for key in run.work.partitions}
    blocked = {key: entry.verdict for key, entry in entries.items() if entry and entry.verdict is Verdict.BLOCKED}
    try:
        held = await run.in_thread(held_back, run.services.store, run.kit.scraper, blocked, utc_now())
    except PipelineError as problem:
        partition_logger().error("what blocked sites keep back is not known: %s", problem)
        return
    if not held:
        return
    at = await asyncio.to_thread(_due_at, run, max(one.until for one in held))
    keys, scraper = {key for one in held for key in one.keys}, run.kit.scraper
    gone = sorted(key for key in keys if why_unaskable(scraper, run.work.partitions[key], scraper.earliest(at)))
    left, who = sorted(keys - {*gone}), f"blocked by {', '.join(one.who for one in held)}"
    if gone:
        run.note(
            f"{compress_dates(gone)}, {who}: over by {at:%Y-%m-%d %H:%M} UTC, so a person has to lift the cooldown"
        )
    if left and run.asked.resume_of:
        run.note(f"{compress_dates(left)}, {who} again after the cooldown: no longer retried automatically")
    elif left:
        run.resumes = await _resumed(run, "block", at, left)
        run.note(f"{compress_dates(left)}, {who}; {run.resumes}")


async def _resumed(run: Run, waits_for: str, at: dt.datetime, held: Sequence[str] = ()) -> str:
    """Schedules the run, keeps what was scheduled, and returns the sentence that tells people about it.

    ``held`` is what it is for, where the rest of the run is done; () where the run was stopped.
    """
    told = f"{at:%Y-%m-%d %H:%M} UTC"
    if held and (run.asked.part_of or run.review is not None):
        return f"it can be asked for from {told} on, by a run that you start"
    if run.asked.part_of:
        run.facts = dataclasses.replace(run.facts, resumes_at=at)
        return f"it can resume at {told}, with the family"
    if not deployment.id:
        return f"it can resume at {told}; run it again then (it was not started from a deployment)"
    now = utc_now()
    # Any good verdict will do where only what is missing is done; else it has to be this run's own.
    since = _EVER if run.asked.mode is Mode.INCREMENTAL else run.breaker.started_at
    left = held or [key for key in run.work.partitions if not is_done(run.ledger.get(key), since)]
    try:
        flow_run_id, name = await schedule_resume(run, at)
        resume = Resume(
            backfill_id=run.backfill_id,
            scheduled_at=now,
            at=at,
            waits_for=waits_for,
            flow_run_id=flow_run_id,
            flow_run_name=name,
            ranges=compress_dates(left, join=".."),
        )
        await asyncio.to_thread(keep_resume, run.services.store, run.source, resume)
    except Exception as problem:  # whatever server or store say, the run has still to end with its mail
        partition_logger().error("the resuming run was not scheduled: %s", problem)
        return f"it can resume at {told}; the run that resumes could not be scheduled, so run it again then"
    if not held:
        run.facts = dataclasses.replace(run.facts, resumes_at=at, resumes_as=name)
    return f"resumes at {told} automatically as flow run {name}"


async def schedule_resume(run: Run, at: dt.datetime) -> tuple[str, str]:
    """Schedules the run that goes on at ``at``; returns id and name of its flow run.

    Repeatable: the run is known to the server by the backfill it continues.
    """
    return await schedule_again(run.backfill_id, run.asked.resumed(run.backfill_id), at)


async def schedule_again(backfill_id: str, parameters: Mapping[str, Any], at: dt.datetime) -> tuple[str, str]:
    """Schedules the current deployment once more, to go on with ``backfill_id``; id and name of its flow run."""
    async with get_client() as client:
        this = await client.read_flow_run(UUID(str(flow_run.id)))
        created = await client.create_flow_run_from_deployment(
            UUID(str(deployment.id)),
            parameters=dict(parameters),
            job_variables=this.job_variables or {},
            state=Scheduled(scheduled_time=at, message=f"resumes {backfill_id} after its wait"),
            idempotency_key=f"resume-{backfill_id}",
            tags=["resume", backfill_id],
        )
    return str(created.id), created.name


async def begin_resumed(services: Services, source: str) -> None:
    """Takes this flow run out of what is scheduled: it has begun."""
    if flow_run.id:
        await asyncio.to_thread(drop_resumes, services.store, source, [str(flow_run.id)])


def take_back_needless(services: Services, source: str) -> list[Resume]:
    """Cancels scheduled runs of which every partition is good by now; returns them. Blocking; repeatable.

    One that cannot be cancelled is logged and stays: it would find nothing to do.
    """
    taken = []
    try:
        scheduled = read_resumes(services.store, source)
        entries = services.source_kit(source).ledger.refresh() if scheduled else {}
        for one in scheduled:
            if not one.has_work(entries):
                _cancel(one)
                drop_resumes(services.store, source, [one.flow_run_id])
                taken.append(one)
    except Exception as problem:  # whatever server or store say, the run that looks here has done its work
        partition_logger().warning("a run that is scheduled and not needed may be left: %s", problem)
    return taken


def _cancel(resume: Resume) -> None:
    with impatient_client() as client:
        try:
            found = client.read_flow_run(UUID(resume.flow_run_id))
        except ObjectNotFound:
            return
        if found.state is not None and found.state.is_scheduled():
            message = f"everything that {resume.backfill_id} left is done by now"
            client.set_flow_run_state(found.id, Cancelled(message=message), force=True)
