"""Estimates learn from the runs before, and plans read little."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from alerting.memory_store import MemoryObjectStore
from alerting.object_store import StoredObject
from flows.asked import Asked
from flows.ledger.ledger import Ledger, Verdict
from flows.parameters import NO_DATE
from flows.planning.estimate import Capacity, Estimate, estimate
from flows.planning.history import KEPT_RUNS, RunCost, SourceHistory, add_to_history, read_history
from flows.planning.plan import Path, Plan, PlannedPartition
from flows.planning.planner import plan_asked
from flows.settings import Settings
from flows.wiring import Services
from scrapers.partition import Partition
from scrapers.rate import Rate

NOW = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)
SOURCE = "bdl_box_scores"


class CountingStore(MemoryObjectStore):
    """Counts what a plan asks of storage: 1,000 objects are one list call."""

    def __init__(self) -> None:
        super().__init__()
        self.lists = self.reads = self.writes = 0

    def list(self, prefix: str, **bounds: Any) -> Iterator[StoredObject]:
        found = list(super().list(prefix, **bounds))
        self.lists += max(1, -(-len(found) // 1000))
        return iter(found)

    def read(self, name: str) -> tuple[bytes, int]:
        self.reads += 1
        return super().read(name)

    def write(self, name: str, data: bytes, **rest: Any) -> int:
        self.writes += 1
        return super().write(name, data, **rest)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Services:
    """Services on a store in memory; nothing else may be touched."""
    monkeypatch.setattr(Services, "store", CountingStore())
    # Ten years of dates may bring a table near the limit of its partitions: it is asked how many it has.
    monkeypatch.setattr(Services, "warehouse", SimpleNamespace(partitions=lambda _: 3_653))
    return Services(Settings(console_only=True))


def asked(start: str, end: str, **rest: Any) -> Asked:
    return Asked(source=SOURCE, start_date=dt.date.fromisoformat(start), end_date=dt.date.fromisoformat(end), **rest)


def cost(number: int, **rest: Any) -> RunCost:
    given = {
        "backfill_id": f"bf-{number}",
        "ended_at": NOW,
        "fetched": 100,
        "calls": 110,
        "bytes_landed": 5_000_000,
        "rows": 2_600,
        "bigquery_jobs": 4,
        "busy_s": 50.0,
        "concurrency": 8,
    }
    return RunCost.model_validate({**given, **rest})


def test_ten_years_of_dates_are_planned_with_five_list_calls_and_no_read_per_date(services: Services) -> None:
    store = services.store
    ledger = Ledger(store, SOURCE)
    first = dt.date(2014, 12, 31)
    for number in range(3_653):
        ledger.advance((first + dt.timedelta(days=number)).isoformat(), Verdict.VERIFIED, "bf-0", NOW)
    store.lists = store.reads = store.writes = 0
    planned = plan_asked(services, asked("2014-12-31", "2024-12-30"), NOW)
    assert len(planned.plan.items) == 3_653
    assert store.lists <= 5
    # The source's history and first date, and what earlier runs planned and did not begin.
    assert store.reads <= 3
    assert store.writes == 0


def test_a_plan_says_range_paths_calls_limits_and_three_times(services: Services) -> None:
    add_to_history(services.store, SOURCE, cost(1))
    text = plan_asked(services, asked("2024-12-01", "2024-12-31"), NOW).describe()
    echo = "2024-12-01 to 2024-12-31 inclusive, America/New_York, 31 days; last settled date 2025-01-31"
    for part in (echo, "31 to fetch", "calls      35"):
        assert part in text
    assert "1,425" in text
    assert "28,500" in text
    assert "optimistic / realistic / pessimistic: P10 / P50 / P90" in text
    assert "learned from 1 run;" in text


def test_failed_of_narrows_a_plan_to_what_that_run_left(services: Services) -> None:
    earlier = plan_asked(services, asked("2024-12-01", "2024-12-05"), NOW).plan
    services.store.write("runs/backfill=bf-1/plan.json", earlier.to_json())
    ledger = Ledger(services.store, SOURCE)
    ledger.advance("2024-12-01", Verdict.VERIFIED, "bf-1", NOW)
    ledger.advance("2024-12-02", Verdict.FAILED_RETRYABLE, "bf-1", NOW)
    plan = plan_asked(services, asked("2024-11-01", "2024-12-31", failed_of="bf-1"), NOW).plan
    assert plan.keys == ["2024-12-02", "2024-12-03", "2024-12-04", "2024-12-05"]


def test_an_empty_plan_is_an_error_and_not_a_success(services: Services) -> None:
    from alerting.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match="the plan is empty"):
        plan_asked(services, asked("2024-12-01", "2024-12-05", retry_failed=True), NOW)


def test_history_keeps_the_last_runs_and_a_repeat_replaces_itself() -> None:
    store = MemoryObjectStore()
    for number in range(KEPT_RUNS + 5):
        add_to_history(store, "s", cost(number))
    add_to_history(store, "s", cost(KEPT_RUNS + 4, calls=1), frozenset({"t.x"}))
    found = read_history(store, "s")
    assert len(found.runs) == KEPT_RUNS
    assert found.runs[-1].calls == 1
    assert found.known_unknown_fields == {"t.x"}


def estimated(services: Services, history: SourceHistory, rate: Rate | None = None, **rest: Any) -> Estimate:
    plan = plan_asked(services, asked("2024-01-01", "2024-04-09", **rest.pop("asked", {})), NOW).plan
    capacity = Capacity(rate=rate or Rate(), quota_share=0.7, concurrency=8, tables=2, partitions_per_job=366, **rest)
    return estimate(plan, history, capacity)


def test_a_source_that_takes_ranges_is_planned_with_a_call_for_each_and_scattered_dates_with_more(
    services: Services,
) -> None:
    learned = SourceHistory(runs=(cost(1, fetched=100, calls=4),))
    assert estimated(services, SourceHistory()).calls == 100
    assert estimated(services, SourceHistory(), days_per_call=30).calls == 4
    assert estimated(services, learned, days_per_call=30).calls == 4
    every_other = [f"2024-{month:02}-{day:02}" for month in (1, 2, 3) for day in range(1, 29, 2)]
    scattered = {"exclude": ",".join(every_other)}
    assert estimated(services, SourceHistory(), days_per_call=30, asked=scattered).calls == 42
    assert estimated(services, learned, days_per_call=30, asked=scattered).calls == 42


def test_a_slow_limit_and_a_daily_quota_show_in_the_time(services: Services) -> None:
    free = estimated(services, SourceHistory())
    paced = estimated(services, SourceHistory(), Rate(per_minute=5))
    walled = estimated(services, SourceHistory(), Rate(per_day=50))
    assert paced.realistic_s >= 100 / 5 * 60
    assert walled.quota_days == 3
    assert walled.realistic_s >= 2 * 86_400 > free.realistic_s


def of_entities(history: SourceHistory, rows_before: dict[str, int] | None = None) -> Estimate:
    items = tuple(
        PlannedPartition(Partition.whole(key, "UTC"), Path.FETCH, "never attempted")
        for key in ("small.ca~minutes", "big.ca~minutes", "new.ca~minutes")
    )
    plan = Plan("civic_band", NO_DATE, NO_DATE, "UTC", items)
    capacity = Capacity(rate=Rate(), quota_share=0.7, concurrency=2, tables=1, partitions_per_job=100)
    return estimate(plan, history, capacity, rows_before)


def test_the_first_estimate_by_entity_says_that_it_does_not_know_and_promises_nothing() -> None:
    first = of_entities(SourceHistory())
    assert not first.is_known
    assert "calls      unknown, at least 3" in first.describe()
    assert "time       unknown" in first.describe()
    assert first.promised() == {}


def test_later_estimates_by_entity_know_how_big_each_was_and_take_the_mean_for_new_ones() -> None:
    sweep = RunCost(
        backfill_id="bf-1", ended_at=NOW, fetched=8, calls=35, bytes_landed=1, rows=3_500, bigquery_jobs=2, busy_s=9.0,
        concurrency=2,
    )  # fmt: skip
    found = of_entities(SourceHistory(runs=(sweep,)), {"small.ca~minutes": 20, "big.ca~minutes": 1_000})
    # A call each, 27 more for 3,500 rows, of which 1,020 are theirs, and the mean of 35 calls for 8 entities.
    assert (found.is_known, found.calls) == (True, math.ceil(1 + 1 + 1_020 * 27 / 3_500 + 35 / 8))
    assert found.promised()["calls"] == 15


def test_entities_of_one_page_each_take_a_call_each() -> None:
    lists = RunCost(
        backfill_id="bf-1", ended_at=NOW, fetched=3, calls=3, bytes_landed=1, rows=1_000, bigquery_jobs=2, busy_s=9.0,
        concurrency=2,
    )  # fmt: skip
    rows = {"small.ca~minutes": 5, "big.ca~minutes": 980, "new.ca~minutes": 15}
    assert of_entities(SourceHistory(runs=(lists,)), rows).calls == 3


def test_a_first_estimate_by_date_is_known_because_a_date_is_a_call(services: Services) -> None:
    found = plan_asked(services, asked("2025-01-01", "2025-01-03"), NOW).estimate
    assert (found.is_known, found.calls) == (True, 3)


CREDITS = {"cost_unit": "credit", "calls_guess": 8.0, "units_guess": 71.0, "today": dt.date(2025, 2, 1)}


def test_a_first_estimate_in_credits_says_how_many_months_they_take_and_that_it_is_a_guess(services: Services) -> None:
    found = estimated(services, SourceHistory(), Rate(per_month=500), **CREDITS)
    assert (found.calls, found.units, found.quota_months) == (800, 7_100, 21)
    # Of 500 a month a backfill may use 350, the first of them in February 2025.
    assert found.ends_on == dt.date(2026, 10, 1)
    line = next(line for line in found.describe().splitlines() if line.startswith("credits"))
    assert line == ("credits    7,100, 21 months of its quota: it would end on 2026-10-01; a guess until the first run")
    assert found.promised()["units"] == 7_100
    assert found.realistic_s > 86_400 * 600


def test_a_later_estimate_in_credits_is_what_calls_really_cost(services: Services) -> None:
    history = SourceHistory(runs=(cost(1, calls=100, units=650),))
    found = estimated(services, history, Rate(per_month=20_000), **CREDITS)
    assert found.units == -(-found.calls * 650 // 100)
    assert "guess" not in next(line for line in found.describe().splitlines() if line.startswith("credits"))


def test_a_source_that_counts_calls_has_no_line_of_credits(services: Services) -> None:
    found = estimated(services, SourceHistory())
    assert "credits" not in found.describe()
    assert "units" not in found.promised()
