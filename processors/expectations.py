"""What the recount would refuse, seen before a table is touched: so that old rows stay where new ones would be wrong.

Keys that would then stand in two partitions are seen when the rows are staged: `processors.changes`. The recount
afterwards asks all of it of BigQuery again, by code of its own, and it alone sees parents in other partitions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from alerting.wording import plural
from processors.balances import BalanceSums
from processors.base import Balance, Row, Table
from processors.row_lines import values_getter
from scrapers.manifest import Manifest


class Expectations:
    """Counts children per parent and NULLs in critical columns while the rows of one partition stream through.

    Parents and children come in any order. A reference with a NULL in it has no parent, as in SQL.
    """

    def __init__(self, tables: Sequence[Table], balances: Sequence[Balance] = ()) -> None:
        self._tables = tables
        self._sums = [BalanceSums(balance) for balance in balances]
        self._takers = {table.name: [take for one in self._sums for take in one.takers(table.name)] for table in tables}
        self._children = [table for table in tables if table.parent and not table.parent_elsewhere]
        self._parents: dict[str, set[tuple[Any, ...]]] = {table.name: set() for table in self._children}
        self._counted: dict[str, Counter[tuple[Any, ...]]] = {table.name: Counter() for table in self._children}
        self._nulls: Counter[str] = Counter()
        self._critical = {table.name: values_getter(table.critical) for table in tables if table.critical}
        # By table: whether it is the parent or the child, of which child's reference.
        self._families: dict[str, list[tuple[bool, str, Callable[[Any], tuple[Any, ...]]]]] = {
            table.name: [] for table in tables
        }
        for child in self._children:
            parent, columns = child.parent or ("", ())
            reference = values_getter(columns)
            self._families[parent].append((True, child.name, reference))
            self._families[child.name].append((False, child.name, reference))

    def concerns(self, table: Table) -> bool:
        """Whether anything is expected of its rows but to be so many."""
        return bool(table.name in self._critical or self._takers[table.name] or self._families[table.name])

    def take(self, table: Table, row: Row) -> None:
        """One admitted row."""
        name = table.name
        for take in self._takers[name]:
            take(row)
        if name in self._critical and None in self._critical[name](row):
            self._nulls[name] += 1
        for is_parent, child, reference in self._families[name]:
            if is_parent:
                self._parents[child].add(reference(row))
            else:
                self._counted[child][reference(row)] += 1

    def problem(self, manifest: Manifest, rows: Mapping[str, int]) -> str:
        """The first thing that must not replace what is there, "" when there is none; ``rows`` are those admitted."""
        first = self._tables[0].name
        landed = manifest.counts.get(first, 0)
        if manifest.source_total is not None and landed != manifest.source_total:
            return f"{first}: the source announced {plural(manifest.source_total, 'row')}, {landed} landed"
        for name, nulls in self._nulls.items():
            return f"{name}: {plural(nulls, 'row', 'has', 'have')} NULL in a column that must have a value"
        for table in self._tables:
            if (
                any(manifest.counts.values())
                and table.per_partition
                and not _within(rows[table.name], table.per_partition)
            ):
                fewest, most = table.per_partition
                return f"{table.name}: {plural(rows[table.name], 'row')}, a partition has {fewest} to {most}"
        if family := next(filter(None, map(self._family_problem, self._children)), ""):
            return family
        strict = (text for sums in self._sums if sums.balance.is_strict for text in sums.differences())
        return next((f"UNBALANCED: {text}" for text in strict), "")

    def warnings(self) -> list[str]:
        """Balances that do not hold and are not strict: the rows may be loaded, and somebody has to look."""
        return [text for sums in self._sums if not sums.balance.is_strict for text in sums.differences()]

    def _family_problem(self, child: Table) -> str:
        """What is wrong between the rows of ``child`` and their parents."""
        assert child.parent is not None
        counted, parents = self._counted[child.name], self._parents[child.name]
        orphans = sum(n for reference, n in counted.items() if None in reference or reference not in parents)
        if orphans:
            return f"ORPHAN: {child.name}: {plural(orphans, 'row')} without their {child.parent[0]} row"
        if child.per_parent is None:
            return ""
        fewest, most = child.per_parent
        wrong = sum(not _within(counted[reference], child.per_parent) for reference in parents)
        if wrong:
            found = plural(wrong, f"{child.parent[0]} row", "has", "have")
            return f"{found} too few or too many {child.name} rows ({fewest} to {most})"
        return ""

    def close(self) -> None:
        """Forgets parents and children."""
        self._sums.clear()
        self._takers.clear()
        self._parents.clear()
        self._counted.clear()


def _within(count: int, limits: tuple[int, int]) -> bool:
    fewest, most = limits
    return fewest <= count <= most
