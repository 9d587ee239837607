"""A window that runs in a process of its own: it builds the run from the stored plan and joins the parent's alerts.

How it follows its parent: `flows.child_runs.follower`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cached_property

from alerting.instant import utc_now
from flows.asked import Asked
from flows.child_runs.follower import PATIENCE, Follower
from flows.child_runs.shared_rate import PrefectLimit, SharedBudget
from flows.planning.requested import Selection, requested_partitions
from flows.planning.stored_plan import read_plan
from flows.run.orchestrator import Orchestrator
from flows.run.run import Run
from flows.wiring import Services, SourceKit
from scrapers.pace.account_pace import AccountPace
from scrapers.pace.budget import Budget
from scrapers.pace.quota import SharedQuota
from scrapers.rate import Rate


class WorkerKit(SourceKit):
    """Of one process among several: its budget is shared with the others."""

    def build_budget(self, quota: SharedQuota | None) -> Budget:
        """The source's budget, held across processes; that of an account always is."""
        if self.scraper.account or self.scraper.domain == "site":
            return super().build_budget(quota)
        rate, clock = self.access.rate, self.services.clock
        # The server knows of no pause that the source has asked one of them for.
        pauses = AccountPace(self.services.store, self.source, Rate(), source=self.source, clock=clock)
        return SharedBudget(rate, source=self.source, limit=self.limit, quota=quota, pace=pauses, clock=clock)

    @cached_property
    def limit(self) -> PrefectLimit | None:
        """The source's global limit; None is that of the server that this process knows."""
        return None


class WorkerServices(Services):
    """The services of one process among several."""

    kit_type = WorkerKit


@dataclass(frozen=True)
class Window:
    """Partitions of a backfill that another process lands, ``slots`` of them in flight at once; ``id`` is that of its
    flow run."""

    source: str
    backfill_id: str
    partitions: list[str]
    slots: int
    id: str


@contextlib.asynccontextmanager
async def joined(orchestrator: Orchestrator, window: Window, services: Services) -> AsyncIterator[Run]:
    """The run of a window whose parent is elsewhere.

    Raises ``LeaseHeld`` when the parent no longer holds the source, at the start or by stopping the run later: a child
    of a dead parent does nothing more. While the parent is silent and nobody has its place, the window begins nothing.
    """
    source, backfill_id, partitions = window.source, window.backfill_id, window.partitions
    stored = await asyncio.to_thread(read_plan, services.store, backfill_id)
    asked = Asked(
        source=source,
        start_date=stored.start_date,
        end_date=stored.end_date,
        mode=stored.mode,
        max_concurrency=max(1, window.slots),
    )
    with Run(services, asked, backfill_id, orchestrator) as run:
        run.is_window = True
        wanted = set(partitions)
        listed = ", ".join(partitions)
        is_whole = run.kit.scraper.step == "whole"
        only = {"entities": listed} if is_whole else {"dates": listed} if run.kit.scraper.has_series else {}
        selected = Selection(asked.start_date, asked.end_date, **only)
        for partition in requested_partitions(run.kit.scraper, selected, utc_now()):
            if partition.key in wanted:
                run.work.partitions[partition.key] = partition
        await run.in_thread(run.ledger.refresh, min(partitions), max(partitions))
        follower, beating = Follower(run, window.id), None
        await follower.look_at_parent()
        # As long as it waits for a silent parent: what it meets meanwhile is the backfill's, and no alert beside it.
        services.alerts.join_backfill(backfill_id, source=source, ttl_s=PATIENCE * services.settings.lease_ttl_s)
        try:
            await follower.begin()
            beating = asyncio.create_task(follower.stay())
            yield run
        finally:
            if beating is not None:
                beating.cancel()
            # Blocking, because a cancelled window may not await, and its incidents and calls must not be lost.
            services.alerts.leave_backfill(partitions[0], window.id)
            follower.report(ended=True)
