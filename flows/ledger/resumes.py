"""Runs that go on by themselves: one object per source names what is scheduled at Prefect, for whom and until when.

Prefect knows a scheduled run too, but the answers of `gapless status` must be there when its server is not, and a range
that a person completed by hand must find the run that would only look at it again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Mapping

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from alerting.errors import StateUnreadable
from alerting.object_store import GenerationConflict, ObjectMissing, ObjectStore
from alerting.ranges import expand_dates
from flows.ledger.entry import LedgerEntry

_WRITE_TRIES = 10


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
    return tuple(sorted(_read(store, source)[0], key=lambda one: one.at))


def keep_resume(store: ObjectStore, source: str, resume: Resume) -> None:
    """Adds one; the same flow run again replaces itself. Raises ``StateUnreadable``, ``GenerationConflict``."""
    _update(store, source, lambda one: one.flow_run_id != resume.flow_run_id, (resume,))


def drop_resumes(store: ObjectStore, source: str, flow_run_ids: Collection[str]) -> None:
    """Takes out those that have begun or were taken back. Raises ``StateUnreadable``, ``GenerationConflict``."""
    _update(store, source, lambda one: one.flow_run_id not in flow_run_ids, ())


def _update(store: ObjectStore, source: str, keep: Callable[[Resume], bool], added: tuple[Resume, ...]) -> None:
    for tried in range(1, _WRITE_TRIES + 1):
        before, generation = _read(store, source)
        after = (*(one for one in before if keep(one)), *added)
        if after == before:
            return
        data = _RECORDS.dump_json(after, indent=1)
        try:
            store.write(resumes_name(source), data, if_generation=generation, content_type="application/json")
        except GenerationConflict:
            if tried == _WRITE_TRIES:
                raise
        else:
            return


def _read(store: ObjectStore, source: str) -> tuple[tuple[Resume, ...], int]:
    name = resumes_name(source)
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
            hint="look at that object; deleting it forgets only which runs go on by themselves",
        ) from error
