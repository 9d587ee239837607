"""What one request of a sweep covers, and how it is halved. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Band:
    """What one request of a sweep covers.

    Attributes:
        of: One of ``Scraper.sweeps``.
        ranges: A half-open range of steps per axis.
    """

    of: str
    ranges: tuple[range, ...]

    def cut_at(self, where: Sequence[Sequence[int | None]] = (), after: int = -1) -> int | None:
        """The axis by which it is cut: the first one behind ``after`` that has several steps, and on which any row that
        was seen has a value; None where no axis has several steps.

        >>> Band("a", (range(0, 8), range(0, 4))).cut_at([(None, 1), (None, 3)])
        1
        """
        axes = [axis for axis, steps in enumerate(self.ranges) if axis > after and len(steps) > 1]
        told = [axis for axis in axes if any(one[axis] is not None for one in where)]
        return next(iter(told or axes), None)

    def halves(self, where: Sequence[Sequence[int | None]] = (), after: int = -1) -> tuple[Band, Band] | None:
        """Two bands that together are this one, cut at the axis of ``cut_at``; None where there is none.

        ``where`` are the steps of rows that were seen in it: the cut is at their median.

        >>> first, second = Band("a", (range(0, 8), range(0, 4))).halves([(1, 0), (2, 0), (7, 0)])
        >>> first.ranges, second.ranges
        ((range(0, 2), range(0, 4)), (range(2, 8), range(0, 4)))
        >>> Band("a", (range(1, 2), range(0, 4))).halves()[0].ranges
        (range(1, 2), range(0, 2))
        """
        axis = self.cut_at(where, after)
        if axis is None:
            return None
        steps = self.ranges[axis]
        seen = sorted(one[axis] for one in where if one[axis] is not None)  # type: ignore[type-var]
        middle = seen[len(seen) // 2] if seen else steps.start + len(steps) // 2
        cut = min(max(middle or 0, steps.start + 1), steps.stop - 1)
        both = range(steps.start, cut), range(cut, steps.stop)
        first, second = (Band(self.of, (*self.ranges[:axis], one, *self.ranges[axis + 1 :])) for one in both)
        return first, second

    def holds(self, other: Band) -> bool:
        """Whether ``other`` is this band or a part of it."""
        return self.of == other.of and all(
            mine.start <= its.start and its.stop <= mine.stop
            for mine, its in zip(self.ranges, other.ranges, strict=True)
        )

    def may_have(self, where: Sequence[int | None]) -> bool:
        """Whether a row at these steps may come in an answer for this band, whose ends may both be included.

        >>> [Band("a", (range(31, 37),)).may_have((step,)) for step in (30, 31, 37, 38, None)]
        [False, True, True, False, True]
        """
        return all(
            step is None or steps.start <= step <= steps.stop for step, steps in zip(where, self.ranges, strict=True)
        )

    def __str__(self) -> str:
        """For people, ends inclusive."""
        return f"{self.of} {' x '.join(f'{steps.start} to {steps.stop - 1}' for steps in self.ranges)}"
