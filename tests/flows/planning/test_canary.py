"""Which dates go first, and what stops the others."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.planning.canary import CanaryResult, choose_canaries, drift
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
        (CanaryResult({"d": 10}), ""),
        (CanaryResult({"d": 10}, {"e": "SourceContractError"}), "1 of 2 canary dates failed"),
        (CanaryResult({"d": 10, "f": 10}, {"e": "SourceContractError"}), ""),
        (CanaryResult({"d": 10, "f": 10}, {"e": "AuthenticationError"}), "1 of 3 canary dates failed"),
        (CanaryResult({"d": 10}, unknown_fields=frozenset({"t.known"})), ""),
        (CanaryResult({"d": 10}, unknown_fields=frozenset({"t.new"})), "t.new"),
        (CanaryResult({"d": 101}), "rows a date"),
        (CanaryResult({"d": 101, "e": 0}), "101.0 rows a date"),
        (CanaryResult({"d": 100, "e": 0}), ""),
        # An off-season's first and last date and its leap day, each empty with proof.
        (CanaryResult({"d": 0, "e": 0, "f": 0}), ""),
    ],
)
def test_drift_in_errors_schema_and_volume_stops_the_others(result: CanaryResult, said: str) -> None:
    found = drift(result, history())
    assert said in found
    assert bool(found) == bool(said)


def test_a_tenth_of_the_usual_rows_stops_the_others() -> None:
    assert "9.0 rows a date" in drift(CanaryResult({"d": 9, "e": 0}), history(rows=10_000))


def test_a_source_without_a_history_has_nothing_to_drift_from() -> None:
    assert drift(CanaryResult({"d": 0}, unknown_fields=frozenset({"t.new"})), SourceHistory()) == ""
