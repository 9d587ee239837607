"""Budgets: how many calls a source may get per second, minute, day and month. Thread-safe, one per source and process.

Second and minute are sliding windows: no half-open window of that length ever holds more grants than allowed, so no
burst straddles a border. Day and month are counted in the API's own reset zone and are walls, not waits: at a wall the
caller gets ``BudgetExhausted`` with the instant of the reset, and nobody sleeps there.
"""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from zoneinfo import ZoneInfo

from alerting.errors import BudgetExhausted, PipelineError, RateLimited
from alerting.wording import plural
from scrapers.pace.rate_limits import Wall, check_rate, next_reset, sliding_windows
from scrapers.rate import QuotaHeaders, Rate
from scrapers.waits import shown_wait

# Below this a sleep may round to nothing, and a waiting loop would spin.
_SHORTEST_SLEEP_S = 0.001


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, replaceable: ``monotonic`` in seconds, ``now`` aware UTC, ``sleep`` in seconds."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    sleep: Callable[[float], None] = time.sleep


class Quota(Protocol):
    """Day and month counts that processes share (``SharedQuota``); called under the budget's lock."""

    def ensure(self, units: int) -> None:
        """Holds at least so many units, or raises ``BudgetExhausted``."""

    @property
    def is_low(self) -> bool:
        """Whether the next block should be reserved by now."""

    def reserve_ahead(self) -> Callable[[], None]:
        """Reserves units, without the lock, or raises ``BudgetExhausted``; what it returns holds them, under it."""

    def take(self, units: int) -> None:
        """Uses them."""

    def give_back(self, units: int) -> None:
        """Undoes a ``take``."""

    def settle(self) -> None:
        """Returns what was held and not used."""

    def believe(self, declared: QuotaHeaders, headers: Mapping[str, str]) -> None:
        """Takes over what the source says is left."""

    def close_until(self, instant: dt.datetime, why: str) -> None:
        """Lets nobody make a call before ``instant`` (aware)."""


class Pace(Protocol):
    """A rate that processes share (``AccountPace``); called under the budget's lock."""

    def wait_s(self) -> float:
        """Seconds until one call may be made, 0 for now."""

    def take(self) -> None:
        """Uses it."""

    def held_s(self) -> float:
        """Seconds that are left of a hold by any process."""

    def hold(self, seconds: float) -> None:
        """Lets no process begin for so long."""

    def close(self) -> None:
        """Gives back what was taken and not used."""


_DEAREST = 100
"""Times what a call should have cost, above which nothing is believed of it."""


