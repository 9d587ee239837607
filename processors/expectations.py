"""What the recount would refuse, seen before a table is touched: so that old rows stay where new ones would be wrong.

The recount afterwards asks the same of BigQuery, by code of its own, and more: rows without their parent, and keys that
are also in other partitions, can only be seen there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from processors.base import Row, Table
from scrapers.landing import Manifest


class Expectations:
    """Counts rows, children per parent and NULLs in critical columns while the rows of one partition stream through."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables
        self._children = [table for table in tables if table.parent and table.per_parent]
        self._counted: dict[str, Counter[tuple[Any, ...]]] = {table.name: Counter() for table in self._children}
        self._nulls: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()

    def take(self, table: Table, row: Row) -> None:
        """One admitted row."""
        self._rows[table.name] += 1
        if any(getattr(row, name) is None for name in table.critical):
            self._nulls[table.name] += 1
        for child in self._children:
            assert child.parent is not None
            parent, columns = child.parent
            if table.name in (parent, child.name):
                reference = tuple(getattr(row, name) for name in columns)
                # A parent counts as nothing, so that one without children is known.
                self._counted[child.name][reference] += table.name == child.name

    def problem(self, manifest: Manifest) -> str:
        """The first thing that must not replace what is there, "" when there is none."""
        first = self._tables[0].name
        landed = manifest.counts.get(first, 0)
        if manifest.source_total is not None and landed != manifest.source_total:
            return f"{first}: the source announced {manifest.source_total} rows, {landed} are landed"
        for name, nulls in self._nulls.items():
            return f"{name}: {nulls} rows have NULL in a column that must have a value"
        for table in self._tables:
            if self._rows and table.per_partition and not _within(self._rows[table.name], table.per_partition):
                fewest, most = table.per_partition
                return f"{table.name}: {self._rows[table.name]} rows, a partition has {fewest} to {most}"
        for child in self._children:
            assert child.parent is not None
            assert child.per_parent is not None
            fewest, most = child.per_parent
            wrong = sum(not _within(count, child.per_parent) for count in self._counted[child.name].values())
            if wrong:
                return f"{wrong} {child.parent[0]} rows have too few or too many {child.name} rows ({fewest} to {most})"
        return ""

    def close(self) -> None:
        """Forgets the parents."""
        self._counted.clear()


def _within(count: int, limits: tuple[int, int]) -> bool:
    fewest, most = limits
    return fewest <= count <= most
