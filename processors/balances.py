"""Sums inside a payload against the totals that it names itself, while the rows of one partition stream through."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

from processors.base import Balance, Row
from processors.row_lines import values_getter


class BalanceSums:
    """Totals and sums of one declared balance. Rows come in any order; a total that is NULL announces nothing."""

    def __init__(self, balance: Balance) -> None:
        self.balance = balance
        self._totals: dict[tuple[Any, ...], Any] = {}
        self._sums: defaultdict[tuple[Any, ...], Any] = defaultdict(int)

        (self._of_total, total), (self._of_parts, part) = balance.total, balance.parts
        self._total, self._part = attrgetter(total), attrgetter(part)
        self._total_match = values_getter([name for name, _ in balance.match])
        self._part_match = values_getter([name for _, name in balance.match])

    def takers(self, table: str) -> list[Callable[[Row], None]]:
        """What takes each admitted row of that table: its total, its part, both or nothing."""
        known = ((self._of_total, self._take_total), (self._of_parts, self._take_part))
        return [take for name, take in known if name == table]

    def _take_total(self, row: Row) -> None:
        announced = self._total(row)
        if announced is not None:
            self._totals[self._total_match(row)] = announced

    def _take_part(self, row: Row) -> None:
        value = self._part(row)
        if value is not None:
            self._sums[self._part_match(row)] += value

    def differences(self) -> Iterator[str]:
        """A text for each total that is not the sum of its parts."""
        (total_table, total), (parts_table, summed) = self.balance.total, self.balance.parts
        for match, announced in self._totals.items():
            found = self._sums.get(match, 0)
            if not math.isclose(announced, found, rel_tol=1e-9, abs_tol=1e-9):
                where = ", ".join(str(value) for value in match)
                yield f"{total_table} ({where}): {total} is {announced}, {parts_table}.{summed} sums to {found}"
