"""How a distributed run is cut into windows."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from flows.asked import Asked
from flows.child_runs.dispatch import windows_of
from flows.cli.start import split_over
from flows.parameters import Engine
from flows.planning.engine import Spread
from flows.run.run import Run
from scrapers.partition import Partition

FIRST = dt.date(2025, 1, 1)


def cut(days: int, *, most: int = 1_000, parallel: int = 0, **asked: Any) -> tuple[list[tuple[Partition, ...]], int]:
    settings = SimpleNamespace(distributed_window_partitions=most, distributed_windows_at_once=4)
    kit = SimpleNamespace(scraper=SimpleNamespace(sweeps=()))
    spread = Spread(Engine.DISTRIBUTED, parallel)
    run = SimpleNamespace(
        services=SimpleNamespace(settings=settings), kit=kit, asked=Asked(source="s", **asked), spread=spread
    )
    partitions = [Partition.day(FIRST + dt.timedelta(days=offset), "UTC") for offset in range(days)]
    grouped, at_once = windows_of(cast("Run", run), partitions)
    assert [one for window in grouped for one in window] == partitions, "every date once, in order"
    return grouped, at_once


@given(st.integers(0, 200), st.integers(1, 64), st.integers(1, 64))
def test_a_range_is_cut_into_as_many_parts_as_asked_and_never_works_on_more_dates_than_allowed(
    days: int, parallel: int, max_concurrency: int
) -> None:
    grouped, at_once = cut(days, parallel=parallel, max_concurrency=max_concurrency)
    assert len(grouped) <= parallel
    assert len({len(window) for window in grouped[:-1]}) <= 1
    assert 1 <= at_once <= max_concurrency
    assert at_once * max(1, max_concurrency // at_once) <= max_concurrency


def test_without_a_number_the_settings_decide() -> None:
    grouped, at_once = cut(124)
    assert ([len(window) for window in grouped], at_once) == ([31, 31, 31, 31], 4)
    grouped, at_once = cut(40, most=14)
    assert ([len(window) for window in grouped], at_once) == ([14, 14, 12], 3)


def test_a_window_is_as_long_as_it_can_be_and_no_month_is_shared_by_two() -> None:
    assert [len(window) for window in cut(3_653)[0]] == [914, 914, 914, 911]
    assert {len(window) for window in cut(100_000)[0]} == {1_000}
    assert [len(window) for window in cut(31)[0]] == [31]


def test_one_option_of_the_command_asks_for_the_engine_its_parts_and_enough_dates_in_flight() -> None:
    asked = Asked.model_validate({"source": "s", **split_over(12, None)})
    assert (asked.engine, asked.parallel, asked.max_concurrency) == (Engine.DISTRIBUTED, 12, 12)
    assert split_over(3, None)["max_concurrency"] == 8
    assert split_over(3, 2)["max_concurrency"] == 2
