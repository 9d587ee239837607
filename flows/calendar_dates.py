"""Dates as people type them: read alike in commands, flow parameters and lists, and named for what they are. Pure."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from alerting.ranges import expand_dates

FIRST, LAST = dt.date(1900, 1, 1), dt.date(9998, 12, 31)
"""What can be asked for: the day after a date, in any zone, must be a date too."""
MAX_LISTED = 36_525

_DAY = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_MONTH = re.compile(r"(\d{4})-(\d\d)")
_DIGITS = re.compile(r"(\d{4})(\d\d)(\d\d)")
_ONE = r"\d{4}-?\d\d(?:-?\d\d)?"
_DASHED = re.compile(rf"({_ONE})\s*([-\u2010-\u2015\u2212~/:]|to|until)\s*({_ONE})")
# Hyphens that do not break, figure dashes, minus signs; marks of direction and blanks without a width.
_LOOKALIKES = re.compile("[\u00ad\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:")
_MIDNIGHT = re.compile(r"[0-9-]{10}[Tt ]00:00(?::00(?:[.,]0{1,9})?)?(?:[Zz]|\+00:?00)?")
_DASHES = {"\u2013": "an en dash", "\u2014": "an em dash", "-": "a hyphen"}


def calendar_date(text: str) -> dt.date:
    """The day that ``text`` names. Raises ``ValueError`` that says what the text is instead.

    >>> calendar_date("2025-01-31")
    datetime.date(2025, 1, 31)
    >>> for text in ("2025-02-30", "20250203", "9999-12-31", "2025-13-01", "3 May"):
    ...     try:
    ...         calendar_date(text)
    ...     except ValueError as error:
    ...         print(error)
    2025-02-30 is not a day: February 2025 has 28
    20250203 is written without hyphens; write 2025-02-03
    9999-12-31 is outside the calendar: dates go from 1900-01-01 to 9998-12-31
    2025-13-01 is not a day: there is no month 13
    '3 May' is not a date; write it as 2025-01-31
    """
    text = text.strip()
    if dashed := _DASHED.fullmatch(text):
        raise ValueError(_told_dash(text, *dashed.groups()))
    if (digits := _DIGITS.fullmatch(text)) and text.isascii():
        raise ValueError(f"{text} is written without hyphens; write {'-'.join(digits.groups())}")
    found = _DAY.fullmatch(text)
    if not found or not text.isascii():
        if (likely := _LOOKALIKES.sub("-", _INVISIBLE.sub("", text))) != text and _DAY.fullmatch(likely):
            raise ValueError(f"{text[:40]!a} only looks like a date: it has other characters in it; write {likely}")
        raise ValueError(f"{text[:40]!r} is not a date; write it as 2025-01-31")
    year, month, day = map(int, found.groups())
    if not 1 <= month <= 12:
        raise ValueError(f"{text} is not a day: there is no month {found[2]}")
    if not FIRST.year <= year <= LAST.year:
        raise ValueError(f"{text} is outside the calendar: dates go from {FIRST} to {LAST}")
    days = calendar.monthrange(year, month)[1]
    if not 1 <= day <= days:
        raise ValueError(f"{text} is not a day: {calendar.month_name[month]} {year} has {days}")
    return dt.date(year, month, day)


def listed_dates(text: str) -> list[str]:
    """The keys of a list as a mail writes it: days or months, and ranges of them. Raises ``ValueError``.

    >>> listed_dates("2025-01-03, 2025-01-07..2025-01-08 (2 days)")
    ['2025-01-03', '2025-01-07', '2025-01-08']
    >>> listed_dates("2025-02-03\u20132025-02-05")
    Traceback (most recent call last):
    ValueError: 2025-02-03\u20132025-02-05 joins two dates by an en dash; write 2025-02-03..2025-02-05
    """
    for item in re.sub(r"\([^()]*\)", "", text).split(","):
        words = re.split(r"…|\.\.", item)
        if len(words) > 1 and (len(words) > 2 or not all(map(str.strip, words))):
            raise ValueError(f"{item.strip()[:60]} is not a range; write it as 2025-01-03..2025-01-05")
        ends = [_one(end) for end in words if end.strip()]
        if len(ends) == 2 and (ends[1] - ends[0]).days > MAX_LISTED:
            raise ValueError(f"{item.strip()} is longer than 100 years")
        if len(ends) == 2 and ends[1] < ends[0]:
            raise ValueError(f"{item.strip()[:60]} ends before it begins")
    return expand_dates(text)


def _one(text: str) -> dt.date:
    text = text.strip().rpartition("@")[2]
    if month := _MONTH.fullmatch(text):
        return calendar_date(f"{month[1]}-{month[2]}-01")
    return calendar_date(text)


def _told_dash(text: str, first: str, dash: str, last: str) -> str:
    return f"{text} joins two dates by {_DASHES.get(dash, repr(dash))}; write {first}..{last}"


def _read(given: Any) -> Any:
    """For parameters: JSON makes a number of 20250203, and pydantic a moment of 1970."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        given = f"{given:.0f}" if abs(given) < 1e15 else repr(given)
    if isinstance(given, str):
        return calendar_date(_without_midnight(given.strip()))
    if isinstance(given, dt.datetime):
        return calendar_date(_without_midnight(given.isoformat()))
    if isinstance(given, dt.date) and given != dt.date.min and not FIRST <= dt.date(*given.timetuple()[:3]) <= LAST:
        return calendar_date(f"{given:%Y-%m-%d}")
    return given


def _without_midnight(text: str) -> str:
    """The date of a moment that is none but midnight of nowhere or of UTC; raises ``ValueError`` for any other moment.

    >>> _without_midnight("2025-02-03T00:00:00.000Z"), _without_midnight("2025-02-03 00:00"), _without_midnight("soon")
    ('2025-02-03', '2025-02-03', 'soon')
    >>> _without_midnight("2025-02-03T05:00Z")
    Traceback (most recent call last):
    ValueError: 2025-02-03T05:00Z is a moment and not a date; write 2025-02-03, or the date that the source has then
    """
    if not _MOMENT.match(text):
        return text
    if _MIDNIGHT.fullmatch(text):
        return text[:10]
    told = text if len(text) <= 40 else f"{text[:40]}…"
    raise ValueError(f"{told} is a moment and not a date; write {text[:10]}, or the date that the source has then")


CalendarDate = Annotated[dt.date, BeforeValidator(_read)]
"""The type of a date in the parameters of a flow."""
