"""Sums inside a payload against the totals that it names itself, while the rows of one partition stream through."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from processors.base import Balance, Row
from processors.row_lines import values_getter


class BalanceSums:
    """Totals and sums of one declared balance. Rows come in any order; a total that is NULL announces nothing."""

    def __init__(self, balance: Balance) -> None:
        self.balance = balance
        self._totals: dict[tuple[Any, ...], Any] = {}
        self._sums: defaultdict[tuple[Any, ...], Any] = defaultdict(int)

        self._total = values_getter([balance.total[1], *(name for name, _ in balance.match)])
        self._part = values_getter([balance.parts[1], *(name for _, name in balance.match)])

    def concerns(self, table: str) -> bool:
        """Whether rows of that table have a total or a part."""
        return table in (self.balance.total[0], self.balance.parts[0])

    def take(self, table: str, row: Row) -> None:
        """One admitted row."""
        if table == self.balance.total[0]:
            announced, *match = self._total(row)
            if announced is not None:
                self._totals[tuple(match)] = announced
        if table == self.balance.parts[0]:
            value, *match = self._part(row)
            if value is not None:
                self._sums[tuple(match)] += value

    def differences(self) -> Iterator[str]:
        """A text for each total that is not the sum of its parts."""
        (total_table, total), (parts_table, summed) = self.balance.total, self.balance.parts
        for match, announced in self._totals.items():
            found = self._sums.get(match, 0)
            if not math.isclose(announced, found, rel_tol=1e-9, abs_tol=1e-9):
                where = ", ".join(str(value) for value in match)
                yield f"{total_table} ({where}): {total} is {announced}, {parts_table}.{summed} sums to {found}"
