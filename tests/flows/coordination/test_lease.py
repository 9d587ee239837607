"""The lease: one run at a time per source."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest

from alerting import instant, machine, store_clock
from alerting.errors import LeaseHeld, StateUnreadable
from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from alerting.store_clock import StoreClock
from flows.coordination.lease import Holder, Lease, list_leases, pause_lease, read_lease, release_lease, suspended_runs
from flows.coordination.lease_loan import ask_for, lend

# Later than the store, which knows by its own clock when it took a lease.
NOW = dt.datetime(2125, 2, 1, 12, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(seconds=61)
AtTheStore: TypeAlias = Callable[[dt.datetime], None]


def acquire(store: MemoryObjectStore, backfill_id: str, now: dt.datetime = NOW) -> Lease:
    return Lease.acquire(
        store, "s", Holder(backfill_id, "run-1", range_text="2025-01-01..2025-01-31"), now=now, ttl_s=60
    )


def test_the_second_run_is_refused_with_holder_start_mode_and_where_to_look() -> None:
    store = MemoryObjectStore()
    acquire(store, "bf-1")
    with pytest.raises(LeaseHeld) as refused:
        acquire(store, "bf-2")
    for part in ("bf-1", "2125-02-01 12:00:00 UTC", "backfill", "flow run", "nothing was done"):
        assert part in str(refused.value)


def test_of_many_starters_exactly_one_gets_the_lease() -> None:
    store = MemoryObjectStore()

    def start(number: int) -> bool:
        try:
            acquire(store, f"bf-{number}")
        except LeaseHeld:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(start, range(16))) == 1


def test_a_released_lease_is_free_at_once() -> None:
    store = MemoryObjectStore()
    acquire(store, "bf-1").release(NOW)
    assert acquire(store, "bf-2").record.backfill_id == "bf-2"


def test_an_expired_lease_can_be_taken_and_the_old_holder_notices(at_the_store: AtTheStore) -> None:
    store = MemoryObjectStore()
    first = acquire(store, "bf-1")
    at_the_store(LATER)
    acquire(store, "bf-2", LATER)
    with pytest.raises(LeaseHeld, match="bf-2"):
        first.heartbeat(LATER)
    first.release(LATER)
    held = read_lease(store, "s")
    assert held is not None
    assert (held.backfill_id, held.state) == ("bf-2", "held")


def test_a_heartbeat_extends_the_lease() -> None:
    store = MemoryObjectStore()
    acquire(store, "bf-1").heartbeat(NOW + dt.timedelta(seconds=50))
    with pytest.raises(LeaseHeld):
        acquire(store, "bf-2", LATER)


def test_only_the_holder_can_be_released() -> None:
    store = MemoryObjectStore()
    acquire(store, "bf-1")
    assert not release_lease(store, "s", "bf-2", NOW)
    assert release_lease(store, "s", "bf-1", NOW)


def test_an_unreadable_lease_is_not_a_free_lease() -> None:
    store = MemoryObjectStore()
    store.write("leases/s.json", b"garbage")
    with pytest.raises(StateUnreadable):
        acquire(store, "bf-1")


@pytest.mark.parametrize("other", ["the host itself", "another machine of that name"])
def test_no_holder_is_taken_for_dead_by_a_namesake_that_does_not_see_its_process(
    other: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As of containers with the network of their host: all have its name, and each its own process ids."""
    store = MemoryObjectStore()
    monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)
    acquire(store, "bf-1")
    assert acquire(store, "bf-2").record.backfill_id == "bf-2", "here it is seen that no such process lives"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("0f4a2c11-another")
    monkeypatch.setattr(machine, "_BOOT" if other == "another machine of that name" else "_NAMESPACE", elsewhere)
    with pytest.raises(LeaseHeld, match="bf-2"):
        acquire(store, "bf-3")


def test_a_clock_that_is_set_back_gives_the_source_to_nobody_else() -> None:
    store = MemoryObjectStore()
    first = acquire(store, "bf-1")
    first.heartbeat(NOW - dt.timedelta(hours=1))
    held = read_lease(store, "s")
    assert held is not None
    assert held.expires_at >= NOW + dt.timedelta(seconds=60)


# -- a suspended run --------------------------------------------------------------------------------------------


def hold(store: MemoryObjectStore, holder: Holder, now: dt.datetime = NOW) -> Lease:
    return Lease.acquire(store, "s", holder, now=now, ttl_s=60)


@pytest.fixture
def suspended() -> MemoryObjectStore:
    store = MemoryObjectStore()
    acquire(store, "bf-1")
    pause_lease(store, "s", "bf-1", NOW)
    return store


@pytest.mark.parametrize("mode", ["reconcile", "daily"])
def test_a_command_or_daily_run_gives_a_suspended_run_its_lease_back_as_it_was(
    suspended: MemoryObjectStore, mode: str
) -> None:
    before = read_lease(suspended, "s")
    lease = hold(suspended, Holder("other", mode=mode), LATER)
    assert suspended_runs(list_leases(suspended)) == {"bf-1"}, "nobody may take it for dead meanwhile"
    lease.heartbeat(LATER)
    lease.release(LATER)
    assert read_lease(suspended, "s") == before


def test_a_suspended_run_is_known_after_commands_that_died(
    suspended: MemoryObjectStore, at_the_store: AtTheStore
) -> None:
    before = read_lease(suspended, "s")
    hold(suspended, Holder("one", mode="cleanup"))
    at_the_store(LATER)
    hold(suspended, Holder("two", mode="cleanup"), LATER)
    assert suspended_runs(list_leases(suspended)) == {"bf-1"}
    assert release_lease(suspended, "s", "two", LATER), "as the watchdog does"
    assert read_lease(suspended, "s") == before


