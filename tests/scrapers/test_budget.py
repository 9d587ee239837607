from __future__ import annotations

import datetime as dt
import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from zoneinfo import ZoneInfo

import pytest
from grants import is_granted
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.errors import BudgetExhausted, ConfigurationError, LeaseHeld, RateLimited
from scrapers.pace.budget import Budget, Clock
from scrapers.rate import QuotaHeaders, Rate


class FakeTime:
    """One hand moves the monotonic and the wall clock; a sleep is an instant jump."""

    def __init__(self, start: dt.datetime = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)) -> None:
        self.start = start
        self.elapsed_s = 0.0
        self.sleeps: list[float] = []
        self.clock = Clock(lambda: self.elapsed_s, self.now, self.sleep)

    def now(self) -> dt.datetime:
        return self.start + dt.timedelta(seconds=self.elapsed_s)

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.elapsed_s += seconds


@given(
    limit=st.integers(1, 7),
    per_second=st.none() | st.floats(0.2, 9),
    gaps=st.lists(st.floats(0, 40), min_size=1, max_size=60),
    pauses=st.dictionaries(st.integers(0, 59), st.floats(0, 90), max_size=4),
)
@settings(max_examples=150, deadline=None)
def test_no_sliding_window_ever_holds_more_grants_than_allowed(limit, per_second, gaps, pauses):
    time = FakeTime()
    budget = Budget(Rate(per_second=per_second, per_minute=limit), clock=time.clock)
    grants: list[float] = []
    for index, gap in enumerate(gaps):
        time.elapsed_s += gap
        if index in pauses:
            budget.pause_for(pauses[index])
        budget.acquire()
        grants.append(time.elapsed_s)
    spans = [(limit, 60.0)]
    if per_second:
        whole = max(1, int(per_second))
        spans.append((whole, whole / per_second))
    for allowed, length_s in spans:
        for first, later in zip(grants, grants[allowed:], strict=False):
            assert later - first >= length_s - 1e-9


def test_nobody_waits_longer_than_the_window_asks():
    time = FakeTime()
    budget = Budget(Rate(per_minute=3), clock=time.clock)
    for _ in range(4):
        budget.acquire()
    assert time.elapsed_s == pytest.approx(60.0, abs=0.01)
    assert budget.waited_s == pytest.approx(60.0, abs=0.01)


def test_threads_together_get_exactly_the_limit():
    time = FakeTime()
    budget = Budget(Rate(per_minute=50), clock=time.clock)
    granted: list[bool] = []

    def ask() -> None:
        granted.extend(is_granted(budget) for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert granted.count(True) == 50


def test_a_pause_stops_the_whole_source_and_is_only_lengthened():
    time = FakeTime()
    budget = Budget(Rate(), clock=time.clock)
    budget.pause_for(30)
    budget.pause_for(5)
    assert not is_granted(budget)
    assert budget.acquire() == pytest.approx(30)


def test_a_wait_longer_than_the_timeout_is_refused_without_sleeping():
    time = FakeTime()
    budget = Budget(Rate(), source="bdl", clock=time.clock)
    budget.pause_for(100)
    with pytest.raises(RateLimited) as caught:
        budget.acquire(timeout_s=10)
    assert caught.value.retry_after_s == pytest.approx(100)
    assert time.sleeps == []


def test_a_spent_day_names_its_reset_in_the_zone_of_the_api_and_does_not_sleep():
    # 2026-03-08 is the day of 23 hours in New York.
    time = FakeTime(dt.datetime(2026, 3, 8, 5, 30, tzinfo=dt.UTC))
    budget = Budget(Rate(per_day=2, reset_zone="America/New_York"), source="bdl", clock=time.clock)
    budget.acquire()
    budget.acquire()
    with pytest.raises(BudgetExhausted) as caught:
        budget.acquire()
    assert caught.value.facts["resets_at"] == "2026-03-09T04:00:00+00:00"
    assert "2026-03-09T00:00:00-04:00 (America/New_York)" in str(caught.value)
    assert time.sleeps == []
    time.elapsed_s = 22.5 * 3600 - 1
    with pytest.raises(BudgetExhausted):
        budget.acquire()
    time.elapsed_s += 1
    budget.acquire()


ZONES = ["UTC", "America/New_York", "Europe/Stockholm", "Asia/Kathmandu", "America/Havana", "Africa/Cairo"]


@given(
    start=st.integers(0, 4 * 365 * 24 * 60),
    zone=st.sampled_from(ZONES),
    steps=st.lists(st.floats(60, 200_000), min_size=1, max_size=40),
    per_day=st.integers(1, 3),
    per_month=st.integers(2, 9),
)
@settings(max_examples=150, deadline=None)
def test_no_local_day_or_month_gets_more_than_its_quota_and_every_reset_is_true(start, zone, steps, per_day, per_month):
    time = FakeTime(dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(minutes=start))
    budget = Budget(Rate(per_day=per_day, per_month=per_month, reset_zone=zone), clock=time.clock)
    days: dict[str, int] = {}
    months: dict[str, int] = {}
    for step in steps:
        time.elapsed_s += step
        local = time.now().astimezone(ZoneInfo(zone))
        day, month = f"{local:%Y-%m-%d}", f"{local:%Y-%m}"
        try:
            budget.acquire()
        except BudgetExhausted as wall:
            assert days.get(day, 0) == per_day or months.get(month, 0) == per_month
            reset = dt.datetime.fromisoformat(wall.facts["resets_at"])
            before = (reset - dt.timedelta(seconds=1)).astimezone(ZoneInfo(zone))
            after = reset.astimezone(ZoneInfo(zone))
            assert reset > time.now()
            assert before.date() < after.date()
            assert before.date() == local.date() or before.month == local.month
        else:
            days[day] = days.get(day, 0) + 1
            months[month] = months.get(month, 0) + 1
    assert max(days.values(), default=0) <= per_day
    assert max(months.values(), default=0) <= per_month


def test_a_new_day_gives_new_calls_until_the_month_is_spent():
    time = FakeTime(dt.datetime(2026, 1, 30, 12, tzinfo=dt.UTC))
    budget = Budget(Rate(per_day=3, per_month=4), clock=time.clock)
    budget.acquire()
    budget.acquire()
    assert budget.export_state() == {"day": "2026-01-30", "day_spent": 2, "month": "2026-01", "month_spent": 2}

    time.elapsed_s = 24 * 3600
    assert budget.export_state() == {"day": "2026-01-31", "day_spent": 0, "month": "2026-01", "month_spent": 2}
    budget.acquire()
    budget.acquire()
    with pytest.raises(BudgetExhausted, match="month"):
        budget.acquire()


def test_a_wall_clock_set_back_does_not_hand_out_yesterdays_quota_again():
    time = FakeTime(dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC))
    budget = Budget(Rate(per_day=1), clock=time.clock)
    budget.acquire()
    time.start -= dt.timedelta(days=1)
    with pytest.raises(BudgetExhausted):
        budget.acquire()


