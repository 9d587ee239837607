"""Recounts a loaded batch in the warehouse and compares it with the source and the landing.

Shares no code with the loader: it reads manifests and tables, and writes its own SQL. One query per table and check
covers all partitions of the batch. What cannot be compared is UNVERIFIED, and that is not green.
"""

# Names in the SQL are table and column names of our own row models; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from processors.base import Processor, Table
from processors.load_plan import QueryValue, Warehouse
from scrapers.landing import Manifest


class Finding(StrEnum):
    """What a recount says about one partition; the later wins over the earlier."""

    OK = "OK"
    UNVERIFIED = "UNVERIFIED"
    EXTRA = "EXTRA"
    SHORT = "SHORT"
    ORPHAN = "ORPHAN"
    DUPLICATE = "DUPLICATE"


@dataclass(frozen=True, slots=True)
class Verification:
    """The result for one partition: ``loaded`` is rows per table as recounted, ``evidence`` says what was compared."""

    partition: str
    verdict: Finding
    evidence: str
    loaded: Mapping[str, int]

    @property
    def is_ok(self) -> bool:
        """Only OK is green."""
        return self.verdict is Finding.OK


@dataclass(slots=True)
class _Account:
    """Findings of one partition while the tables are gone through."""

    manifest: Manifest
    loaded: dict[str, int] = field(default_factory=dict)
    compared: list[str] = field(default_factory=list)
    problems: list[tuple[Finding, str]] = field(default_factory=list)

    def close(self) -> Verification:
        order = list(Finding)
        verdict = max((found for found, _ in self.problems), key=order.index, default=Finding.OK)
        evidence = "; ".join(text for _, text in self.problems) or ", ".join(self.compared)
        return Verification(self.manifest.partition, verdict, evidence, self.loaded)


def verify(
    manifests: Sequence[Manifest],
    *,
    processor: Processor,
    warehouse: Warehouse,
    dropped: Mapping[str, Mapping[str, int]] | None = None,
) -> dict[str, Verification]:
    """Recounts every table for all partitions of the batch.

    Args:
        manifests: As loaded.
        processor: Declares the tables.
        warehouse: Asked, never written.
        dropped: Per partition and table, rows that the receipt says were identical repeats; they are missing rightly.

    Returns:
        One result per manifest, by partition key. Raises what the warehouse raises, and nothing for a wrong count.
    """
    accounts = {manifest.partition: _Account(manifest) for manifest in manifests}
    if not accounts:
        return {}
    for table in processor.tables:
        cells = _Cells(table, manifests)
        counted = _folded(cells, warehouse.query(_count_sql(table, warehouse), cells.parameters))
        for key, account in accounts.items():
            missing_rightly = (dropped or {}).get(key, {}).get(table.name, 0)
            _compare(account, table, counted[key], missing_rightly)
        if table.parent:
            orphans = _folded(cells, warehouse.query(_orphan_sql(table, warehouse), cells.parameters))
            for key, account in accounts.items():
                if orphans[key]["n"]:
                    account.problems.append(
                        (Finding.ORPHAN, f"{table.name}: {orphans[key]['n']} rows without their {table.parent[0]} row")
                    )
            _check_ratio(table, processor, manifests, warehouse, accounts)
    for account in accounts.values():
        _compare_total(account, processor)
    return {key: account.close() for key, account in accounts.items()}


class _Cells:
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


def _count_sql(table: Table, warehouse: Warehouse) -> str:
    """Rows, distinct keys, NULLs in critical columns, and keys that the table also has outside the group.

    The last one reads the key columns of the whole table: the same game under two dates is in order within each.
    """
    cell, names, where = _grouping(table, "T")
    keys = ", ".join(f"`{name}`" for name in table.key)
    t_keys = ", ".join(f"T.`{name}`" for name in table.key)
    same = " AND ".join(f"P.`{name}` = E.`{name}`" for name in table.key)
    nulls = " OR ".join(f"T.`{name}` IS NULL" for name in table.critical) or "FALSE"
    return (
        f"WITH P AS (SELECT {cell}, {t_keys}, COUNT(*) AS n, COUNTIF({nulls}) AS nulls FROM {_name(table, warehouse)} T"
        f" WHERE {where} GROUP BY {names}, {t_keys}), "
        f"E AS (SELECT {keys}, COUNT(*) AS n FROM {_name(table, warehouse)} GROUP BY {keys} HAVING COUNT(*) > 1) "
        f"SELECT {names}, SUM(P.n) AS n, COUNT(*) AS distinct_keys, SUM(P.nulls) AS nulls, "
        f"COUNTIF(E.n > P.n) AS elsewhere FROM P LEFT JOIN E ON {same} GROUP BY {names}"
    )


