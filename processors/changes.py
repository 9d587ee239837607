"""What a load would change: rows created, updated, unchanged and removed, counted per partition before any is replaced.

The same query finds keys that would stand in two partitions. Where rows of one key can have different dates it reads
the rest of the table for that, of which clustering finds the rows with the staged keys, as in the recount; of a child
whose key holds its parent's, the parent's table tells.

Compared are the staged rows with the rows they replace, by key, column by column. A load that is repeated after a crash
compares with its own rows and finds nothing changed.
"""

# Names in the SQL are table and column names of our own row models; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from processors.base import Table
from processors.load_plan import TableBatch, within_sql
from processors.schema import check_table
from scrapers.manifest import Manifest

_INCOMPARABLE = ("RECORD", "JSON")


class RowChanges(BaseModel):
    """Rows of one table. ``created + updated + unchanged`` is what was loaded."""

    model_config = ConfigDict(frozen=True)

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0

    def __add__(self, other: RowChanges) -> RowChanges:
        """Sums field by field."""
        return RowChanges(**{name: getattr(self, name) + getattr(other, name) for name in RowChanges.model_fields})


def changes_sql(batch: TableBatch, table: str, staging: str, *, by_keys: bool) -> str:
    """One SELECT with parameters ``scope_0``, ``scope_1``: a row per cell (date and entity) with the four counts.

    ``by_keys`` looks in the rest of the table only for ``@keys``, values of the first key column; see `asks_elsewhere`.

    ``elsewhere`` counts staged rows whose key is also staged for another cell, or in the table outside the scope.
    Without staged rows there is no staging table, and every row of the scope is removed.
    """
    within = within_sql(batch)
    if batch.table.deleted_field:
        within += f" AND `{batch.table.deleted_field}` IS NULL"
    cells = _cells(batch.table)
    if not batch.rows:
        names = ", ".join(f"`{column}` AS {name}" for name, column in cells.items())
        return (
            f"SELECT {names}, 0 AS created, 0 AS updated, 0 AS unchanged, COUNT(*) AS removed, 0 AS elsewhere "
            f"FROM {table} WHERE {within} GROUP BY {', '.join(cells)}"
        )
    named = ", ".join(f"COALESCE(S.`{column}`, T.`{column}`) AS {name}" for name, column in cells.items())
    first, same_key, same = same_rows_sql(batch.table)
    read = dict.fromkeys((*batch.table.key, *cells.values(), *(name for name, _ in _compared(batch.table))))
    columns = ", ".join(f"`{name}`" for name in read)
    both = f"S.`{first}` IS NOT NULL AND T.`{first}` IS NOT NULL"
    elsewhere, joined = _elsewhere(batch, table, staging, within, by_keys)
    return (
        "SELECT *, in_both - unchanged AS updated FROM ("
        f"SELECT {named}, COUNTIF(T.`{first}` IS NULL) AS created, COUNTIF({both}) AS in_both, "
        f"COUNTIF({both} AND {same}) AS unchanged, COUNTIF(S.`{first}` IS NULL) AS removed, {elsewhere} AS elsewhere "
        f"FROM {staging} S FULL OUTER JOIN (SELECT {columns} FROM {table} WHERE {within}) T ON {same_key} {joined}"
        f"GROUP BY {', '.join(cells)})"
    )


def same_rows_sql(table: Table) -> tuple[str, str, str]:
    """The first column of the key; whether rows S and T have one key; and whether all their other columns are alike."""
    same_key = " AND ".join(f"S.`{name}` = T.`{name}`" for name in table.key)
    same = " AND ".join(_same(name, kind) for name, kind in _compared(table)) or "TRUE"
    return table.key[0], same_key, same


def asks_elsewhere(batch: TableBatch) -> bool:
    """Whether ``changes_sql`` looks for staged keys in the rest of the table."""
    return batch.rows > 0 and not _names_its_partition(batch)


