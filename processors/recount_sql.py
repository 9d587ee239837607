"""The questions of the recount, as SQL, and which rows of their answers belong to which partition.

Written for the recount alone: the loader's SQL is in :mod:`processors.warehouse`, and neither imports the other.
"""

# Names in the SQL are table and column names of our own row models; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from processors.base import Table
from processors.load_plan import QueryValue, Warehouse
from scrapers.landing import Manifest


class Cells:
    """Which rows belong to which partition: by date, by entity, or by both."""

    def __init__(self, table: Table, manifests: Sequence[Manifest]) -> None:
        self._table = table
        self._by_cell: dict[tuple[str, dt.date | None], str] = {}
        self.parameters: dict[str, QueryValue] = {}
        if not table.whole_entity:
            self.parameters["days"] = sorted({day for manifest in manifests for day in _dates(manifest)})
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


def count_sql(table: Table, warehouse: Warehouse) -> str:
    """Rows, distinct keys, NULLs in critical columns, and keys that the table also has outside the group.

    The last one reads the key columns of the whole table: the same game under two dates is in order within each.
    """
    cell, names, where = _grouping(table, "T")
    keys = ", ".join(f"`{name}`" for name in table.key)
    t_keys = ", ".join(f"T.`{name}`" for name in table.key)
    same = " AND ".join(f"P.`{name}` = E.`{name}`" for name in table.key)
    nulls = " OR ".join(f"T.`{name}` IS NULL" for name in table.critical) or "FALSE"
    return (
        f"WITH P AS (SELECT {cell}, {t_keys}, COUNT(*) AS n, COUNTIF({nulls}) AS null_rows "
        f"FROM {_name(table, warehouse)} T WHERE {where} GROUP BY {names}, {t_keys}), "
        f"E AS (SELECT {keys}, COUNT(*) AS n FROM {_name(table, warehouse)} GROUP BY {keys} HAVING COUNT(*) > 1) "
        f"SELECT {names}, SUM(P.n) AS n, COUNT(*) AS distinct_keys, SUM(P.null_rows) AS null_rows, "
        f"COUNTIF(E.n > P.n) AS elsewhere FROM P LEFT JOIN E ON {same} GROUP BY {names}"
    )


def orphan_sql(table: Table, warehouse: Warehouse) -> str:
    """Rows whose parent is missing. A NULL reference matches nothing in a LEFT JOIN, so it counts as an orphan."""
    assert table.parent is not None
    parent, columns = table.parent
    cell, names, where = _grouping(table, "C")
    listed = ", ".join(f"`{name}`" for name in columns)
    same = " AND ".join(f"C.`{name}` = P.`{name}`" for name in columns)
    return (
        f"SELECT {cell}, COUNT(*) AS n FROM {_name(table, warehouse)} C "
        f"LEFT JOIN (SELECT DISTINCT {listed} FROM {warehouse.name_of(parent)}) P ON {same} "
        f"WHERE {where} AND P.`{columns[0]}` IS NULL GROUP BY {names}"
    )


def ratio_sql(table: Table, parent: Table, warehouse: Warehouse) -> str:
    """Parents with too few or too many rows in ``table``."""
    assert table.parent is not None
    cell, names, where = _grouping(parent, "P")
    columns = table.parent[1]
    listed = ", ".join(f"`{name}`" for name in columns)
    same = " AND ".join(f"P.`{name}` = C.`{name}`" for name in columns)
    return (
        f"SELECT {cell}, COUNTIF(COALESCE(C.n, 0) < @fewest) AS few, COUNTIF(C.n > @most) AS many "
        f"FROM {_name(parent, warehouse)} P "
        f"LEFT JOIN (SELECT {listed}, COUNT(*) AS n FROM {_name(table, warehouse)} GROUP BY {listed}) C ON {same} "
        f"WHERE {where} GROUP BY {names}"
    )


def _name(table: Table, warehouse: Warehouse) -> str:
    return warehouse.name_of(table.name)
