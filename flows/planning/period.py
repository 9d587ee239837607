"""What people call a stretch of dates: a season, a year, a month. Pure."""

from __future__ import annotations

import calendar
import datetime as dt
import re

from alerting.errors import WrongUsage
from flows.calendar_dates import FIRST, LAST
from scrapers.seasons import Seasons

PERIOD = re.compile(r"(\d{4})(?:-(\d\d))?")
"""The shape of each of them, so that a command line can tell a period from a date."""


def period_dates(text: str, seasons: Seasons | None) -> tuple[dt.date, dt.date]:
    """First and last date (inclusive) of a period; ``2003-04`` is a season where there are seasons, else April.

    >>> [str(day) for day in period_dates("2024-25", Seasons((10, 1), (6, 30)))]
    ['2024-10-01', '2025-06-30']
    >>> [str(day) for day in (*period_dates("2024", None), *period_dates("2024-02", None))]
    ['2024-01-01', '2024-12-31', '2024-02-01', '2024-02-29']

    Raises ``WrongUsage`` for anything else. Nothing was done then.
    """
    text = text.strip()
    found = seasons.dates(text) if seasons is not None else None
    if found is not None and FIRST <= found[0] <= found[1] <= LAST:
        return found
    shape = PERIOD.fullmatch(text) if text.isascii() else None
    year, month = (int(shape[1]), int(shape[2] or 0)) if shape else (0, 0)
    if not FIRST.year <= year <= LAST.year - 1 or month > 12 or (shape and shape[2] == "00"):
        names = "2024-25, 2024 or 2024-03" if seasons else "2024 or 2024-03"
        raise WrongUsage(
            f"{text[:40]!r} is not a period. Nothing was done", stage="plan", hint=f"write it as {names}, or give dates"
        )
    if not month:
        return dt.date(year, 1, 1), dt.date(year, 12, 31)
    return dt.date(year, month, 1), dt.date(year, month, calendar.monthrange(year, month)[1])
