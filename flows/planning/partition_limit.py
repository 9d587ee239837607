"""BigQuery's limit of partitions a table: a plan that would come near it is refused before its first call."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from alerting.errors import ConfigurationError, PipelineError
from alerting.wording import plural
from flows.planning.plan import Path, Plan
from flows.wiring import Services
from processors.base import Table
from processors.table_budget import STOP_AT
from scrapers.base import Scraper
from scrapers.partition import Partition
from scrapers.threads import threads

PARTITIONS_PER_TABLE = 10_000
"""https://docs.cloud.google.com/bigquery/quotas#partitioned_tables"""
MOST_PARTITIONS = int(PARTITIONS_PER_TABLE * STOP_AT)
FEW_DATES = 100
"""So many are planned without a look at the tables: 500 partitions are left beyond `MOST_PARTITIONS`, and a load that
passes the limit all the same is refused by BigQuery as a whole."""
_FIRST_YEAR, _LAST_YEAR = 1960, 2159
_OUTSIDE = dt.date.min
"""Stands for the partition that dates of all other years share.
https://docs.cloud.google.com/bigquery/docs/partitioned-tables#date_timestamp_partitioned_tables"""
_BRINGS_ROWS = (Path.FETCH, Path.RELOAD, Path.REPARSE)


Looks = Mapping[str, Future[int | None]]
"""By table, how many partitions BigQuery counts; None where it does not say."""


def tables_to_look_at(
    services: Services, scraper: Scraper, partitions: Sequence[Partition], now: dt.datetime
) -> list[str]:
    """Tables that a plan of ``partitions`` could fill: of a source old enough, by more than `FEW_DATES`."""
    if sum(one.days for one in partitions if not one.is_whole) <= FEW_DATES:
        return []
    last = max(scraper.last_settled(now), max(one.end for one in partitions) - dt.timedelta(days=1))
    if (last - scraper.floor).days + 1 <= MOST_PARTITIONS:
        return []
    return [one.name for one in services.source_kit(scraper.source).processor.tables if one.granularity == "DAY"]


def refuse_beyond_partition_limit(services: Services, plan: Plan, looks: Looks) -> None:
    """Raises ``ConfigurationError`` when a table's partitions and those that ``plan`` may add are more than 95 % of the
    limit. A query a table, where its own count (``looks``) alone would refuse.

    Every date to be loaded counts: how many have rows, only their calls tell.
    """
    days = {
        _partition_of(item.partition.start + dt.timedelta(days=number))
        for item in plan.items
        if item.path in _BRINGS_ROWS and not item.partition.is_whole
        for number in range(item.partition.days)
    }
    if len(days) <= FEW_DATES:
        return
    tables = [one for one in services.source_kit(plan.source).processor.tables if one.name in looks]
    with threads(len(tables) or 1, "partitions") as asking:
        there = list(asking.map(lambda table: _partitions_of(services, table, looks[table.name], len(days)), tables))
    for table, found in zip(tables, there, strict=True):
        _refuse(plan, table, found, days)


def _partition_of(date: dt.date) -> dt.date:
    return date if _FIRST_YEAR <= date.year <= _LAST_YEAR else _OUTSIDE


def _partitions_of(services: Services, table: Table, look: Future[int | None], more: int) -> set[dt.date]:
    """Dates with rows; none where ``more`` have room whichever these are, and where BigQuery does not answer: then it
    takes no load either.

    BigQuery counts a table's partitions late by up to some minutes, so by those of the last batches. There is room for
    500 beyond `MOST_PARTITIONS`, and a load that passes the limit all the same is refused as a whole.
    """
    column = f"`{table.partition_field}`"
    sql = f"SELECT {column} AS day FROM {services.warehouse.name_of(table.name)} GROUP BY day"  # noqa: S608 - our names
    try:
        told = look.result()
        if told is not None and told + more <= MOST_PARTITIONS:
            return set()
        return {_partition_of(row["day"]) for row in services.warehouse.query(sql) if row["day"] is not None}
    except PipelineError:
        return set()


def _refuse(plan: Plan, table: Table, there: set[dt.date], days: set[dt.date]) -> None:
    more = len(days - there)
    if not more or len(there) + more <= MOST_PARTITIONS:
        return
    room = MOST_PARTITIONS - len(there)
    if room > 0:
        hint = f"ask for {plural(room, 'date')} at most, and again after it: dates without rows take no partition"
    else:
        other = f'a table of its own for older dates, or granularity="MONTH" for {table.name}'
        hint = f"{other}: docs/deploy-gcp.md#bigquery-limits"
    raise ConfigurationError(
        f"{table.name} has {plural(len(there), 'partition')} and this plan may add {more:,}; BigQuery takes "
        f"{PARTITIONS_PER_TABLE:,} a table, and a run stays below {MOST_PARTITIONS:,}. Nothing was done",
        source=plan.source,
        stage="plan",
        hint=hint,
    )
