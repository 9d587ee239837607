"""The rate of an account that several processes share: a virtual clock, and the real compare-and-swap of the store."""

from __future__ import annotations

import datetime as dt
import heapq
from typing import Any

import pytest
from grants import is_granted
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from alerting.errors import StateUnreadable
from alerting.memory_store import MemoryObjectStore
from scrapers.pace.account_pace import HEARD_WITHIN_S, LONGEST_TURN_S, AccountPace
from scrapers.pace.budget import Budget, Clock
from scrapers.rate import Rate

START = dt.datetime(2025, 2, 1, 9, tzinfo=dt.UTC)
NAME = "budgets/pace/a.json"
RATE = Rate(per_second=1.8)


class Process:
    """One process whose calls are made one after the other, each a while after the one before was let through."""

    def __init__(self, world: World, pauses_s: list[float], rate: Rate = RATE) -> None:
        self.world, self.pauses_s = world, pauses_s
        clock = Clock(lambda: world.now_s, lambda: START + dt.timedelta(seconds=world.now_s), world.sleep)
        self.budget = Budget(rate, clock=clock, pace=AccountPace(world.store, "a", rate, clock=clock))


class CountingStore(MemoryObjectStore):
    """Knows how often it was written."""

    writes = 0

    def write(self, *args: Any, **rest: Any) -> int:
        self.writes += 1
        return super().write(*args, **rest)


class World:
    """Processes in virtual time; each looks again when its budget said so."""

    def __init__(self) -> None:
        self.store = CountingStore()
        self.now_s = 0.0
        self.calls: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Conflicts cost no time here: one process acts at a time."""

    def run(self, pauses_s: list[list[float]], rate: Rate = RATE) -> None:
        processes = [Process(self, pauses, rate) for pauses in pauses_s]
        due = [(0.0, number) for number in range(len(processes))]
        while due:
            self.now_s, number = heapq.heappop(due)
            process = processes[number]
            with process.budget._lock:
                wait_s = process.budget._take()
            if wait_s:
                heapq.heappush(due, (self.now_s + max(wait_s, 0.001), number))
                continue
            self.calls.append(self.now_s)
            if process.pauses_s:
                heapq.heappush(due, (self.now_s + process.pauses_s.pop(), number))
            else:
                process.budget.close()


def most_within(calls: list[float], seconds: float) -> int:
    return max(sum(begin <= call < begin + seconds for call in calls) for begin in calls)


@given(st.lists(st.lists(st.floats(0, 8), max_size=25), min_size=1, max_size=4))
@hypothesis_settings(max_examples=60)
def test_no_second_of_an_account_has_more_calls_than_allowed_whoever_makes_them(pauses_s) -> None:
    wanted = sum(len(pauses) + 1 for pauses in pauses_s)
    world = World()
    world.run(pauses_s)
    assert len(world.calls) == wanted
    assert most_within(world.calls, 1.0) <= 2


@given(
    st.lists(st.lists(st.floats(0, 90), max_size=12), min_size=2, max_size=4), st.sampled_from([1, 2, 3, 40]), st.data()
)
@hypothesis_settings(max_examples=60)
def test_no_minute_of_an_account_has_more_calls_than_allowed_whoever_makes_them(pauses_s, limit, data) -> None:
    quick = data.draw(st.integers(0, 100)) if limit == 40 else 0
    world = World()
    world.run([[*pauses, *[0.0] * quick] for pauses in pauses_s], Rate(per_minute=limit))
    assert len(world.calls) == sum(len(pauses) + quick + 1 for pauses in pauses_s)
    assert most_within(world.calls, 60.0) <= limit


def test_one_process_alone_gets_nearly_the_whole_rate_and_two_share_it() -> None:
    for processes in (1, 2):
        world = World()
        world.run([[0.0] * 99 for _ in range(processes)])
        assert len(world.calls) / world.calls[-1] > 0.85 * 1.8


@pytest.mark.parametrize("is_shared", [False, True])
def test_ten_years_of_calls_take_no_longer_than_their_number_by_the_rate(is_shared: bool) -> None:
    world, rate, calls = World(), Rate(per_minute=240), 3_653

    def sleep(seconds: float) -> None:
        world.now_s += seconds

    clock = Clock(lambda: world.now_s, lambda: START + dt.timedelta(seconds=world.now_s), sleep)
    pace = AccountPace(world.store, "a", rate, clock=clock) if is_shared else None
    budget = Budget(rate, clock=clock, pace=pace)
    for _ in range(calls):
        budget.acquire()
    assert 0.97 * calls / 4 < world.now_s <= calls / 4


def test_the_shared_object_is_written_once_a_turn_and_not_once_a_call() -> None:
    world = World()
    world.run([[0.0] * 199])
    # 8 or 9 calls a turn of 5 s, and the short turns of the beginning.
    assert world.store.writes < 200 / 7


def test_the_first_turn_of_a_fast_account_is_longer_than_the_write_that_takes_it() -> None:
    world = World()

    class Distant(CountingStore):
        def write(self, *args: Any, **rest: Any) -> int:
            world.now_s += 0.06
            return super().write(*args, **rest)

    world.store = Distant()
    budget = Process(world, [], Rate(per_second=100)).budget
    for _ in range(20):
        while wait_s := budget._take():
            world.now_s += wait_s
    assert world.store.writes <= 2
    assert world.now_s < 0.5


@pytest.mark.parametrize("rate", [RATE, Rate(pause_s=(5.0, 10.0))])
def test_a_pause_that_the_source_asked_for_holds_the_other_processes_too(rate: Rate) -> None:
    world = World()
    one, other = Process(world, [], rate), Process(world, [], rate)
    assert is_granted(one.budget)
    one.budget.pause_for(60)
    world.now_s = 30.0
    assert not is_granted(other.budget)
    world.now_s = 61.0
    assert is_granted(other.budget)


def test_without_a_rate_a_pause_is_heard_within_a_second_by_one_that_has_just_looked() -> None:
    world = World()
    one, other = Process(world, [], Rate()), Process(world, [], Rate())
    assert is_granted(other.budget)
    one.budget.pause_for(60)
    world.now_s = HEARD_WITHIN_S
    assert not is_granted(other.budget)


def test_a_killed_process_keeps_the_others_waiting_for_one_turn_at_most() -> None:
    world = World()
    killed, other = Process(world, []), Process(world, [])
    for _ in range(40):
        is_granted(killed.budget)
        world.now_s += 0.6
    assert not is_granted(other.budget)
    world.now_s += LONGEST_TURN_S + 1
    assert is_granted(other.budget)


def test_a_clock_that_runs_ahead_elsewhere_does_not_close_the_account_for_as_long() -> None:
    world = World()
    ahead = (START + dt.timedelta(days=2)).isoformat()
    world.store.write(NAME, f'{{"until": "{ahead}", "by": "x", "held_until": "{START.isoformat()}"}}'.encode())
    one = Process(world, [])
    assert not is_granted(one.budget)
    world.now_s = 121.0
    assert is_granted(one.budget)


@pytest.mark.parametrize("data", [b"[]", b"{}", b'{"until": "2025-01-01", "by": "", "held_until": "2025-01-01"}'])
def test_an_unreadable_timeline_lets_no_call_through_and_says_where_it_lies(data) -> None:
    world = World()
    world.store.write(NAME, data)
    with pytest.raises(StateUnreadable, match=r"state unreadable at .*budgets/pace/a\.json"):
        Process(world, []).budget.acquire()
