"""Values that no two rows may share beside the key: is one of a load's also under another key?

A key that holds the date lets one game stand on three dates, each in order within itself; the upstream's own id does
not. Rows of one partition are compared as they are admitted; this asks BigQuery about the others of the load and of the
table.
"""

# Names in the SQL are table and column names of our own row models; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from alerting.wording import plural
from processors.changes import twins_per_partition
from processors.load_plan import QueryValue, TableBatch, Warehouse, unique_window
from scrapers.landing import Manifest


def shared_values(batch: TableBatch, warehouse: Warehouse, manifests: Sequence[Manifest]) -> dict[str, str]:
    """Partitions with rows that share a value which must be unique, each with columns and count. Asks BigQuery."""
    found: dict[str, str] = {}
    for columns in batch.table.unique if batch.rows else ():
        if all(limit.column in columns for limit in batch.scope):
            continue  # no other partition can have it
        sql = shared_sql(batch, columns, warehouse.name_of(batch.table.name), warehouse.name_of(batch.staging_table))
        scope: dict[str, QueryValue] = {f"scope_{number}": limit.values for number, limit in enumerate(batch.scope)}
        cells = warehouse.query(sql, {**scope, **unique_window(batch.table, _days(batch))})
        for key, count in twins_per_partition(cells, batch.table, manifests).items():
            found.setdefault(key, f"{plural(count, 'value')} of {'+'.join(columns)}")
    return found


def shared_sql(batch: TableBatch, columns: Sequence[str], table: str, staging: str) -> str:
    """One SELECT: a row per cell (date and entity) with the staged rows whose ``columns`` another row has too.

    NULL is shared with nobody. What the load replaces is left out, and so are rows that are buried. Of the table these
    columns alone are read, of the dates of `unique_window` or of all.
    """
    within = " AND ".join(f"T.`{limit.column}` IN UNNEST(@scope_{number})" for number, limit in enumerate(batch.scope))
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
