"""The breaker: when to warn, when to stop loading, when to stop a run. Pure: time, calls and memory are arguments.

==========================  =============================================================  ============
flag                        trips when                                                     action
==========================  =============================================================  ============
red_flag:error_rate         10 % of the last 100 dates failed to land (20 at least known)  warn
red_flag:error_rate         20 % of them                                                   abort
red_flag:same_error         the last 10 dates failed, all for one cause                    abort
red_flag:rate_limited       5 dates in a row ran out of retries on "slow down"             abort
red_flag:slow               median answer time 10 times the baseline, and over 5 s         abort
red_flag:stall              nothing finished for an hour (pauses do not count)             abort
red_flag:memory             the process holds more memory than allowed                     abort
red_flag:load_errors        20 % of the last 100 dates could not be loaded                 stop loading
red_flag:first_failure      a date failed and the run was told to stop then                abort
deadline                    the run's own deadline is reached                              abort
budget:calls, budget:cost   the run's own number of calls or of US dollars is reached      abort
==========================  =============================================================  ============

Where loading stops, landing goes on, so that no call has to be made twice once the processor is mended. A 429 that
was waited for is neither spend nor failure and never gets here.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from statistics import median


class Action(StrEnum):
    """What the run does about a trip."""

    WARN = "warn"
    STOP_LOADING = "stop_loading"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Limits:
    """When it trips; None or 0 turns a rule off. Shares are of the last ``window`` outcomes of a stage."""

    warn_share: float = 0.1
    abort_share: float = 0.2
    min_sample: int = 20
    window: int = 100
    same_error: int = 10
    rate_limited: int = 5
    slow_factor: float = 10.0
    slow_over_s: float = 5.0
    stall_s: float = 3600.0
    deadline_s: float = 0.0
    max_calls: int = 0
    max_cost_usd: float = 0.0
    memory_bytes: int = 0
    stop_at_first: bool = False


@dataclass(frozen=True, slots=True)
class Trip:
    """One rule that tripped: ``reason`` is what ``ABORTED(...)`` names, ``flag`` the rule, ``message`` the numbers."""

    action: Action
    reason: str
    flag: str
    message: str


@dataclass(frozen=True, slots=True)
class _Outcome:
    cause: str = ""
    rate_limited: bool = False


class Breaker:
    """Told every outcome; answers with a trip, each rule once. Thread-safe."""

    def __init__(self, limits: Limits, started_at: dt.datetime, baseline_s: float = 0.0) -> None:
        self.limits = limits
        self.started_at = started_at
        self._baseline_s = baseline_s
        self._outcomes: dict[str, deque[_Outcome]] = {}
        self._first_answers_s: list[float] = []
        self._answers_s: deque[float] = deque(maxlen=limits.min_sample)
        self._progress_at = started_at
        self._told: set[tuple[Action, str]] = set()
        self._lock = threading.Lock()

    def succeeded(self, stage: str, at: dt.datetime, answer_s: float | None = None) -> Trip | None:
        """A partition finished ``stage`` well; ``answer_s`` is how long the source took, without our waiting."""
        with self._lock:
            self._count(stage, _Outcome(), at)
            if answer_s is None:
                return None
            self._answers_s.append(answer_s)
            if not self._baseline_s:
                self._first_answers_s.append(answer_s)
                if len(self._first_answers_s) >= self.limits.min_sample:
                    self._baseline_s = median(self._first_answers_s)
            return self._once(self._slow())

    def failed(self, stage: str, cause: str, at: dt.datetime, *, rate_limited: bool = False) -> Trip | None:
        """A partition failed in ``stage`` for good in this run; ``cause`` is its fingerprint or class."""
        with self._lock:
            outcomes = self._count(stage, _Outcome(cause, rate_limited), at)
            if stage == "scrape":
                return self._once(self._first(cause) or self._row(outcomes) or self._share(outcomes))
            return self._once(self._load_errors(outcomes))

    def spent(self, calls: int, cost_usd: float) -> Trip | None:
        """What the run has used so far; asked before every partition."""
        with self._lock:
            return self._once(self._over_budget(calls, cost_usd))

    def tick(self, now: dt.datetime, *, calls: int = 0, cost_usd: float = 0.0, memory_bytes: int = 0) -> Trip | None:
        """What only time, money and memory show; called with every heartbeat."""
        limits, with_s = self.limits, (now - self.started_at).total_seconds()
        with self._lock:
            idle_s = (now - self._progress_at).total_seconds()
            trip = None
            if limits.deadline_s and with_s >= limits.deadline_s:
                trip = _abort("deadline", "deadline", f"{limits.deadline_s:,.0f} s are over, the deadline of this run")
            elif over := self._over_budget(calls, cost_usd):
                trip = over
            elif limits.memory_bytes and memory_bytes > limits.memory_bytes:
                used, allowed = memory_bytes // 2**20, limits.memory_bytes // 2**20
                trip = _red_flag("memory", f"the process holds {used:,} MiB, {allowed:,} are allowed")
            elif limits.stall_s and idle_s >= limits.stall_s:
                trip = _red_flag("stall", f"nothing finished for {idle_s:,.0f} s")
            return self._once(trip)

    def _over_budget(self, calls: int, cost_usd: float) -> Trip | None:
        limits = self.limits
        if limits.max_calls and calls >= limits.max_calls:
            return _abort("budget", "budget:calls", f"{calls:,} calls were made, {limits.max_calls:,} are allowed")
        if limits.max_cost_usd and cost_usd >= limits.max_cost_usd:
            told = f"{cost_usd:,.4f} USD are spent, {limits.max_cost_usd:,.4f} are allowed"
            return _abort("budget", "budget:cost", told)
        return None

    def alive(self, at: dt.datetime) -> None:
        """A pause that is meant (live work, blackout, waiting for the source) is not a stall."""
        with self._lock:
            self._progress_at = max(self._progress_at, at)

    def _count(self, stage: str, outcome: _Outcome, at: dt.datetime) -> deque[_Outcome]:
        self._progress_at = max(self._progress_at, at)
        outcomes = self._outcomes.setdefault(stage, deque(maxlen=self.limits.window))
        outcomes.append(outcome)
        return outcomes

    def _first(self, cause: str) -> Trip | None:
        return _red_flag("first_failure", f"{cause}, and on_failure is stop") if self.limits.stop_at_first else None

    def _row(self, outcomes: deque[_Outcome]) -> Trip | None:
        limits = self.limits
        last = list(outcomes)[-limits.rate_limited :] if limits.rate_limited else []
        if len(last) == limits.rate_limited and last and all(one.rate_limited for one in last):
            return _red_flag("rate_limited", f"{len(last)} dates in a row were refused with 'slow down' to the end")
        last = list(outcomes)[-limits.same_error :] if limits.same_error else []
        causes = {one.cause for one in last}
        if len(last) == limits.same_error and len(causes) == 1 and "" not in causes:
            return _red_flag("same_error", f"the last {len(last)} dates failed for one cause: {causes.pop()}")
        return None

    def _share(self, outcomes: deque[_Outcome]) -> Trip | None:
        known = [one for one in outcomes if not one.rate_limited]
        failed = sum(bool(one.cause) for one in known)
        if len(known) < self.limits.min_sample:
            return None
        text = f"{failed} of the last {len(known)} dates failed"
        if self.limits.abort_share and failed >= self.limits.abort_share * len(known):
            return _red_flag("error_rate", text)
        if self.limits.warn_share and failed >= self.limits.warn_share * len(known):
            return Trip(Action.WARN, "red_flag", "red_flag:error_rate", text)
        return None

    def _load_errors(self, outcomes: deque[_Outcome]) -> Trip | None:
        failed = sum(bool(one.cause) for one in outcomes)
        share = self.limits.abort_share
        if len(outcomes) < self.limits.min_sample or not share or failed < share * len(outcomes):
            return None
        text = f"{failed} of the last {len(outcomes)} dates could not be loaded; landing goes on"
        return Trip(Action.STOP_LOADING, "red_flag", "red_flag:load_errors", text)

    def _slow(self) -> Trip | None:
        limits = self.limits
        if not (limits.slow_factor and self._baseline_s) or len(self._answers_s) < limits.min_sample:
            return None
        found_s = median(self._answers_s)
        if found_s <= max(limits.slow_over_s, limits.slow_factor * self._baseline_s):
            return None
        return _red_flag("slow", f"the source answers in {found_s:.1f} s, its baseline is {self._baseline_s:.2f} s")

    def _once(self, trip: Trip | None) -> Trip | None:
        if trip is None or (trip.action, trip.flag) in self._told:
            return None
        self._told.add((trip.action, trip.flag))
        return trip


def _abort(reason: str, flag: str, message: str) -> Trip:
    return Trip(Action.ABORT, reason, flag, message)


def _red_flag(name: str, message: str) -> Trip:
    return _abort("red_flag", f"red_flag:{name}", message)
