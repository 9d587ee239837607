"""The breaker: when to warn, when to stop loading, when to stop a run. Pure: time, calls and memory are arguments.

==========================  =============================================================  ============
flag                        trips when                                                     action
==========================  =============================================================  ============
red_flag:error_rate         10 % of the last 100 dates failed to land (20 at least known)  warn
red_flag:error_rate         20 % of them                                                   abort
red_flag:same_error         the last 10 dates failed, all for one cause                    abort
red_flag:contract           5 of the last 10 dates broke the source's contract alike       abort
red_flag:rate_limited       5 dates in a row ran out of retries on "slow down"             abort
red_flag:slow               median answer time 10 times the baseline, and over 5 s         abort
red_flag:stall              nothing finished for an hour (pauses do not count)             abort
red_flag:memory             the process holds more memory than allowed                     abort
red_flag:load_errors        20 % of the last 100 dates could not be loaded                 stop loading
red_flag:first_failure      a date failed and the run was told to stop then                abort
deadline                    the run's own deadline is reached                              abort
budget:calls, budget:cost   the run's own number of calls or of US dollars is reached      abort
==========================  =============================================================  ============

Where ``same_error`` or ``error_rate`` would abort for what passes by itself (5xx, timeouts, refused connections), the
run waits and tries one date at a time first. Where loading stops, landing continues, so that no
call has to be made twice once the processor is mended; pages that the processor cannot read stop it by the rule of
``contract`` too. A 429 that was waited for is neither spend nor failure and
never gets here.

When the source is down for everybody: wait, let one date through, wait longer.

=============  ==================================  ======================================
state          dates                               leaves it
=============  ==================================  ======================================
closed         begin                               a burst of transient failures: open
open           none begins                         its pause is over: half-open
half-open      one is tried, the probe             answered: closed; not: open, twice as long;
                                                   not, and it was the last one: the run ends
=============  ==================================  ======================================
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import deque
from dataclasses import dataclass, replace
from statistics import median

from alerting.wording import plural
from flows.run.breaker_limits import Limits
from flows.run.decision import Action, Decision, abort, red_flag
from flows.run.probing import Probing


@dataclass(frozen=True, slots=True)
class _Outcome:
    cause: str = ""
    rate_limited: bool = False
    transient: bool = False
    contract: bool = False


class Breaker:
    """Told every outcome; answers with a decision, each rule once. Thread-safe."""

    def __init__(self, limits: Limits, started_at: dt.datetime, baseline_s: float = 0.0) -> None:
        self.limits = limits
        self.started_at = started_at
        self._baseline_s = baseline_s
        self._outcomes: dict[str, deque[_Outcome]] = {}
        self._first_answers_s: list[float] = []
        self._answers_s: deque[float] = deque(maxlen=limits.min_sample)
        self._progress_at = started_at
        self._told: set[tuple[Action, str]] = set()
        self._probing = Probing()
        self._burst: Decision | None = None
        self._lock = threading.Lock()

    # -- what it is told ----------------------------------------------------------------------------------------

    def succeeded(self, stage: str, at: dt.datetime, answer_s: float | None = None) -> Decision | None:
        """A partition finished ``stage`` well; ``answer_s`` is how long the source took, without our waiting."""
        with self._lock:
            self._count(stage, _Outcome(), at)
            if stage == "scrape":
                self._probing.landed()
            if answer_s is None:
                return None
            self._answers_s.append(answer_s)
            if not self._baseline_s:
                self._first_answers_s.append(answer_s)
                if len(self._first_answers_s) >= self.limits.min_sample:
                    self._baseline_s = median(self._first_answers_s)
            return self._once(self._slow())

    def failed(
        self,
        stage: str,
        cause: str,
        at: dt.datetime,
        *,
        rate_limited: bool = False,
        transient: bool = False,
        contract: bool = False,
    ) -> Decision | None:
        """A partition failed in ``stage`` for good in this run; ``cause`` is its fingerprint or class.

        ``transient`` failures pass by themselves: a burst of them is waited for, where that was allowed. A broken
        ``contract`` is about its partition, until others break it alike.
        """
        with self._lock:
            outcomes = self._count(stage, _Outcome(cause, rate_limited, transient, contract), at)
            if stage != "scrape":
                return self._once(self._alike(outcomes, stage) or self._load_errors(outcomes))
            if decision := self._first(cause) or self._refused(outcomes) or self._alike(outcomes, stage):
                return self._once(decision)
            if self._probing.is_on:
                return None
            decision = self._same(outcomes) or self._share(outcomes)
            if decision and decision.action is Action.ABORT and self._passes_by_itself(decision, outcomes):
                return self._wait(decision, at)
            return self._once(decision)

    def spent(self, calls: int, cost_usd: float) -> Decision | None:
        """What the run has used so far; asked before every partition."""
        with self._lock:
            return self._once(self._over_budget(calls, cost_usd))

    def tick(
        self, now: dt.datetime, *, calls: int = 0, cost_usd: float = 0.0, memory_bytes: int = 0
    ) -> Decision | None:
        """What only time, money and memory show; called with every heartbeat."""
        limits, with_s = self.limits, (now - self.started_at).total_seconds()
        with self._lock:
            idle_s = (now - self._progress_at).total_seconds()
            decision = None
            if limits.deadline_s and with_s >= limits.deadline_s:
                decision = abort(
                    "deadline", "deadline", f"{limits.deadline_s:,.0f} s are over, the deadline of this run"
                )
            elif over := self._over_budget(calls, cost_usd):
                decision = over
            elif limits.memory_bytes and memory_bytes > limits.memory_bytes:
                used, allowed = memory_bytes // 2**20, limits.memory_bytes // 2**20
                decision = red_flag("memory", f"the process holds {used:,} MiB, {allowed:,} are allowed")
            elif limits.stall_s and idle_s >= limits.stall_s:
                decision = red_flag("stall", f"nothing finished for {idle_s:,.0f} s")
            return self._once(decision)

    def alive(self, at: dt.datetime) -> None:
        """A pause that is meant (live work, blackout, waiting for the source) is not a stall."""
        with self._lock:
            self._progress_at = max(self._progress_at, at)

    def wait_out_bursts(self, pause_s: float, most: int) -> None:
        """From here on bursts are waited for: only who lets dates begin again may ask for it. 0 probes: never."""
        self._probing = Probing(pause_s, most, self.limits.min_sample)

    @property
    def is_waiting(self) -> bool:
        """No date may begin but a probe."""
        return self._probing.is_on

    @property
    def waits_until(self) -> dt.datetime | None:
        """When one date may be tried again (aware UTC), None while the run does not wait for the source."""
        return self._probing.until

    def probe_due(self, now: dt.datetime) -> int:
        """The number of the one date that may be tried, 0 while none may."""
        with self._lock:
            return self._probing.due(now)

    def probed(self, number: int, at: dt.datetime, *, answered: bool) -> Decision | None:
        """How probe ``number`` ended; one that is not due any more is no news."""
        with self._lock:
            if number != self._probing.due(at) or self._burst is None:
                return None
            self._progress_at = max(self._progress_at, at)
            if not answered:
                return self._wait(self._burst, at)
            self._probing.close()
            # The burst is over: its dates failed, and say nothing of those that follow.
            for stage, outcomes in self._outcomes.items():
                kept = (one for one in outcomes if not one.transient)
                self._outcomes[stage] = deque(kept, maxlen=self.limits.window)
            return Decision(Action.WARN, "red_flag", self._burst.flag, "the source answers again; dates begin again")

    # -- its rules, each on what it was told last ---------------------------------------------------------------

    def _first(self, cause: str) -> Decision | None:
        return red_flag("first_failure", f"{cause}, and on_failure is stop") if self.limits.stop_at_first else None

    def _refused(self, outcomes: deque[_Outcome]) -> Decision | None:
        last = list(outcomes)[-self.limits.rate_limited :] if self.limits.rate_limited else []
        if len(last) == self.limits.rate_limited and last and all(one.rate_limited for one in last):
            return red_flag("rate_limited", f"{len(last)} dates in a row were refused with 'slow down' to the end")
        return None

    def _alike(self, outcomes: deque[_Outcome], stage: str) -> Decision | None:
        """The contract is broken for the source and not for a date: said with the numbers that show it."""
        most, latest = self.limits.contract_breaks, outcomes[-1]
        last = list(outcomes)[-self.limits.contract_dates :]
        alike = sum(one.contract and one.cause == latest.cause for one in last)
        if not most or not latest.contract or alike < most:
            return None
        if stage == "scrape":
            text = f"{alike} of the last {len(last)} dates broke the source's contract alike: {latest.cause}"
            return red_flag("contract", f"{text}; dates that were not tried stay planned")
        text = f"{alike} of the last {len(last)} dates have pages that cannot be read, alike: {latest.cause}"
        return Decision(Action.STOP_LOADING, "red_flag", "red_flag:contract", f"{text}; landing continues")

    def _same(self, outcomes: deque[_Outcome]) -> Decision | None:
        last = list(outcomes)[-self.limits.same_error :] if self.limits.same_error else []
        causes = {one.cause for one in last}
        if len(last) == self.limits.same_error and len(causes) == 1 and "" not in causes:
            return red_flag("same_error", f"the last {len(last)} dates failed for one cause: {causes.pop()}")
        return None

    def _share(self, outcomes: deque[_Outcome]) -> Decision | None:
        known = [one for one in outcomes if not one.rate_limited]
        failed = sum(bool(one.cause) for one in known)
        if len(known) < self.limits.min_sample:
            return None
        text = f"{failed} of the last {len(known)} dates failed"
        if self.limits.abort_share and failed >= self.limits.abort_share * len(known):
            return red_flag("error_rate", text)
        if self.limits.warn_share and failed >= self.limits.warn_share * len(known):
            return Decision(Action.WARN, "red_flag", "red_flag:error_rate", text)
        return None

    def _load_errors(self, outcomes: deque[_Outcome]) -> Decision | None:
        failed = sum(bool(one.cause) for one in outcomes)
        share = self.limits.abort_share
        if len(outcomes) < self.limits.min_sample or not share or failed < share * len(outcomes):
            return None
        text = f"{failed} of the last {len(outcomes)} dates could not be loaded; landing continues"
        return Decision(Action.STOP_LOADING, "red_flag", "red_flag:load_errors", text)

    def _slow(self) -> Decision | None:
        limits = self.limits
        if not (limits.slow_factor and self._baseline_s) or len(self._answers_s) < limits.min_sample:
            return None
        found_s = median(self._answers_s)
        if found_s <= max(limits.slow_over_s, limits.slow_factor * self._baseline_s):
            return None
        return red_flag("slow", f"the source answers in {found_s:.1f} s, its baseline is {self._baseline_s:.2f} s")

    def _over_budget(self, calls: int, cost_usd: float) -> Decision | None:
        limits = self.limits
        if limits.max_calls and calls >= limits.max_calls:
            spent = f"{plural(calls, limits.cost_unit)} spent" if limits.cost_unit else f"{plural(calls, 'call')} made"
            return abort("budget", "budget:calls", f"{spent}, {limits.max_calls:,} allowed")
        if limits.max_cost_usd and cost_usd >= limits.max_cost_usd:
            told = f"{cost_usd:,.4f} USD are spent, {limits.max_cost_usd:,.4f} are allowed"
            return abort("budget", "budget:cost", told)
        return None

    # -- its state ----------------------------------------------------------------------------------------------

    def _count(self, stage: str, outcome: _Outcome, at: dt.datetime) -> deque[_Outcome]:
        self._progress_at = max(self._progress_at, at)
        outcomes = self._outcomes.setdefault(stage, deque(maxlen=self.limits.window))
        outcomes.append(outcome)
        return outcomes

    def _once(self, decision: Decision | None) -> Decision | None:
        if decision is None or (decision.action, decision.flag) in self._told:
            return None
        self._told.add((decision.action, decision.flag))
        return decision

    def _wait(self, decision: Decision, at: dt.datetime) -> Decision | None:
        self._burst = decision
        pause_s = self._probing.begin(at)
        if pause_s:
            return replace(
                decision, action=Action.WAIT, message=f"{decision.message}; in {pause_s:,.0f} s one date is tried again"
            )
        tried = (
            f"; one date was tried again {plural(self._probing.most, 'time')}, in vain" if self._probing.most else ""
        )
        return self._once(replace(decision, message=decision.message + tried))

    def _passes_by_itself(self, decision: Decision, outcomes: deque[_Outcome]) -> bool:
        """Most of the failures that tripped the rule are transient ones."""
        if decision.flag == "red_flag:same_error":
            return outcomes[-1].transient
        failed = [one for one in outcomes if one.cause and not one.rate_limited]
        return 2 * sum(one.transient for one in failed) > len(failed)
