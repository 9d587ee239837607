"""Day and month quotas that processes share: a virtual clock, and the real compare-and-swap of the store."""

from __future__ import annotations

import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from grants import is_granted
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from alerting.errors import BudgetExhausted, StateUnreadable
from alerting.memory_store import MemoryObjectStore
from scrapers.pace.budget import Budget, Clock
from scrapers.pace.quota import Purpose, SharedQuota
from scrapers.rate import QuotaHeaders, Rate

START = dt.datetime(2025, 2, 1, 9, tzinfo=dt.UTC)
PER_DAY = Rate(per_day=10_000, reset_zone="America/New_York")


class Time:
    """A clock that only moves when somebody sleeps."""

    def __init__(self, now: dt.datetime = START) -> None:
        self.now = now

    def sleep(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now.timestamp(), lambda: self.now, self.sleep)


class Upstream:
    """Answers 429 beyond its limit, counting by its own calendar, as the real one does."""

    def __init__(self, time: Time, limit: int) -> None:
        self.time, self.limit = time, limit
        self.calls: dict[dt.date, int] = {}
        self.refused = 0

    def call(self) -> None:
        from zoneinfo import ZoneInfo

        day = self.time.now.astimezone(ZoneInfo("America/New_York")).date()
        self.calls[day] = self.calls.get(day, 0) + 1
        self.refused += self.calls[day] > self.limit


def budget_of(store: MemoryObjectStore, time: Time, rate: Rate = PER_DAY, purpose: Purpose = "backfill") -> Budget:
    quota = SharedQuota(store, "s", rate, purpose=purpose, share=0.7, clock=time.clock)
    return Budget(rate, source="s", clock=time.clock, quota=quota)


def test_sources_of_one_account_spend_one_quota_and_it_is_known_who_used_what() -> None:
    store, time = MemoryObjectStore(), Time()
    rate = Rate(per_day=10)
    quotas = [
        SharedQuota(store, name, rate, account="login", share=1.0, clock=time.clock) for name in ("cards", "results")
    ]
    budgets = [Budget(rate, clock=time.clock, quota=quota) for quota in quotas]
    assert [is_granted(budgets[0]) for _ in range(7)] == [True] * 7
    assert [is_granted(budgets[1]) for _ in range(3)] == [True] * 3
    for budget in budgets:
        with pytest.raises(BudgetExhausted, match="10 calls are allowed"):
            is_granted(budget)
        budget.close()
    assert quotas[0].counts().by_source["day"] == {"cards": 7, "results": 3}
    assert [stored.name for stored in store.list("budgets/")] == ["budgets/login.json"]


def test_18260_calls_at_10000_a_day_take_3_quota_days_and_live_never_sees_a_429() -> None:
    store, time = MemoryObjectStore(), Time()
    upstream = Upstream(time, 10_000)
    budget, live = budget_of(store, time), budget_of(store, time, purpose="live")
    made, days = 0, set()
    while made < 18_260:
        try:
            budget.acquire()
        except BudgetExhausted as wall:
            # What the scheduled run does: a new process at the instant of the reset.
            budget.close()
            time.now = dt.datetime.fromisoformat(wall.facts["resets_at"])
            budget = budget_of(store, time)
            continue
        upstream.call()
        made += 1
        days.add(time.now.date())
        if made % 3 == 0:
            time.sleep(1)
        if made % 10 == 0 and upstream.calls[max(upstream.calls)] < 9_900:
            live.acquire()
            upstream.call()
    assert len(upstream.calls) == 3
    assert upstream.refused == 0


def test_live_may_use_what_a_backfill_may_not() -> None:
    store, time, rate = MemoryObjectStore(), Time(), Rate(per_day=100)
    backfill, live = budget_of(store, time, rate), budget_of(store, time, rate, "live")
    for _ in range(70):
        backfill.acquire()
    with pytest.raises(BudgetExhausted, match="70%"):
        backfill.acquire()
    for _ in range(30):
        live.acquire()
    with pytest.raises(BudgetExhausted):
        live.acquire()


def test_many_processes_together_never_pass_the_limit() -> None:
    store, time, rate = MemoryObjectStore(), Time(), Rate(per_day=500)

    def spend(_: int) -> int:
        budget, made = budget_of(store, time, rate, "live"), 0
        try:
            while True:
                budget.acquire()
                made += 1
        except BudgetExhausted:
            budget.close()
        return made

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(spend, range(8))) <= 500
    rest = budget_of(store, time, rate, "live")
    used = sum(json.loads(store.read("budgets/s.json")[0])["day_spent"].values())
    for _ in range(500 - used):
        rest.acquire()
    with pytest.raises(BudgetExhausted):
        rest.acquire()


def test_calls_are_counted_in_blocks_and_unused_ones_come_back() -> None:
    store, time = MemoryObjectStore(), Time()
    budget = budget_of(store, time)
    for _ in range(130):
        budget.acquire()
    assert json.loads(store.read("budgets/s.json")[0])["day_spent"] == {"backfill": 200}
    budget.close()
    assert json.loads(store.read("budgets/s.json")[0])["day_spent"] == {"backfill": 130}


