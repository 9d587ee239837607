"""A window follows its parent: it stands still and ends when told, and reports what it did."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import threading
import time
from collections.abc import Callable
from functools import partial

from alerting.errors import CriticalError, LeaseHeld, PipelineError
from alerting.instant import Instant, utc_now
from alerting.store_clock import StoreClock
from flows.child_runs.messages import Outcome, Report, Stop, read_orders, report_name, write_report
from flows.coordination.lease import lease_name, read_lease
from flows.log import partition_logger
from flows.run.breaker_limits import Limits
from flows.run.circuit_breaker import Breaker
from flows.run.decision import Decision
from flows.run.run import Run
from flows.run.supervisor import SHORTEST_STEP_S, known_now, learn_what_was_done, memory_bytes

PARENT_SILENT = "parent silent"
UNJUDGED = "failures that the parent has not judged"

UNJUDGED_FAILURES = 3
"""Dates that may fail one after the other until the parent is heard; twice as many each time it says go on."""

_LEAST_S = 1.0
"""Between two reports of a window: Cloud Storage takes one write of an object a second."""

PATIENCE = 5
"""A silent parent is waited for so many times as long as its lease lives: two looks of the watchdog, which ends it."""


# -- its breaker: the parent judges -----------------------------------------------------------------------------


class Recorder(Breaker):
    """The breaker of a window: it remembers outcomes for the report, and only its process's memory trips it.

    The parent's breaker judges the windows together: one error on every date is one error on every date, also when
    each window has seen it three times only. So that no window asks for hundreds of dates in vain until then, failures
    one after the other wait for that judgement: ``hold`` is called, from any thread, and ``unjudged`` is set.
    """

    def __init__(self, memory_limit_bytes: int, hold: Callable[[], object]) -> None:
        off = Limits(
            warn_share=0.0, abort_share=0.0, same_error=0, rate_limited=0, slow_factor=0.0, stall_s=0.0,
            memory_bytes=memory_limit_bytes,
        )  # fmt: skip
        super().__init__(off, utc_now())
        self.outcomes: list[Outcome] = []
        self.unjudged = 0
        """How many outcomes the parent has to have heard before dates begin again; 0 while they may."""
        self._hold = hold
        self._failed_in_a_row, self._allowed = 0, UNJUDGED_FAILURES
        self._counting = threading.Lock()

    def succeeded(self, stage: str, at: dt.datetime, answer_s: float | None = None) -> Decision | None:  # noqa: ARG002
        """As `Breaker.succeeded`, without a judgement."""
        if stage == "scrape":
            with self._counting:
                self.outcomes.append(Outcome(answer_s=answer_s))
                self._failed_in_a_row, self._allowed = 0, UNJUDGED_FAILURES
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
            with self._counting:
                self.outcomes.append(told)
                self._failed_in_a_row += 1
                if self._failed_in_a_row < self._allowed:
                    return None
                self.unjudged = len(self.outcomes)
            self._hold()
        return None

    def judged(self, outcomes: int) -> None:
        """The parent has heard so many outcomes, and what it orders goes by them."""
        with self._counting:
            if 0 < self.unjudged <= outcomes:
                self.unjudged, self._failed_in_a_row, self._allowed = 0, 0, 2 * self._allowed

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
        # In the loop, where a run that was stopped meanwhile is not shut again behind the last who opens its gate.
        hold = partial(asyncio.get_running_loop().call_soon_threadsafe, self._hold)
        self._recorder = Recorder(run.services.settings.memory_limit_mb * 2**20, hold)
        run.breaker = self._recorder
        self._due = asyncio.Event()
        self._parent_is_silent = False
        self._orders = 0
        self._known = known_now(run)
        self._told_to_stop: CriticalError | None = None
        self._reported: Report | None = None
        self._reported_s = 0.0
        self._writing = threading.Lock()
        self._clock = StoreClock(run.services.store)

    async def begin(self) -> None:
        """First the report, then the orders: see `flows.child_runs.messages`."""
        await self._run.in_thread(self.report)
        await self.step()

    async def look_at_parent(self) -> None:
        """Whether it is heard of. Raises ``LeaseHeld`` when the source is not the parent's any more, or it is dead."""
        run, ttl_s = self._run, self._run.services.settings.lease_ttl_s
        lease = await run.in_thread(read_lease, run.services.store, run.source)
        is_its_own = lease is not None and lease.state == "held" and lease.backfill_id == run.backfill_id
        late_s = 0.0
        if lease is not None and is_its_own:
            given = lease_name(run.source), lease.expires_at, lease.lasts, utc_now()
            late_s = (await run.in_thread(self._clock.late, *given)).total_seconds()
        if not is_its_own or late_s > PATIENCE * ttl_s:
            raise LeaseHeld(
                f"backfill {run.backfill_id} no longer holds the source; this window starts nothing",
                source=run.source,
                stage="lease",
                hint="start the backfill again: it does what is missing",
            )
        was_silent, self._parent_is_silent = self._parent_is_silent, late_s >= 0
        if self._parent_is_silent and not was_silent:
            partition_logger().warning(
                "no heartbeat of the parent for %.0f s: nothing is begun until there is one", late_s + ttl_s
            )

    async def stay(self) -> None:
        """Follows until cancelled, or until the run is stopped because there is no parent to follow any more."""
        run = self._run
        try:
            await self._keep_following()
        except LeaseHeld as error:
            run.lose_source(error)
        except Exception as error:
            # Of this window alone: its dates are begun again in another one.
            partition_logger().exception("the parent cannot be followed any more")
            run.stop(LeaseHeld(f"the parent cannot be followed: {type(error).__name__}", source=run.source), "scrape")
        # What waits at the gate must see that the run is over.
        for why in run.gate.closed_by:
            await run.gate.open(why)
        await run.gate.keep_open(None)

    async def _keep_following(self) -> None:
        run, heartbeat_s, beaten_s = self._run, self._run.services.settings.heartbeat_s, time.monotonic()
        while True:
            await self._pause(min(heartbeat_s, 5.0))
            is_due = time.monotonic() - beaten_s >= heartbeat_s
            try:
                if self._parent_is_silent or is_due:
                    await self.look_at_parent()
                await self.step()
                if is_due:
                    beaten_s = time.monotonic()
                    await run.in_thread(run.services.alerts.heartbeat)
            except LeaseHeld:
                raise
            except PipelineError as error:
                partition_logger().warning("heartbeat failed, trying again: %s", error)

    async def _pause(self, step_s: float) -> None:
        """Until the next step: shorter while dates wait for it, and none when they have just begun to."""
        self._due.clear()
        if self._run.gate.closed_by:
            await asyncio.sleep(SHORTEST_STEP_S)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._due.wait(), step_s)

    async def step(self) -> None:
        """Follows the orders as they are at this moment, then reports if there is news."""
        run, begun = self._run, Instant.now()
        orders, generation = await run.in_thread(read_orders, run.services.store, run.backfill_id)
        if orders.stop is not None and run.stopped_by is None:
            self._told_to_stop = orders.stop.as_error(run.source)
            run.stop(self._told_to_stop, "scrape")
        name = report_name(run.backfill_id, self._window_id)
        if name in orders.given_up and run.stopped_by is None:
            told = "nothing was heard of this window for too long, and another one does its dates"
            run.lose_source(LeaseHeld(told, source=run.source, stage="lease"))
        self._recorder.judged(orders.judged.get(name, 0))
        wanted = orders.closed_by | self._own_reasons() if run.stopped_by is None else frozenset()
        if wanted and not run.gate.closed_by:
            self._known = known_now(run)
        for why in wanted - run.gate.closed_by:
            await run.gate.shut(why)
        if run.gate.closed_by - wanted:
            # Live work may have been there meanwhile.
            await run.in_thread(learn_what_was_done, run, self._known)
        for why in run.gate.closed_by - wanted:
            await run.gate.open(why)
        # Half of what makes the parent give it up: a window that was frozen for longer looks at its orders first.
        awake = begun.after(run.services.settings.lease_ttl_s / 2)
        await run.gate.keep_open(awake if run.stopped_by is None else None)
        is_mine = orders.prober == name
        if orders.probe and is_mine and not self._recorder.has_tried(orders.probe):
            await run.gate.admit_probe(orders.probe)
        self._orders = generation
        held = memory_bytes() if run.breaker.limits.memory_bytes else 0
        run.obey(run.breaker.tick(begun.at, memory_bytes=held))
        await run.in_thread(self.report)

    def _hold(self) -> None:
        if self._run.stopped_by is None:
            self._run.gate.shut_now(UNJUDGED)
            self._due.set()

    def _own_reasons(self) -> frozenset[str]:
        """Why nothing begins here, whatever the orders say."""
        reasons = {PARENT_SILENT: self._parent_is_silent, UNJUDGED: self._recorder.unjudged > 0}
        return frozenset(why for why, is_so in reasons.items() if is_so)

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
            failed_calls=run.tally.failed_calls,
            units=run.client.units if run.client else 0,
            bytes_landed=run.client.received_bytes if run.client else 0,
            waited_s=run.kit.budget.waited_s,
            landed_rows=run.tally.rows,
            landed_months=run.tally.months,
            storage_writes=used.storage_writes,
            storage_reads=used.storage_reads,
            outcomes=tuple(self._recorder.outcomes),
            # A copy, because threads add to it.
            unchanged=run.work.came_unchanged.copy(),
            orders=self._orders,
            is_idle=run.gate.is_idle,
            stop=Stop.of(mine) if mine is not None and not isinstance(mine, LeaseHeld) else None,
            holds=self._recorder.unjudged > 0,
            ended=ended,
        )
        if self._is_news(report):
            write_report(run.services.store, run.backfill_id, self._window_id, report)
            self._reported, self._reported_s = report, time.monotonic()

    def _is_news(self, report: Report) -> bool:
        heartbeat_s, since_s = self._run.services.settings.heartbeat_s, time.monotonic() - self._reported_s
        if self._reported is None or report.ended or since_s >= heartbeat_s:
            return True
        if since_s < min(_LEAST_S, heartbeat_s):
            return False
        # Its own writing and waiting is no news.
        same = {"storage_writes": 0, "storage_reads": 0, "waited_s": 0.0}
        return report.model_copy(update=same) != self._reported.model_copy(update=same)
