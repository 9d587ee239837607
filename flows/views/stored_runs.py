"""What runs have left in the bucket: their progress, their work, the last of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping
from itertools import islice

from alerting.errors import StateUnreadable
from alerting.object_store import ObjectStore, StoredObject
from alerting.outbox import Outbox, OutboxEntry
from flows.ledger.ledger import LedgerEntry
from flows.planning.stored_plan import read_plan
from flows.run.progress import Progress, progress_of


def stored_work(store: ObjectStore, backfill_id: str) -> dict[str, bool] | None:
    """Every key of a run's plan, and whether the run is to do something about it; None while it has no plan.

    A daily run never has one.
    """
    try:
        return read_plan(store, backfill_id).work
    except StateUnreadable:
        return None


def stored_progress(
    run: OutboxEntry, work: Mapping[str, bool], entries: Mapping[str, LedgerEntry], now: dt.datetime
) -> Progress:
    """How far a run is, as its plan and the ledger have it: what its own process shows as artifact."""
    facts = run.run_facts
    began = facts.started_at or run.opened_at or now
    elapsed_s = ((facts.finished_at or run.finished_at or now) - began).total_seconds()
    found = progress_of(work, entries, run.backfill_id, since=began, elapsed_s=elapsed_s)
    return dataclasses.replace(found, calls=facts.calls or 0)


def recent_runs(
    store: ObjectStore, last: int, source: str = "", unreadable: list[StateUnreadable] | None = None
) -> Iterator[OutboxEntry]:
    """The ``last`` backfills (of one source) that began last, newest first, by one listing and one read each.

    What cannot be read is added to ``unreadable``, or raised.
    """
    listed = sorted(store.list("outbox/backfill="), key=_began_at)
    outbox = Outbox(store)

    def of_source() -> Iterator[OutboxEntry]:
        for stored in reversed(listed):
            named = stored.metadata.get("source", "")
            if source and named not in ("", source):
                continue
            try:
                entry = outbox.read(stored.metadata.get("backfill_id", ""))
            except StateUnreadable as error:
                error.told_or_raised(unreadable, source=named)
                continue
            if entry is not None and source in ("", entry.source):
                yield entry

    return islice(of_source(), last)


def _began_at(stored: StoredObject) -> dt.datetime:
    """As its listing says; a mail that leaves late makes no run a newer one. By its last change where it does not."""
    try:
        return dt.datetime.fromisoformat(stored.metadata.get("opened_at", ""))
    except ValueError:
        return stored.updated_at or dt.datetime.min.replace(tzinfo=dt.UTC)
