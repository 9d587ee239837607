"""A moment by two clocks: the wall clock may be set, the monotonic one may stand still while the machine sleeps."""

from __future__ import annotations

import datetime as dt
import time
from typing import NamedTuple, Self

_APART_S = 5.0
"""So far apart, the two clocks of a machine do not go on at the same rate: time servers slew by 0.5 ms a second."""


def utc_now() -> dt.datetime:
    """Aware UTC, by the clock of this machine."""
    return dt.datetime.now(dt.UTC)


class Instant(NamedTuple):
    """``at`` is aware UTC; ``clock_s`` is of this process alone."""

    at: dt.datetime
    clock_s: float

    @classmethod
    def now(cls, at: dt.datetime | None = None) -> Self:
        """This moment, which the wall clock calls ``at``."""
        return cls(at or utc_now(), time.monotonic())

    def after(self, seconds: float) -> Instant:
        """So many seconds later."""
        return Instant(self.at + dt.timedelta(seconds=seconds), self.clock_s + seconds)

    @property
    def is_over(self) -> bool:
        """By either clock; and where nobody knows, because the wall clock was set or the machine has slept."""
        return utc_now() >= self.at or time.monotonic() >= self.clock_s or not self.is_certain(utc_now())

    @property
    def since_s(self) -> float:
        """Seconds that have passed since at least: the monotonic clock goes on at no greater rate than time does."""
        return time.monotonic() - self.clock_s

    def is_certain(self, now: dt.datetime) -> bool:
        """Whether both clocks, of which the wall clock says ``now``, agree on how far away it is."""
        return abs((now - self.at).total_seconds() - self.since_s) <= _APART_S

    def latest(self, at: dt.datetime) -> Instant:
        """This moment of the process, which the wall clock calls ``at``, unless it was set back since ``self``."""
        clock_s = time.monotonic()
        return Instant(max(at, self.at + dt.timedelta(seconds=clock_s - self.clock_s)), clock_s)
