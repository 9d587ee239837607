"""Partition: the unit of work and of the ledger. Pure; dates only, so no midnight and no DST can shift one.

Two shapes. A *dated* partition is an interval of local dates. A *whole* one is everything that one entity has,
whatever its dates: the source can only be asked for all of it, and every answer is a full snapshot.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

Step = Literal["day", "month", "whole"]
SPAN_MARK = ".."
"""Between first and last of several partitions in the key of a span: ``2025-01-03..2025-01-09``."""
SWEEP_KEY = "sweep"
_FIRST_DATE, _LAST_DATE = dt.date(1, 1, 1), dt.date(9999, 1, 1)
_SPAN_WINDOW, _SPANS_PER_WINDOW = 124, 4
VARIANT_MARK = "~"
"""Between an entity's name and its variant in a key: ``alameda.ca~agendas``."""


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """A half-open interval ``[start, end)`` of local dates in the source's zone, for one entity or for all.

    ``key`` names it in object paths, the ledger, mails and commands: ``2025-01-03``, ``2025-01``,
    ``<entity>@2025-01-03``, or for a whole entity its name alone. Keys of one source sort in time order within an
    entity. A whole partition has an empty interval: no date belongs to it by its date.

    >>> Partition.day(dt.date(2025, 1, 3), "America/New_York").key
    '2025-01-03'
    """

    start: dt.date
    end: dt.date
    zone: str
    key: str
    entity: str = ""

    @classmethod
    def day(cls, date: dt.date, zone: str, entity: str = "") -> Partition:
        """The one local date ``date``."""
        return cls(date, date + dt.timedelta(days=1), zone, _key(date.isoformat(), entity), entity)

    @classmethod
    def month(cls, year: int, month: int, zone: str, entity: str = "") -> Partition:
        """A whole calendar month.

        >>> Partition.month(2024, 2, "UTC").days
        29
        """
        first = dt.date(year, month, 1)
        last = first.replace(day=calendar.monthrange(year, month)[1])
        return cls(first, last + dt.timedelta(days=1), zone, _key(f"{first:%Y-%m}", entity), entity)

    @classmethod
    def whole(cls, entity: str, zone: str) -> Partition:
        """Everything of ``entity``, which may name a variant.

        >>> Partition.whole("alameda.ca~agendas", "UTC").key
        'alameda.ca~agendas'
        """
        return cls(dt.date.min, dt.date.min, zone, entity, entity)

    @classmethod
    def spanning(cls, partitions: Sequence[Partition]) -> Partition:
        """Consecutive partitions of one entity, oldest first, as one interval; not a unit of the ledger.

        >>> Partition.spanning(partitions_between(dt.date(2025, 1, 3), dt.date(2025, 1, 9), "UTC", entity="e")).key
        'e@2025-01-03..2025-01-09'
        """
        first, last = partitions[0], partitions[-1]
        key = f"{first.key}{SPAN_MARK}{last.key.rpartition('@')[2]}"
        return cls(first.start, last.end, first.zone, key, first.entity)

    @classmethod
    def sweep(cls, zone: str) -> Partition:
        """Everything that a source has, of which each partition is a part; not a unit of the ledger."""
        return cls(_FIRST_DATE, _LAST_DATE, zone, SWEEP_KEY)

    @property
    def is_sweep(self) -> bool:
        """Whether this is all that a source has."""
        return self.key == SWEEP_KEY and self.start == _FIRST_DATE

    @property
    def is_whole(self) -> bool:
        """Whether this is a whole entity and not an interval of dates."""
        return self.start == self.end

    @property
    def is_span(self) -> bool:
        """Whether this is a span of several partitions, which is asked for at once."""
        return not self.is_whole and SPAN_MARK in self.key.rpartition("@")[2]

    @property
    def entity_and_variant(self) -> tuple[str, str]:
        """The two parts of ``entity``; the variant is "" when the source has none.

        >>> Partition.whole("alameda.ca~agendas", "UTC").entity_and_variant
        ('alameda.ca', 'agendas')
        """
        name, _, variant = self.entity.partition(VARIANT_MARK)
        return name, variant

    @property
    def days(self) -> int:
        """Number of local dates covered."""
        return (self.end - self.start).days

    @property
    def ends_at(self) -> dt.datetime:
        """The instant (aware, UTC) at which the interval is over in the source's zone.

        >>> Partition.day(dt.date(2025, 3, 9), "America/New_York").ends_at.isoformat()
        '2025-03-10T04:00:00+00:00'
        """
        return dt.datetime.combine(self.end, dt.time(), ZoneInfo(self.zone)).astimezone(dt.UTC)

    @property
    def begins_at(self) -> dt.datetime:
        """The instant (aware, UTC) at which the interval begins in the source's zone."""
        return dt.datetime.combine(self.start, dt.time(), ZoneInfo(self.zone)).astimezone(dt.UTC)

    def steps(self, length: dt.timedelta) -> range:
        """Steps of ``length`` that the interval has in elapsed time; the last may be shorter.

        >>> Partition.day(dt.date(2025, 3, 9), "America/New_York").steps(dt.timedelta(hours=1))
        range(0, 23)
        """
        return range(-((self.begins_at - self.ends_at) // length))

    def instants_of(self, part: range, length: dt.timedelta) -> tuple[dt.datetime, dt.datetime]:
        """The half-open interval of instants (aware, UTC) that the steps of ``part`` cover.

        >>> begin, end = Partition.day(dt.date(2025, 1, 3), "UTC").instants_of(range(6, 8), dt.timedelta(hours=1))
        >>> f"{begin:%H:%M} {end:%H:%M}"
        '06:00 08:00'
        """
        begin = self.begins_at
        return begin + part.start * length, min(begin + part.stop * length, self.ends_at)

    def step_of(self, instant: dt.datetime, length: dt.timedelta) -> int:
        """The step that holds ``instant`` (aware); outside the interval it is none of ``steps``."""
        return (instant - self.begins_at) // length

    def contains(self, date: dt.date) -> bool:
        """Whether a row of that local date belongs here."""
        return self.start <= date < self.end


def _key(interval: str, entity: str) -> str:
    return f"{entity}@{interval}" if entity else interval


def partitions_between(
    start_date: dt.date, end_date: dt.date, zone: str, step: Step = "day", entity: str = ""
) -> list[Partition]:
    """The partitions that cover ``start_date`` to ``end_date``, both inclusive, oldest first, without overlap.

    A month step yields every month that the range touches. Raises ``ValueError`` for step ``whole``.

    >>> [p.key for p in partitions_between(dt.date(2024, 2, 28), dt.date(2024, 3, 1), "UTC")]
    ['2024-02-28', '2024-02-29', '2024-03-01']
    >>> [p.key for p in partitions_between(dt.date(2024, 11, 5), dt.date(2025, 1, 2), "UTC", "month")]
    ['2024-11', '2024-12', '2025-01']
    """
    if step == "day":
        days = (end_date - start_date).days + 1
        return [Partition.day(start_date + dt.timedelta(days=offset), zone, entity) for offset in range(days)]
    if step == "whole":
        raise ValueError("a whole entity has no dates")
    return [Partition.month(year, month, zone, entity) for year, month in _months(start_date, end_date)]


def _months(start_date: dt.date, end_date: dt.date) -> Iterator[tuple[int, int]]:
    year, month = start_date.year, start_date.month
    while (year, month) <= (end_date.year, end_date.month):
        yield year, month
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


def spans(partitions: Sequence[Partition], days: int) -> list[tuple[Partition, ...]]:
    """Cuts partitions, oldest or newest first, into spans without a gap of at most ``days`` dates; each oldest first.

    >>> found = partitions_between(dt.date(2025, 1, 1), dt.date(2025, 1, 9), "UTC")
    >>> [[one.start.day for one in span] for span in spans([*found[:2], *found[3:]], 3)]
    [[1, 2], [4, 5, 6], [7, 8, 9]]
    >>> [[one.start.day for one in span] for span in spans(found[::-1], 5)]
    [[5, 6, 7, 8, 9], [1, 2, 3, 4]]
    """
    found: list[list[Partition]] = []
    for one in partitions:
        last = found[-1] if found else []
        fits = last and not one.is_whole and one.entity == last[0].entity
        if fits and sum(other.days for other in last) + one.days <= days and one.start == last[-1].end:
            last.append(one)
        elif fits and sum(other.days for other in last) + one.days <= days and one.end == last[0].start:
            last.insert(0, one)
        else:
            found.append([one])
    return [tuple(span) for span in found]


def span_windows(partitions: Sequence[Partition], days: int) -> list[tuple[Partition, ...]]:
    """Groups partitions into date subflows of several spans each, because a span must not go on in another subflow.

    >>> found = partitions_between(dt.date(2025, 1, 1), dt.date(2025, 12, 31), "UTC")
    >>> [len(window) for window in span_windows(found, 7)], [len(window) for window in span_windows(found, 60)]
    ([124, 124, 117], [240, 125])
    """
    size = max(_SPAN_WINDOW, _SPANS_PER_WINDOW * days)
    return [tuple(partitions[begin : begin + size]) for begin in range(0, len(partitions), size)]


MONTHS_UP_TO = 200
"""Partitions whose windows are months. A subflow is nine requests to the server: those of a year's months cost as much
as its dates, those of ten years are 120 rows on a page."""


def windows(partitions: Sequence[Partition], single_up_to: int = 31) -> list[tuple[Partition, ...]]:
    """Groups partitions, in the order given, into date subflows.

    Up to ``single_up_to`` partitions each is its own window, so that every date is a named run in the UI; beyond
    that a window holds one calendar month (of one entity, where there are several), or ``single_up_to`` whole entities,
    because a subflow costs as much as seventy tasks that are well; beyond `MONTHS_UP_TO` it holds a year.
    Many entities with few dates each share windows.

    >>> many = partitions_between(dt.date(2024, 1, 1), dt.date(2024, 3, 1), "UTC")
    >>> [len(window) for window in windows(many)]
    [31, 29, 1]
    >>> year = partitions_between(dt.date(2022, 11, 1), dt.date(2023, 10, 31), "UTC")
    >>> [len(window) for window in windows(year)]
    [61, 304]
    >>> [len(window) for window in windows([Partition.day(many[0].start, "UTC", f"shop-{n}") for n in range(40)])]
    [31, 9]
    """
    if len(partitions) <= single_up_to:
        return [(partition,) for partition in partitions]
    months = 1 if len(partitions) <= MONTHS_UP_TO else 12
    periods: dict[tuple[str, int, int], list[Partition]] = {}
    for partition in partitions:
        period = (partition.entity, partition.start.year, (partition.start.month - 1) // months)
        periods.setdefault(period, []).append(partition)
    if not partitions[0].entity:
        return [tuple(members) for members in periods.values()]
    groups: list[list[Partition]] = []
    for members in periods.values():
        if not groups or len(groups[-1]) + len(members) > single_up_to:
            groups.append([])
        groups[-1] += members
    return [tuple(members) for members in groups]


def window_name(partitions: Sequence[str]) -> str:
    """How people call a window, by its keys: the only one, or the first, the last and their number.

    >>> window_name(["2025-01-03"]), window_name(["2025-01-01", "2025-01-02", "2025-01-03"])
    ('2025-01-03', '2025-01-01..2025-01-03 (3)')
    """
    if len(partitions) == 1:
        return partitions[0]
    return f"{partitions[0]}..{partitions[-1]} ({len(partitions)})"
