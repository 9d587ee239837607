"""Values that no two rows may share beside the key: is one of a load's also under another key?

A key that holds the date lets one game stand on three dates, each in order within itself; the upstream's own id does
not. Rows of one partition are compared as they are admitted; this asks BigQuery about the others of the load and of the
table.
"""

# Names in the SQL are table and column names of our own row models; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from alerting.wording import plural
from processors.changes import twins_per_partition
from processors.load_plan import (
    QueryValue,
    TableBatch,
    TableLoad,
    Warehouse,
    scope_parameters,
    unique_window,
    within_sql,
)
from scrapers.manifest import Manifest

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Shared:
    """What of a partition stands elsewhere too: for people, and on which dates, as far as they are told."""

    text: str
    dates: tuple[str, ...] = ()


def shared_questions(
    batch: TableBatch, table: str, staging: str
) -> Iterator[tuple[tuple[str, ...], str, dict[str, QueryValue]]]:
    """Each of the unique columns whose values another partition can have, with its SQL and parameters."""
    for columns in batch.table.unique if batch.rows else ():
        if not all(limit.column in columns for limit in batch.scope):
            yield columns, shared_sql(batch, columns, table, staging), _limits(batch)


def shared_values(
    batch: TableBatch, load: TableLoad, warehouse: Warehouse, manifests: Sequence[Manifest]
) -> dict[str, Shared]:
    """Partitions with rows that share a value which must be unique: columns, count, the first ones.

    Asks BigQuery for the first ones where there are any.
    """
    found: dict[str, Shared] = {}
    for columns, cells in load.shared:
        twins = twins_per_partition(cells, batch.table, manifests)
        is_told = twins and not batch.table.whole_entity
        named = _named(batch, columns, warehouse, _limits(batch)) if is_told else {}
        for key, count in twins.items():
            known = [one for one in manifests if one.partition == key]
            told = [twin for one in known for day in _dates(one) for twin in named.get(day, ())]
            shown = ", ".join(f"{value} (also on {day})" for value, day in told[:_SHOWN])
            text = f"{plural(count, 'value')} of {'+'.join(columns)}{f': {shown}' if shown else ''}"
            found.setdefault(key, Shared(text, tuple(str(day) for _, day in told[:_SHOWN])))
    return found


def _limits(batch: TableBatch) -> dict[str, QueryValue]:
    return {**scope_parameters(batch), **unique_window(batch.table, _days(batch))}


def _named(
    batch: TableBatch, columns: Sequence[str], warehouse: Warehouse, limits: Mapping[str, QueryValue]
) -> dict[dt.date, list[tuple[str, dt.date]]]:
    """By date the first values that another date has too, each with that date."""
    sql = twins_sql(batch, columns, warehouse.name_of(batch.table.name), warehouse.name_of(batch.staging_table))
    found: dict[dt.date, list[tuple[str, dt.date]]] = {}
    for row in warehouse.query(sql, limits):
        found.setdefault(row["cell_day"], []).append((str(row["twin"]), row["twin_day"]))
    return found


def twins_sql(batch: TableBatch, columns: Sequence[str], table: str, staging: str) -> str:
    """One SELECT with the parameters of `shared_sql`: values of staged rows that another date has, and that date."""
    day = batch.table.partition_field
    within = " AND ".join(f"T.`{limit.column}` IN UNNEST(@scope_{number})" for number, limit in enumerate(batch.scope))
    reach = f" AND T.`{day}` >= @unique_from AND T.`{day}` <= @unique_to" if batch.table.unique_within_days else ""
    listed = ", ".join(f"`{name}`" for name in columns)
    same = " AND ".join(f"S.`{name}` = E.`{name}`" for name in columns)
    parts = [f"CAST(S.`{name}` AS STRING)" for name in columns]
    twin = parts[0] if len(parts) == 1 else "CONCAT(" + ", ' ', ".join(parts) + ")"
    return (
        f"SELECT S.`{day}` AS cell_day, {twin} AS twin, E.twin_day AS twin_day FROM {staging} S INNER JOIN ("
        f"SELECT T.`{day}` AS twin_day, {listed} FROM {table} T WHERE NOT ({within}){reach} UNION DISTINCT "
        f"SELECT `{day}` AS twin_day, {listed} FROM {staging}) E ON {same} AND S.`{day}` != E.twin_day "
        "ORDER BY cell_day, twin, twin_day LIMIT 1000"
    )


def _dates(manifest: Manifest) -> list[dt.date]:
    return [manifest.start + dt.timedelta(days=number) for number in range((manifest.end - manifest.start).days)]


def shared_sql(batch: TableBatch, columns: Sequence[str], table: str, staging: str) -> str:
    """One SELECT: a row per cell (date and entity) with the staged rows whose ``columns`` another row has too.

    NULL is shared with nobody. What the load replaces is left out, and so are rows that are buried. Of the table these
    columns alone are read, of the dates of `unique_window` or of all.
    """
    within = within_sql(batch, "T.")
    alive = f" AND T.`{batch.table.deleted_field}` IS NULL" if batch.table.deleted_field else ""
    if batch.table.unique_within_days:
        date = f"T.`{batch.table.partition_field}`"
        alive += f" AND {date} >= @unique_from AND {date} <= @unique_to"
    cells = {} if batch.table.whole_entity else {"cell_day": batch.table.partition_field}
    if batch.table.entity_field:
        cells["cell_entity"] = batch.table.entity_field
    listed = ", ".join(f"`{name}`" for name in columns)
    of_table = ", ".join(f"T.`{name}`" for name in columns)
    same = " AND ".join(f"S.`{name}` = E.`{name}`" for name in columns)
    named = ", ".join(f"S.`{column}` AS {name}" for name, column in cells.items())
    return (
        f"SELECT {named}, COUNT(*) AS elsewhere FROM {staging} S INNER JOIN ("
        f"SELECT {of_table} FROM {table} T WHERE NOT ({within}){alive} UNION DISTINCT "
        f"SELECT {listed} FROM {staging} GROUP BY {listed} HAVING COUNT(*) > 1) E ON {same} GROUP BY {', '.join(cells)}"
    )


def _days(batch: TableBatch) -> list[dt.date]:
    return [value for limit in batch.scope for value in limit.values if isinstance(value, dt.date)]