def test_a_refused_call_is_given_back_to_the_day():
    budget = Budget(Rate(per_day=1), clock=FakeTime().clock)
    budget.acquire()
    budget.refund()
    budget.acquire()
    with pytest.raises(BudgetExhausted):
        budget.acquire()


@pytest.mark.parametrize("rate", [Rate(per_minute=0), Rate(per_second=-1.0), Rate(reset_zone="Mars/Olympus")])
def test_an_impossible_rate_is_refused_before_any_call(rate):
    with pytest.raises(ConfigurationError):
        Budget(rate)


@given(st.floats(0, 20), st.floats(0, 20), st.integers(0, 9), st.lists(st.floats(0, 40), min_size=2, max_size=30))
@settings(max_examples=100, deadline=None)
def test_h28_pauses_are_drawn_anew_between_their_borders(one, other, seed, gaps):
    time, borders = FakeTime(), (min(one, other), max(one, other))
    budget = Budget(Rate(pause_s=borders), clock=time.clock, chance=random.Random(seed))
    grants: list[float] = []
    for gap in gaps:
        time.elapsed_s += gap
        waited_s = budget.acquire()
        grants.append(time.elapsed_s)
        assert waited_s <= borders[1] + 0.01
    assert all(later - first >= borders[0] - 1e-9 for first, later in itertools.pairwise(grants))


def test_h28_five_to_ten_seconds_between_pages_are_never_a_steady_beat():
    time = FakeTime()
    budget = Budget(Rate(pause_s=(5.0, 10.0)), clock=time.clock, chance=random.Random(1))
    for _ in range(200):
        budget.acquire()
    assert len(time.sleeps) == 199
    assert 5.0 <= min(time.sleeps) < 5.5
    assert 9.5 < max(time.sleeps) <= 10.0
    assert len({round(pause_s, 3) for pause_s in time.sleeps}) > 150


@pytest.mark.parametrize("pause_s", [(-1.0, 2.0), (3.0, 2.0), (0.0, float("inf"))])
def test_impossible_pauses_are_refused(pause_s):
    with pytest.raises(ConfigurationError, match="pause_s"):
        Budget(Rate(pause_s=pause_s))


def test_what_was_waited_can_be_asked_while_a_shared_pace_waits_for_its_store() -> None:
    is_asking, store_answers = threading.Event(), threading.Event()

    class Distant:
        def wait_s(self) -> float:
            is_asking.set()
            assert store_answers.wait(30)
            return 0.0

        def take(self) -> None: ...

        def hold(self, seconds: float) -> None: ...

        def close(self) -> None: ...

    budget = Budget(Rate(), pace=Distant())
    asking = threading.Thread(target=budget.acquire)
    asking.start()
    try:
        assert is_asking.wait(30)
        with ThreadPoolExecutor(1) as beside:
            assert beside.submit(lambda: budget.waited_s).result(timeout=30) == 0.0
    finally:
        store_answers.set()
        asking.join()


def test_whoever_waits_when_the_calls_of_a_run_are_ended_is_refused_after_its_wait_and_takes_none() -> None:
    time = FakeTime()

    def lose(seconds: float) -> None:
        time.sleep(seconds)
        budget.end(LeaseHeld("another run holds the source"))

    budget = Budget(Rate(per_minute=1, per_day=9), clock=Clock(lambda: time.elapsed_s, time.now, lose))
    budget.acquire()
    for waits in (1, 1):
        with pytest.raises(LeaseHeld, match="another run"):
            budget.acquire()
        assert len(time.sleeps) == waits
    assert budget.export_state()["day_spent"] == 1


@pytest.mark.parametrize(
    ("told", "cost"),
    [
        ("10", 10),
        ("10.0", 10),
        ("0", 0),
        ("-3", 10),
        ("1e9", 10),
        ("9" * 40, 10),
        ("NaN", 10),
        ("inf", 10),
        ("ten", 10),
    ],
)
def test_a_call_costs_what_its_header_says_unless_no_call_can_cost_that(told, cost):
    budget = Budget(Rate(per_month=1_000))
    budget.acquire(units=10)
    assert budget.believe(QuotaHeaders("left", last="last"), {"last": told}, 10) == cost
    budget.acquire(units=1_000 - cost)
    with pytest.raises(BudgetExhausted):
        budget.acquire()
