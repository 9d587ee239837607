"""Recounts a loaded batch in the warehouse and compares it with the source and the landing.

Shares no code with the loader: it reads manifests and tables, and asks by SQL of its own. One query per table and check
covers all partitions of the batch. What cannot be compared is UNVERIFIED, and that is not green.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from alerting.wording import plural
from processors.base import Processor, Table
from processors.items import Comparison, Expectation, compare_items
from processors.load_plan import QueryValue, Warehouse, keys_parameter, unique_window
from processors.recount_sql import (
    Cells,
    count_sql,
    elsewhere_sql,
    names_its_partition,
    orphan_sql,
    ratio_sql,
    shared_sql,
    values_sql,
)
from scrapers.manifest import Manifest
from scrapers.threads import threads

_QUERIES_AT_ONCE = 8


class Finding(StrEnum):
    """What a recount says about one partition; the later wins over the earlier."""

    OK = "OK"
    UNVERIFIED = "UNVERIFIED"
    EXTRA = "EXTRA"
    MISSING = "MISSING"
    SHORT = "SHORT"
    ORPHAN = "ORPHAN"
    DUPLICATE = "DUPLICATE"


@dataclass(frozen=True, slots=True)
class Verification:
    """The result for one partition: ``loaded`` is rows per table as recounted, ``evidence`` says what was compared.

    ``items`` is what each oracle that is believed expects, against what is there.
    """

    partition: str
    verdict: Finding
    evidence: str
    loaded: Mapping[str, int]
    items: tuple[Comparison, ...] = ()

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
    items: tuple[Comparison, ...] = ()
    problems: list[tuple[Finding, str]] = field(default_factory=list)

    def close(self) -> Verification:
        order = list(Finding)
        verdict = max((found for found, _ in self.problems), key=order.index, default=Finding.OK)
        evidence = "; ".join(text for _, text in self.problems) or ", ".join(self.compared)
        return Verification(self.manifest.partition, verdict, evidence, self.loaded, self.items)


Judge = Callable[[Mapping[str, _Account]], None]
"""Writes what a check has found into the accounts."""
Check = Callable[[], Judge]
"""Asks the warehouse."""
Rows = list[dict[str, Any]]


def verify(
    manifests: Sequence[Manifest],
    *,
    processor: Processor,
    warehouse: Warehouse,
    dropped: Mapping[str, Mapping[str, int]] | None = None,
    expected: Mapping[str, Sequence[Expectation]] | None = None,
    supposed: Mapping[str, Collection[object]] | None = None,
) -> dict[str, Verification]:
    """Recounts every table for all partitions of the batch.

    Args:
        manifests: As loaded.
        processor: Declares the tables.
        warehouse: Asked, never written.
        dropped: Per partition and table, rows that the receipt says were identical repeats; they are missing rightly.
        expected: Per partition, what the source's oracles say of it.
        supposed: Per table, values of its first key column that the batch may have. Saves the wait for the table's own,
            and is not believed: where the table has others, these are asked for.

    Returns:
        One result per manifest, by partition key. Raises what the warehouse raises, and nothing for a wrong count.
    """
    accounts = {manifest.partition: _Account(manifest) for manifest in manifests}
    if not accounts:
        return {}
    asking = _Asking(warehouse, supposed or {})
    checks = [check for table in processor.tables for check in _checks(table, processor, manifests, asking, dropped)]
    checks.append(partial(_check_items, manifests, processor, warehouse, expected or {}))
    # A query takes seconds, whatever it reads: all of them are asked at once, and judged in the order of the tables.
    with threads(_QUERIES_AT_ONCE, "recount") as pool:
        for asked in [pool.submit(check) for check in checks]:
            asked.result()(accounts)
    for account in accounts.values():
        _compare_total(account, processor)
    return {key: account.close() for key, account in accounts.items()}


@dataclass(frozen=True, slots=True)
class _Asking:
    """The warehouse, and per table the values of its first key column that are supposed to be there."""

    warehouse: Warehouse
    supposed: Mapping[str, Collection[object]]

    def by_keys(self, table: Table, column: str, cells: Cells, ask: Callable[[dict[str, QueryValue]], Rows]) -> Rows:
        """What ``ask`` finds with parameter ``keys``: the batch's values of ``column``, as the table has them.

        It is asked with those supposed at the same time, as a job takes seconds, and once more where the table has
        others. Without the parameter when they are too many, or no type of one.
        """
        supposed = list(self.supposed.get(table.name, ())) if column == table.key[0] else []
        keys = keys_parameter(supposed)
        with threads(1, "keys") as beside:
            early = beside.submit(ask, keys) if keys else None
            rows = self.warehouse.query(values_sql(table, column, self.warehouse), cells.parameters)
            values = [row["value"] for row in rows]
            if early is not None and set(values) <= set(supposed):
                return early.result()
        return ask(keys_parameter(values))


def _checks(
    table: Table,
    processor: Processor,
    manifests: Sequence[Manifest],
    asking: _Asking,
    dropped: Mapping[str, Mapping[str, int]] | None,
) -> Iterator[Check]:
    """Every question about one table, the recount first."""
    cells = Cells(table, manifests)
    yield partial(_count, table, cells, asking, dropped or {})
    for columns in table.unique:
        yield partial(_check_unique, table, columns, cells, asking.warehouse)
    if table.parent:
        parent = next(one for one in processor.tables if table.parent and one.name == table.parent[0])
        yield partial(_check_parents, table, parent, cells, asking)
        if table.per_parent:
            yield partial(_check_ratio, table, parent, Cells(parent, manifests), asking)


def _count(table: Table, cells: Cells, asking: _Asking, dropped: Mapping[str, Mapping[str, int]]) -> Judge:
    warehouse = asking.warehouse
    with threads(1, "elsewhere") as beside:
        looked = None if names_its_partition(table) else beside.submit(_elsewhere, table, cells, asking)
        counted = _folded(cells, warehouse.query(count_sql(table, warehouse), cells.parameters))
        for key, rows in looked.result().items() if looked else ():
            counted[key]["elsewhere"] = rows

    def judge(accounts: Mapping[str, _Account]) -> None:
        for key, account in accounts.items():
            _compare(account, table, counted[key], dropped.get(key, {}).get(table.name, 0))

    return judge


def _elsewhere(table: Table, cells: Cells, asking: _Asking) -> dict[str, int]:
    warehouse = asking.warehouse

    def ask(keys: dict[str, QueryValue]) -> Rows:
        return warehouse.query(elsewhere_sql(table, warehouse, by_keys=bool(keys)), {**cells.parameters, **keys})

    found = asking.by_keys(table, table.key[0], cells, ask)
    return {key: sums["elsewhere"] for key, sums in _folded(cells, found).items()}


def _check_unique(table: Table, columns: tuple[str, ...], cells: Cells, warehouse: Warehouse) -> Judge:
    within = unique_window(table, cells.days)
    shared = _folded(cells, warehouse.query(shared_sql(table, columns, warehouse), {**cells.parameters, **within}))

    def judge(accounts: Mapping[str, _Account]) -> None:
        for key, account in accounts.items():
            if shared[key]["n"]:
                text = f"{table.name}: {plural(shared[key]['n'], 'row')} with the {'+'.join(columns)} of others"
                account.problems.append((Finding.DUPLICATE, text))

    return judge


def _check_items(
    manifests: Sequence[Manifest],
    processor: Processor,
    warehouse: Warehouse,
    expected: Mapping[str, Sequence[Expectation]],
) -> Judge:
    dates = {one.partition: (one.start, one.end) for one in manifests if one.start < one.end}
    found = compare_items(expected, dates, processor.tables, warehouse)

    def judge(accounts: Mapping[str, _Account]) -> None:
        for key, items in found.items():
            accounts[key].items = items
            for one in items:
                told = f"{one.found} of {plural(one.expected, one.oracle.item)} in {one.oracle.source}"
                accounts[key].compared.append(told)
                accounts[key].problems += [(Finding.MISSING, one.missing_text)] if one.is_short else []

    return judge


def _check_parents(table: Table, parent: Table, cells: Cells, asking: _Asking) -> Judge:
    assert table.parent is not None
    warehouse = asking.warehouse

    def ask(keys: dict[str, QueryValue]) -> Rows:
        return warehouse.query(orphan_sql(table, parent, warehouse, by_keys=bool(keys)), {**cells.parameters, **keys})

    column = table.parent[1][0]
    orphans = _folded(cells, asking.by_keys(table, column, cells, ask) if table.parent_elsewhere else ask({}))

    def judge(accounts: Mapping[str, _Account]) -> None:
        for key, account in accounts.items():
            if orphans[key]["n"]:
                text = f"{table.name}: {plural(orphans[key]['n'], 'row')} without their {parent.name} row"
                account.problems.append((Finding.ORPHAN, text))

    return judge


def _check_ratio(table: Table, parent: Table, cells: Cells, asking: _Asking) -> Judge:
    assert table.parent is not None
    assert table.per_parent is not None
    warehouse, (fewest, most) = asking.warehouse, table.per_parent
    limits: dict[str, QueryValue] = {"fewest": fewest, "most": most}

    def ask(keys: dict[str, QueryValue]) -> Rows:
        sql = ratio_sql(table, parent, warehouse, by_keys=bool(keys))
        return warehouse.query(sql, {**cells.parameters, **limits, **keys})

    column = table.parent[1][0]
    found = _folded(cells, asking.by_keys(parent, column, cells, ask) if table.parent_elsewhere else ask({}))

    def judge(accounts: Mapping[str, _Account]) -> None:
        for key, account in accounts.items():
            for name, finding in (("few", Finding.SHORT), ("many", Finding.EXTRA)):
                if found[key][name]:
                    wrong = plural(found[key][name], f"{parent.name} row", "has", "have")
                    text = f"{wrong} too {name} {table.name} rows ({fewest} to {most})"
                    account.problems.append((finding, text))

    return judge


def _folded(cells: Cells, rows: Sequence[Mapping[str, Any]]) -> defaultdict[str, defaultdict[str, int]]:
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
        text = f"{table.name}: {plural(rows, 'row')}, {found['distinct_keys']} distinct {'+'.join(table.key)}"
        problems.append((Finding.DUPLICATE, text))
    if found["elsewhere"]:
        text = f"{table.name}: {plural(found['elsewhere'], 'key', 'is', 'are')} also outside the partition"
        problems.append((Finding.DUPLICATE, text))
    if rows < expected:
        problems.append((Finding.SHORT, f"{table.name}: landed {expected}, loaded {rows}"))
    if rows > expected:
        problems.append((Finding.EXTRA, f"{table.name}: landed {expected}, loaded {rows}"))
    if table.per_partition and any(account.manifest.counts.values()):
        fewest, most = table.per_partition
        if not fewest <= rows <= most:
            size = Finding.SHORT if rows < fewest else Finding.EXTRA
            problems.append((size, f"{table.name}: {plural(rows, 'row')}, a partition has {fewest} to {most}"))
    if found["null_rows"]:
        problems.append(
            (
                Finding.SHORT,
                f"{table.name}: {plural(found['null_rows'], 'row')} with NULL in {'/'.join(table.critical)}",
            )
        )


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