def test_a_killed_process_counts_as_one_block_more_at_most() -> None:
    store, time = MemoryObjectStore(), Time()
    budget_of(store, time).acquire()
    left = SharedQuota(store, "s", PER_DAY, clock=time.clock).left()
    assert left is not None
    assert 6_900 <= left < 7_000


@pytest.mark.parametrize(("per_day", "ahead"), [(10_000, 100), (None, 100), (200, 0)])
def test_the_next_block_of_an_ample_quota_is_reserved_before_the_last_one_is_used(
    per_day: int | None, ahead: int
) -> None:
    time, store = Time(), MemoryObjectStore()
    budget, seen = budget_of(store, time, Rate(per_day=per_day)), SharedQuota(store, "s", Rate(), clock=time.clock)

    def reserved() -> int:
        return sum(seen.counts().day_spent.values())

    budget.stock_up()
    assert reserved() == 0
    for _ in range(80):
        budget.acquire()
    held = reserved()
    budget.stock_up()
    assert reserved() == held + ahead
    for _ in range(held + ahead - 80):
        budget.acquire()
    assert reserved() == held + ahead
    budget.acquire()
    budget.close()
    budget.stock_up()
    assert reserved() == held + ahead + 1


def test_a_429_is_not_spend() -> None:
    store, time, rate = MemoryObjectStore(), Time(), Rate(per_day=10)
    budget = budget_of(store, time, rate, "live")
    for _ in range(100):
        budget.acquire()
        budget.refund()
    budget.close()
    assert json.loads(store.read("budgets/s.json")[0])["day_spent"] == {"live": 0}


def test_the_sources_own_counter_is_believed_over_ours() -> None:
    store, time, rate = MemoryObjectStore(), Time(), Rate(per_month=500)
    budget = budget_of(store, time, rate, "live")
    budget.acquire()
    budget.believe(QuotaHeaders("x-requests-remaining", "month"), {"x-requests-remaining": "2"})
    budget.acquire()
    budget.acquire()
    with pytest.raises(BudgetExhausted, match="the source says"):
        budget.acquire()


def test_what_one_process_was_told_counts_for_the_next_one() -> None:
    store, time, rate = MemoryObjectStore(), Time(), Rate(per_day=1000)
    told = budget_of(store, time, rate, "live")
    told.acquire()
    told.believe(QuotaHeaders("remaining"), {"remaining": "60"})
    for _ in range(51):
        told.acquire()
    other = SharedQuota(store, "s", rate, purpose="live", clock=time.clock)
    assert other.left() is not None
    assert other.left() <= 60  # type: ignore[operator]


def test_a_reset_that_the_source_names_is_when_it_goes_on() -> None:
    store, time = MemoryObjectStore(), Time()
    budget = budget_of(store, time)
    budget.acquire()
    budget.believe(QuotaHeaders("remaining", reset="reset"), {"remaining": "0", "reset": "90"})
    with pytest.raises(BudgetExhausted) as wall:
        budget.acquire()
    assert wall.value.facts["resets_at"] == (START + dt.timedelta(seconds=90)).isoformat()


def test_an_unreadable_count_stops_the_calls_and_is_never_taken_for_zero() -> None:
    store, time = MemoryObjectStore(), Time()
    store.write("budgets/s.json", b"[1]")
    with pytest.raises(StateUnreadable, match="state unreadable"):
        budget_of(store, time).acquire()


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 60),
    steps=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["call", "429", "kill", "hour"])), max_size=200),
)
def test_no_day_ever_sees_more_calls_than_its_limit(limit: int, steps: list[tuple[int, str]]) -> None:
    store, time, rate = MemoryObjectStore(), Time(), Rate(per_day=limit, reset_zone="America/New_York")
    purposes: list[Purpose] = ["backfill", "backfill", "live"]
    budgets = [budget_of(store, time, rate, purpose) for purpose in purposes]
    upstream = Upstream(time, limit)
    for who, step in steps:
        if step == "hour":
            time.sleep(3600)
        elif step == "kill":
            budgets[who] = budget_of(store, time, rate, purposes[who])
        else:
            try:
                budgets[who].acquire()
            except BudgetExhausted:
                continue
            if step == "429":
                budgets[who].refund()
            else:
                upstream.call()
    assert upstream.refused == 0


def test_a_machine_whose_clock_is_ahead_begins_no_new_day_before_it_has_begun_at_the_store() -> None:
    """Until then it would have the quota of the old day for a second time."""
    time, rate = Time(dt.datetime(2025, 2, 1, 23, 30, tzinfo=dt.UTC)), Rate(per_day=10)
    store, ahead = MemoryObjectStore(now=lambda: time.now), Time(time.now + dt.timedelta(hours=1))
    budget_of(store, time, rate, "live").acquire(units=10)
    with pytest.raises(BudgetExhausted):
        budget_of(store, ahead, rate, "live").acquire()
    time.sleep(1_800)
    ahead.sleep(1_800)
    budget_of(store, ahead, rate, "live").acquire()
