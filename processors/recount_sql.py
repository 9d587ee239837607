"""The questions of the recount, as SQL, and which rows of their answers belong to which partition.

What a question reads grows with the batch, not with the table: the partitions of the batch, and of the rest of a table
only rows with keys of the batch, which clustering finds. The keys come as a parameter, because BigQuery prunes by
constants and not by the result of a subquery.

Written for the recount alone: the loader's SQL is in :mod:`processors.warehouse`, and neither imports the other.
"""

# Names in the SQL are table and column names of our own row models; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from processors.base import Table
from processors.load_plan import MAX_KEYS, QueryValue, Warehouse
from scrapers.manifest import Manifest


class Cells:
    """Which rows belong to which partition: by date, by entity, or by both."""

    def __init__(self, table: Table, manifests: Sequence[Manifest]) -> None:
        self._table = table
        self._by_cell: dict[tuple[str, dt.date | None], str] = {}
        self.parameters: dict[str, QueryValue] = {}
        self.days = [] if table.whole_entity else sorted({day for one in manifests for day in _dates(one)})
        if self.days:
            self.parameters["days"] = self.days
        if table.entity_field:
            self.parameters["entities"] = sorted({manifest.entity for manifest in manifests})
        for manifest in manifests:
            entity = manifest.entity if table.entity_field else ""
            for day in [None] if table.whole_entity else _dates(manifest):
                self._by_cell[entity, day] = manifest.partition

    def partition_of(self, row: Mapping[str, Any]) -> str | None:
        """The partition of one grouped row, None when it is not of this batch."""
        return self._by_cell.get((row.get("cell_entity") or "", row.get("cell_day")))


def _dates(manifest: Manifest) -> list[dt.date]:
    return [manifest.start + dt.timedelta(days=number) for number in range((manifest.end - manifest.start).days)]


def _grouping(table: Table, alias: str) -> tuple[str, str, str]:
    """Columns that name the cell, the GROUP BY list of their names, and the WHERE clause of the batch."""
    named, where = [], []
    if not table.whole_entity:
        named.append(f"{alias}.`{table.partition_field}` AS cell_day")
        where.append(f"{alias}.`{table.partition_field}` IN UNNEST(@days)")
    if table.entity_field:
        named.append(f"{alias}.`{table.entity_field}` AS cell_entity")
        where.append(f"{alias}.`{table.entity_field}` IN UNNEST(@entities)")
    if table.deleted_field:
        where.append(f"{alias}.`{table.deleted_field}` IS NULL")
    names = ", ".join(column.rpartition(" ")[2] for column in named)
    return ", ".join(named), names, " AND ".join(where)


def names_its_partition(table: Table) -> bool:
    """Whether the key holds what tells the partition, so that no row of another one can have the same key."""
    return all(
        column in table.key
        for column in (table.entity_field, "" if table.whole_entity else table.partition_field)
        if column
    )


def count_sql(table: Table, warehouse: Warehouse) -> str:
    """Rows, distinct keys and NULLs in critical columns, of the partitions of the batch."""
    cell, names, where = _grouping(table, "T")
    t_keys = ", ".join(f"T.`{name}`" for name in table.key)
    nulls = " OR ".join(f"T.`{name}` IS NULL" for name in table.critical) or "FALSE"
    return (
        f"WITH P AS (SELECT {cell}, {t_keys}, COUNT(*) AS cell_rows, COUNTIF({nulls}) AS cell_nulls "
        f"FROM {_name(table, warehouse)} T WHERE {where} GROUP BY {names}, {t_keys}) "
        f"SELECT {names}, SUM(P.cell_rows) AS n, COUNT(*) AS distinct_keys, SUM(P.cell_nulls) AS null_rows "
        f"FROM P GROUP BY {names}"
    )


def values_sql(table: Table, column: str, warehouse: Warehouse) -> str:
    """The values of ``column`` in the partitions of the batch; one row more than `MAX_KEYS` says that it has more."""
    _, _, where = _grouping(table, "T")
    return (
        f"SELECT DISTINCT T.`{column}` AS value FROM {_name(table, warehouse)} T "
        f"WHERE {where} AND T.`{column}` IS NOT NULL LIMIT {MAX_KEYS + 1}"
    )


