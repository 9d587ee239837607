"""A window that runs in a process of its own: it builds the run from the stored plan and joins the parent's alerts.

It follows its parent: it stands still and ends when told, and reports what it did.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import threading
import time
from collections.abc import AsyncIterator

from prefect.runtime import flow_run

from alerting.errors import CriticalError, LeaseHeld, PipelineError
from flows.asked import Asked
from flows.child_runs.messages import Outcome, Report, Stop, read_orders, report_name, write_report
from flows.child_runs.shared_rate import SharedBudget
from flows.coordination.lease import read_lease
from flows.log import partition_logger
from flows.planning.requested import Selection, requested_partitions
from flows.planning.stored_plan import read_plan
from flows.run.breaker_limits import Limits
from flows.run.circuit_breaker import Breaker
from flows.run.decision import Decision
from flows.run.orchestrator import Orchestrator
from flows.run.run import Run
from flows.run.supervisor import SHORTEST_STEP_S, learn_what_was_done, memory_bytes
from flows.wiring import Services, SourceKit, build_services
from scrapers.pace.budget import Budget
from scrapers.pace.quota import SharedQuota
from scrapers.scrape import utc_now

# -- the run of a window ----------------------------------------------------------------------------------------


class WorkerKit(SourceKit):
    """Of one process among several: its budget is shared with the others."""

    def build_budget(self, quota: SharedQuota | None) -> Budget:
        """The source's budget, held across processes; that of an account always is."""
        if self.scraper.account or self.scraper.domain == "site":
            return super().build_budget(quota)
        return SharedBudget(self.access.rate, source=self.source, quota=quota)


class WorkerServices(Services):
    """The services of one process among several."""

    kit_type = WorkerKit


@contextlib.asynccontextmanager
async def joined(
    orchestrator: Orchestrator, source: str, backfill_id: str, partitions: list[str], slots: int
) -> AsyncIterator[Run]:
    """The run of a window whose parent is elsewhere.

    Raises ``LeaseHeld`` when the parent no longer holds the source, at the start or by stopping the run later: a child
    of a dead parent does nothing more.
    """
    services = WorkerServices(build_services().settings)
    stored = await asyncio.to_thread(read_plan, services.store, backfill_id)
    asked = Asked(
        source=source,
        start_date=stored.start_date,
        end_date=stored.end_date,
        mode=stored.mode,
        max_concurrency=max(1, slots),
    )
    await asyncio.to_thread(_refuse_without_lease, services, source, backfill_id)
    with Run(services, asked, backfill_id, orchestrator) as run:
        wanted = set(partitions)
        listed = ", ".join(partitions)
        is_whole = run.kit.scraper.step == "whole"
        only = {"entities": listed} if is_whole else {"dates": listed} if run.kit.scraper.has_series else {}
        selected = Selection(asked.start_date, asked.end_date, **only)
        for partition in requested_partitions(run.kit.scraper, selected, utc_now()):
            if partition.key in wanted:
                run.work.partitions[partition.key] = partition
        await run.in_thread(run.ledger.refresh, min(partitions), max(partitions))
        services.alerts.join_backfill(backfill_id, source=source, ttl_s=services.settings.lease_ttl_s)
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


def _refuse_without_lease(services: Services, source: str, backfill_id: str) -> None:
    lease = read_lease(services.store, source)
    if lease is None or lease.state != "held" or lease.backfill_id != backfill_id or lease.expires_at <= utc_now():
        raise LeaseHeld(
            f"backfill {backfill_id} does not hold the source any more; this window was not begun",
            source=source,
            stage="lease",
            hint="start the backfill again: it goes on with what is missing",
        )


async def _stay_joined(run: Run, follower: Follower) -> None:
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


# -- its breaker: the parent judges -----------------------------------------------------------------------------


class Recorder(Breaker):
    """The breaker of a window: it remembers outcomes for the report, and only its process's memory trips it.

    The parent's breaker judges the windows together: one error on every date is one error on every date, also when
    each window has seen it three times only.
    """

    def __init__(self, memory_limit_bytes: int) -> None:
        off = Limits(
            warn_share=0.0, abort_share=0.0, same_error=0, rate_limited=0, slow_factor=0.0, stall_s=0.0,
            memory_bytes=memory_limit_bytes,
        )  # fmt: skip
        super().__init__(off, utc_now())
        self.outcomes: list[Outcome] = []

    def succeeded(self, stage: str, at: dt.datetime, answer_s: float | None = None) -> Decision | None:  # noqa: ARG002
        """As `Breaker.succeeded`, without a judgement."""
        if stage == "scrape":
            self.outcomes.append(Outcome(answer_s=answer_s))
        return None

    def failed(
        self,
        stage: str,
        cause: str,
        at: dt.datetime,  # noqa: ARG002
        *,
        rate_limited: bool = False,
        transient: bool = False,
        contract: bool = False,
    ) -> Decision | None:
        """As `Breaker.failed`, without a judgement."""
        if stage == "scrape":
            told = Outcome(cause=cause, rate_limited=rate_limited, transient=transient, contract=contract)
            self.outcomes.append(told)
        return None

    def probed(self, number: int, at: dt.datetime, *, answered: bool) -> Decision | None:  # noqa: ARG002
        """As `Breaker.probed`, without a judgement."""
        self.outcomes.append(Outcome(cause="" if answered else "still down", probe=number))
        return None

    def has_tried(self, probe: int) -> bool:
        """Whether this window has reported how ``probe`` ended."""
        return any(one.probe == probe for one in self.outcomes)


