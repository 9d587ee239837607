"""BigQuery's limit of partitions a table: a plan that would come near it is refused before its first call."""

from __future__ import annotations

import datetime as dt

from alerting.errors import ConfigurationError, PipelineError
from alerting.wording import plural
from flows.planning.plan import Path, Plan
from flows.wiring import Services
from processors.base import Table
from processors.table_budget import STOP_AT
from scrapers.base import Scraper
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


def refuse_beyond_partition_limit(services: Services, scraper: Scraper, plan: Plan) -> None:
    """Raises ``ConfigurationError`` when a table's partitions and those that ``plan`` may add are more than 95 % of the
    limit. One query a table, for sources old enough to come so far.

    Every date to be loaded counts: how many have rows, only their calls tell.
    """
    days = {
        _partition_of(item.partition.start + dt.timedelta(days=number))
        for item in plan.items
        if item.path in _BRINGS_ROWS and not item.partition.is_whole
        for number in range(item.partition.days)
    }
    if len(days) <= FEW_DATES or _most_ever(scraper, plan) <= MOST_PARTITIONS:
        return
    tables = [one for one in services.source_kit(plan.source).processor.tables if one.granularity == "DAY"]
    with threads(len(tables) or 1, "partitions") as asking:
        there = list(asking.map(lambda table: _partitions_of(services, table), tables))
    for table, found in zip(tables, there, strict=True):
        _refuse(plan, table, found, days)


def _most_ever(scraper: Scraper, plan: Plan) -> int:
    last = max(plan.settled_up_to or plan.end_date, plan.end_date)
    return (last - scraper.floor).days + 1


def _partition_of(date: dt.date) -> dt.date:
    return date if _FIRST_YEAR <= date.year <= _LAST_YEAR else _OUTSIDE


def _partitions_of(services: Services, table: Table) -> set[dt.date]:
    """Dates with rows; none where there is no such table, or BigQuery does not answer: then it takes no load either."""
    column = f"`{table.partition_field}`"
    sql = f"SELECT {column} AS day FROM {services.warehouse.name_of(table.name)} GROUP BY day"  # noqa: S608 - our names
    try:
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
