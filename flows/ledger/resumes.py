"""Runs that go on by themselves: one object per source names what is scheduled at Prefect, for whom and until when.

Prefect knows a scheduled run too, but the answers of `gapless status` must be there when its server is not, and a range
that a person completed by hand must find the run that would only look at it again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping

from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting.object_store import ObjectStore
from alerting.ranges import expand_dates
from alerting.versioned_record import VersionedRecord
from flows.ledger.entry import LedgerEntry


class Resume(BaseModel):
    """The flow run that takes up what ``backfill_id`` left, at ``at`` (aware UTC); ``ranges`` as in mails.

    ``waits_for`` is ``quota`` or ``block``.
    """

    model_config = ConfigDict(frozen=True)

    backfill_id: str
    scheduled_at: dt.datetime
    at: dt.datetime
    waits_for: str
    flow_run_id: str
    flow_run_name: str
    ranges: str

    @property
    def keys(self) -> list[str]:
        """Partitions that it is to bring to a good verdict, later than ``scheduled_at``."""
        return expand_dates(self.ranges)

    def has_work(self, entries: Mapping[str, LedgerEntry]) -> bool:
        """Whether one of its partitions still has no good verdict from after it was scheduled."""
        return not all(is_done(entries.get(key), self.scheduled_at) for key in self.keys)


def is_done(entry: LedgerEntry | None, since: dt.datetime) -> bool:
    """Whether a partition got a good verdict at ``since`` or later."""
    return entry is not None and entry.verdict.is_good and entry.updated_at >= since


_RECORDS = TypeAdapter(tuple[Resume, ...])


def resumes_name(source: str) -> str:
    """Where the scheduled resumes of a source lie."""
    return f"resumes/source={source}.json"


def read_resumes(store: ObjectStore, source: str) -> tuple[Resume, ...]:
    """What is scheduled for a source, the next one first. Raises ``StateUnreadable``."""
    return tuple(sorted(_record(store, source).read() or (), key=lambda one: one.at))


def keep_resume(store: ObjectStore, source: str, resume: Resume) -> None:
    """Adds one; the same flow run again replaces itself. Raises ``StateUnreadable``, ``LandingUnavailable``."""
    _update(store, source, lambda one: one.flow_run_id != resume.flow_run_id, (resume,))


def drop_resumes(store: ObjectStore, source: str, flow_run_ids: Collection[str]) -> None:
    """Takes out those that have begun or were taken back. Raises ``StateUnreadable``, ``LandingUnavailable``."""
    _update(store, source, lambda one: one.flow_run_id not in flow_run_ids, ())


def _update(store: ObjectStore, source: str, keep: Callable[[Resume], bool], added: tuple[Resume, ...]) -> None:
    def changed(before: tuple[Resume, ...] | None) -> tuple[Resume, ...] | None:
        after = (*(one for one in before or () if keep(one)), *added)
        return None if after == (before or ()) else after

    _record(store, source).update(changed)


def _record(store: ObjectStore, source: str) -> VersionedRecord[tuple[Resume, ...]]:
    hint = "look at that object; deleting it only forgets which runs resume automatically"
    return VersionedRecord(store, resumes_name(source), _RECORDS, source=source, stage="plan", hint=hint)
