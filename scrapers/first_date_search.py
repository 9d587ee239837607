"""Finds the first partition of a source that has rows, in about log2(n) calls. Lands nothing.

A plain bisection takes every day without rows for "not begun yet", and a weekend or an off-season then stands for the
launch. So the search steps back from a date that has rows in whole years and then in weeks (a source that rests in July
or on Sundays does so every time), and no date is called the first before its neighbours are empty too: each day of the
week before it, its weekday in every week of the longest rest that the source may take, and the same season a year
before. A neighbour with rows begins the search anew from there.

What can be missed: rows before a longer rest, and a first season of less than three weeks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from alerting.errors import CoverageLow, NonCriticalError, NotSettled, RowRejected, Truncated
from alerting.wording import plural
from scrapers.attempt import Fetcher
from scrapers.base import Scraper
from scrapers.partition import Partition, Step

REST_DAYS = 154
"""The off-season of a sport, with some weeks more."""

_PAGES_LOOKED_AT = 5
# Whole weeks, so that a year before is the same weekday.
_DAILY, _MONTHLY = (364, 7), (12, 1)
_SOMETHING_IS_THERE = (CoverageLow, NotSettled, RowRejected, Truncated)


@dataclass(frozen=True, slots=True)
class Look:
    """What one partition looked like: the evidence. ``sha256`` is of the body, "" where no body was kept."""

    partition: str
    is_there: bool
    said: str
    status: int = 0
    sha256: str = ""


def look_at(partition: Partition, scraper: Scraper, client: Fetcher) -> Look:
    """Asks for one partition until its first row, or until it ends. Raises transient and critical errors, located.

    An answer that proves nothing counts as empty here: the first date is found by where rows begin.
    """
    request, status, digest = scraper.first_request(partition), 0, ""
    try:
        for number in range(1, _PAGES_LOOKED_AT + 1):
            page = client.fetch(request, number)
            status, digest = page.status, hashlib.sha256(page.body).hexdigest()
            found = scraper.inspect(partition, page)
            rows = sum(found.counts.values()) or len(found.keys)
            if rows:
                return Look(partition.key, True, f"{plural(rows, 'row')} on page {number}", status, digest)
            if found.next_request is None:
                break
            request = found.next_request
    except NonCriticalError as error:
        is_there = isinstance(error, _SOMETHING_IS_THERE)
        return Look(partition.key, is_there, f"{type(error).__name__}: {error.message}"[:200], status, digest)
    return Look(partition.key, False, f"empty: {found.empty_evidence or 'no rows, no proof'}", status, digest)


def neighbours(step: Step, rest_days: int = REST_DAYS) -> tuple[int, ...]:
    """How many partitions before the found one are looked at. Of the week the farthest first: it may be the launch.

    >>> neighbours("day", 28)
    (6, 5, 4, 3, 2, 1, 7, 14, 21, 28, 336, 350, 364)
    >>> neighbours("month", 150)
    (1, 2, 3, 4, 5, 11, 12)
    """
    if step == "month":
        return (*range(1, rest_days // 30 + 1), 11, 12)
    return (*range(6, 0, -1), *range(7, rest_days + 1, 7), 336, 350, 364)


class FirstSearch:
    """Searches ``count`` partitions in order of time, by their position.

    Args:
        count: How many there are.
        look: Whether the partition at a position has rows; asked at most once for each.
        step: Their length.
        rest_days: The longest rest of the source.
        known: What is known without a look.
    """

    def __init__(
        self,
        count: int,
        look: Callable[[int], bool],
        *,
        step: Step = "day",
        rest_days: int = REST_DAYS,
        known: Mapping[int, bool] | None = None,
    ) -> None:
        self._count = count
        self._look = look
        self._before = neighbours(step, rest_days)
        self._rhythms = _MONTHLY if step == "month" else _DAILY
        self._seen = dict(known or {})
        self._stepped_from = 2 * count + self._rhythms[-1]

    def first(self) -> int | None:
        """Position of the first partition with rows; None when neither the last nor its neighbours have any."""
        found = min((at for at, is_there in self._seen.items() if is_there), default=None)
        if found is None:
            last = self._count - 1
            found = last if self._has_rows(last) else self._near(last)
        earlier = found
        while earlier is not None:
            found = earlier
            earlier = self._earlier(found)
        return found

    def _earlier(self, found: int) -> int | None:
        """Any partition with rows before ``found``; None when there is none as far as can be seen."""
        # Some days earlier in the same week the steps would lead to the same weeks again.
        if self._stepped_from - found >= self._rhythms[-1]:
            for rhythm in self._rhythms:
                steps = self._steps_back(found, rhythm)
                if steps:
                    return found - steps * rhythm
            self._stepped_from = found
        return self._near(found)

    def _steps_back(self, found: int, rhythm: int) -> int:
        """How many steps before ``found`` rows are seen first, as if there were rows from the first date on."""
        empty = (
            (found - at) // rhythm
            for at, is_there in self._seen.items()
            if not is_there and at < found and (found - at) % rhythm == 0
        )
        low, high = 0, min(found // rhythm, min(empty, default=self._count) - 1)
        while low < high:
            middle = (low + high + 1) // 2
            if self._has_rows(found - middle * rhythm):
                low = middle
            else:
                high = middle - 1
        return low

    def _near(self, at: int) -> int | None:
        positions = (at - offset for offset in self._before if offset <= at)
        return next((position for position in positions if self._has_rows(position)), None)

    def _has_rows(self, at: int) -> bool:
        if at not in self._seen:
            self._seen[at] = self._look(at)
        return self._seen[at]
