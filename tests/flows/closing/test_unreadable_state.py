"""State that cannot be read stops its own source, and keeps no mail of another one back."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from alerting import store_clock
from alerting.errors import StateUnreadable
from alerting.instant import utc_now
from alerting.outbox import Outbox, OutboxEntry
from flows import watchdog
from flows.closing.close import close_dead_runs
from flows.coordination.lease import Holder, Lease, pause_lease, release_lease
from flows.planning.stored_plan import plan_name
from flows.run.run import Run

SOURCE, OTHER = "bdl_box_scores", "bdl_games"
FLOW_RUN = "0193e1f0-0000-7000-8000-000000000001"
DAMAGED = {
    "outbox/backfill=bf-other.json": {"state": "open", "source": OTHER},
    f"leases/{OTHER}.json": {},
    "reviews/bf-other.json": {"state": "waiting", "source": OTHER},
}


@pytest.fixture
def dead(place: Any, ran: Any) -> Any:
    """A run that died before it closed itself."""

    def die(run: Run) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        ran("2025-01-01", "2025-01-01", die)
    return place


@pytest.mark.parametrize("name", DAMAGED)
def test_an_object_of_another_source_that_cannot_be_read_keeps_no_mail_back(dead: Any, name: str) -> None:
    dead.store.write(name, b"{", metadata=DAMAGED[name])
    later = utc_now() + dt.timedelta(hours=2)
    assert len(close_dead_runs(dead.services, later, SOURCE)) == 1
    assert len(dead.inbox.messages()) == 1


@pytest.mark.parametrize("name", DAMAGED)
def test_who_looks_after_all_sources_hears_of_it_when_the_others_are_closed(dead: Any, name: str) -> None:
    dead.store.write(name, b"{", metadata=DAMAGED[name])
    with pytest.raises(StateUnreadable, match=name):
        close_dead_runs(dead.services, utc_now() + dt.timedelta(hours=2))
    assert len(dead.inbox.messages()) == 1


@pytest.mark.parametrize("what_breaks", ["plan", "server"])
def test_a_paused_run_that_cannot_be_closed_keeps_no_mail_of_another_source_back(
    dead: Any, what_breaks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = utc_now() + dt.timedelta(hours=2)
    paused = Lease.acquire(dead.store, OTHER, Holder("bf-paused", FLOW_RUN), now=later, ttl_s=60)
    pause_lease(dead.store, OTHER, "bf-paused", later)
    entry = OutboxEntry("bf-paused", source=OTHER, opened_at=later, heartbeat_at=later)
    Outbox(dead.store).update("bf-paused", lambda found: found, create=lambda: entry)
    dead.store.write(plan_name("bf-paused"), b"{")

    def is_over(flow_run_id: str) -> bool:
        assert flow_run_id == paused.record.flow_run_id
        if what_breaks == "server":
            raise RuntimeError("503 Service Unavailable")
        return True

    monkeypatch.setattr(watchdog, "is_over", is_over)
    state = asyncio.run(watchdog._watch(dead.services, later))
    assert state.is_failed()
    assert f"{OTHER}: " in str(state.message)
    assert len(dead.inbox.messages()) == 1


def test_a_machine_whose_clock_is_ahead_ends_no_living_run(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Lease.acquire(place.store, SOURCE, Holder("bf-1"), now=utc_now(), ttl_s=60)
    ahead = utc_now() + dt.timedelta(minutes=10)
    monkeypatch.setattr(store_clock, "utc_now", lambda: ahead)
    assert asyncio.run(watchdog._watch(place.services, ahead)).message == "0 dead runs, 0 mails handled"


def _begin(store: Any) -> None:
    now = utc_now()
    Lease.acquire(store, SOURCE, Holder("bf-1"), now=now, ttl_s=60)
    entry = OutboxEntry("bf-1", source=SOURCE, opened_at=now, heartbeat_at=now)
    Outbox(store).update("bf-1", lambda found: found, create=lambda: entry)


def _end(store: Any) -> None:
    Outbox(store).update("bf-1", lambda entry: replace(entry, state="sent"))
    release_lease(store, SOURCE, "bf-1", utc_now())


@pytest.mark.parametrize("listing", [1, 2, 3])
@pytest.mark.parametrize("happens", [_begin, _end])
def test_a_run_that_begins_or_ends_while_the_dead_are_looked_for_is_none_of_them(
    place: Any, happens: Callable[[Any], None], listing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if happens is _end:
        _begin(place.store)
    before, made = place.store.list, list[str]()

    def listed(prefix: str, **how: Any) -> list[Any]:
        found = list(before(prefix, **how))
        made.append(prefix.partition("/")[0])
        if len(made) == listing:
            happens(place.store)
        return found

    monkeypatch.setattr(place.services.store, "list", listed)
    assert close_dead_runs(place.services, utc_now()) == []
    assert set(made[:3]) == {"leases", "outbox", "reviews"}
    assert place.inbox.messages() == []


def test_a_run_that_died_behind_its_mail_is_freed_by_the_watchdog(place: Any, at_the_store: Any) -> None:
    Lease.acquire(place.store, SOURCE, Holder("bf-1"), now=utc_now(), ttl_s=60)
    entry = OutboxEntry("bf-1", source=SOURCE, state="sent")
    Outbox(place.store).update("bf-1", lambda found: found, create=lambda: entry)
    later = utc_now() + dt.timedelta(hours=2)
    at_the_store(later)
    assert asyncio.run(watchdog._watch(place.services, later)).message == "1 dead run, 0 mails handled"
    assert asyncio.run(watchdog._watch(place.services, later)).message == "0 dead runs, 0 mails handled"


def test_what_died_and_owes_no_mail_is_freed_by_the_watchdog(place: Any, at_the_store: Any) -> None:
    Lease.acquire(place.store, SOURCE, Holder("publish-1", mode="publish"), now=utc_now(), ttl_s=60)
    later = utc_now() + dt.timedelta(hours=2)
    at_the_store(later)
    assert asyncio.run(watchdog._watch(place.services, later)).message == "1 dead run, 0 mails handled"
    assert asyncio.run(watchdog._watch(place.services, later)).message == "0 dead runs, 0 mails handled"


def test_a_start_of_that_source_is_refused(dead: Any) -> None:
    for name, metadata in DAMAGED.items():
        dead.store.write(name, b"{", metadata=metadata)
    with pytest.raises(StateUnreadable):
        close_dead_runs(dead.services, utc_now(), OTHER)
