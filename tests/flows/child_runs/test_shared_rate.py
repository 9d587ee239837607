"""Several processes before one limit, on a clock of their own: never above the rate, and close to it."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.errors import LeaseHeld
from flows.child_runs.shared_rate import SLOTS_PER_CALL, PrefectLimit, SharedBudget, bucket, calls_per_second
from scrapers.pace.budget import Clock
from scrapers.pace.rate_batcher import SPARE_LIFE_S, RateBatcher, Room
from scrapers.rate import Rate

_T = TypeVar("_T")


class VirtualTime:
    """Threads that take turns: one runs until it sleeps, then the one that wakes first; no real second passes."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.clock = Clock(monotonic=lambda: self.now_s, sleep=self.sleep)
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._numbers = itertools.count()

    def sleep(self, seconds: float) -> None:
        self._lie_down(seconds).wait()

    def run(self, *bodies: Callable[[], None]) -> None:
        ended = threading.Semaphore(0)
        failed: list[Exception] = []

        def live(body: Callable[[], None], start: threading.Event) -> None:
            start.wait()
            try:
                body()
            except Exception as error:
                failed.append(error)
            finally:
                self._wake()
                ended.release()

        for body in bodies:
            start = threading.Event()
            heapq.heappush(self._sleepers, (0.0, next(self._numbers), start))
            threading.Thread(target=live, args=(body, start), daemon=True).start()
        self._wake()
        for _ in bodies:
            ended.acquire()
        if failed:
            raise failed[0]

    def _lie_down(self, seconds: float) -> threading.Event:
        woken = threading.Event()
        heapq.heappush(self._sleepers, (self.now_s + seconds, next(self._numbers), woken))
        self._wake()
        return woken

    def _wake(self) -> None:
        if self._sleepers:
            wakes_s, _, woken = heapq.heappop(self._sleepers)
            self.now_s = max(self.now_s, wakes_s)
            woken.set()