# -- following the parent ---------------------------------------------------------------------------------------


class Follower:
    """One per window. ``step`` looks at the orders and reports; call it before the first partition and then on."""

    def __init__(self, run: Run, window_id: str) -> None:
        self._run, self._window_id = run, window_id
        self._recorder = Recorder(run.services.settings.memory_limit_mb * 2**20)
        run.breaker = self._recorder
        self._orders = 0
        self._shut_at = utc_now()
        self._told_to_stop: CriticalError | None = None
        self._reported: Report | None = None
        self._reported_s = 0.0
        self._writing = threading.Lock()

    async def begin(self) -> None:
        """First the report, then the orders: see `flows.child_runs.messages`."""
        await self._run.in_thread(self.report)
        await self.step()

    async def step(self) -> None:
        """Follows the orders as they are at this moment, then reports if there is news."""
        run, now = self._run, utc_now()
        orders, generation = await run.in_thread(read_orders, run.services.store, run.backfill_id)
        if orders.stop is not None and run.stopped_by is None:
            self._told_to_stop = orders.stop.as_error(run.source)
            run.stop(self._told_to_stop, "scrape")
        name = report_name(run.backfill_id, self._window_id)
        if name in orders.given_up and run.stopped_by is None:
            told = "nothing was heard of this window for too long, and another one does its dates"
            run.stop(LeaseHeld(told, source=run.source, stage="lease"), "scrape")
        wanted = orders.closed_by if run.stopped_by is None else frozenset()
        if wanted and not run.gate.closed_by:
            self._shut_at = now
        for why in wanted - run.gate.closed_by:
            await run.gate.shut(why)
        if run.gate.closed_by - wanted:
            # Live work may have been there meanwhile.
            await run.in_thread(learn_what_was_done, run, self._shut_at)
        for why in run.gate.closed_by - wanted:
            await run.gate.open(why)
        is_mine = orders.prober == name
        if orders.probe and is_mine and not self._recorder.has_tried(orders.probe):
            await run.gate.admit_probe(orders.probe)
        self._orders = generation
        run.obey(run.breaker.tick(now, memory_bytes=memory_bytes()))
        await run.in_thread(self.report)

    def report(self, *, ended: bool = False) -> None:
        """Writes what has changed since the last report, and with every heartbeat; nothing after the end. Blocking."""
        with self._writing:
            if self._reported is None or not self._reported.ended:
                self._report(ended)

    def _report(self, ended: bool) -> None:
        run = self._run
        used = run.usage
        mine = run.stopped_by if run.stopped_by is not self._told_to_stop else None
        report = Report(
            calls=run.client.calls if run.client else 0,
            units=run.client.units if run.client else 0,
            bytes_landed=run.client.received_bytes if run.client else 0,
            waited_s=run.kit.budget.waited_s,
            landed_rows=run.tally.rows,
            storage_writes=used.storage_writes,
            storage_reads=used.storage_reads,
            outcomes=tuple(self._recorder.outcomes),
            # A copy, because threads add to it.
            unchanged=run.work.came_unchanged.copy(),
            orders=self._orders,
            is_idle=run.gate.is_idle,
            stop=Stop.of(mine) if mine is not None and not isinstance(mine, LeaseHeld) else None,
            ended=ended,
        )
        if self._is_news(report):
            write_report(run.services.store, run.backfill_id, self._window_id, report)
            self._reported, self._reported_s = report, time.monotonic()

    def _is_news(self, report: Report) -> bool:
        if self._reported is None or time.monotonic() - self._reported_s >= self._run.services.settings.heartbeat_s:
            return True
        # Its own writing and waiting is no news.
        same = {"storage_writes": 0, "storage_reads": 0, "waited_s": 0.0}
        return report.model_copy(update=same) != self._reported.model_copy(update=same)
