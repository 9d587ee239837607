"""A source's wish to wait, read from what it really sends. Pure.

A wish that is none (zero, negative, past, beyond a year, no number and no date) counts as if there were none: the
client then waits by its own rule. Obeyed to the letter, "0" would let all threads call again at once.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import re

LONGEST_WISH_S = 366 * 86_400.0
"""A longer wait is a mistake or a joke; no source is known whose quota takes more than a year to come back."""

# ASCII only: float() also takes digits of other scripts, underscores, "inf" and exponents.
_SECONDS = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{0,15})?")
_LONGEST_VALUE_CHARS = 64


def retry_after_s(value: str | None, now: dt.datetime) -> float | None:
    """Seconds to wait from a ``Retry-After`` header: seconds, or a date of HTTP or ISO 8601; None for no real wish.

    >>> now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    >>> retry_after_s("2.5", now), retry_after_s("Thu, 01 Jan 2026 00:01:00 GMT", now), retry_after_s("soon", now)
    (2.5, 60.0, None)
    >>> retry_after_s("2026-01-01T01:00:00+01:00", now), retry_after_s("2026-01-01T00:00:30Z", now)
    (None, 30.0)
    >>> [retry_after_s(value, now) for value in ("0", "-5", "1e3", "Thu, 01 Jan 2025 00:01:00 GMT", "99999999999")]
    [None, None, None, None, None]
    """
    text = (value or "").strip()
    if not text or len(text) > _LONGEST_VALUE_CHARS:
        return None
    seconds = float(text) if _SECONDS.fullmatch(text) else _until(text, now)
    return seconds if seconds is not None and 0 < seconds <= LONGEST_WISH_S else None


def _until(text: str, now: dt.datetime) -> float | None:
    try:
        is_iso = text[:4].isdecimal() and len(text) > 10
        instant = dt.datetime.fromisoformat(text) if is_iso else email.utils.parsedate_to_datetime(text)
        # An HTTP date is in UTC, with or without a zone in its text.
        aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=dt.UTC)
        return (aware - now).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError, AttributeError):
        # The parser promises ValueError alone; a zone of 20 digits gives OverflowError, cut dates the others.
        return None


def age_s(value: str | None) -> float:
    """How long an answer has lain in a cache, by its ``Age`` header; 0 where it says nothing that can be.

    >>> [age_s(text) for text in (None, "", "86400", " 7 ", "-5", "soon", "9" * 30)]
    [0.0, 0.0, 86400.0, 7.0, 0.0, 0.0, 0.0]
    """
    text = (value or "").strip()
    seconds = float(text) if _SECONDS.fullmatch(text) else 0.0
    return seconds if 0 < seconds <= 10 * LONGEST_WISH_S else 0.0


def shown_wait(seconds: float, now: dt.datetime) -> str:
    """A wait in a sentence: short ones as a duration, those above a day as the instant at which they end.

    >>> now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    >>> shown_wait(12.34, now), shown_wait(3 * 86_400, now)
    ('in 12.3 s', 'not before 2026-01-04 00:00 UTC')
    """
    if seconds <= 86_400:
        return f"in {seconds:.1f} s"
    try:
        return f"not before {(now + dt.timedelta(seconds=seconds)).astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return "not before the calendar ends"
