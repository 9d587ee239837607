"""Partitions that a run planned and did not begin, or could not: one object per source says so for all of them.

A partition that was begun has a ledger entry of its own. When a run ends or pauses, the others get their verdict here
by ranges (``paused`` with the instant at which the run goes on, ``planned``, or ``unavailable`` before the source's
first date), so that a pause before ten years of
dates is one write and not 3,653, and every planned partition has a verdict in the ledger all the same: `Ledger.refresh`
puts both together, and an entry of the partition's own always wins.

A key stands in at most one record: a run that ends takes all keys of its plan out before it adds its own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting.object_store import ObjectStore
from alerting.ranges import compress_dates, expand_dates
from alerting.versioned_record import VersionedRecord

CANCELLED = "ended (user)"
"""In the reason of what a person cancelled."""


class Pending(BaseModel):
    """What one run left without beginning it. ``at`` and ``resumes_at`` are aware UTC; ``ranges`` as in mails."""

    model_config = ConfigDict(frozen=True)

    backfill_id: str
    verdict: Literal["planned", "paused", "unavailable"]
    why: str
    at: dt.datetime
    resumes_at: dt.datetime | None = None
    ranges: str

    @property
    def keys(self) -> list[str]:
        """Partition keys."""
        return expand_dates(self.ranges)

    def without(self, keys: set[str]) -> Pending | None:
        """The record without ``keys``, None when nothing is left."""
        left = [key for key in self.keys if key not in keys]
        return self.model_copy(update={"ranges": compress_dates(left, join="..")}) if left else None


_RECORDS = TypeAdapter(tuple[Pending, ...])


def pending_name(source: str) -> str:
    """Where a source's record lies: outside of the listing of its entries."""
    return f"ledger/pending/source={source}.json"


def read_pending(store: ObjectStore, source: str) -> tuple[Pending, ...]:
    """Every record of a source, oldest first. Raises ``StateUnreadable``."""
    return _record(store, source).read() or ()


def leave_pending(store: ObjectStore, source: str, planned: Iterable[str], *rest: Pending) -> None:
    """Says what became of a run's partitions that it did not begin.

    Args:
        store: Of the ledger.
        source: Source name.
        planned: Every key of the run's plan; what earlier runs said of them is over.
        rest: Those that were not begun; none when all were.

    Raises ``StateUnreadable``, ``LandingUnavailable``.
    """
    mine = set(planned)

    def changed(before: tuple[Pending, ...] | None) -> tuple[Pending, ...] | None:
        kept = [smaller for one in before or () if (smaller := one.without(mine)) is not None]
        after = (*kept, *rest)
        return None if after == (before or ()) else after

    _record(store, source).update(changed)


def _record(store: ObjectStore, source: str) -> VersionedRecord[tuple[Pending, ...]]:
    hint = "look at that object; deleting it only loses which dates were planned and never started"
    return VersionedRecord(store, pending_name(source), _RECORDS, source=source, stage="plan", hint=hint)
