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

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from alerting.errors import StateUnreadable
from alerting.object_store import GenerationConflict, ObjectMissing, ObjectStore
from alerting.ranges import compress_dates, expand_dates

_WRITE_TRIES = 10


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
    return _read(store, source)[0]


def leave_pending(store: ObjectStore, source: str, planned: Iterable[str], *rest: Pending) -> None:
    """Says what became of a run's partitions that it did not begin.

    Args:
        store: Of the ledger.
        source: Source name.
        planned: Every key of the run's plan; what earlier runs said of them is over.
        rest: Those that were not begun; none when all were.

    Raises ``StateUnreadable``, ``GenerationConflict`` when ten writers in a row were faster.
    """
    mine = set(planned)
    for tried in range(1, _WRITE_TRIES + 1):
        before, generation = _read(store, source)
        kept = [smaller for one in before if (smaller := one.without(mine)) is not None]
        kept += rest
        if tuple(kept) == before:
            return
        try:
            store.write(
                pending_name(source),
                _RECORDS.dump_json(tuple(kept), indent=1),
                if_generation=generation,
                content_type="application/json",
            )
        except GenerationConflict:
            if tried == _WRITE_TRIES:
                raise
        else:
            return


def _read(store: ObjectStore, source: str) -> tuple[tuple[Pending, ...], int]:
    name = pending_name(source)
    try:
        data, generation = store.read(name)
        return _RECORDS.validate_json(data), generation
    except ObjectMissing:
        return (), 0
    except ValidationError as error:
        raise StateUnreadable(
            f"state unreadable at {store.root_uri}/{name}; nothing was changed",
            source=source,
            stage="plan",
            hint="look at that object; deleting it loses only which dates were planned and never begun",
        ) from error
