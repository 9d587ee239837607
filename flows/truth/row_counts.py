"""Rows of each partition in BigQuery, counted for an inventory."""

# Names in the SQL are table and column names of our own row models; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

from flows.wiring import Services
from processors.base import Table
from processors.load_plan import QueryValue
from scrapers.partition import Partition


def count_rows(
    services: Services, table: Table, first: dt.date, last: dt.date, entities: Sequence[str]
) -> dict[tuple[str, dt.date | None], int]:
    """Rows per (entity, date), both ends inclusive, zeros included; (entity, None) for tables of whole entities."""
    sql, parameters = count_sql(services.warehouse.name_of(table.name), table, first, last, entities)
    found = services.warehouse.query(sql, parameters)
    return {(row.get("cell_entity") or "", row.get("cell_day")): int(row["n"]) for row in found}


def count_sql(
    name: str, table: Table, first: dt.date, last: dt.date, entities: Sequence[str]
) -> tuple[str, dict[str, QueryValue]]:
    """The gap query of one table: a generated date list, LEFT JOINed with the table. ``name`` is quoted."""
    cells, same, parameters = [], [], dict[str, QueryValue]()
    sources = []
    if not table.whole_entity:
        cells.append("D AS cell_day")
        sources.append("UNNEST(GENERATE_DATE_ARRAY(@first, @last)) AS D")
        same.append(f"T.`{table.partition_field}` = D")
        parameters |= {"first": first, "last": last}
    if table.entity_field:
        cells.append("E AS cell_entity")
        sources.append("UNNEST(@entities) AS E")
        same.append(f"T.`{table.entity_field}` = E")
        parameters["entities"] = list(entities)
    if table.deleted_field:
        same.append(f"T.`{table.deleted_field}` IS NULL")
    names = ", ".join(cell.rpartition(" ")[2] for cell in cells)
    sql = (
        f"SELECT {', '.join(cells)}, COUNT(T.`{table.key[0]}`) AS n FROM {' CROSS JOIN '.join(sources)} "
        f"LEFT JOIN {name} AS T ON {' AND '.join(same)} GROUP BY {names}"
    )
    return sql, parameters


def loaded_since(services: Services, source: str) -> dt.date | None:
    """The oldest date that any table of the source holds, None when all are empty."""
    oldest = []
    for table in services.source_kit(source).processor.tables:
        name = services.warehouse.name_of(table.name)
        found = services.warehouse.query(f"SELECT MIN(`{table.partition_field}`) AS d FROM {name}")
        oldest += [row["d"] for row in found if row["d"]]
    return min(oldest, default=None)


def rows_by_partition(services: Services, source: str, partitions: Sequence[Partition]) -> dict[str, dict[str, int]]:
    """Rows by partition and table; 0 where there are none."""
    tables = services.source_kit(source).processor.tables
    rows: dict[str, dict[str, int]] = {
        one.key: dict.fromkeys((table.name for table in tables), 0) for one in partitions
    }
    entities = sorted({one.entity for one in partitions})
    first = min(one.start for one in partitions)
    last = max(one.end - dt.timedelta(days=not one.is_whole) for one in partitions)
    for table in tables:
        counted = count_rows(services, table, first, last, entities)
        for one in partitions:
            entity = one.entity if table.entity_field else ""
            days: Iterator[dt.date | None] = iter([None]) if table.whole_entity else _days(one)
            rows[one.key][table.name] = sum(counted.get((entity, day), 0) for day in days)
    return rows


def _days(partition: Partition) -> Iterator[dt.date | None]:
    return (partition.start + dt.timedelta(days=number) for number in range(partition.days))
