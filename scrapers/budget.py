"""Budgets: how many calls a source may get per second, minute, day and month. Thread-safe, one per source and process.

Second and minute are sliding windows: no half-open window of that length ever holds more grants than allowed, so no
burst straddles a border. Day and month are counted in the API's own reset zone and are walls, not waits: at a wall the
caller gets ``BudgetExhausted`` with the instant of the reset, and nobody sleeps there.
"""

from __future__ import annotations

import datetime as dt
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from zoneinfo import ZoneInfo

from alerting.errors import BudgetExhausted, ConfigurationError, RateLimited
from scrapers.base import QuotaHeaders, Rate

# Below this a sleep may round to nothing, and a waiting loop would spin.
_SHORTEST_SLEEP_S = 0.001


@dataclass(frozen=True, slots=True)
class Clock:
    """Time, replaceable: ``monotonic`` in seconds, ``now`` aware UTC, ``sleep`` in seconds."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    sleep: Callable[[float], None] = time.sleep


@dataclass(slots=True)
class _Window:
    """At most ``limit`` grants in any ``length_s`` seconds."""

    limit: int
    length_s: float
    grants: deque[float] = field(default_factory=deque)

    def wait_s(self, now_s: float) -> float:
        if len(self.grants) < self.limit:
            return 0.0
        return self.grants[0] + self.length_s - now_s

    def take(self, now_s: float) -> None:
        if len(self.grants) == self.limit:
            self.grants.popleft()
        self.grants.append(now_s)


@dataclass(slots=True)
class _Wall:
    """At most ``limit`` calls (None = any number) in the calendar period ``period`` of the reset zone."""

    unit: str
    limit: int | None
    period: str = ""
    spent: int = 0

    def move_to(self, period: str) -> None:
        # ">" and not "!=": a wall clock set back must not hand out yesterday's quota again.
        if period > self.period:
            self.period, self.spent = period, 0

    @property
    def is_reached(self) -> bool:
        return self.limit is not None and self.spent >= self.limit


class Quota(Protocol):
    """Day and month counts that processes share (``scrapers.quota.SharedQuota``); called under the budget's lock."""

    def ensure(self) -> None:
        """Holds at least one call, or raises ``BudgetExhausted``."""

    def take(self) -> None:
        """Uses it."""

    def give_back(self) -> None:
        """Undoes one ``take``."""

    def settle(self) -> None:
        """Returns what was held and not used."""

    def believe(self, declared: QuotaHeaders, headers: Mapping[str, str]) -> None:
        """Takes over what the source says is left."""


