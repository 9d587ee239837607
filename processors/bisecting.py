"""Which partitions of a refused batch BigQuery refuses, found by halving it. It is given a trial, and no warehouse."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alerting.errors import LoadRejected, PipelineError, RowRejected
from scrapers.manifest import Manifest

REFUSED_ALONE = 3
"""So many partitions refused one by one, and not one taken: it is the table, and no partition of it."""


def pinned(
    suspects: Sequence[Manifest], error: LoadRejected, trial: Callable[[Sequence[Manifest]], None]
) -> dict[str, PipelineError]:
    """The partitions that BigQuery refuses, each with its own error; about ``2 * log2(n)`` trials for each.

    Args:
        suspects: The batch, in order.
        error: With which it was refused.
        trial: Raises ``LoadRejected`` when BigQuery refuses the partitions it is given.

    Raises ``error`` when it cannot be pinned on single partitions: when none is refused alone, or `REFUSED_ALONE` are
    and none was taken.
    """
    search = _Search(error, trial)
    search.narrow(suspects, error)
    if not search.found:
        raise error
    return search.found


class _Search:
    def __init__(self, error: LoadRejected, trial: Callable[[Sequence[Manifest]], None]) -> None:
        self.found: dict[str, PipelineError] = {}
        self._error = error
        self._trial = trial
        self._one_was_taken = False

    def narrow(self, refused: Sequence[Manifest], error: LoadRejected) -> None:
        """``refused`` are partitions that were refused together, by ``error``."""
        if len(refused) == 1:
            self._pin(refused[0].partition, error)
            return
        middle = len(refused) // 2
        again: list[tuple[Sequence[Manifest], LoadRejected]] = []
        # Both before one is looked into: what is taken of either says that it is not the table.
        for half in (refused[:middle], refused[middle:]):
            try:
                self._trial(half)
                self._one_was_taken = True
            except LoadRejected as refusal:
                again.append((half, refusal))
        for half, of_half in again:
            self.narrow(half, of_half)

    def _pin(self, partition: str, error: LoadRejected) -> None:
        self.found[partition] = RowRejected(
            f"BigQuery refuses the rows of this partition alone: {error.message}; its batch is loaded without it",
            hint=error.hint,
            **{name: value for name, value in error.facts.items() if name in ("job_id", "reason")},
        )
        if len(self.found) >= REFUSED_ALONE and not self._one_was_taken:
            raise self._error
