"""Seasons, as people name them: 2024-25. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# Sports have no seasons before, and no date is after 9999.
_NAME = re.compile(r"((?:1[89]|[2-9][0-9])[0-9]{2})-([0-9]{2})")
MonthDay = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Seasons:
    """When the seasons of a sport are, the longest that it can be: a date without games costs little, a lost one much.

    ``first`` and ``last`` are month and day, the second one in the year after; ``known`` are first and last date
    (inclusive) of seasons that were at another time, by name.
    """

    first: MonthDay
    last: MonthDay
    known: Mapping[str, tuple[dt.date, dt.date]] = field(default_factory=dict)

    def dates(self, name: str) -> tuple[dt.date, dt.date] | None:
        """First and last date (inclusive) of the season; None for a text that names none.

        >>> Seasons((10, 1), (6, 30)).dates("1999-00")
        (datetime.date(1999, 10, 1), datetime.date(2000, 6, 30))
        >>> Seasons((10, 1), (6, 30)).dates("2025-03")
        """
        found = _NAME.fullmatch(name)
        if found is None or (int(found[1]) + 1) % 100 != int(found[2]) or found[1] == "9999":
            return None
        year = int(found[1])
        return self.known.get(name, (dt.date(year, *self.first), dt.date(year + 1, *self.last)))