class Budget:
    """The calls one source may get.

    Args:
        rate: The limits. ``ConfigurationError`` for a limit that is not positive or an unknown zone.
        source: For error messages.
        clock: Replaced in tests.
        chance: Draws the pauses; replaced in tests.
        quota: Counts day and month together with all other processes; without one this process counts alone.
    """

    def __init__(
        self,
        rate: Rate,
        *,
        source: str = "",
        clock: Clock | None = None,
        quota: Quota | None = None,
        chance: random.Random | None = None,
    ) -> None:
        _check(rate, source)
        self.rate = rate
        self.source = source
        self._clock = clock or Clock()
        self._chance = chance or random.Random()  # noqa: S311 - no secret
        self._zone = ZoneInfo(rate.reset_zone)
        self._lock = threading.Lock()
        self._windows = _windows(rate)
        self._quota = quota
        self._walls = () if quota else (_Wall("day", rate.per_day), _Wall("month", rate.per_month))
        self._paused_until_s = -math.inf
        self._waited_s = 0.0

    @property
    def waited_s(self) -> float:
        """Seconds all threads together spent waiting for a grant."""
        with self._lock:
            return self._waited_s

    def try_acquire(self) -> bool:
        """Takes one call if it may be made this instant. Raises ``BudgetExhausted`` at a day or month wall."""
        with self._lock:
            return self._take() == 0.0

    def acquire(self, timeout_s: float | None = None) -> float:
        """Waits until one call may be made, takes it, and returns the seconds waited.

        Raises ``BudgetExhausted`` at a day or month wall, without waiting, and ``RateLimited`` (with
        ``retry_after_s``) as soon as it is known that ``timeout_s`` will not do.
        """
        started_s = self._clock.monotonic()
        while True:
            with self._lock:
                wait_s = self._take()
            waited_s = self._clock.monotonic() - started_s
            if wait_s == 0.0:
                return waited_s
            if timeout_s is not None and waited_s + wait_s > timeout_s:
                raise RateLimited(
                    f"the next call is allowed in {wait_s:.1f} s, the caller waits {timeout_s:g} s at most",
                    retry_after_s=wait_s,
                    source=self.source,
                    stage="scrape",
                )
            pause_s = max(wait_s, _SHORTEST_SLEEP_S)
            self._clock.sleep(pause_s)
            with self._lock:
                self._waited_s += pause_s

    def pause_for(self, seconds: float) -> None:
        """No call of this source starts for so long (``Retry-After``). A pause is only ever lengthened."""
        with self._lock:
            self._paused_until_s = max(self._paused_until_s, self._clock.monotonic() + seconds)

    def pause_until(self, instant: dt.datetime) -> None:
        """Same, until an aware instant."""
        self.pause_for((instant - self._clock.now()).total_seconds())

    def refund(self) -> None:
        """Gives one call back to day and month: the source answered 429 and did no work.

        The second and minute windows keep it: that call did arrive.
        """
        with self._lock:
            if self._quota:
                self._quota.give_back()
            for wall in self._walls:
                wall.spent = max(0, wall.spent - 1)

    def believe(self, declared: QuotaHeaders, headers: Mapping[str, str]) -> None:
        """Takes over what the source says is left, where a quota is shared."""
        with self._lock:
            if self._quota:
                self._quota.believe(declared, headers)

    def close(self) -> None:
        """Gives unused calls back to the shared quota. Raises what the store raises."""
        with self._lock:
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

    def import_state(self, state: Mapping[str, str | int]) -> None:
        """Takes over counts of the current day and month; those of a period that is over are ignored."""
        with self._lock:
            self._move_walls()
            for wall in self._walls:
                if state.get(wall.unit) == wall.period:
                    wall.spent = max(wall.spent, int(state.get(f"{wall.unit}_spent", 0)))

    def next_reset(self, unit: str) -> dt.datetime:
        """The instant, in the reset zone, at which the current ``day`` or ``month`` is over."""
        return next_reset(unit, self._clock.now(), self._zone)

    def _take(self) -> float:
        """Takes a call and returns 0, or takes none and returns the seconds to wait. Needs the lock."""
        self._move_walls()
        for wall in self._walls:
            if wall.is_reached:
                raise self._exhausted(wall)
        if self._quota:
            self._quota.ensure()
        now_s = self._clock.monotonic()
        wait_s = max([self._paused_until_s - now_s, *(window.wait_s(now_s) for window in self._windows)])
        if wait_s > 0:
            return wait_s
        for window in self._windows:
            window.take(now_s)
        for wall in self._walls:
            wall.spent += 1
        if self._quota:
            self._quota.take()
        pause_s = self._chance.uniform(*self.rate.pause_s)
        self._paused_until_s = max(self._paused_until_s, now_s + pause_s)
        return 0.0

    def _move_walls(self) -> None:
        today = self._clock.now().astimezone(self._zone).date()
        for wall in self._walls:
            wall.move_to(today.isoformat() if wall.unit == "day" else f"{today:%Y-%m}")

    def _exhausted(self, wall: _Wall) -> BudgetExhausted:
        reset = self.next_reset(wall.unit)
        return BudgetExhausted(
            f"all {wall.limit} calls of this {wall.unit} ({wall.period}) are spent; no call was made",
            source=self.source,
            stage="scrape",
            hint=f"start again after {reset.isoformat()} ({self.rate.reset_zone})",
            resets_at=reset.astimezone(dt.UTC).isoformat(),
        )


def next_reset(unit: str, now: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """The instant, in ``zone``, at which the ``day`` or ``month`` of ``now`` is over there."""
    first = now.astimezone(zone).date() + dt.timedelta(days=1)
    if unit == "month":
        first = ((first - dt.timedelta(days=1)).replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    # Through UTC, so that a midnight that a clock change skips becomes the instant of that change.
    return dt.datetime.combine(first, dt.time(), zone).astimezone(dt.UTC).astimezone(zone)


def _windows(rate: Rate) -> tuple[_Window, ...]:
    windows = []
    if rate.per_second is not None:
        # 0.5 per second is 1 in 2 s; 2.5 per second is 2 in 0.8 s.
        limit = max(1, math.floor(rate.per_second))
        windows.append(_Window(limit, limit / rate.per_second))
    if rate.per_minute is not None:
        windows.append(_Window(rate.per_minute, 60.0))
    return tuple(windows)


def _check(rate: Rate, source: str) -> None:
    for name in ("per_second", "per_minute", "per_day", "per_month"):
        limit = getattr(rate, name)
        if limit is not None and not limit > 0:
            raise ConfigurationError(
                f"{name} is {limit}; it must be positive, or empty for no limit", source=source, stage="plan"
            )
    shortest_s, longest_s = rate.pause_s
    if not 0 <= shortest_s <= longest_s < math.inf:
        raise ConfigurationError(
            f"pause_s is {rate.pause_s}; it must be a shortest and a longest pause", source=source, stage="plan"
        )
    try:
        ZoneInfo(rate.reset_zone)
    except (KeyError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"reset zone {rate.reset_zone!r} is unknown here",
            source=source,
            stage="plan",
            hint="use an IANA name such as America/New_York, and install tzdata",
        ) from error
