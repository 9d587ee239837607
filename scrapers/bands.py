"""What one request of a sweep covers, and how it is halved. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

    def halves(self, where: Iterable[Sequence[int | None]] = ()) -> tuple[Band, Band] | None:
        """Two bands that together are this one, None where every axis has one step.

        ``where`` are the steps of rows that were seen in it.

        >>> first, second = Band("a", (range(0, 8), range(0, 4))).halves([(1, 0), (2, 0), (7, 0)])
        >>> first.ranges, second.ranges
        ((range(0, 2), range(0, 4)), (range(2, 8), range(0, 4)))
        >>> Band("a", (range(1, 2), range(0, 4))).halves()[0].ranges
        (range(1, 2), range(0, 2))
        """
        for axis, steps in enumerate(self.ranges):
            if len(steps) > 1:
                seen = sorted(one[axis] for one in where if one[axis] is not None)  # type: ignore[type-var]
                middle = seen[len(seen) // 2] if seen else steps.start + len(steps) // 2
                cut = min(max(middle or 0, steps.start + 1), steps.stop - 1)
                both = range(steps.start, cut), range(cut, steps.stop)
                first, second = (Band(self.of, (*self.ranges[:axis], one, *self.ranges[axis + 1 :])) for one in both)
                return first, second
        return None

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
