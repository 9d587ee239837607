"""Blackout windows: when backfills of a source pause, e.g. because games are on. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from alerting.errors import ConfigurationError

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = "|".join(_DAYS)
_WINDOW = re.compile(rf"(?:({_DAY})(?:-({_DAY}))? )?([0-2]\d):([0-5]\d)-([0-2]\d):([0-5]\d) (\S+)")


@dataclass(frozen=True, slots=True)
class Blackout:
    """Wall-clock times in ``zone``; an end at or before the begin is on the next day. ``weekdays``: of the begin."""

    begin: dt.time
    end: dt.time
    zone: str
    weekdays: frozenset[int] = frozenset(range(7))

    def ends_at(self, now: dt.datetime) -> dt.datetime | None:
        """The end (aware, UTC) of the window that ``now`` lies in, None outside."""
        zone = ZoneInfo(self.zone)
        today = now.astimezone(zone).date()
        for day in (today - dt.timedelta(days=1), today):
            if day.weekday() not in self.weekdays:
                continue
            last = day if self.end > self.begin else day + dt.timedelta(days=1)
            begins, ends = (
                dt.datetime.combine(on, at, zone).astimezone(dt.UTC) for on, at in ((day, self.begin), (last, self.end))
            )
            if begins <= now < ends:
                return ends
        return None


def parse_blackout(text: str) -> Blackout:
    """Reads ``Mon-Fri 18:00-23:00 America/Los_Angeles``; without days it is every day.

    >>> parse_blackout("18:00-23:00 UTC").begin
    datetime.time(18, 0)
    >>> sorted(parse_blackout("Sat-Mon 22:00-02:00 Europe/Berlin").weekdays)
    [0, 5, 6]

    Raises ``ConfigurationError``.
    """
    found = _WINDOW.fullmatch(text.strip())
    try:
        if not found:
            raise ValueError(text)
        first, last, *clock, zone = found.groups()
        ZoneInfo(zone)
        begin, end = (dt.time(int(hour), int(minute)) for hour, minute in (clock[:2], clock[2:]))
    except (ValueError, KeyError, OSError) as error:
        raise ConfigurationError(
            f"blackout {text!r} cannot be read",
            stage="settings",
            hint="write it as: Mon-Fri 18:00-23:00 America/Los_Angeles",
        ) from error
    return Blackout(begin, end, zone, _weekdays(first, last))


def _weekdays(first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset(range(7))
    begin = _DAYS.index(first)
    return frozenset((begin + step) % 7 for step in range((_DAYS.index(last or first) - begin) % 7 + 1))


def blackouts_of(settings: Mapping[str, Sequence[str]], source: str) -> list[Blackout]:
    """The windows of one source and those of all (``*``)."""
    return [parse_blackout(text) for text in (*settings.get("*", ()), *settings.get(source, ()))]


def paused_until(blackouts: Iterable[Blackout], now: dt.datetime) -> dt.datetime | None:
    """The latest end (aware, UTC) of the windows that ``now`` lies in; None outside of all."""
    return max((end for one in blackouts if (end := one.ends_at(now))), default=None)
