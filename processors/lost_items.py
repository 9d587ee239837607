"""A partition that comes with fewer rows, and what its oracles say of that: whose rows would go, and whether rightly.

A game that was moved is gone from its old date. Where an oracle that is believed expects exactly the items that came,
nothing has to be accepted by a person: its later snapshot is the evidence. Rows of items that came all the same must
not go with them. Asked in BigQuery only when a partition has shrunk; the old rows are still there then.
"""

# Names in the SQL are table and column names of our own row models and declarations; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from processors.base import Table
from processors.items import Expectation, between, by_date, dates_of, days_of, expected_sql, found_in, found_sql, named
from processors.load_plan import TableBatch, Warehouse
from processors.shrinkage import Loss
from scrapers.manifest import Manifest
from scrapers.oracle import Oracle

MOVED_WITHIN = dt.timedelta(days=180)
"""How far from its date an item is looked for; a game is moved within its season."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What an oracle says of one partition that shrank.

    Attributes:
        gone: Items that have rows now and did not come, each with what the oracle says of it, for people.
        by: In whose name the oracle expects exactly what came; "" where it does not.
    """

    gone: tuple[str, ...] = ()
    by: str = ""

    @property
    def text(self) -> str:
        """Names what would go; "" where nothing is known of it."""
        return f"; gone: {named(self.gone)}" if self.gone else ""


def lost_items(
    staged: Sequence[TableBatch],
    lost: Mapping[str, Sequence[Loss]],
    manifests: Sequence[Manifest],
    expected: Mapping[str, Sequence[Expectation]],
    warehouse: Warehouse,
) -> dict[str, Lost]:
    """What the first strict oracle that is believed says of each partition of ``lost``; without those it knows not."""
    batches = {batch.table.name: batch for batch in staged}
    partitions = {one.partition: one.as_partition() for one in manifests if one.partition in lost}
    said = {key: one for key in partitions if (one := _speaker(expected.get(key, ())))}
    if not said:
        return {}
    oracle = next(iter(said.values())).oracle
    said = {key: one for key, one in said.items() if one.oracle == oracle}
    found = batches[found_in(oracle, [batch.table for batch in staged]).name]
    dates = {key: dates_of(partitions[key]) for key in said}
    window = between(dates.values())
    had = by_date(warehouse.query(found_sql(oracle, found.table, warehouse.name_of), window))
    came = by_date(warehouse.query(_came_sql(oracle, found, warehouse), window)) if found.rows else {}
    kept = {batch.table.name: _removed_of_what_came(oracle, batch, found, warehouse) for batch in staged}
    result = {}
    for key, expectation in said.items():
        days = days_of(dates[key])
        there = {item for day in days for item in had.get(day, {})}
        here = {item for day in days for item in came.get(day, {})}
        lost_here = {one.table: one for one in lost[key]}
        is_right = here == {*expectation.items} and all(
            _is_usual(batches[table], loss, kept[table], days) for table, loss in lost_here.items()
        )
        gone = _told(oracle, sorted(there - here), expectation, days[0], warehouse)
        result[key] = Lost(gone, expectation.by if is_right else "")
    return result


def _speaker(expectations: Sequence[Expectation]) -> Expectation | None:
    """The oracle that decides: every strict one has to be believed."""
    strict = [one for one in expectations if one.oracle.is_strict]
    return strict[0] if len(strict) == 1 and not strict[0].doubt else None


def _came_sql(oracle: Oracle, found: TableBatch, warehouse: Warehouse) -> str:
    return found_sql(oracle, found.table, lambda _: warehouse.name_of(found.staging_table))


def _removed_of_what_came(
    oracle: Oracle, batch: TableBatch, found: TableBatch, warehouse: Warehouse
) -> Mapping[dt.date, int] | None:
    """Old rows that would go though their item came, by date; None where that cannot be told."""
    link = _link(oracle, batch.table, found.table)
    if link is None:
        return None
    if not found.rows or not batch.rows:
        return {} if not found.rows else None
    staged = warehouse.name_of(batch.staging_table), warehouse.name_of(found.staging_table)
    sql = removed_sql(batch.table, found.table, link, warehouse.name_of(batch.table.name), staged)
    rows = warehouse.query(sql, {f"scope_{number}": limit.values for number, limit in enumerate(batch.scope)})
    return {row["cell_day"]: int(row["n"]) for row in rows}


def removed_sql(table: Table, found: Table, link: Sequence[str], name: str, staged: tuple[str, str]) -> str:
    """One SELECT with parameter ``scope_0``: a row per date with its old rows that would go though their item came.

    ``staged`` are the new rows of ``table`` and of ``found``, which share the columns ``link``.
    """
    day = table.partition_field
    same_key = " AND ".join(f"S.`{column}` = T.`{column}`" for column in table.key)
    same_item = " AND ".join(f"F.`{column}` = T.`{column}`" for column in link)
    columns = ", ".join(f"`{column}`" for column in link)
    return (
        f"SELECT T.`{day}` AS cell_day, COUNT(*) AS n FROM {name} T LEFT JOIN {staged[0]} S ON {same_key} "
        f"INNER JOIN (SELECT DISTINCT `{found.partition_field}` AS item_day, {columns} FROM {staged[1]}) F "
        f"ON F.item_day = T.`{day}` AND {same_item} "
        f"WHERE T.`{day}` IN UNNEST(@scope_0) AND S.`{table.key[0]}` IS NULL GROUP BY cell_day"
    )


def _link(oracle: Oracle, table: Table, found: Table) -> tuple[str, ...] | None:
    """Columns by which a row of ``table`` belongs to an item."""
    item = tuple((oracle.found_key or oracle.key).split())
    if table.entity_field or table.whole_entity:
        return None
    if table.name == found.name or set(item) <= set(table.model.model_fields):
        return item
    if table.parent is not None and table.parent[0] == found.name:
        return table.parent[1]
    return None


def _is_usual(batch: TableBatch, loss: Loss, removed: Mapping[dt.date, int] | None, days: Sequence[dt.date]) -> bool:
    return removed is not None and sum(removed.get(day, 0) for day in days) <= batch.table.usual_removal * loss.before


def _told(
    oracle: Oracle, gone: Sequence[str], expectation: Expectation, day: dt.date, warehouse: Warehouse
) -> tuple[str, ...]:
    """Items that would go, each with what the oracle says of it."""
    if not gone:
        return ()
    around = {"first": day - MOVED_WITHIN, "last": day + MOVED_WITHIN}
    dates: defaultdict[str, list[str]] = defaultdict(list)
    labels: dict[str, str] = {}
    for other, items in by_date(warehouse.query(expected_sql(oracle, "", warehouse.name_of), around)).items():
        for item in set(gone) & items.keys():
            labels[item] = items[item]
            dates[item] += [str(other)] if other != day else []
    return tuple(_of_one(oracle, item, expectation, labels.get(item, item), sorted(dates[item])) for item in gone)


def _of_one(oracle: Oracle, item: str, expectation: Expectation, label: str, dates: Sequence[str]) -> str:
    if item in expectation.items:
        return f"{label} (which {oracle.source} has on this date)"
    return f"{label} ({oracle.source} has it on {', '.join(dates)})" if dates else f"{label} (not in {oracle.source})"
