"""On a simulated source whose runs differ in size, pace and luck, the times of a plan are what they are called."""

from __future__ import annotations

import datetime as dt
import functools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import pytest

from flows.planning.batching import jobs_for
from flows.planning.duration import CALIBRATED_RUNS, Durations, Sample, Work, learn, turns
from flows.planning.estimate import Capacity, Estimate, estimate
from flows.planning.history import RunCost, SourceHistory, read_history
from flows.planning.plan import Path, Plan, PlannedPartition
from scrapers.partition import partitions_between
from scrapers.rate import Rate

if TYPE_CHECKING:
    from .conftest import Place, Ran

NOW = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)
ITEMS = tuple(
    PlannedPartition(one, Path.FETCH, "never attempted")
    for one in partitions_between(dt.date(2015, 1, 1), dt.date(2023, 12, 31), "UTC")
)
JUDGED = 200
PER_JOB = 120


@dataclass(frozen=True)
class Upcoming:
    """One run that is asked for: dates and how many of them at once."""

    dates: int
    concurrency: int


@dataclass
class Simulated:
    """What a run really takes: once, per job, and per date in a slot, times luck; one of twenty is slow."""

    chance: random.Random
    slot_s: float = 0.8
    pace: float = 1.0

    def asked(self) -> Upcoming:
        dates = round(math.exp(self.chance.uniform(math.log(3), math.log(3_000))))
        return Upcoming(dates, self.chance.choice((1, 4, 8, 16)))

    def runs(self, number: int, asked: Upcoming) -> RunCost:
        jobs = 4 * jobs_for(asked.dates, PER_JOB)
        luck = self.chance.lognormvariate(0.0, 0.2) * (self.chance.uniform(2, 4) if self.chance.random() < 0.05 else 1)
        busy_s = (9.0 + 2.2 * jobs + self.slot_s * turns(asked.dates, asked.concurrency)) * luck * self.pace
        return RunCost(
            backfill_id=f"bf-{number}",
            ended_at=NOW,
            fetched=asked.dates,
            # Most dates take one page, some two; some calls are repeated.
            calls=sum(1 + (self.chance.random() < 0.08) + (self.chance.random() < 0.02) for _ in range(asked.dates)),
            bytes_landed=asked.dates * 10_000,
            rows=asked.dates * 250,
            bigquery_jobs=jobs,
            busy_s=busy_s,
            concurrency=asked.concurrency,
        )


def planned(asked: Upcoming, history: SourceHistory, rate: Rate | None = None) -> Estimate:
    plan = Plan("s", dt.date(2015, 1, 1), dt.date(2023, 12, 31), "UTC", ITEMS[: asked.dates])
    capacity = Capacity(
        rate=rate or Rate(),
        quota_share=0.7,
        concurrency=asked.concurrency,
        tables=2,
        partitions_per_job=PER_JOB,
    )
    return estimate(plan, history, capacity)


@dataclass(frozen=True)
class Judged:
    """One run against what its plan had said."""

    said: Estimate
    took: RunCost

    @property
    def is_covered(self) -> bool:
        return self.took.busy_s <= self.said.pessimistic_s


@functools.cache
def life(seed: int, slot_s: float = 0.8) -> list[Judged]:
    return lived(Simulated(random.Random(seed), slot_s), JUDGED)


def lived(source: Simulated, runs: int, change: Callable[[int], None] = lambda _: None) -> list[Judged]:
    """The life of a source: every plan knows the runs before it, and no other."""
    history, judged = SourceHistory(), []
    for number in range(CALIBRATED_RUNS + runs):
        change(number)
        asked = source.asked()
        said, took = planned(asked, history), source.runs(number, asked)
        history = history.with_run(took)
        judged.append(Judged(said, took))
    return judged[CALIBRATED_RUNS:]


def share(of: list[Judged], true: Callable[[Judged], bool]) -> float:
    return sum(true(one) for one in of) / len(of)


@pytest.mark.parametrize(("seed", "slot_s"), [(1, 0.8), (2, 0.05), (3, 40.0)])
def test_once_calibrated_p90_covers_most_of_the_next_200_runs_and_calls_are_right_within_5_percent(
    seed: int, slot_s: float
) -> None:
    found = life(seed, slot_s)
    assert share(found, lambda one: one.is_covered) >= 0.8
    for is_of_size in (lambda one: one.took.fetched < 31, lambda one: one.took.fetched > 365):
        assert share([one for one in found if is_of_size(one)], lambda one: one.is_covered) >= 0.75
    calls, called = sum(one.said.calls for one in found), sum(one.took.calls for one in found)
    assert abs(calls - called) / called <= 0.05
    assert median(abs(one.said.calls - one.took.calls) / one.took.calls for one in found) <= 0.05


