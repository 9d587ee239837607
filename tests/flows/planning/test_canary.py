"""Which dates go first, and what stops the others."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.ledger.month_rows import MonthRows
from flows.planning.canary import MEASURE_DATES, CanaryResult, choose_canaries, drift, unlike
from flows.planning.history import RunCost, SourceHistory
from scrapers.partition import partitions_between

NOW = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)
YEAR = partitions_between(dt.date(2024, 1, 5), dt.date(2025, 1, 4), "America/New_York")


def history(rows: int = 1000) -> SourceHistory:
    cost = RunCost(
        backfill_id="bf-0",
        ended_at=NOW,
        fetched=100,
        calls=100,
        bytes_landed=1,
        rows=rows,
        months={1: MonthRows(dates=100, rows=rows)},
        bigquery_jobs=4,
        busy_s=10,
        concurrency=8,
    )
    return SourceHistory(runs=(cost,), known_unknown_fields=frozenset({"t.known"}))


def test_first_last_clock_changes_leap_day_and_month_end_go_first() -> None:
    chosen = [one.key for one in choose_canaries(YEAR, 6, "seed")]
    assert chosen == ["2024-01-05", "2024-01-31", "2024-02-29", "2024-03-10", "2024-11-03", "2025-01-04"]


@given(st.integers(0, 20), st.text(max_size=5))
def test_there_are_never_more_than_asked_and_one_seed_gives_one_choice(count: int, seed: str) -> None:
    chosen = choose_canaries(YEAR, count, seed)
    assert len(chosen) == len(set(chosen)) == count
    assert chosen == choose_canaries(list(reversed(YEAR)), count, seed) or count > 6


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (CanaryResult({"2025-01-03": 10}), ""),
        (CanaryResult({"2025-01-03": 10}, {"2025-01-04": "SourceContractError"}), "1 of 2 canary dates failed"),
        (CanaryResult({"2025-01-03": 10, "2025-01-05": 10}, {"2025-01-04": "SourceContractError"}), ""),
        (
            CanaryResult({"2025-01-03": 10, "2025-01-05": 10}, {"2025-01-04": "AuthenticationError"}),
            "1 of 3 canary dates failed",
        ),
        (CanaryResult({"2025-01-03": 10}, unknown_fields=frozenset({"t.known"})), ""),
        (CanaryResult({"2025-01-03": 10}, unknown_fields=frozenset({"t.new"})), "t.new"),
        (CanaryResult({"2025-01-03": 101}), "rows a date"),
        (CanaryResult({"2025-01-03": 101, "2025-01-04": 0}), "101.0 rows a date"),
        (CanaryResult({"2025-01-03": 100, "2025-01-04": 0}), ""),
        # An off-season's first and last date and its leap day, each empty with proof.
        (CanaryResult({"2025-01-03": 0, "2025-01-04": 0, "2025-01-05": 0}), ""),
    ],
)
def test_drift_in_errors_schema_and_volume_stops_the_others(result: CanaryResult, said: str) -> None:
    found = drift(result, history())
    assert said in found
    assert bool(found) == bool(said)


def test_a_tenth_of_the_usual_rows_stops_the_others() -> None:
    assert "9.0 rows a date" in drift(CanaryResult({"2025-01-03": 9, "2025-01-04": 0}), history(rows=10_000))


def test_a_source_without_a_history_has_nothing_to_drift_from() -> None:
    assert drift(CanaryResult({"d": 0}, unknown_fields=frozenset({"t.new"})), SourceHistory()) == ""


def of_months(**months: MonthRows) -> SourceHistory:
    (cost,) = history().runs
    counted = {int(name[1:]): one for name, one in months.items()}
    return SourceHistory(runs=(cost.model_copy(update={"months": counted}),))


@pytest.mark.parametrize(
    "known",
    [
        # Two games in a month of rests, and a season begun three days ago.
        of_months(m7=MonthRows(dates=31, rows=508)),
        of_months(m1=MonthRows(dates=MEASURE_DATES - 1, rows=64)),
    ],
    ids=["other months", "few dates"],
)
def test_dates_of_another_part_of_the_season_or_a_few_dates_are_told_and_stop_nothing(known: SourceHistory) -> None:
    in_season = CanaryResult({"2025-01-03": 268, "2025-01-04": 270, "2025-01-05": 0})
    assert drift(in_season, known) == ""
    assert "269.0 rows a date" in unlike(in_season, known)
    assert "to judge by; the others begin" in unlike(in_season, known)


def test_each_canary_is_measured_by_its_own_month() -> None:
    known = of_months(m1=MonthRows(dates=300, rows=81_000), m7=MonthRows(dates=30, rows=300))
    assert drift(CanaryResult({"2025-01-03": 268, "2025-07-04": 10}), known) == ""
    assert drift(CanaryResult({"2025-01-03": 9, "2025-07-04": 10}), known).startswith("9.5 rows a date, earlier")
    assert drift(CanaryResult({"2025-07-04": 268}), known).endswith("earlier runs had 10.0 in the same months")
    assert unlike(CanaryResult({"2025-07-04": 268}), known) == "", "it is stopped for that"


def test_dates_without_rows_make_those_with_rows_no_fewer() -> None:
    (cost,) = history(rows=536).runs
    rests = SourceHistory(runs=(cost.model_copy(update={"months": {1: MonthRows(dates=2, rows=536)}}),))
    assert unlike(CanaryResult({"2025-01-03": 268}), rests) == ""
