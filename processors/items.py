"""What an oracle (`scrapers.oracle.Oracle`) expects of a date, against the rows that are there. The judgement is pure.

One query for each oracle and one for each table in which its items are looked for, whatever the number of partitions.
"""

# Names in the SQL are table and column names of our own row models and declarations; every value is a parameter.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from alerting.wording import plural
from processors.base import Table
from processors.load_plan import QueryValue, Warehouse
from scrapers.oracle import Oracle
from scrapers.partition import Partition

_SHOWN = 5
Dates = tuple[dt.date, dt.date]
"""First date, and the one after the last."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What an oracle says of one partition: its items, each with what people call it, and which snapshot says so.

    With a ``doubt`` it says nothing: the oracle is not believed, and this is why.
    """

    oracle: Oracle
    items: Mapping[str, str] = field(default_factory=dict)
    by: str = ""
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Expected against found: ``found`` counts expected ones; ``missing`` are names for people."""

    oracle: Oracle
    expected: int
    found: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()

    @property
    def is_short(self) -> bool:
        """Whether its partition is not all there."""
        return bool(self.missing) and self.oracle.is_strict

    @property
    def missing_text(self) -> str:
        """What is missing, by name; "" when nothing is."""
        if not self.missing:
            return ""
        of_all = plural(self.expected, self.oracle.item)
        return f"{len(self.missing)} of {of_all} in {self.oracle.source} not there: {named(self.missing)}"

    @property
    def unexpected_text(self) -> str:
        """What nobody expected, by name; "" when there is nothing."""
        if not self.unexpected:
            return ""
        count = plural(len(self.unexpected), self.oracle.item)
        return f"{count} not in {self.oracle.source}: {named(self.unexpected)}"

    @property
    def told(self) -> str:
        """What is worth a note and no fault."""
        texts = (self.unexpected_text, "" if self.oracle.is_strict else self.missing_text)
        return "; ".join(text for text in texts if text)


def named(names: Sequence[str]) -> str:
    """The first names, and how many more there are.

    >>> named(["a", "b"]), named([str(number) for number in range(9)])
    ('a, b', '0, 1, 2, 3, 4 and 4 more')
    """
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")


def compared(expectation: Expectation, found: Collection[str]) -> Comparison:
    """Every expected item is found or missing, every found one expected or not; nothing is both."""
    expected = expectation.items
    return Comparison(
        expectation.oracle,
        expected=len(expected),
        found=len(expected.keys() & set(found)),
        missing=tuple(expected[item] for item in sorted(expected.keys() - set(found))),
        unexpected=tuple(sorted(set(found) - expected.keys())),
    )


def nothing_expected(expectations: Sequence[Expectation]) -> str:
    """The evidence that the partition is rightly empty; "" unless every strict oracle is believed and expects none."""
    strict = [one for one in expectations if one.oracle.is_strict]
    if not strict or any(one.items or one.doubt for one in strict):
        return ""
    return "; ".join(f"{one.by} has no {one.oracle.item} of it, so no call was made" for one in strict)


# -- asking BigQuery -------------------------------------------------------------------------------------------------


def expected_sql(oracle: Oracle, deleted_field: str, name_of: Callable[[str], str]) -> str:
    """Dates, items and what people call them, between ``@first`` and ``@last``."""
    limits = [f"T.`{oracle.date}` BETWEEN @first AND @last"]
    limits += [f"({oracle.where.format_map(_Names(name_of))})"] if oracle.where else []
    limits += [f"T.`{deleted_field}` IS NULL"] if deleted_field else []
    label = _joined(oracle.label or oracle.key)
    return (
        f"SELECT T.`{oracle.date}` AS item_day, {_joined(oracle.key)} AS item, MIN({label}) AS label "
        f"FROM {name_of(oracle.table)} AS T WHERE {' AND '.join(limits)} GROUP BY 1, 2"
    )


def found_sql(oracle: Oracle, table: Table, name_of: Callable[[str], str]) -> str:
    """Dates and items of our own table, between ``@first`` and ``@last``."""
    limits = [f"T.`{table.partition_field}` BETWEEN @first AND @last"]
    limits += [f"T.`{table.deleted_field}` IS NULL"] if table.deleted_field else []
    return (
        f"SELECT DISTINCT T.`{table.partition_field}` AS item_day, {_joined(oracle.found_key or oracle.key)} AS item "
        f"FROM {name_of(table.name)} AS T WHERE {' AND '.join(limits)}"
    )


def found_in(oracle: Oracle, tables: Sequence[Table]) -> Table:
    """Our own table in which the items are looked for."""
    return next((table for table in tables if table.name == oracle.found_in), tables[0])


def compare_items(
    expected: Mapping[str, Sequence[Expectation]],
    dates: Mapping[str, Dates],
    tables: Sequence[Table],
    warehouse: Warehouse,
) -> dict[str, tuple[Comparison, ...]]:
    """The comparisons of every partition of ``dates`` with every oracle that is believed for it.

    Args:
        expected: By partition key, in the order of the scraper's oracles.
        dates: Of the partitions to be compared.
        tables: Of the source's processor.
        warehouse: Asked, never written.
    """
    found: defaultdict[str, list[Comparison]] = defaultdict(list)
    for number in range(max((len(one) for one in expected.values()), default=0)):
        said = {key: expected[key][number] for key in dates if key in expected and not expected[key][number].doubt}
        if not said:
            continue
        oracle = next(iter(said.values())).oracle
        sql = found_sql(oracle, found_in(oracle, tables), warehouse.name_of)
        by_day = by_date(warehouse.query(sql, between(dates[key] for key in said)))
        for key, expectation in said.items():
            found[key].append(compared(expectation, {item for day in days_of(dates[key]) for item in by_day[day]}))
    return {key: tuple(comparisons) for key, comparisons in found.items()}


def between(dates: Iterable[Dates]) -> dict[str, QueryValue]:
    """The parameters of a question about all of these."""
    known = list(dates)
    return {"first": min(first for first, _ in known), "last": max(end for _, end in known) - dt.timedelta(days=1)}


def by_date(rows: Iterable[Mapping[str, object]]) -> defaultdict[dt.date, dict[str, str]]:
    """Items, and what people call them, by date; a NULL in the key is no item."""
    found: defaultdict[dt.date, dict[str, str]] = defaultdict(dict)
    for row in rows:
        day, item = row["item_day"], row["item"]
        if isinstance(day, dt.date) and isinstance(item, str):
            found[day][item] = str(row.get("label") or item)
    return found


def dates_of(partition: Partition) -> Dates:
    """The dates of a dated partition."""
    return partition.start, partition.end


def days_of(dates: Dates) -> list[dt.date]:
    """Every one of them."""
    first, end = dates
    return [first + dt.timedelta(days=number) for number in range((end - first).days)]


def _joined(columns: str) -> str:
    parts = [f"CAST(T.`{name}` AS STRING)" for name in columns.split()]
    between_them = ", ' ', ".join(parts)
    return parts[0] if len(parts) == 1 else f"CONCAT({between_them})"


class _Names(dict[str, str]):
    """Full names of the tables that a condition names."""

    def __init__(self, name_of: Callable[[str], str]) -> None:
        super().__init__()
        self._name_of = name_of

    def __missing__(self, table: str) -> str:
        return self._name_of(table)
