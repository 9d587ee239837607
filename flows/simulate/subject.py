"""What is simulated: a range of one source, the day on which that is done, and what has to be done before it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from alerting.memory_store import MemoryObjectStore
from flows.asked import Asked
from flows.planning.known_first_date import known_scraper
from flows.planning.requested import Selection, requested_partitions
from flows.planning.requirements import needed_keys, partitions_of_key
from flows.settings import Settings
from flows.simulate.memory_warehouse import Content, Engine
from flows.simulate.world import Answers
from flows.wiring import Services
from processors.base import Table
from scrapers.partition import Partition
from scrapers.registry import scraper

_SETTLED_AFTER = dt.timedelta(days=10)
_MORNING = dt.time(6)


@dataclasses.dataclass(frozen=True)
class Before:
    """What lies there when a schedule begins: what other sources have done."""

    bucket: MemoryObjectStore = dataclasses.field(default_factory=lambda: MemoryObjectStore("gs://simulated"))
    tables: Mapping[str, Content] = dataclasses.field(default_factory=dict)
    views: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Subject:
    """A range of one source, with the settings of whoever asks.

    Attributes:
        begins_at: Of every schedule, aware UTC.
        engine: Shared by all schedules, as it remembers what it was asked.
        answers: Of the source; grows.
    """

    asked: Asked
    settings: Settings
    begins_at: dt.datetime
    engine: Engine
    answers: Answers
    before: Before = dataclasses.field(default_factory=Before)

    @property
    def loses_a_day(self) -> bool:
        """Whether what was not asked today can never be asked: the source keeps no history."""
        return not scraper(self.asked.source).keeps_history

    def partition(self, key: str) -> Partition:
        """The partition that the ledger calls so."""
        entity, _, dates = key.rpartition("@")
        zone = scraper(self.asked.source).zone
        try:
            first, last = partitions_of_key(dates)
        except ValueError:
            return Partition.whole(key, zone)
        return Partition(first, last + dt.timedelta(days=1), zone, key, entity)


def subject_of(settings: Settings, asked: Asked, today: dt.date | None = None) -> Subject:
    """What is asked for, with an engine and a memory of its own.

    Args:
        settings: Of whoever asks.
        asked: The range, or the entities.
        today: The day on which the runs begin; None is one on which all dates are settled, the last date itself of a
            source that keeps no history, and this very day of one that is asked without dates.
    """
    source = scraper(asked.source)
    if source.step == "whole":
        day = today or dt.datetime.now(dt.UTC).date()
    else:
        day = today or asked.end_date + (_SETTLED_AFTER if source.keeps_history else dt.timedelta(0))
    begins = dt.datetime.combine(day, _MORNING, dt.UTC)
    if not source.keeps_history:
        # As early as it can: a repetition is of the same day.
        begins = Partition.day(day, source.zone).begins_at + dt.timedelta(minutes=5)
    return Subject(asked, settings, begins, Engine(), Answers())


def required_first(services: Services, asked: Asked, now: dt.datetime) -> list[Asked]:
    """Backfills of the sources that have to be done before ``asked`` can be, in their order.

    Raises ``ConfigurationError`` for a range that cannot be asked for.
    """
    found: dict[str, Asked] = {}

    def add(one: Asked) -> None:
        source = known_scraper(services, one.source)
        selected = Selection(one.start_date, one.end_date, one.dates, one.exclude, one.entities)
        partitions = requested_partitions(source, selected, now)
        for name in dict.fromkeys((*source.requires, *(oracle.source for oracle in source.oracles))):
            required = known_scraper(services, name)
            keys = sorted({key for partition in partitions for key in needed_keys(source, required, partition, now)})
            if name in found or not keys:
                continue
            given: dict[str, Any] = {"source": name, "max_concurrency": 1, "ignore_requires": True}
            if required.step == "whole":
                given["entities"] = ", ".join(keys)
            else:
                given["start_date"], given["end_date"] = partitions_of_key(keys[0])[0], partitions_of_key(keys[-1])[1]
            before = Asked.model_validate(given)
            add(before)
            found[name] = before

    add(asked)
    return list(found.values())


def told_by_runs(one: Mapping[str, Content], other: Mapping[str, Content]) -> dict[str, frozenset[str]]:
    """Columns by table in which two runs without faults differ: when the source was asked, and not what it said."""
    found: dict[str, frozenset[str]] = {}
    for name, content in one.items():
        columns = [column.name for column in content.columns]
        mine, others = ([Counter(values) for values in _by_column(held)] for held in (content, other[name]))
        if mine != others:
            pairs = zip(columns, mine, others, strict=True)
            found[name] = frozenset(column for column, here, there in pairs if here != there)
    return found


def _by_column(content: Content) -> list[list[str]]:
    return [[repr(row[number]) for row in content.rows] for number in range(len(content.columns))]


def rows_of(
    tables: Mapping[str, Content], of: Sequence[Table], partition: Partition, without: Mapping[str, Collection[str]]
) -> dict[str, list[str]]:
    """The rows of a partition, by table, ``without`` some columns."""
    found: dict[str, list[str]] = {}
    for table in of:
        content = tables.get(table.name)
        if content is None:
            found[table.name] = []
            continue
        takes_all = table.whole_entity or partition.is_whole
        fields = "" if takes_all else table.partition_field, table.entity_field
        found[table.name] = _texts(content, *fields, partition, frozenset(without.get(table.name, ())))
    return found


@functools.lru_cache(maxsize=500)
def _texts(
    content: Content, date_field: str, entity_field: str, partition: Partition, without: frozenset[str]
) -> list[str]:
    """Rows of a partition as text: the same content is looked at after every run."""
    names = [column.name for column in content.columns]
    date = names.index(date_field) if date_field else None
    entity = names.index(entity_field) if entity_field else None
    rows = [
        row
        for row in content.rows
        if (entity is None or row[entity] == partition.entity) and (date is None or partition.contains(row[date]))
    ]
    return Content(content.columns, tuple(rows)).without(without)
