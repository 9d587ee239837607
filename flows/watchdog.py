"""The watchdog: finds runs that died without a word, tells people, and tidies up after them."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Crashed

from flows.closing import close_dead_runs
from flows.lease import LeaseRecord, list_leases
from flows.log import partition_logger
from flows.wiring import build_services
from scrapers.scrape import utc_now


@flow(name="watchdog", flow_run_name="watchdog", persist_result=False)
async def watchdog() -> State[Any]:
    """Closes dead runs: the mail they owe is sent from the journal, parent and children become Crashed.

    A run is dead when its lease has had no heartbeat for the lease's time to live. Every step can be repeated.
    """
    services = build_services()
    now = utc_now()
    dead = [lease for lease in list_leases(services.store) if _is_dead(lease, now)]
    for lease in dead:
        await declare_crashed(lease)
    closed = close_dead_runs(services, now)
    for backfill_id in closed:
        partition_logger().warning("closed dead run %s; its mail is sent or stays in the outbox", backfill_id)
    return Completed(message=f"{len(dead)} dead runs, {len(closed)} mails handled")


def _is_dead(lease: LeaseRecord, now: dt.datetime) -> bool:
    return lease.state == "held" and lease.expires_at <= now


async def declare_crashed(lease: LeaseRecord) -> None:
    """Sets the parent run and its unfinished children to Crashed; a run that Prefect forgot is left alone."""
    if not lease.flow_run_id:
        return
    message = f"no heartbeat since {lease.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC; declared dead by the watchdog"
    unfinished = [StateType.RUNNING, StateType.PENDING, StateType.PAUSED, StateType.CANCELLING]
    async with get_client() as client:
        try:
            parent = await client.read_flow_run(UUID(lease.flow_run_id))
        except ObjectNotFound:
            return
        children = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent.id]),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=unfinished)),
            )
        )
        for run in [*children, parent]:
            if run.state_type not in (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED):
                await client.set_flow_run_state(run.id, Crashed(message=message), force=True)
