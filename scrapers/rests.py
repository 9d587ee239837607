"""How long a source rightly has no rows: what is known of its off-days and off-season, so that an outage is not one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scrapers.partition import Partition, Step, partitions_between

MonthDay = tuple[int, int]

_BESIDE = dt.timedelta(days=30)
"""An outage does not begin with a season: so far beside a rest that is too long, emptiness is not believed either."""


@dataclass(frozen=True, slots=True)
class Rests:
    """The longest time without rows that is believed.

    Attributes:
        longest_days: Consecutive dates without rows, at most, while the season is on.
        season: Its first and last (month, day), inclusive, which may lie in two years; None is all the year. Outside of
            it a rest may have any length.
        opens_by: The latest (month, day) at which the season's first rows come. A rest before it belongs to the
            off-season, unless rows are known right before the rest.
        known: First and last date, inclusive, of longer rests that were right: lockouts, a pandemic.

    >>> rests = Rests(6, season=((10, 1), (4, 30)))
    >>> [rests.is_on(dt.date(2025, month, 1)) for month in (1, 4, 5, 10)]
    [True, True, False, True]
    """

    longest_days: int
    season: tuple[MonthDay, MonthDay] | None = None
    opens_by: MonthDay | None = None
    known: tuple[tuple[dt.date, dt.date], ...] = ()

    def is_on(self, date: dt.date, *, has_opened: bool = True) -> bool:
        """Whether an empty ``date`` counts; ``has_opened`` when rows of its season are known before it."""
        if self._is_known(date):
            return False
        if self.season is None:
            return True
        first, last = self.season
        if not has_opened and self.opens_by and first <= (date.month, date.day) < self.opens_by:
            return False
        day = (date.month, date.day)
        return first <= day <= last if first <= last else day >= first or day <= last

    def unbelieved(self, rest: Sequence[Partition], *, after_rows: bool) -> list[Partition]:
        """Those of consecutive empty partitions whose emptiness is not believed; ``after_rows`` come right before."""
        counted: list[list[Partition]] = [[]]
        for one in rest:
            if self.is_on(one.start, has_opened=after_rows and self._is_since_begin(rest[0].start, one.start)):
                counted[-1].append(one)
            else:
                counted.append([])
        long = [part for part in counted if sum(one.days for one in part) > self.longest_days]
        return [
            one
            for one in rest
            if not self._is_known(one.start)
            and any(part[0].start - _BESIDE <= one.start < part[-1].end + _BESIDE for part in long)
        ]

    def widened(self, partitions: Iterable[Partition], step: Step) -> list[Partition]:
        """``partitions`` with those around them that decide about a rest in which they lie, by entity and date."""
        reach, spans = dt.timedelta(days=self.longest_days + 1), dict[tuple[str, str], tuple[dt.date, dt.date]]()
        for one in partitions:
            if not one.is_whole:
                first, end = spans.get((one.entity, one.zone), (one.start, one.end))
                spans[one.entity, one.zone] = min(first, one.start), max(end, one.end)
        return [
            one
            for (entity, zone), (first, end) in sorted(spans.items())
            for one in partitions_between(first - reach, end - dt.timedelta(days=1) + reach, zone, step, entity)
        ]

    def _is_since_begin(self, first: dt.date, date: dt.date) -> bool:
        """Whether a rest that began at ``first`` began in the season of ``date``, and not in the one before."""
        return self.season is not None and first >= dt.date(date.year, *self.season[0])

    def _is_known(self, date: dt.date) -> bool:
        return any(first <= date <= last for first, last in self.known)
