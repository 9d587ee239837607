"""The windows of a distributed run as its parent sees them: what they report, and what they are told."""

from __future__ import annotations

import threading
import time
from collections import Counter

from alerting.errors import LeaseHeld, SourceContractError
from alerting.incident import Incident
from flows.child_runs.messages import (
    Orders,
    Report,
    Stop,
    read_report,
    report_name,
    reports_prefix,
    write_orders,
)
from flows.ledger.month_rows import beyond
from flows.run.decision import Action
from flows.run.run import Run

_TOTALS = ("calls", "failed_calls", "units", "bytes_landed", "waited_s", "storage_writes", "storage_reads")


def attach_windows(run: Run) -> None:
    """Gives the parent of a distributed run its view of the windows; a window's own engine is inline."""
    if run.spread.is_distributed:
        run.windows = Windows(run)


class Windows:
    """Feeds the parent's breaker and counts with what happens in other processes. Blocking; thread-safe.

    A window that has not written for ``lease_ttl_s`` counts as dead: nobody waits for it. Only time in which the parent
    looks counts, so that a parent that was frozen, alone or with all of its windows, takes none of them for dead.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._reports: dict[str, Report] = {}
        self._generations: dict[str, int] = {}
        self._silent_s: dict[str, float] = {}
        self._looked_s: float | None = None
        self._fed: Counter[str] = Counter()
        self._told: Orders | None = None
        self._orders = 0
        self._given_up: set[str] = set()
        self._prober = ""
        self._has_looked = False
        self._broken_by: Incident | None = None
        self._lock = threading.Lock()

    def look(self) -> None:
        """Reads the reports that have changed; failures trip the breaker, a critical one stops the run."""
        store, backfill_id = self._run.services.store, self._run.backfill_id
        with self._lock:
            looked_s = time.monotonic()
            since_s = min(looked_s - (self._looked_s or looked_s), self._run.services.settings.heartbeat_s)
            for found in store.list(reports_prefix(backfill_id)):
                if self._generations.get(found.name) == found.generation:
                    self._silent_s[found.name] += since_s
                    continue
                report = read_report(store, found.name)
                before = self._reports.get(found.name, Report())
                self._generations[found.name] = found.generation
                self._silent_s[found.name] = 0.0
                self._reports[found.name] = report
                if not self._has_looked:
                    # Counted before the pause; not replayed.
                    self._fed[found.name] = len(report.outcomes)
                    continue
                self._run.tally.add_rows(report.landed_rows - before.landed_rows)
                self._run.tally.add_months(beyond(report.landed_months, before.landed_months))
                self._feed(found.name, report)
            self._has_looked, self._looked_s = True, looked_s
            self._run.tally.set_spent_elsewhere(
                {name: sum(getattr(one, name) for one in self._reports.values()) for name in _TOTALS}
            )
            broken_by, self._broken_by = self._broken_by, None
        if broken_by is not None:
            # First the windows, which would begin other dates while a slow mail server is talked to.
            self.tell()
            self._run.services.alerts.call_for_a_human(broken_by)

    def unchanged(self) -> dict[str, str]:
        """What windows got again as it was, partition -> attempt, and has no verdict by this run or a live one yet."""
        run = self._run
        with self._lock:
            found = {key: attempt for report in self._reports.values() for key, attempt in report.unchanged.items()}
        done = {key for key in found if (entry := run.ledger.get(key)) and entry.backfill_id == run.backfill_id}
        return {key: attempt for key, attempt in found.items() if key not in done | run.work.done_elsewhere}

    def _feed(self, name: str, report: Report) -> None:
        run = self._run
        for outcome in report.outcomes[self._fed[name] :]:
            if outcome.probe:
                decision = run.breaker.probed(outcome.probe, run.steady_now(), answered=not outcome.cause)
            elif outcome.cause:
                decision = run.breaker.failed(
                    "scrape",
                    outcome.cause,
                    run.steady_now(),
                    rate_limited=outcome.rate_limited,
                    transient=outcome.transient,
                    contract=outcome.contract,
                )
            else:
                decision = run.breaker.succeeded("scrape", run.steady_now(), outcome.answer_s)
                if outcome.answer_s is not None:
                    run.tally.add_answer(outcome.answer_s)
            run.obey(decision)
            if outcome.contract and decision is not None and decision.action is Action.ABORT:
                # A window records its odd dates as errors of theirs. That it is the source is known only here.
                what = SourceContractError(decision.told, source=run.source, stage="scrape")
                self._broken_by = Incident.from_error(what)
        self._fed[name] = len(report.outcomes)
        if report.stop is not None and report.stop.error_type != LeaseHeld.__name__:
            run.stop(report.stop.as_error(run.source), "scrape")

    def tell(self) -> None:
        """Writes the orders when they have changed: the run's closed gate, who may try one date, or its end."""
        run = self._run
        probe = run.breaker.probe_due(run.steady_now())
        with self._lock:
            self._prober = self._chosen_prober() if probe else ""
            orders = Orders(
                closed_by=run.gate.closed_by,
                stop=Stop.of(run.stopped_by) if run.stopped_by is not None else None,
                probe=probe,
                prober=self._prober,
                given_up=frozenset(self._given_up),
                judged={name: self._fed[name] for name, report in self._living().items() if report.holds},
            )
            if orders != self._told:
                self._orders = write_orders(run.services.store, run.backfill_id, orders)
                self._told = orders

    def ended(self, window_id: str) -> None:
        """Its flow run has ended, with or without a last word."""
        name = report_name(self._run.backfill_id, window_id)
        with self._lock:
            if name in self._reports:
                self._reports[name] = self._reports[name].model_copy(update={"ended": True})

    def given_up(self, window_id: str) -> str:
        """Why nobody waits for this window any more; "" while somebody does."""
        name = report_name(self._run.backfill_id, window_id)
        with self._lock:
            if name in self._reports:
                silent_s = self._silent_s[name]
                ttl_s = self._run.services.settings.lease_ttl_s
                return f"nothing was heard of it for {silent_s:,.0f} s" if silent_s > ttl_s else ""
        return "the run was over before a worker began it" if self._run.stopped_by is not None else ""

    def replaced(self, window_id: str) -> None:
        """Others do what is missing of this window: should its process live after all, it is told to end."""
        with self._lock:
            self._given_up.add(report_name(self._run.backfill_id, window_id))

    @property
    def are_idle(self) -> bool:
        """Every living window stands still under the orders as they are."""
        with self._lock:
            return all(report.is_idle and report.orders == self._orders for report in self._living().values())

    def _chosen_prober(self) -> str:
        """The window that has the probe keeps it while it lives."""
        living = self._living()
        return self._prober if self._prober in living else min(living, default="")

    def _living(self) -> dict[str, Report]:
        ttl_s = self._run.services.settings.lease_ttl_s
        return {
            name: report for name, report in self._reports.items() if not report.ended and self._silent_s[name] < ttl_s
        }
