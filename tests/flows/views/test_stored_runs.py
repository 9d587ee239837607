"""Which run of a source was the last one."""

from __future__ import annotations

import datetime as dt

from alerting.memory_store import MemoryObjectStore
from alerting.outbox import Outbox, OutboxEntry
from flows.views.stored_runs import recent_runs

NINE = dt.datetime(2026, 1, 9, 9, tzinfo=dt.UTC)


def test_a_mail_that_leaves_late_makes_its_run_not_the_last_one() -> None:
    store = MemoryObjectStore()
    outbox = Outbox(store)
    for hour, backfill_id in enumerate(("bf-1", "bf-2", "bf-3")):
        entry = OutboxEntry(backfill_id, source="nba", opened_at=NINE + dt.timedelta(hours=hour))
        outbox.update(backfill_id, lambda found: found, create=lambda entry=entry: entry)

    def sent(entry: OutboxEntry) -> OutboxEntry:
        entry.state = "sent"
        return entry

    outbox.update("bf-1", sent)
    assert [one.backfill_id for one in recent_runs(store, 2, "nba")] == ["bf-3", "bf-2"]
    assert [one.backfill_id for one in recent_runs(store, 9)] == ["bf-3", "bf-2", "bf-1"]


def test_an_object_that_does_not_say_when_its_run_began_counts_by_its_last_change() -> None:
    store = MemoryObjectStore()
    for backfill_id in ("bf-1", "bf-2"):
        Outbox(store).update(backfill_id, lambda found: found, create=lambda it=backfill_id: OutboxEntry(it))
    assert [one.backfill_id for one in recent_runs(store, 9)] == ["bf-2", "bf-1"]
