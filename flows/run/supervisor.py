"""Watches a running backfill from beside it: the breaker's clock, trouble at the source, blackouts, and live work."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from alerting.errors import PipelineError
from alerting.instant import utc_now
from flows.coordination.blackout import blackouts_of, paused_until
from flows.coordination.lease import Lease, LeaseRecord, read_lease
from flows.coordination.lease_loan import lend, take_back
from flows.coordination.standstill import BLACKOUT, LIVE, SOURCE_DOWN, Standstill
from flows.ledger.ledger import LedgerEntry
from flows.log import partition_logger
from flows.run.run import Run

SHORTEST_STEP_S = 0.5
STATUS = Path("/proc/self/status")


class Supervisor:
    """One per run. ``step`` may be called at any time; ``watch`` calls it until cancelled."""

    def __init__(self, run: Run, lease: Lease) -> None:
        self._run, self._lease = run, lease
        self._blackouts = blackouts_of(run.services.settings.blackouts, run.source)
        self._lent_at: dt.datetime | None = None
        self._lent_to = ""
        self._known: Mapping[str, LedgerEntry] = {}
        self._lent_until: dt.datetime | None = None
        self._loan_ends_s = 0.0
        if run.asked.breaker:
            settings = run.services.settings
            run.breaker.wait_out_bursts(settings.breaker_probe_pause_s, settings.breaker_probes)

    async def watch(self) -> None:
        """A step with every heartbeat, and oftener while somebody waits."""
        heartbeat_s = self._run.services.settings.heartbeat_s
        while True:
            try:
                await self.step()
            except PipelineError as error:
                partition_logger().warning("supervision failed, trying again: %s", error)
            await asyncio.sleep(SHORTEST_STEP_S if self._run.gate.closed_by else min(heartbeat_s, 5.0))

    async def step(self) -> None:
        """Looks once at everything, and opens or shuts the run's gate."""
        run, now = self._run, utc_now()
        if run.gate.closed_by:
            run.breaker.alive(run.steady_now())
        if run.windows is not None:
            await run.in_thread(run.windows.look)
        held = memory_bytes() if run.breaker.limits.memory_bytes else 0
        run.obey(run.breaker.tick(run.steady_now(), calls=run.tally.units, cost_usd=run.cost_usd, memory_bytes=held))
        if run.stopped_by is not None:
            # What waits at the gate must see that the run is over.
            for why in (BLACKOUT, SOURCE_DOWN):
                await run.gate.open(why)
            if not run.gate.is_kept:
                # Nor is anything written by a run that cannot tell whether it still has the source.
                run.stop(run.stopped_by, "load")
                await run.gate.keep_open(None)
        else:
            await self._keep_blackout(now)
            await self._keep_probing()
        await self._yield_to_live(now)
        self._tell_standstill(now)
        if run.windows is not None:
            await run.in_thread(run.windows.tell)

    def _tell_standstill(self, now: dt.datetime) -> None:
        """Tells the lease why nothing begins; its heartbeat is due when that changes."""
        run, still = self._run, None
        if LIVE in run.gate.closed_by:
            still = Standstill(why=LIVE, live_id=self._lent_to)
        elif BLACKOUT in run.gate.closed_by:
            still = Standstill(why=BLACKOUT, until=paused_until(self._blackouts, now))
        elif SOURCE_DOWN in run.gate.closed_by:
            still = Standstill(why=SOURCE_DOWN, until=run.breaker.waits_until)
        if still != run.standing_still:
            run.standing_still = self._lease.standstill = still
            run.heartbeat_due.set()

    async def _keep_blackout(self, now: dt.datetime) -> None:
        until = paused_until(self._blackouts, now)
        is_shut = BLACKOUT in self._run.gate.closed_by
        if until and not is_shut:
            await self._run.gate.shut(BLACKOUT)
            self._run.note(f"paused from {now:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC for a blackout window")
        elif is_shut and not until:
            await self._run.gate.open(BLACKOUT)

    async def _keep_probing(self) -> None:
        """Opens the gate when the source answers again, and lets one date through when that may be tried."""
        run = self._run
        if SOURCE_DOWN in run.gate.closed_by and not run.breaker.is_waiting:
            await run.gate.open(SOURCE_DOWN)
        elif run.windows is None and (probe := run.breaker.probe_due(run.steady_now())):
            await run.gate.admit_probe(probe)

    async def _yield_to_live(self, now: dt.datetime) -> None:
        run, store = self._run, self._run.services.store
        held = await run.in_thread(read_lease, store, run.source)
        if held is None or held.backfill_id != run.backfill_id:
            return
        if self._lent_at is None and not held.wanted_by:
            return
        if self._lent_at is None:
            await run.gate.shut(LIVE)
            self._known = known_now(run)
            is_idle = run.gate.is_idle and (run.windows is None or run.windows.are_idle)
            live_id = await run.in_thread(lend, store, self._lease, now) if is_idle else ""
            if live_id:
                self._lent_at, self._lent_to = now, live_id
                run.note(f"paused at {now:%H:%M:%S} UTC for live run {live_id}")
        elif self._is_loan_over(held) and await run.in_thread(take_back, store, self._lease, held):
            await run.in_thread(learn_what_was_done, run, self._known)
            self._lent_at, self._lent_to = None, ""
            await run.gate.open(LIVE)

    def _is_loan_over(self, held: LeaseRecord) -> bool:
        """It was returned, or for as long as a loan lasts no heartbeat of the live run has prolonged it.

        By the clock of this process alone: the one that says ``lent_until`` is of another machine, and may be wrong.
        """
        now_s = time.monotonic()
        if held.lent_until != self._lent_until:
            self._lent_until, self._loan_ends_s = held.lent_until, now_s + self._lease.ttl_s
        return not held.lent_to or now_s >= self._loan_ends_s


def known_now(run: Run) -> dict[str, LedgerEntry]:
    """What this run knows of its partitions."""
    return run.ledger.known_of(list(run.work.partitions))


def learn_what_was_done(run: Run, before: Mapping[str, LedgerEntry]) -> None:
    """Reads what a live run wrote since `known_now`, so that none of its partitions is fetched or loaded over.

    Blocking. That is what differs: the times of its entries are of the clock of another machine.
    """
    run.work.leave_to_others(
        key
        for key, entry in run.ledger.refresh_over(list(run.work.partitions)).items()
        if entry.backfill_id != run.backfill_id and entry != before.get(key) and entry.verdict.is_good
    )


def memory_bytes() -> int:
    """The most this process ever held.

    ``getrusage`` of Linux keeps the peak of the process that started this one (measured: 313 MiB for a child that held
    13), so the kernel's own account of this program comes first. macOS has none, and some sandboxes of containers leave
    the line out.
    """
    with contextlib.suppress(OSError):
        for line in STATUS.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024