def elsewhere_sql(table: Table, warehouse: Warehouse, *, by_keys: bool) -> str:
    """Keys of the batch that the table also has outside their cell: the same game under two dates.

    ``by_keys`` reads only rows with ``@keys`` in the first column of the key.
    """
    cell, names, where = _grouping(table, "T")
    keys = ", ".join(f"`{name}`" for name in table.key)
    t_keys = ", ".join(f"T.`{name}`" for name in table.key)
    same = " AND ".join(f"P.`{name}` = E.`{name}`" for name in table.key)
    among = f"WHERE `{table.key[0]}` IN UNNEST(@keys) " if by_keys else ""
    return (
        f"WITH P AS (SELECT {cell}, {t_keys}, COUNT(*) AS cell_rows "
        f"FROM {_name(table, warehouse)} T WHERE {where} GROUP BY {names}, {t_keys}), "
        f"E AS (SELECT {keys}, COUNT(*) AS cell_rows FROM {_name(table, warehouse)} {among}"
        f"GROUP BY {keys} HAVING COUNT(*) > 1) "
        f"SELECT {names}, COUNTIF(E.cell_rows > P.cell_rows) AS elsewhere FROM P JOIN E ON {same} GROUP BY {names}"
    )


def shared_sql(table: Table, columns: Sequence[str], warehouse: Warehouse) -> str:
    """Rows of the batch whose ``columns``, unique by declaration, another row has too; NULL is no value.

    The table is not clustered on them: these columns are read of the dates of `unique_window`, or of the whole of it.
    """
    cell, names, where = _grouping(table, "T")
    listed = ", ".join(f"`{name}`" for name in columns)
    same = " AND ".join(f"T.`{name}` = E.`{name}`" for name in columns)
    limits = [f"`{table.deleted_field}` IS NULL"] if table.deleted_field else []
    if table.unique_within_days:
        limits += [f"`{table.partition_field}` >= @unique_from", f"`{table.partition_field}` <= @unique_to"]
    among = f"WHERE {' AND '.join(limits)} " if limits else ""
    name = _name(table, warehouse)
    return (
        f"SELECT {cell}, COUNT(*) AS n FROM {name} T "
        f"INNER JOIN (SELECT {listed} FROM {name} {among}GROUP BY {listed} HAVING COUNT(*) > 1) E ON {same} "
        f"WHERE {where} GROUP BY {names}"
    )


def orphan_sql(table: Table, parent: Table, warehouse: Warehouse, *, by_keys: bool) -> str:
    """Rows whose parent is missing. A NULL reference matches nothing in a LEFT JOIN, so it counts as an orphan.

    Parents are looked for in the partitions of the batch. Where they may rightly stand in others, ``by_keys`` reads
    only those with ``@keys`` in the first column of the reference.
    """
    assert table.parent is not None
    columns = table.parent[1]
    cell, names, where = _grouping(table, "C")
    listed = ", ".join(f"`{name}`" for name in columns)
    same = " AND ".join(f"C.`{name}` = P.`{name}`" for name in columns)
    among = _among(table, parent, columns[0], by_keys)
    return (
        f"SELECT {cell}, COUNT(*) AS n FROM {_name(table, warehouse)} C "
        f"LEFT JOIN (SELECT DISTINCT {listed} FROM {_name(parent, warehouse)}{among}) P ON {same} "
        f"WHERE {where} AND P.`{columns[0]}` IS NULL GROUP BY {names}"
    )


def ratio_sql(table: Table, parent: Table, warehouse: Warehouse, *, by_keys: bool) -> str:
    """Parents with too few or too many rows in ``table``; ``by_keys`` as in ``orphan_sql``, for the children."""
    assert table.parent is not None
    cell, names, where = _grouping(parent, "P")
    columns = table.parent[1]
    listed = ", ".join(f"`{name}`" for name in columns)
    same = " AND ".join(f"P.`{name}` = C.`{name}`" for name in columns)
    among = _among(table, table, columns[0], by_keys)
    return (
        f"SELECT {cell}, COUNTIF(COALESCE(C.cell_rows, 0) < @fewest) AS few, COUNTIF(C.cell_rows > @most) AS many "
        f"FROM {_name(parent, warehouse)} P LEFT JOIN "
        f"(SELECT {listed}, COUNT(*) AS cell_rows FROM {_name(table, warehouse)}{among} GROUP BY {listed}) C ON {same} "
        f"WHERE {where} GROUP BY {names}"
    )


def _among(table: Table, read: Table, column: str, by_keys: bool) -> str:
    """The WHERE clause for ``read``, the other side of a reference of ``table``."""
    if by_keys:
        return f" WHERE `{column}` IN UNNEST(@keys)"
    if table.parent_elsewhere:
        return ""
    within = [] if read.whole_entity else [f"`{read.partition_field}` IN UNNEST(@days)"]
    if read.entity_field:
        within.append(f"`{read.entity_field}` IN UNNEST(@entities)")
    return f" WHERE {' AND '.join(within)}"


def _name(table: Table, warehouse: Warehouse) -> str:
    return warehouse.name_of(table.name)