class Budget:
    """The calls one source may get.

    Second and minute count calls. Day and month count units, of which most sources take one a call.

    Args:
        rate: The limits. ``ConfigurationError`` for a limit that is not positive or an unknown zone.
        source: For error messages.
        clock: Replaced in tests.
        chance: Draws the pauses; replaced in tests.
        quota: Counts day and month together with all other processes; without one this process counts alone.
        pace: Keeps the rate together with all other processes; without one this process keeps it alone.
    """

    def __init__(
        self,
        rate: Rate,
        *,
        source: str = "",
        clock: Clock | None = None,
        quota: Quota | None = None,
        pace: Pace | None = None,
        chance: random.Random | None = None,
    ) -> None:
        check_rate(rate, source)
        self.rate = rate
        self.source = source
        self._clock = clock or Clock()
        self._chance = chance or random.Random(random.getrandbits(64))  # noqa: S311 - no secret
        self._zone = ZoneInfo(rate.reset_zone)
        self._lock, self._stocking = threading.Lock(), threading.Lock()
        self._windows = sliding_windows(rate)
        self._quota = quota
        self._pace = pace
        self._walls = () if quota else (Wall("day", rate.per_day), Wall("month", rate.per_month))
        self._paused_until_s = -math.inf
        self._closed_until, self._closed_why = dt.datetime.min.replace(tzinfo=dt.UTC), ""
        self._waited_s = 0.0
        self._ended: PipelineError | None = None

    def for_site(self, rate: Rate) -> Budget:
        """One of a single site, by the same clock."""
        return Budget(rate, source=self.source, clock=self._clock, chance=self._chance)

    def end(self, why: PipelineError) -> None:
        """No call is allowed from now on: whoever asks for one gets ``why``, and who waits for one after its wait."""
        self._ended = why

    def note_wait(self, seconds: float) -> None:
        """Counts what a thread has waited for a site."""
        with self._lock:
            self._waited_s += seconds

    @property
    def waited_s(self) -> float:
        """Seconds all threads together spent waiting for a grant. Never waits itself.

        The lock is held while a shared pace or quota talks to its store, half a minute where many processes want a
        turn: a run that says how it is doing must not be silent for so long.
        """
        return self._waited_s

    def acquire(self, timeout_s: float | None = None, units: int = 1) -> float:
        """Waits until one call of so many ``units`` may be made, takes it, and returns the seconds waited.

        Raises ``BudgetExhausted`` at a day or month wall, without waiting, ``RateLimited`` (with ``retry_after_s``) as
        soon as it is known that ``timeout_s`` will not do, and what `end` was told.
        """
        return self._wait(timeout_s, lambda: self._take(units))

    def stock_up(self) -> None:
        """Reserves the next calls of a shared quota before the last ones are used, so that no call waits for that.

        A round trip now and then: for a thread that keeps nobody waiting.
        """
        if self._quota is None or not self._quota.is_low or not self._stocking.acquire(blocking=False):
            return
        try:
            # What is wrong with it, the call will say that needs it.
            with contextlib.suppress(PipelineError):
                hold = self._quota.reserve_ahead()
                with self._lock:
                    hold()
        finally:
            self._stocking.release()

    def _wait(self, timeout_s: float | None, left_s: Callable[[], float]) -> float:
        """Until ``left_s``, which is called under the lock, says 0; the seconds waited."""
        started_s = self._clock.monotonic()
        while True:
            self._refuse_ended()
            with self._lock:
                wait_s = left_s()
            waited_s = self._clock.monotonic() - started_s
            if wait_s == 0.0:
                return waited_s
            if timeout_s is not None and waited_s + wait_s > timeout_s:
                raise RateLimited(
                    f"the next call is allowed {shown_wait(wait_s, self._clock.now())}, the caller waits {timeout_s:g} "
                    "s at most",
                    retry_after_s=wait_s,
                    source=self.source,
                    stage="scrape",
                )
            pause_s = max(wait_s, _SHORTEST_SLEEP_S)
            self._clock.sleep(pause_s)
            with self._lock:
                self._waited_s += pause_s

    def _refuse_ended(self) -> None:
        if self._ended is not None:
            # One for each thread: whoever catches it adds where it was.
            raise copy.copy(self._ended)

    def wait_out_pause(self, timeout_s: float | None = None) -> None:
        """Waits until a pause that was asked for is over, and takes nothing: for calls that cost none, as for a token.

        Raises ``RateLimited`` as soon as it is known that ``timeout_s`` will not do.
        """
        self._wait(timeout_s, self._pause_left_s)

    def pause_for(self, seconds: float) -> None:
        """No call of this source starts for so long (``Retry-After``). A pause is only ever lengthened.

        Where a pace is shared, no process of the account begins one either.
        """
        with self._lock:
            until_s = self._clock.monotonic() + seconds
            is_longer, self._paused_until_s = until_s > self._paused_until_s, max(self._paused_until_s, until_s)
            if self._pace and is_longer:
                # The answer that asked for the pause is worth more than word of a store that is away.
                with contextlib.suppress(PipelineError):
                    self._pace.hold(seconds)

    def refund(self, units: int = 1) -> None:
        """Gives the units of a call back to day and month: the source answered 429 and did no work.

        The second and minute windows keep it: that call did arrive.
        """
        with self._lock:
            if self._quota:
                self._quota.give_back(units)
            for wall in self._walls:
                wall.spent = max(0, wall.spent - units)

    def believe(
        self, declared: QuotaHeaders, headers: Mapping[str, str], units: int = 1, *, is_done: bool = True
    ) -> int:
        """Takes over what the source says is left, where a quota is shared, and what a call really cost.

        Args:
            declared: The names of the headers.
            headers: Those of the answer, by lower-case name.
            units: What was taken for the call.
            is_done: The source did what was asked. If not, and without a word of a cost, there was none.

        Returns:
            The units that the call cost.
        """
        cost = units if is_done or not declared.last else 0
        # A source may write 10.0. A header that is none says nothing, nor does a cost below zero, by which calls would
        # be free for ever, or one that would use up a month at once.
        with contextlib.suppress(KeyError, ValueError, OverflowError):
            told = math.ceil(float(headers[declared.last]))
            cost = told if 0 <= told <= _DEAREST * max(units, 1) else cost
        with self._lock:
            for wall in self._walls:
                wall.spent = max(0, wall.spent + cost - units)
            if self._quota:
                self._quota.give_back(units - cost)
                self._quota.believe(declared, headers)
        return cost

    def close_until_reset(self, problem: BudgetExhausted) -> None:
        """The source says that nothing is left: nobody of the account makes a call before it says so or the reset.

        ``problem`` then says when that is.
        """
        told = problem.facts.get("resets_at")
        unit = str(problem.facts.pop("unit", "month"))
        instant = dt.datetime.fromisoformat(str(told)) if told else self.next_reset(unit).astimezone(dt.UTC)
        problem.facts["resets_at"] = instant.isoformat()
        problem.hint = problem.hint or f"wait until {instant:%Y-%m-%d %H:%M} UTC, or buy more"
        with self._lock:
            self._closed_until, self._closed_why = instant, problem.message
            if self._quota:
                # What the source said is worth more than word of a store that is away.
                with contextlib.suppress(PipelineError):
                    self._quota.close_until(instant, problem.message)

    def close(self) -> None:
        """Gives unused calls back to the shared quota and pace. Raises what the store raises."""
        with self._lock:
            if self._pace:
                self._pace.close()
            if self._quota:
                self._quota.settle()

    def export_state(self) -> dict[str, str | int]:
        """Day and month counts with their periods: ``{"day": "2026-11-22", "day_spent": 12, "month": ...}``."""
        with self._lock:
            self._move_walls()
            state: dict[str, str | int] = {}
            for wall in self._walls:
                state[wall.unit], state[f"{wall.unit}_spent"] = wall.period, wall.spent
            return state

    def next_reset(self, unit: str) -> dt.datetime:
        """The instant, in the reset zone, at which the current ``day`` or ``month`` is over."""
        return next_reset(unit, self._clock.now(), self._zone)

    def _take(self, units: int = 1) -> float:
        """Takes a call and returns 0, or takes none and returns the seconds to wait. Needs the lock."""
        self._move_walls()
        if self._clock.now() < self._closed_until:
            raise closed(self.source, self._closed_until, self._closed_why)
        for wall in self._walls:
            if wall.is_reached(units):
                raise self._exhausted(wall)
        if self._quota:
            self._quota.ensure(units)
        now_s = self._clock.monotonic()
        wait_s = max([self._paused_until_s - now_s, *(window.wait_s(now_s) for window in self._windows)])
        if wait_s > 0:
            return wait_s
        if self._pace:
            wait_s = self._pace.wait_s()
            if wait_s > 0:
                return wait_s
            self._pace.take()
            # Taking a turn is a look at the store, which takes a while.
            now_s = self._clock.monotonic()
        for window in self._windows:
            window.take(now_s)
        for wall in self._walls:
            wall.spent += units
        if self._quota:
            self._quota.take(units)
        pause_s = self._chance.uniform(*self.rate.pause_s)
        self._paused_until_s = max(self._paused_until_s, now_s + pause_s)
        return 0.0

    def _pause_left_s(self) -> float:
        """Of a pause of this process or of all. Needs the lock."""
        mine_s = self._paused_until_s - self._clock.monotonic()
        return max(0.0, mine_s, self._pace.held_s() if self._pace else 0.0)

    def _move_walls(self) -> None:
        today = self._clock.now().astimezone(self._zone).date()
        for wall in self._walls:
            wall.move_to(today.isoformat() if wall.unit == "day" else f"{today:%Y-%m}")

    def _exhausted(self, wall: Wall) -> BudgetExhausted:
        reset = self.next_reset(wall.unit)
        return BudgetExhausted(
            f"{plural(wall.limit or 0, 'call')} of this {wall.unit} ({wall.period}) spent, none left; no call was made",
            source=self.source,
            stage="scrape",
            hint=f"start again after {reset.isoformat()} ({self.rate.reset_zone})",
            resets_at=reset.astimezone(dt.UTC).isoformat(),
        )


def closed(source: str, until: dt.datetime, why: str) -> BudgetExhausted:
    """The refusal of a call before ``until``, because the source said why."""
    return BudgetExhausted(
        f"{why}; no call is made before {until:%Y-%m-%d %H:%M} UTC",
        source=source,
        stage="scrape",
        hint=f"it resumes after {until:%Y-%m-%d %H:%M} UTC",
        resets_at=until.isoformat(),
    )
