"""A backfill lends its lease to live work and gets it back; at no instant do both work."""

from __future__ import annotations

import datetime as dt

import pytest

from alerting.errors import LeaseHeld
from alerting.memory_store import MemoryObjectStore
from flows.coordination.lease import Holder, Lease, LeaseRecord, read_lease
from flows.coordination.lease_loan import BorrowedLease, ask_for, borrower, lend, take_back, withdraw

NOW = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)
TTL_S = 60.0


def acquire(store: MemoryObjectStore, backfill_id: str, now: dt.datetime = NOW, mode: str = "backfill") -> Lease:
    return Lease.acquire(store, "s", Holder(backfill_id, mode=mode), now=now, ttl_s=TTL_S)


def ask(store: MemoryObjectStore, live_id: str = "daily-1", now: dt.datetime = NOW) -> BorrowedLease | None:
    return ask_for(store, "s", live_id, mode="daily", now=now, ttl_s=TTL_S)


def held(store: MemoryObjectStore) -> LeaseRecord:
    found = read_lease(store, "s")
    assert found is not None
    return found


def lent(store: MemoryObjectStore) -> tuple[Lease, BorrowedLease]:
    backfill = acquire(store, "bf-1")
    assert ask(store) is None
    assert lend(store, backfill, NOW) == "daily-1"
    live = ask(store)
    assert live is not None
    return backfill, live


def test_live_work_asks_waits_gets_the_source_and_gives_it_back() -> None:
    store = MemoryObjectStore()
    backfill, live = lent(store)
    assert borrower(store, "s", NOW) == "daily-1"
    live.release(NOW)
    assert borrower(store, "s", NOW) == ""
    take_back(store, backfill, held(store))
    backfill.heartbeat(NOW)


def test_every_heartbeat_of_a_live_run_prolongs_its_loan() -> None:
    store = MemoryObjectStore()
    _, live = lent(store)
    for at in (NOW, NOW + dt.timedelta(seconds=45)):
        live.heartbeat(at)
        assert (held(store).lent_until or NOW) >= at + dt.timedelta(seconds=TTL_S)


def test_a_live_run_that_hears_of_its_loan_late_has_the_source_for_no_longer_than_the_backfill_knows() -> None:
    store = MemoryObjectStore()
    backfill = acquire(store, "bf-1")
    ask(store)
    lend(store, backfill, NOW)
    seen, late = held(store), NOW + dt.timedelta(seconds=TTL_S - 1)
    assert ask(store, now=late) is not None
    assert not take_back(store, backfill, seen), "the live run has prolonged its loan"
    assert borrower(store, "s", late) == "daily-1"
    assert take_back(store, backfill, held(store))
    assert ask(store, now=late) is None


def test_the_backfill_keeps_its_lease_alive_while_it_is_lent() -> None:
    store = MemoryObjectStore()
    backfill, live = lent(store)
    for minute in range(1, 10):
        now = NOW + dt.timedelta(seconds=30 * minute)
        backfill.heartbeat(now)
        live.heartbeat(now)
    held = read_lease(store, "s")
    assert held is not None
    assert (held.backfill_id, held.lent_to) == ("bf-1", "daily-1")


def test_a_live_run_that_dies_is_over_when_its_loan_is() -> None:
    store = MemoryObjectStore()
    backfill, live = lent(store)
    later = NOW + dt.timedelta(seconds=TTL_S + 1)
    backfill.heartbeat(later)
    assert borrower(store, "s", later) == ""
    take_back(store, backfill, held(store))
    with pytest.raises(LeaseHeld, match="took its lease back"):
        live.heartbeat(later)


def test_a_second_live_run_waits_for_the_first() -> None:
    store = MemoryObjectStore()
    backfill, live = lent(store)
    assert ask(store, "daily-2") is None
    live.release(NOW)
    take_back(store, backfill, held(store))
    assert lend(store, backfill, NOW) == "daily-2"


def test_a_live_run_that_waits_no_longer_is_not_lent_to() -> None:
    store = MemoryObjectStore()
    backfill = acquire(store, "bf-1")
    ask(store)
    withdraw(store, "s", "daily-1")
    assert lend(store, backfill, NOW) == ""


def test_live_work_never_makes_live_work_yield() -> None:
    store = MemoryObjectStore()
    acquire(store, "daily-1", mode="daily")
    assert ask(store, "daily-2") is None
    held = read_lease(store, "s")
    assert held is not None
    assert held.wanted_by == ""


@pytest.mark.parametrize("who", ["bf-2", "bf-1"])
def test_nobody_gets_a_source_that_a_live_run_still_borrows_from_a_backfill_that_has_ended(who: str) -> None:
    store = MemoryObjectStore()
    backfill, live = lent(store)
    backfill.release(NOW)
    with pytest.raises(LeaseHeld):
        acquire(store, who)
    live.heartbeat(NOW + dt.timedelta(seconds=30))
    live.release(NOW + dt.timedelta(seconds=40))
    acquire(store, who, NOW + dt.timedelta(seconds=41))
