"""A window that runs in a process of its own: it builds the run from the stored plan and joins the parent's alerts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from prefect.runtime import flow_run

from alerting.errors import LeaseHeld, PipelineError
from flows.control.following import Follower
from flows.control.lease import read_lease
from flows.control.limits import SharedBudget
from flows.control.supervise import SHORTEST_STEP_S
from flows.log import partition_logger
from flows.parameters import Asked, Mode
from flows.plans.requested import requested_partitions
from flows.runs.active import register, unregister
from flows.runs.context import RunContext
from flows.runs.stored_plan import read_plan
from flows.wiring import Services, build_services
from scrapers.budget import Budget
from scrapers.quota import SharedQuota
from scrapers.scrape import utc_now


class WorkerServices(Services):
    """Services of one process among several: its budget is shared with the others."""

    def budget(self, source: str, quota: SharedQuota | None = None) -> Budget:
        """The source's budget, held across processes."""
        return SharedBudget(self.access(source).rate, source=source, quota=quota)


@contextlib.asynccontextmanager
async def joined(source: str, backfill_id: str, partitions: list[str], slots: int) -> AsyncIterator[RunContext]:
    """The run of a window whose parent is elsewhere.

    Raises ``LeaseHeld`` when the parent no longer holds the source, at the start or by stopping the run later: a child
    of a dead parent does nothing more.
    """
    services = WorkerServices(build_services().settings)
    stored = await asyncio.to_thread(read_plan, services.store, backfill_id)
    asked = Asked(
        source=source,
        start_date=stored["start_date"],
        end_date=stored["end_date"],
        mode=stored.get("mode", Mode.INCREMENTAL),
        max_concurrency=max(1, slots),
    )
    await asyncio.to_thread(_refuse_without_lease, services, source, backfill_id)
    with RunContext(services, asked, backfill_id) as run:
        wanted = set(partitions)
        entities = ", ".join(partitions) if run.scraper.step == "whole" else ""
        for partition in requested_partitions(
            run.scraper, asked.start_date, asked.end_date, "", utc_now(), entities=entities
        ):
            if partition.key in wanted:
                run.partitions[partition.key] = partition
        await run.in_thread(run.ledger.refresh, min(partitions), max(partitions))
        services.alerts.join_backfill(backfill_id, source=source, ttl_s=services.settings.lease_ttl_s)
        register(run)
        follower, beating = Follower(run, str(flow_run.id or partitions[0])), None
        try:
            await follower.begin()
            beating = asyncio.create_task(_stay_joined(run, follower))
            yield run
        finally:
            if beating is not None:
                beating.cancel()
            # Blocking, because a cancelled window may not await, and its incidents and calls must not be lost.
            services.alerts.flush(partitions[0], str(flow_run.id or "window"))
            follower.report(ended=True)
            unregister(run)


def _refuse_without_lease(services: Services, source: str, backfill_id: str) -> None:
    lease, _ = read_lease(services.store, source)
    if lease is None or lease.state != "held" or lease.backfill_id != backfill_id or lease.expires_at <= utc_now():
        raise LeaseHeld(
            f"backfill {backfill_id} does not hold the source any more; this window was not begun",
            source=source,
            stage="lease",
            hint="start the backfill again: it goes on with what is missing",
        )


async def _stay_joined(run: RunContext, follower: Follower) -> None:
    heartbeat_s, beaten_s = run.services.settings.heartbeat_s, time.monotonic()
    while True:
        await asyncio.sleep(SHORTEST_STEP_S if run.gate.closed_by else min(heartbeat_s, 5.0))
        try:
            await follower.step()
            if time.monotonic() - beaten_s < heartbeat_s:
                continue
            beaten_s = time.monotonic()
            await run.in_thread(_refuse_without_lease, run.services, run.source, run.backfill_id)
            await run.in_thread(run.services.alerts.heartbeat)
        except LeaseHeld as error:
            run.stop(error, "scrape")
            for why in run.gate.closed_by:
                await run.gate.open(why)
            return
        except PipelineError as error:
            partition_logger().warning("heartbeat failed, trying again: %s", error)