@pytest.mark.parametrize(("seed", "slot_s"), [(1, 0.8), (2, 0.05), (3, 40.0)])
def test_the_three_times_are_what_they_are_called_and_not_just_wide(seed: int, slot_s: float) -> None:
    found = life(seed, slot_s)
    assert all(one.said.optimistic_s <= one.said.realistic_s <= one.said.pessimistic_s for one in found)
    assert 0.35 <= share(found, lambda one: one.took.busy_s <= one.said.realistic_s) <= 0.65
    assert share(found, lambda one: one.took.busy_s >= one.said.optimistic_s) >= 0.8
    assert median(one.said.pessimistic_s / one.took.busy_s for one in found) < 2.0


def test_a_source_that_has_become_slower_is_believed_after_some_runs() -> None:
    source = Simulated(random.Random(5))

    def change(number: int) -> None:
        source.pace = 2.5 if number >= 60 else 1.0

    found = lived(source, 160, change)
    assert share(found[80:], lambda one: one.is_covered) >= 0.8
    assert 0.3 <= share(found[100:], lambda one: one.took.busy_s <= one.said.realistic_s) <= 0.7


def test_short_runs_alone_teach_a_long_one_no_nonsense() -> None:
    """Three dates in 8 slots are one turn: nine years are neither three dates times 1,000 nor as quick as they."""
    chance = random.Random(9)
    source, history = Simulated(chance), SourceHistory()
    for number in range(CALIBRATED_RUNS):
        history = history.with_run(source.runs(number, Upcoming(chance.randint(3, 40), 8)))
    years = Upcoming(3_000, 8)
    truly = 9.0 + 2.2 * 100 + 0.8 * turns(years.dates, years.concurrency)
    said = planned(years, history)
    assert said.realistic_s / 4 < truly < said.realistic_s * 4
    assert truly < said.pessimistic_s


def test_runs_of_the_size_that_is_asked_for_teach_the_most() -> None:
    short, long = Work(3.0, 4), Work(900.0, 100)
    # Short runs are three times as slow as a small source's, long ones three times as quick.
    samples = [
        Sample(work, work.of_small_source_s * by) for _ in range(6) for work, by in ((short, 3.0), (long, 1 / 3))
    ]
    assert learn(samples, short).middle == pytest.approx(3.0)
    assert learn(samples, long).middle == pytest.approx(1 / 3)
    assert learn(samples, Work(4.0, 4)).high == pytest.approx(3.0)
    assert learn(samples, Work(800.0, 90)).low == pytest.approx(1 / 3)


def test_one_slow_run_moves_the_middle_of_no_estimate() -> None:
    work = Work(10.0, 4)
    samples = [Sample(work, work.of_small_source_s * by) for by in (1.0, 1.1, 0.9, 9.0, 1.0, 1.0)]
    assert learn(samples, work).middle == pytest.approx(1.0)


def test_without_a_run_the_guess_is_wide_and_says_so() -> None:
    asked = Upcoming(100, 8)
    none, one = planned(asked, SourceHistory()), SourceHistory().with_run(Simulated(random.Random(1)).runs(1, asked))
    assert none.pessimistic_s > 3 * none.realistic_s > 9 * none.optimistic_s
    assert "guessed, no earlier run; P90 holds from 5 runs on" in none.describe()
    assert "learned from 1 run; P90" in planned(asked, one).describe()
    assert learn([], Work(10.0, 4)) == Durations(0.25, 1.0, 4.0)


def test_a_run_without_seconds_teaches_nothing() -> None:
    coming = Work(1.0, 4)
    assert learn([Sample(coming, 0.0)], coming) == learn([], coming)


def test_a_canary_feeds_the_estimate_while_its_run_goes_on_and_the_run_replaces_it(place: Place, ran: Ran) -> None:
    run, facts = ran("2025-01-10", "2025-01-14", canary=2)
    assert facts.verdict == "COMPLETE"
    (canary,) = read_history(place.store, run.source).runs
    assert (canary.backfill_id, canary.fetched, canary.calls) == (run.backfill_id, 2, 2)
    assert canary.busy_s > 0
    assert canary.bigquery_jobs == 4

    from flows.run.cost_history import remember_cost

    remember_cost(run, facts)
    (whole,) = read_history(place.store, run.source).runs
    assert (whole.backfill_id, whole.fetched, whole.calls) == (run.backfill_id, 5, 5)