def _elsewhere(batch: TableBatch, table: str, staging: str, within: str, by_keys: bool) -> tuple[str, str]:
    """The count of keys in two partitions, and the join that it needs."""
    if not asks_elsewhere(batch):
        return "0", ""
    among = f" AND `{batch.table.key[0]}` IN UNNEST(@keys)" if by_keys else ""
    key = batch.table.key
    columns = ", ".join(f"`{name}`" for name in key)
    same = " AND ".join(f"S.`{name}` = E.`{name}`" for name in key)
    return f"COUNTIF(E.`{key[0]}` IS NOT NULL)", (
        f"LEFT JOIN (SELECT {columns} FROM (SELECT {columns} FROM {table} WHERE NOT ({within}){among}) "
        f"INNER JOIN (SELECT DISTINCT {columns} FROM {staging}) USING ({columns}) UNION DISTINCT "
        f"SELECT {columns} FROM {staging} GROUP BY {columns} HAVING COUNT(*) > 1) E ON {same} "
    )


def _names_its_partition(batch: TableBatch) -> bool:
    """Whether two partitions cannot hold the same key, or only together with the same key of its parent."""
    table = batch.table
    if table.parent and not table.parent_elsewhere and set(table.parent[1]) <= set(table.key):
        return True
    return all(limit.column in table.key for limit in batch.scope)


def changes_per_partition(
    cells: Iterable[Mapping[str, Any]], table: Table, manifests: Sequence[Manifest]
) -> dict[str, RowChanges]:
    """The rows of ``changes_sql`` by partition key; every manifest has an entry."""
    found = {manifest.partition: RowChanges() for manifest in manifests}
    for key, cell in _owned(cells, table, manifests):
        found[key] += RowChanges(**{name: int(cell[name] or 0) for name in RowChanges.model_fields})
    return found


def all_created(table: Table, manifests: Sequence[Manifest], rows: Mapping[str, int]) -> tuple[dict[str, Any], ...]:
    """As rows of ``changes_sql`` where a load meets no row: ``rows`` by partition key, none of which was there."""
    found = []
    for manifest in manifests:
        here = {"cell_day": manifest.start, "cell_entity": manifest.entity}
        counts = {**dict.fromkeys(RowChanges.model_fields, 0), "created": rows[manifest.partition], "elsewhere": 0}
        found.append({**{name: here[name] for name in _cells(table)}, **counts})
    return tuple(found)


def twins_per_partition(
    cells: Iterable[Mapping[str, Any]], table: Table, manifests: Sequence[Manifest]
) -> dict[str, int]:
    """Rows whose key would also stand in another partition, by partition key; without those that have none."""
    found: Counter[str] = Counter()
    for key, cell in _owned(cells, table, manifests):
        found[key] += int(cell.get("elsewhere") or 0)
    return {key: count for key, count in found.items() if count}


def _owned(
    cells: Iterable[Mapping[str, Any]], table: Table, manifests: Sequence[Manifest]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The cells of these manifests, each with its partition key."""
    owner: dict[tuple[Any, ...], str] = {}
    for manifest in manifests:
        entity = (manifest.entity,) if table.entity_field else ()
        for day in [()] if table.whole_entity else [(date,) for date in _dates(manifest)]:
            owner[(*day, *entity)] = manifest.partition
    for cell in cells:
        key = owner.get(tuple(cell[name] for name in _cells(table)))
        if key is not None:
            yield key, cell


def _cells(table: Table) -> dict[str, str]:
    """What tells the partition of a row: names in the result, columns in the table."""
    by_date = {} if table.whole_entity else {"cell_day": table.partition_field}
    return by_date | ({"cell_entity": table.entity_field} if table.entity_field else {})


def _compared(table: Table) -> list[tuple[str, str]]:
    """Columns that decide whether a row is the same, with ``value`` or ``text`` as the way to compare them."""
    return [
        (column.name, "text" if column.kind in _INCOMPARABLE or column.mode == "REPEATED" else "value")
        for column in check_table(table)
        if column.name not in (*table.key, table.deleted_field)
    ]


def _same(name: str, way: str) -> str:
    if way == "text":
        return f"TO_JSON_STRING(S.`{name}`) = TO_JSON_STRING(T.`{name}`)"
    return f"S.`{name}` IS NOT DISTINCT FROM T.`{name}`"


def _dates(manifest: Manifest) -> list[dt.date]:
    return [manifest.start + dt.timedelta(days=number) for number in range((manifest.end - manifest.start).days)]
