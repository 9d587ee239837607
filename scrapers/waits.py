"""A source's wish to wait, read from what it really sends. Pure.

A wish that is none (zero, negative, past, beyond a year, no number and no date) counts as if there were none: the
client then waits by its own rule. Obeyed to the letter, "0" would let all threads call again at once.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import from_json

LONGEST_WISH_S = 366 * 86_400.0
"""A longer wait is a mistake or a joke; no source is known whose quota takes more than a year to come back."""

# ASCII only: float() also takes digits of other scripts, underscores, "inf" and exponents.
_SECONDS = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{0,15})?")
_LONGEST_VALUE_CHARS = 64
# As programs write durations: 90s, 1m30s, 6m0s, 120 seconds, PT30S.
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = (
    r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s?"
    r"(ms|milliseconds?|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?)"
)
_DURATION = re.compile(rf"(?i)(?:pt)?(?:{_PART}[\s,]{{0,2}})+")
# Two proxies on the way, or two limits, each with a header of its own.
_SEVERAL = re.compile(rf"{_SECONDS.pattern}(?:\s*,\s*{_SECONDS.pattern})+")
# No wish is as long as this; it is an instant, in milliseconds from the second one on.
_EPOCH_S, _EPOCH_MS = 1e9, 1e12
_OF_RESET = re.compile(r"(?:x-)?rate-?limit-(?:reset|retry-after)(?:-after)?|x-retry-after")
_OF_WISH = re.compile(r"x-retry-after|(?:x-)?rate-?limit-retry-after")
_OF_REST = re.compile(r"(?:x-)?rate-?limit-remaining")
_IN_MS = ("retry-after-ms", "x-ms-retry-after-ms")
# The IETF's draft in both of its forms: reset=30, and "default";r=0;t=30.
_STRUCTURED_RESET = re.compile(r"(?i)[\s,;](?:reset|t)=([0-9]{1,15})(?=[\s,;]|$)")
_IN_BODIES = {
    **dict.fromkeys(("retryafter", "retryafterseconds", "retryafters", "retrydelay", "retryin"), 1.0),
    "retryafterms": 0.001,
}
_DEEPEST = 4
_LONGEST_BODY_BYTES = 16_384


def retry_after_s(value: str | None, now: dt.datetime) -> float | None:
    """Seconds to wait from a ``Retry-After`` header: seconds, a duration, or a date of HTTP or ISO 8601; None for no
    real wish.

    >>> now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    >>> retry_after_s("2.5", now), retry_after_s("Thu, 01 Jan 2026 00:01:00 GMT", now), retry_after_s("soon", now)
    (2.5, 60.0, None)
    >>> retry_after_s("5, 10", now), retry_after_s("1767225690", now), retry_after_s("1767225690000", now)
    (10.0, 90.0, 90.0)
    >>> retry_after_s("2026-01-01T01:00:00+01:00", now), retry_after_s("2026-01-01T00:00:30Z", now)
    (None, 30.0)
    >>> [retry_after_s(value, now) for value in ("1m30s", "120 seconds", "PT30S", "500ms", "30x")]
    [90.0, 120.0, 30.0, 0.5, None]
    >>> [retry_after_s(value, now) for value in ("0", "-5", "1e3", "Thu, 01 Jan 2025 00:01:00 GMT", "99999999999")]
    [None, None, None, None, None]
    """
    text = (value or "").strip()
    if not text or len(text) > _LONGEST_VALUE_CHARS:
        return None
    if _SEVERAL.fullmatch(text):
        return max(filter(None, (retry_after_s(one, now) for one in text.split(","))), default=None)
    if _SECONDS.fullmatch(text):
        seconds: float | None = float(text)
    else:
        seconds = _duration_s(text) if _DURATION.fullmatch(text) else _until(text, now)
    if seconds is not None and seconds >= _EPOCH_S:
        seconds = (seconds / 1000 if seconds >= _EPOCH_MS else seconds) - now.timestamp()
    return seconds if seconds is not None and 0 < seconds <= LONGEST_WISH_S else None


def limit_wait_s(headers: Mapping[str, str], body: bytes, now: dt.datetime) -> float | None:
    """Seconds to wait at a limit: by ``Retry-After``, else by when it is lifted, as headers or the body say.

    When a limit is lifted counts only where nothing says that something is left of it: it is another one's then.
    ``headers`` are by lower-case name.

    >>> now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    >>> limit_wait_s({"x-ratelimit-reset": "1767225690"}, b"", now), limit_wait_s({}, b'{"retry_after": 1.5}', now)
    (90.0, 1.5)
    >>> limit_wait_s({"x-ratelimit-reset": "90", "x-ratelimit-remaining": "7"}, b"", now)
    """
    found = (wish_s for text, unit_s in _told(headers, body) if (wish_s := _in_s(text, unit_s, now)) is not None)
    return next(found, None)


def asks_to_wait(headers: Mapping[str, str], body: bytes, now: dt.datetime) -> bool:
    """Whether an answer says when to come back, by a header or in its body; when a limit is lifted is said always.

    >>> now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    >>> asks_to_wait({"x-retry-after": "5"}, b"", now), asks_to_wait({}, b'{"retry_after": 1.5}', now)
    (True, True)
    >>> asks_to_wait({"x-ratelimit-reset": "90"}, b"", now), asks_to_wait({"retry-after": "0"}, b"", now)
    (False, False)
    """
    wishes = (*_wished(headers), *((value, 1.0) for name, value in headers.items() if _OF_WISH.fullmatch(name)))
    return any(_in_s(text, unit_s, now) is not None for text, unit_s in (*wishes, *_told_in(body)))


def _in_s(text: str, unit_s: float, now: dt.datetime) -> float | None:
    if unit_s == 1.0 or not _SECONDS.fullmatch(text):
        return retry_after_s(text, now)
    return retry_after_s(f"{float(text) * unit_s:.3f}", now)


def _told(headers: Mapping[str, str], body: bytes) -> Iterator[tuple[str, float]]:
    """Wishes as they are written, the likeliest first, each with its unit in seconds."""
    yield from _wished(headers)
    yield from _told_in(body)
    left = [value for name, value in headers.items() if _OF_REST.fullmatch(name)]
    if any(re.search("[1-9]", value) for value in left):
        return
    yield from ((value, 1.0) for name, value in headers.items() if _OF_RESET.fullmatch(name))
    structured = _STRUCTURED_RESET.findall(", " + headers.get("ratelimit", "")[:400])
    if len(structured) == 1:
        yield structured[0], 1.0


def _wished(headers: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    yield headers.get("retry-after", ""), 1.0
    yield from ((headers[name], 0.001) for name in _IN_MS if name in headers)


def _told_in(body: bytes) -> Iterator[tuple[str, float]]:
    """Of a JSON document, or of an object in it: Google's stands in a list of details of its error."""
    if len(body) > _LONGEST_BODY_BYTES or b"etry" not in body:
        return
    try:
        level: list[Any] = [from_json(body)]
    except ValueError:
        return
    level = [one for one in level if isinstance(one, dict | list)]
    for _ in range(_DEEPEST):
        for name, value in [pair for one in level if isinstance(one, dict) for pair in one.items()]:
            unit_s = _IN_BODIES.get(re.sub(r"[^a-z]", "", name.lower()))
            if unit_s is not None and isinstance(value, int | float | str) and not isinstance(value, bool):
                yield str(value), unit_s
        inner = (value for one in level for value in (one.values() if isinstance(one, dict) else one))
        level = [value for value in inner if isinstance(value, dict | list)]


def _duration_s(text: str) -> float:
    parts = re.findall(_PART, text.lower())
    return sum(float(number) * _UNITS_S["ms" if unit.startswith(("ms", "mil")) else unit[0]] for number, unit in parts)


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

    >>> [age_s(text) for text in (None, "", "86400", " 7 ", "-5", "soon", "9" * 30, "0, 600")]
    [0.0, 0.0, 86400.0, 7.0, 0.0, 0.0, 0.0, 600.0]
    """
    told = [text.strip() for text in (value or "")[:_LONGEST_VALUE_CHARS].split(",")]
    seconds = max((float(text) for text in told if _SECONDS.fullmatch(text)), default=0.0)
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
