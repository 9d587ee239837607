"""The limits that a budget keeps: sliding windows for second and minute, walls for day and month.

Not thread-safe: `scrapers.pace.budget` calls them under its lock.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import deque
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from alerting.errors import ConfigurationError
from scrapers.rate import Rate


@dataclass(slots=True)
class Window:
    """At most ``limit`` grants in any ``length_s`` seconds."""

    limit: int
    length_s: float
    grants: deque[float] = field(default_factory=deque)

    def wait_s(self, now_s: float) -> float:
        """Seconds until one more may be granted; 0 or less is at once. ``now_s`` is monotonic."""
        if len(self.grants) < self.limit:
            return 0.0
        return self.grants[0] + self.length_s - now_s

    def take(self, now_s: float) -> None:
        """Grants one; ``wait_s`` comes first."""
        if len(self.grants) == self.limit:
            self.grants.popleft()
        self.grants.append(now_s)


@dataclass(slots=True)
class Wall:
    """At most ``limit`` calls (None = any number) in the calendar period ``period`` of the reset zone."""

    unit: str
    limit: int | None
    period: str = ""
    spent: int = 0

    def move_to(self, period: str) -> None:
        """Begins ``period`` (2026-11-22 or 2026-11) with nothing spent, if it is a later one."""
        # ">" and not "!=": a wall clock set back must not hand out yesterday's quota again.
        if period > self.period:
            self.period, self.spent = period, 0

    def is_reached(self, units: int = 1) -> bool:
        """Whether so many are not left in the period."""
        return self.limit is not None and self.spent + units > self.limit


def next_reset(unit: str, now: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """The instant, in ``zone``, at which the ``day`` or ``month`` of ``now`` is over there."""
    first = now.astimezone(zone).date() + dt.timedelta(days=1)
    if unit == "month":
        first = ((first - dt.timedelta(days=1)).replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    # Through UTC, so that a midnight that a clock change skips becomes the instant of that change.
    return dt.datetime.combine(first, dt.time(), zone).astimezone(dt.UTC).astimezone(zone)


def described(rate: Rate) -> str:
    """The declared limits in words, "" for none.

    >>> described(Rate(per_minute=600, per_day=5000))
    '600 a minute, 5,000 a day'
    """
    limits = {"second": rate.per_second, "minute": rate.per_minute, "day": rate.per_day, "month": rate.per_month}
    return ", ".join(f"{limit:,g} a {unit}" for unit, limit in limits.items() if limit)


def sliding_windows(rate: Rate) -> tuple[Window, ...]:
    """Those of second and minute that ``rate`` declares."""
    windows = []
    if rate.per_second is not None:
        # 0.5 per second is 1 in 2 s; 2.5 per second is 2 in 0.8 s.
        limit = max(1, math.floor(rate.per_second))
        windows.append(Window(limit, limit / rate.per_second))
    if rate.per_minute is not None:
        windows.append(Window(rate.per_minute, 60.0))
    return tuple(windows)


def check_rate(rate: Rate, source: str) -> None:
    """Raises ``ConfigurationError`` for a limit or pause that nobody can keep, or an unknown zone."""
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
