"""Gaps: ledger and BigQuery side by side, per table, merged into inclusive ranges."""

from __future__ import annotations

from typing import Any

import pytest

from alerting.instant import utc_now
from flows.ledger.ledger import Verdict

TABLES = {"nba_bdl_games", "nba_bdl_player_stats"}
SOURCE = "bdl_box_scores"


@pytest.fixture
def gaps(gapless: Any) -> Any:
    def ask(start: str, end: str) -> tuple[int, dict[str, set[tuple[str, str]]]]:
        answered = gapless("gaps", SOURCE, start, end, "--json")
        found: dict[str, set[tuple[str, str]]] = {}
        for gap in answered.data["gaps"]:
            found.setdefault(gap["table"], set()).add((gap["ranges"], gap["why"]))
        return answered.code, found

    return ask


def test_n25_k08_a_filled_range_has_no_gap_and_missing_dates_are_one_range_up_to_the_inclusive_end(
    place: Any, gaps: Any
) -> None:
    place.fill("2025-01-01", 3)
    assert gaps("2025-01-01", "2025-01-03") == (0, {})
    code, found = gaps("2024-12-30", "2025-01-05")
    assert code == 1
    missing = {("2024-12-30…2024-12-31", "never attempted"), ("2025-01-04…2025-01-05", "never attempted")}
    assert found == {"nba_bdl_games": {*_each(missing)}, "nba_bdl_player_stats": {*_each(missing)}}


def test_n25_a_date_proven_empty_is_no_gap(place: Any, gaps: Any) -> None:
    place.fill("2024-12-24", 2)  # no games on Christmas Eve
    assert place.entry("2024-12-24").verdict == "empty_ok"
    assert gaps("2024-12-24", "2024-12-25") == (0, {})


def test_rows_deleted_behind_the_ledger_are_a_gap_of_that_table_alone(place: Any, gaps: Any) -> None:
    place.fill("2025-01-01", 2)
    place.sql("DELETE FROM {lines} WHERE game_date = DATE '2025-01-02'")
    code, found = gaps("2025-01-01", "2025-01-02")
    assert (code, found) == (1, {"nba_bdl_player_stats": {("2025-01-02", "the table has fewer rows than verified")}})


def test_doubled_rows_are_told(place: Any, gaps: Any) -> None:
    place.fill("2025-01-01", 1)
    place.sql("INSERT INTO {games} SELECT * FROM {games}")
    assert gaps("2025-01-01", "2025-01-01")[1] == {
        "nba_bdl_games": {("2025-01-01", "the table has more rows than verified")}
    }


def test_trap_13_landed_but_not_loaded_and_rows_without_a_verdict_have_names_of_their_own(
    place: Any, gaps: Any
) -> None:
    place.land("2025-01-01", 1, record=False)
    place.load(place.land("2025-01-02", 1, record=False), record=False)
    place.land("2025-01-03")
    place.fail("2025-01-04")
    whys = {
        ("2025-01-01", "landed, not loaded"),
        ("2025-01-02", "rows without a verdict"),
        ("2025-01-03", "landed"),
        ("2025-01-04", "failed_retryable: SourceUnavailable"),
    }
    assert gaps("2025-01-01", "2025-01-04")[1] == dict.fromkeys(TABLES, whys)


def test_without_a_range_everything_that_is_known_is_looked_at_and_nothing_known_is_not_called_complete(
    place: Any, gapless: Any
) -> None:
    unknown = gapless("gaps", SOURCE)
    assert unknown.code == 1
    assert "nothing is known" in unknown.out
    place.fill("2026-11-10", 1)
    found = gapless("gaps", SOURCE, "--json").data
    assert found["looked_at"].startswith("2026-11-10")
    assert found["gaps"][0]["ranges"].startswith("2026-11-11…")


def _each(missing: set[tuple[str, str]]) -> set[tuple[str, str]]:
    ranges = ", ".join(sorted(span for span, _ in missing))
    return {(ranges, "never attempted")}


def test_a_date_before_a_first_date_that_is_earlier_by_now_is_a_gap_and_one_for_the_audit(
    place: Any, gaps: Any, gapless: Any
) -> None:
    place.fill("2025-01-01", 1)
    told = "before the source's first date 2025-01-01 (found on 2025-02-01)"
    place.ledger.advance("2024-12-31", Verdict.UNAVAILABLE, "bf-1", utc_now(), evidence=told)
    never = {("2024-12-31", "never attempted")}
    assert gaps("2024-12-31", "2025-01-01") == (1, dict.fromkeys(TABLES, never))
    found = gapless("audit", SOURCE, "--from", "2024-12-31", "--to", "2025-01-01", "--json").data
    assert [(one["deficit"], one["ranges"]) for one in found["deficits"]] == [("never_attempted", "2024-12-31")]