def test_another_backfill_takes_the_place_of_a_suspended_one_for_good(suspended: MemoryObjectStore) -> None:
    acquire(suspended, "bf-2").release(LATER)
    assert suspended_runs(list_leases(suspended)) == set()
    held = read_lease(suspended, "s")
    assert held is not None
    assert (held.state, held.backfill_id) == ("released", "bf-2")


def test_a_suspended_run_that_is_ended_meanwhile_is_not_given_its_lease_back(suspended: MemoryObjectStore) -> None:
    lease = hold(suspended, Holder("one", mode="cleanup"))
    release_lease(suspended, "s", "bf-1", NOW)
    lease.heartbeat(NOW)
    lease.release(NOW)
    assert suspended_runs(list_leases(suspended)) == set()


def test_a_suspended_run_that_goes_on_holds_the_lease_as_any_other(suspended: MemoryObjectStore) -> None:
    hold(suspended, Holder("one", mode="cleanup")).release(NOW)
    acquire(suspended, "bf-1").release(LATER)
    held = read_lease(suspended, "s")
    assert held is not None
    assert (held.state, held.suspended) == ("released", None)


TEN_MINUTES = dt.timedelta(minutes=10)


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> dt.datetime:
    """What a machine whose clock is ten minutes ahead takes for now."""
    monkeypatch.setattr(store_clock, "utc_now", lambda: utc_now() + TEN_MINUTES)
    return utc_now() + TEN_MINUTES


def test_a_machine_whose_clock_is_ahead_takes_no_living_run_for_dead(
    ahead: dt.datetime, at_the_store: AtTheStore
) -> None:
    store = MemoryObjectStore()
    acquire(store, "bf-1", utc_now())
    with pytest.raises(LeaseHeld, match="bf-1"):
        acquire(store, "bf-2", ahead)
    at_the_store(ahead)
    acquire(store, "bf-2", ahead)


def test_a_clock_that_is_set_right_while_the_store_is_asked_makes_no_living_run_dead(
    ahead: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryObjectStore()
    acquire(store, "bf-1", utc_now())
    write = store.write

    def set_right(name: str, *given: Any, **rest: Any) -> int:
        if name == store_clock.NAME:
            monkeypatch.setattr(store_clock, "utc_now", utc_now)
        return write(name, *given, **rest)

    monkeypatch.setattr(store, "write", set_right)
    with pytest.raises(LeaseHeld, match="bf-1"):
        acquire(store, "bf-2", ahead)


def test_the_time_that_an_answer_of_the_store_takes_makes_no_lease_older(
    ahead: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, passed_s = utc_now(), [0.0]
    monkeypatch.setattr(instant, "time", SimpleNamespace(monotonic=lambda: passed_s[0]))
    store = MemoryObjectStore(now=lambda: at + dt.timedelta(seconds=passed_s[0]))
    acquire(store, "bf-1", at)
    listed = store.list

    def slow(prefix: str, **rest: Any) -> Any:
        found = listed(prefix, **rest)
        passed_s[0] += 59
        return found

    monkeypatch.setattr(store, "list", slow)
    with pytest.raises(LeaseHeld, match="bf-1"):
        acquire(store, "bf-2", ahead)


def test_a_store_is_asked_anew_what_time_it_is_when_the_clock_of_the_machine_was_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryObjectStore()
    clock, asked = StoreClock(store), []
    for minutes in (0, 0, 10, 10, -50):
        off = dt.timedelta(minutes=minutes)
        monkeypatch.setattr(store_clock, "utc_now", lambda off=off: utc_now() + off)
        assert clock.now() <= utc_now()
        asked.append(clock.written_at(store_clock.NAME))
    assert len(set(asked)) == 3


def test_a_run_on_a_machine_whose_clock_is_behind_is_not_taken_for_dead(at_the_store: AtTheStore) -> None:
    store = MemoryObjectStore()
    first = acquire(store, "bf-1", utc_now() - TEN_MINUTES)
    with pytest.raises(LeaseHeld, match="bf-1"):
        acquire(store, "bf-2", utc_now())
    first.heartbeat(utc_now() - TEN_MINUTES)
    at_the_store(utc_now() + dt.timedelta(seconds=61))
    acquire(store, "bf-2", utc_now())


def test_a_loan_is_over_by_the_clock_of_the_store_only(ahead: dt.datetime) -> None:
    store = MemoryObjectStore()
    backfill = acquire(store, "bf-1", utc_now())
    ask_for(store, "s", "daily-1", mode="daily", now=ahead, ttl_s=60)
    assert lend(store, backfill, utc_now()) == "daily-1", "its lease is alive to who asks for it"
    backfill.release(utc_now())
    for who in ("bf-1", "bf-2"):
        with pytest.raises(LeaseHeld):
            acquire(store, who, ahead)


def test_a_borrower_whose_clock_is_behind_does_not_think_that_it_has_the_source_for_longer() -> None:
    store = MemoryObjectStore()
    backfill = acquire(store, "bf-1")
    ask_for(store, "s", "daily-1", mode="daily", now=NOW, ttl_s=60)
    lend(store, backfill, NOW)
    behind = NOW - TEN_MINUTES
    loan = ask_for(store, "s", "daily-1", mode="daily", now=behind, ttl_s=60)
    assert loan is not None
    assert loan.held_until.at <= utc_now() + dt.timedelta(seconds=60)


def test_nothing_is_asked_about_a_lease_that_is_free_or_alive() -> None:
    store = MemoryObjectStore()
    acquire(store, "bf-1", utc_now()).release(utc_now())
    lease = acquire(store, "bf-2", utc_now())
    with pytest.raises(LeaseHeld):
        acquire(store, "bf-3", utc_now())
    lease.release(utc_now())
    assert [one.name for one in store.list("")] == ["leases/s.json"]