def _orphan_sql(table: Table, warehouse: Warehouse) -> str:
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


def _ratio_sql(table: Table, parent: Table, warehouse: Warehouse) -> str:
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


def _check_ratio(
    table: Table,
    processor: Processor,
    manifests: Sequence[Manifest],
    warehouse: Warehouse,
    accounts: Mapping[str, _Account],
) -> None:
    if table.per_parent is None or table.parent is None:
        return
    fewest, most = table.per_parent
    parent = next(one for one in processor.tables if table.parent and one.name == table.parent[0])
    cells = _Cells(parent, manifests)
    limits: dict[str, QueryValue] = {"fewest": fewest, "most": most}
    found = _folded(cells, warehouse.query(_ratio_sql(table, parent, warehouse), {**cells.parameters, **limits}))
    for key, account in accounts.items():
        for name, finding in (("few", Finding.SHORT), ("many", Finding.EXTRA)):
            if found[key][name]:
                text = f"{found[key][name]} {parent.name} rows have too {name} {table.name} rows ({fewest} to {most})"
                account.problems.append((finding, text))


def _name(table: Table, warehouse: Warehouse) -> str:
    return warehouse.name_of(table.name)


def _folded(cells: _Cells, rows: Sequence[Mapping[str, Any]]) -> defaultdict[str, defaultdict[str, int]]:
    """Sums per partition; a partition without rows has zeros."""
    sums: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        partition = cells.partition_of(row)
        for name, value in row.items():
            if partition is not None and not name.startswith("cell_"):
                sums[partition][name] += int(value or 0)
    return sums


def _compare(account: _Account, table: Table, found: Mapping[str, int], missing_rightly: int) -> None:
    rows = found["n"]
    account.loaded[table.name] = rows
    counted = account.manifest.counts.get(table.name)
    problems = account.problems
    if counted is None:
        problems.append((Finding.UNVERIFIED, f"{table.name}: {rows} loaded, the manifest has no count to compare"))
        return
    expected = counted - missing_rightly
    account.compared.append(f"{table.name} source {counted} = landed {counted} = loaded {rows}")
    if found["distinct_keys"] != rows:
        text = f"{table.name}: {rows} rows, {found['distinct_keys']} distinct {'+'.join(table.key)}"
        problems.append((Finding.DUPLICATE, text))
    if found["elsewhere"]:
        text = f"{table.name}: {found['elsewhere']} keys are also outside the partition"
        problems.append((Finding.DUPLICATE, text))
    if rows < expected:
        problems.append((Finding.SHORT, f"{table.name}: landed {expected}, loaded {rows}"))
    if rows > expected:
        problems.append((Finding.EXTRA, f"{table.name}: landed {expected}, loaded {rows}"))
    if table.per_partition and any(account.manifest.counts.values()):
        fewest, most = table.per_partition
        if not fewest <= rows <= most:
            size = Finding.SHORT if rows < fewest else Finding.EXTRA
            problems.append((size, f"{table.name}: {rows} rows, a partition has {fewest} to {most}"))
    if found["nulls"]:
        problems.append((Finding.SHORT, f"{table.name}: {found['nulls']} rows with NULL in {'/'.join(table.critical)}"))


def _compare_total(account: _Account, processor: Processor) -> None:
    """The source's own announcement against what was landed, and emptiness against its proof."""
    manifest = account.manifest
    first = processor.tables[0].name
    if manifest.source_total is not None:
        landed = manifest.counts.get(first, 0)
        if landed < manifest.source_total:
            account.problems.append((Finding.SHORT, f"{first}: source {manifest.source_total}, landed {landed}"))
        if landed > manifest.source_total:
            account.problems.append((Finding.EXTRA, f"{first}: source {manifest.source_total}, landed {landed}"))
    if not any(manifest.counts.values()):
        if manifest.empty_evidence:
            account.compared.append(f"empty: {manifest.empty_evidence}")
        else:
            account.problems.append((Finding.UNVERIFIED, "no rows, and no proof that there are none"))
