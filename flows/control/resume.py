"""A run that met a daily wall goes on by itself: the same deployment, scheduled for the instant of the reset."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import deployment, flow_run
from prefect.states import Scheduled

from alerting.errors import BlockedBySource
from flows.log import partition_logger
from flows.parameters import Asked
from flows.runs.context import RunContext
from flows.runs.outcome import resumes_at

# The reset is the source's clock; ours may be ahead of it.
AFTER_RESET = dt.timedelta(seconds=60)


async def note_resume(run: RunContext) -> None:
    """Schedules the run that goes on, and says so in the mail, when a quota or a block is what stopped this one."""
    for error in (run.stopped_by, run.loading_stopped_by):
        at = resumes_at(error)
        if isinstance(error, BlockedBySource) and run.asked.resume_of:
            run.note(f"{error.message}; blocked again after its cooldown: it does not go on by itself any more")
            return
        if error is not None and at is not None:
            told = await schedule_resume(run.asked, run.backfill_id, at)
            run.resumes = told
            run.note(f"{error.message}; {told}")
            return


async def schedule_resume(asked: Asked, backfill_id: str, resets_at: dt.datetime) -> str:
    """Schedules the run that goes on after ``resets_at``; returns the sentence that tells people about it.

    Repeatable: the run is known to the server by the backfill it continues.
    """
    at = resets_at.astimezone(dt.UTC) + AFTER_RESET
    told = f"{at:%Y-%m-%d %H:%M} UTC"
    if not deployment.id:
        return f"it can go on at {told}; run it again then (it was not started from a deployment)"
    try:
        async with get_client() as client:
            this = await client.read_flow_run(UUID(str(flow_run.id)))
            run = await client.create_flow_run_from_deployment(
                UUID(str(deployment.id)),
                parameters=asked.resumed(backfill_id),
                job_variables=this.job_variables or {},
                state=Scheduled(scheduled_time=at, message=f"goes on with {backfill_id} after its wait"),
                idempotency_key=f"resume-{backfill_id}",
                tags=["resume", backfill_id],
            )
    except Exception as error:  # whatever the server says, the run has still to end with its mail
        partition_logger().error("the resuming run was not scheduled: %s", error)
        return f"it can go on at {told}; the run that resumes could not be scheduled, so run it again then"
    return f"resumes at {told} by itself as flow run {run.name}"
