"""Which partitions a load would shrink more than is usual. Pure.

An upstream that forgets answers like one that never had the rows: with status 200 and a shape that is right. What is
there was verified once, so that fewer rows speak against the new answer and not against the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alerting.wording import plural
from processors.base import Table
from processors.changes import RowChanges


@dataclass(frozen=True, slots=True)
class Loss:
    """One table of one partition: rows ``before`` and ``after`` the load, and how many of those before would go."""

    table: str
    before: int
    after: int
    removed: int

    def __str__(self) -> str:
        """Before and after, and what would go where that is not their difference."""
        gone = "" if self.removed == self.before - self.after else f" ({self.removed:,} of the old ones would go)"
        return f"{self.table}: {plural(self.before, 'row')} before, {self.after:,} after{gone}"


def losses(
    table: Table, changes: Mapping[str, RowChanges], verified: Mapping[str, Mapping[str, int]]
) -> dict[str, Loss]:
    """Partitions that would lose more than ``table.usual_removal`` of their rows, each with its loss.

    Args:
        table: As declared.
        changes: Per partition, what the load would do to the rows that are there.
        verified: Per partition and table, the rows that were last verified. Rows beyond them were counted by nobody and
            may go; where the table itself has lost rows since, they are missed all the same.
    """
    found = {}
    for key, one in changes.items():
        loss = _loss(table, one, verified.get(key, {}).get(table.name))
        if loss.removed > table.usual_removal * loss.before:
            found[key] = loss
    return found


def _loss(table: Table, changes: RowChanges, verified: int | None) -> Loss:
    there = changes.updated + changes.unchanged + changes.removed
    after = changes.created + changes.updated + changes.unchanged
    removed = max(there - after, 0) if table.key_is_content else changes.removed
    if verified is None:
        return Loss(table.name, there, after, removed)
    uncounted = max(there - verified, 0)
    return Loss(table.name, verified, after, max(removed - uncounted, verified - after, 0))
