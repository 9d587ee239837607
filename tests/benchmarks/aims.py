"""What speed is aimed at, beside what a benchmark measured: one line an aim.

An aim that is not met says what is left, with numbers of the same run, and why. docs/scale.md has them all in a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Aim:
    """One of them.

    Attributes:
        what: What is measured, with its unit.
        aimed: The most that it may be; the least with ``at_least``.
        measured: In the same unit.
        left: Why it is not there yet, and how much of it each reason is; shown where it is not met.
        at_least: More is better.
    """

    what: str
    aimed: float
    measured: float
    left: str = ""
    at_least: bool = False

    @property
    def ratio(self) -> float:
        """How many times the aim, or the aim how many times what was measured: up to 1 it is met.

        >>> [Aim("s", 2, 3).ratio, Aim("rows", 2, 4, at_least=True).ratio, Aim("reads", 0, 0).ratio]
        [1.5, 0.5, 0.0]
        """
        part, whole = (self.aimed, self.measured) if self.at_least else (self.measured, self.aimed)
        if whole:
            return part / whole
        return math.inf if part else 0.0

    def line(self) -> str:
        """As it is printed.

        >>> Aim("365 dates: load jobs", 8, 4).line()
        '  365 dates: load jobs                                <=          8           4   0.50  met'
        >>> Aim("rows a second", 100_000, 50_000, "half is gzip", at_least=True).line()
        '  rows a second                                       >=    100,000      50,000   2.00  left: half is gzip'
        """
        sign, told = ">=" if self.at_least else "<=", "met" if self.ratio <= 1 else f"left: {self.left}"
        return f"  {self.what:50}  {sign}{_shown(self.aimed)} {_shown(self.measured)} {self.ratio:6.2f}  {told}"


def print_aims(aims: Iterable[Aim]) -> None:
    """A table of them, below what was measured."""
    print(f"\n  {'aim':50}  {'aimed':>13} {'measured':>11} {'ratio':>6}")
    for aim in aims:
        print(aim.line())


def _shown(value: float) -> str:
    return f"{value:11,.0f}" if value >= 1_000 or value == int(value) else f"{value:11,.2f}"
