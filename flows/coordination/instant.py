"""A moment by two clocks: the wall clock may be set, the monotonic one may stand still while the machine sleeps."""

from __future__ import annotations

import datetime as dt
import time
from typing import NamedTuple, Self

from scrapers.scrape import utc_now


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
        """By either clock."""
        return utc_now() >= self.at or time.monotonic() >= self.clock_s

    def latest(self, at: dt.datetime) -> Instant:
        """This moment of the process, which the wall clock calls ``at``, unless it was set back since ``self``."""
        clock_s = time.monotonic()
        return Instant(max(at, self.at + dt.timedelta(seconds=clock_s - self.clock_s)), clock_s)