class PrefectServer:
    """A global limit as prefect 3.8.8 keeps it (``prefect/server/models/concurrency_limits_v2.py``).

    Whole slots decay since the last grant, which drops the fraction; a refusal changes nothing.
    """

    def __init__(self, time: VirtualTime, rate: Rate) -> None:
        wanted = bucket(rate)
        assert wanted is not None
        self.limit, self.decay = wanted
        self._time = time
        self._active = 0
        self._updated_s = 0.0
        self.refused = 0
        self.grants_s: list[float] = []

    @property
    def active(self) -> int:
        decayed = math.floor(self.decay * (self._time.now_s - self._updated_s) + 1e-9)
        return max(0, self._active - decayed)

    def increment(self, slots: int) -> bool:
        active = self.active
        if active + slots > self.limit:
            self.refused += 1
            return False
        self._active, self._updated_s = active + slots, self._time.now_s
        self.grants_s.extend([self._time.now_s] * (slots // SLOTS_PER_CALL))
        return True


class Line:
    """One process's line to the server: every request takes a round decision."""

    def __init__(self, server: PrefectServer, time: VirtualTime, round_trip_s: Callable[[], float]) -> None:
        self._server, self._time, self._round_trip_s = server, time, round_trip_s

    def look(self) -> Room:
        active = self._asked(lambda: self._server.active)
        free = (self._server.limit - active) / SLOTS_PER_CALL
        return Room(free, self._server.limit // SLOTS_PER_CALL, SLOTS_PER_CALL / self._server.decay)

    def take(self, calls: int) -> bool:
        return self._asked(lambda: self._server.increment(calls * SLOTS_PER_CALL))

    def _asked(self, answer: Callable[[], _T]) -> _T:
        way_s = self._round_trip_s() / 2
        self._time.sleep(way_s)
        answered = answer()
        self._time.sleep(way_s)
        return answered


def called(
    rate: Rate,
    processes: int,
    callers: int,
    *,
    until_s: float,
    round_trip_s: float,
    think_s: float = 0.0,
    seed: int = 0,
) -> PrefectServer:
    """``processes`` that each want ``callers`` calls at once, again and again, ``think_s`` after the last ones."""
    time = VirtualTime()
    server = PrefectServer(time, rate)

    def process(number: int) -> Callable[[], None]:
        chance = random.Random(seed * 1000 + number)
        line = Line(server, time, lambda: round_trip_s * chance.uniform(0.5, 1.5))
        batcher = RateBatcher(line, clock=time.clock, chance=chance)

        def live() -> None:
            while time.now_s < until_s:
                batcher.batch(lambda: callers)
                if think_s:
                    time.sleep(think_s * chance.uniform(0, 2))

        return live

    time.run(*(process(number) for number in range(processes)))
    return server


def windows(rate: Rate) -> list[tuple[int, float]]:
    declared = [(rate.per_minute, 60.0)] if rate.per_minute else []
    if rate.per_second:
        whole = max(1, int(rate.per_second))
        declared.append((whole, whole / rate.per_second))
    return [(limit, length_s) for limit, length_s in declared if limit]


@given(
    rate=st.builds(Rate, per_minute=st.integers(1, 1200))
    | st.builds(Rate, per_second=st.floats(0.2, 60))
    | st.builds(Rate, per_second=st.floats(0.2, 60), per_minute=st.integers(1, 1200)),
    processes=st.integers(1, 5),
    callers=st.integers(1, 12),
    round_trip_s=st.floats(0.001, 0.4),
    think_s=st.floats(0, 8),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_processes_together_never_exceed_the_rate_in_any_window(
    rate, processes, callers, round_trip_s, think_s, seed
) -> None:
    until_s = min(150.0, 60 + 300 / (calls_per_second(rate) or 1))
    server = called(rate, processes, callers, until_s=until_s, round_trip_s=round_trip_s, think_s=think_s, seed=seed)
    grants_s = server.grants_s
    assert grants_s
    for allowed, length_s in windows(rate):
        for first_s, later_s in zip(grants_s, grants_s[allowed:], strict=False):
            assert later_s - first_s >= length_s - 1e-6


@pytest.mark.parametrize("round_trip_s", [0.005, 0.014, 0.05])
@pytest.mark.parametrize(("processes", "callers"), [(1, 8), (2, 1), (2, 4), (2, 8), (4, 8), (8, 4)])
def test_processes_together_reach_nine_tenths_of_the_rate(processes, callers, round_trip_s) -> None:
    rate, until_s = Rate(per_minute=600), 90.0
    server = called(rate, processes, callers, until_s=until_s, round_trip_s=round_trip_s)
    counted = [at_s for at_s in server.grants_s if 20.0 <= at_s < until_s]
    assert 0.9 * 9.5 <= len(counted) / (until_s - 20.0) <= 9.5 + 16 / 70


def test_d13_two_calls_a_second_keep_half_a_second_between_them_over_all_workers() -> None:
    server = called(Rate(per_second=2), 4, 6, until_s=60, round_trip_s=0.02)
    gaps_s = [later_s - first_s for first_s, later_s in itertools.pairwise(server.grants_s)]
    assert len(gaps_s) > 90
    assert min(gaps_s) >= 0.5


def test_a_slow_source_is_asked_as_often_as_it_allows() -> None:
    server = called(Rate(per_minute=15), 3, 1, until_s=600, round_trip_s=0.05)
    assert len(server.grants_s) >= 0.9 * 0.2375 * 600


def test_no_process_is_left_behind() -> None:
    time, rate = VirtualTime(), Rate(per_minute=600)
    server = PrefectServer(time, rate)
    got = [0, 0, 0]

    def process(number: int) -> Callable[[], None]:
        chance = random.Random(number)
        batcher = RateBatcher(Line(server, time, lambda: 0.014), clock=time.clock, chance=chance)
        callers = (1, 4, 12)[number]

        def live() -> None:
            while time.now_s < 120:
                got[number] += batcher.batch(lambda: callers)

        return live

    time.run(*(process(number) for number in range(3)))
    assert min(got) >= 0.1 * sum(got)


class Bucket:
    """A limit of one process that always has room; it tells how many calls were taken at a time."""

    def __init__(self, most: int, look: Callable[[], None] = lambda: None) -> None:
        self.most, self.taken = most, list[int]()
        self._look = look

    def look(self) -> Room:
        self._look()
        return Room(self.most, self.most, 0.1)

    def take(self, calls: int) -> bool:
        self.taken.append(calls)
        return True


def test_one_request_takes_the_calls_of_all_threads_that_wait() -> None:
    everybody_waits = threading.Event()
    limit = Bucket(16, look=lambda: everybody_waits.wait(30) and None)
    batcher = RateBatcher(limit)
    threads = [threading.Thread(target=batcher.wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    while batcher.waiting < len(threads):
        threading.Event().wait(0.001)
    everybody_waits.set()
    for thread in threads:
        thread.join(30)
    assert limit.taken == [8]
    assert batcher.waiting == 0


def test_a_call_taken_for_somebody_who_gave_up_is_not_kept_for_later() -> None:
    time, limit = VirtualTime(), Bucket(16)
    batcher = RateBatcher(limit, clock=time.clock)
    batcher._spare, batcher._spare_until_s = 3, time.now_s + SPARE_LIFE_S
    batcher.wait()
    assert limit.taken == []
    time.now_s += SPARE_LIFE_S
    batcher.wait()
    assert limit.taken == [1]


def test_a_wait_that_cannot_end_in_time_is_refused_without_sleeping() -> None:
    time = VirtualTime()
    server = PrefectServer(time, Rate(per_minute=1))
    batcher = RateBatcher(Line(server, time, lambda: 0.0), clock=time.clock)
    outcome: list[str] = []

    def live() -> None:
        batcher.wait(1.0)
        try:
            batcher.wait(30.0)
        except TimeoutError:
            outcome.append(f"refused after {time.now_s:.0f} s")

    time.run(live)
    assert outcome == ["refused after 0 s"]
    assert server.refused == 0


class LimitThatWaits(PrefectLimit):
    """The server's limit, which lets a call pass after ``meanwhile``."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__("nba", 1.0)
        self._meanwhile = meanwhile

    def look(self) -> Room:
        return Room(1, 1, 1.0)

    def take(self, calls: int) -> bool:
        self._meanwhile()
        return True


def test_a_pause_that_the_source_asks_for_while_a_call_waits_for_its_turn_holds_that_call_too():
    time = VirtualTime()
    budget = SharedBudget(
        Rate(per_minute=60),
        source="nba",
        limit=LimitThatWaits(lambda: budget.pause_for(30.0)),
        clock=time.clock,
    )
    began_s: list[float] = []

    def call() -> None:
        budget.acquire()
        began_s.append(time.now_s)

    time.run(call)
    assert began_s == [pytest.approx(30.0, abs=1.0)]
    assert began_s[0] >= 30.0


def test_a_call_whose_run_ends_while_it_waits_for_its_turn_is_given_back():
    time = VirtualTime()
    budget = SharedBudget(
        Rate(per_minute=60, per_day=10),
        source="nba",
        limit=LimitThatWaits(lambda: budget.end(LeaseHeld("another run has it"))),
        clock=time.clock,
    )
    with pytest.raises(LeaseHeld):
        time.run(budget.acquire)
    assert budget.export_state()["day_spent"] == 0
