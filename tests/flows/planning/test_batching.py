"""Landed partitions are loaded in batches beside landing: each once, in few jobs, with little left at the end."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flows.loading import Pace, load_in_batches
from flows.planning.batching import LEAST_PER_JOB, jobs_for, told_together
from flows.run.work_set import Landed
from processors.load_plan import MAX_ROWS_PER_BATCH
from scrapers.manifest import Manifest

MOST = 120


def one_landed(key: str, rows: int) -> Landed:
    return Landed(Manifest.model_construct(partition=key, counts={"t": rows}))


def loaded(
    windows: list[int],
    *,
    reloads: int = 0,
    while_loading: int = 0,
    planned: int | None = None,
    pace: Pace | None = None,
    rows: int = 1,
    most: int = MOST,
) -> list[list[str]]:
    """Batches in order, when windows of these sizes land, and so many further ones during each load."""
    pace = pace or Pace(now_s=lambda: 0.0)
    keys = [[f"{window}-{number}" for number in range(size)] for window, size in enumerate(windows)]
    waiting, batches = keys[::-1], list[list[str]]()
    landed: Any = asyncio.Queue()

    def land(count: int) -> None:
        for _ in range(min(count, len(waiting))):
            for key in waiting.pop():
                landed.put_nowait(one_landed(key, rows))

    class Noted:
        async def begin(self, batch: Any) -> None:
            batches.append([one.key for one in batch])
            land(while_loading)

        async def ended(self) -> None:
            pass

    async def feed() -> None:
        while waiting:
            land(1)
            for _ in range(3):
                await asyncio.sleep(0)
        landed.put_nowait(None)

    async def story() -> None:
        to_come = sum(windows) if planned is None else planned
        before = [one_landed(f"r-{number}", rows) for number in range(reloads)]
        async with asyncio.timeout(20):
            await asyncio.gather(load_in_batches(Noted(), before, landed, to_come, most, pace), feed())

    asyncio.run(story())
    return batches


def sizes(batches: list[list[str]]) -> list[int]:
    return [len(batch) for batch in batches]


def test_the_first_and_the_last_jobs_are_small_and_those_between_as_large_as_may_be() -> None:
    assert sizes(loaded([30] * 12)) == [30, 60, 120, 90, 30, 30]
    assert jobs_for(360, MOST) == 6


def test_dates_of_many_rows_are_not_kept_waiting_for_as_many_dates_as_a_job_may_have() -> None:
    assert sizes(loaded([30] * 12, rows=MAX_ROWS_PER_BATCH // 50)) == [30, 50, 50, 50, 50, 50, 50, 30]


def test_a_month_by_single_dates_is_one_job() -> None:
    assert sizes(loaded([1] * 31)) == [31]


def test_what_landed_while_the_last_batch_was_loaded_goes_together() -> None:
    assert sizes(loaded([30] * 12, while_loading=4)) == [30, 120, 120, 90]


def test_few_reloads_go_with_the_first_that_land_and_many_before() -> None:
    assert sizes(loaded([30, 30], reloads=5)) == [35, 30]
    assert sizes(loaded([30, 30], reloads=400)) == [400, 30, 30]
    assert sizes(loaded([], reloads=5)) == [5]


def test_dates_that_never_land_keep_nothing_waiting() -> None:
    assert sizes(loaded([30, 30], planned=900)) == [30, 30]
    assert sizes(loaded([7], planned=900)) == [7]
    assert loaded([], planned=900) == []


def test_little_of_a_long_window_is_left_to_be_loaded_when_its_last_date_has_landed() -> None:
    year = told_together(362, most=92)
    assert sum(year) == 362
    assert sizes(loaded(year, most=1000)) == [92, 181, 45, 44]


@given(st.integers(0, 500), st.integers(1, 100))
def test_every_date_of_a_window_is_told_once(partitions: int, most: int) -> None:
    parts = told_together(partitions, most)
    assert sum(parts) == partitions
    assert all(0 < part <= most for part in parts)
    assert not parts or parts[-1] < 2 * LEAST_PER_JOB


@given(
    windows=st.lists(st.integers(0, 130), max_size=40),
    reloads=st.integers(0, 200),
    while_loading=st.integers(0, 6),
    missing=st.integers(0, 300),
)
def test_every_landed_partition_is_loaded_once_in_few_jobs(
    windows: list[int], reloads: int, while_loading: int, missing: int
) -> None:
    total = sum(windows)
    batches = loaded(windows, reloads=reloads, while_loading=while_loading, planned=total + missing)
    keys = [key for batch in batches for key in batch]
    assert len(keys) == len(set(keys)) == total + reloads
    first, *others = sizes(batches) or [0]
    assert first <= max(MOST, reloads)
    assert all(size <= MOST for size in others)
    # Beyond full batches: the ones that double at the start, those that halve at the end, and the rest.
    assert len(batches) <= math.ceil(total / MOST) + 2 * math.log2(MOST / LEAST_PER_JOB) + 4


class Ticking:
    """A clock that is a second later whenever it is looked at."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return float(self.looks)


def test_dates_that_land_sooner_than_a_job_is_done_are_one_job() -> None:
    assert sizes(loaded([30] * 4, pace=Pace(lambda: 3600.0, now_s=Ticking()))) == [120]
    assert sizes(loaded([30] * 5, pace=Pace(lambda: 3600.0, now_s=Ticking()))) == [120, 30]
    assert sizes(loaded([30] * 4, pace=Pace(lambda: 0.001, now_s=Ticking()))) == sizes(loaded([30] * 4))


def test_what_passes_before_the_first_date_says_nothing_of_the_others() -> None:
    times_s = iter([100.0, 101.0, 101.0])
    pace = Pace(lambda: 20.0, now_s=lambda: next(times_s))
    for _ in range(30):
        pace.landed()
    assert pace.is_nearly_over(330)
    assert not pace.is_nearly_over(600)


def test_a_year_of_quick_dates_is_one_load_and_one_whose_loads_take_no_time_five() -> None:
    """Of each table, and after the one of the canaries: 4 load jobs for two tables, and 12 at the most."""
    quick = Pace(lambda: 3600.0, now_s=Ticking())
    assert sizes(loaded([31] * 11 + [21], pace=quick, most=500)) == [362]
    assert sizes(loaded([31] * 11 + [21], most=500)) == [31, 62, 124, 93, 52]
