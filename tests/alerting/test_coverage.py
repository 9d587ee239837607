"""The calendar: nothing in it may be misread."""

from __future__ import annotations

import datetime as dt

from alerting.coverage import build_coverage, coverage_text, shortened


def days(first: str, last: str) -> list[str]:
    start, end = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
    return [str(start + dt.timedelta(days=offset)) for offset in range((end - start).days + 1)]


def test_months_of_one_look_are_named_and_only_those_with_holes_are_drawn():
    verdicts = dict.fromkeys(days("2023-01-01", "2023-12-31"), "verified")
    verdicts |= dict.fromkeys(days("2023-03-01", "2023-05-31"), "failed_retryable")
    verdicts["2023-07-04"] = "blocked"
    lines = coverage_text(build_coverage(verdicts))
    assert "  2023 failed: Mar-May" in lines
    assert "  2023 complete: Jan-Feb, Jun, Aug-Dec" in lines
    assert [line for line in lines if line.startswith("  Jul")] == ["  Jul  vvvBvvvvvvvvvvvvvvvvvvvvvvvvvvv"]


def test_a_month_of_which_only_a_part_was_planned_is_drawn_and_not_called_failed():
    verdicts = dict.fromkeys(days("2023-03-10", "2023-03-12"), "failed_retryable")
    assert "  Mar           FFF                   " in coverage_text(build_coverage(verdicts))


def test_a_year_takes_one_bar_only_when_all_of_it_was_planned_and_looks_the_same():
    verdicts = dict.fromkeys(days("2020-11-01", "2020-12-31"), "verified")
    verdicts |= dict.fromkeys(days("2021-01-01", "2021-12-31"), "verified")
    verdicts |= dict.fromkeys(days("2022-01-01", "2022-12-31"), "failed_permanent")
    verdicts |= dict.fromkeys(days("2023-01-01", "2023-12-31"), "verified") | {"2023-06-01": "partial"}
    blocks = shortened(build_coverage(verdicts)).blocks
    assert [block.title for block in blocks] == ["2020", "", "2023"]
    assert [row.label for row in blocks[1].rows] == ["2021", "2022"]
    assert [run.look.label for row in blocks[1].rows for run in row.runs] == ["verified", "failed"]
    assert len(blocks[2].rows) == 12


def test_every_planned_day_is_in_the_picture_and_counted_once():
    verdicts = {
        day: ("verified", "failed", "empty_ok", "planned")[n % 4]
        for n, day in enumerate(days("2020-01-01", "2022-03-05"))
    }
    coverage = build_coverage(verdicts)
    assert sum(count for _, count in coverage.legend) == len(verdicts)
    drawn = [run.length for block in coverage.blocks for row in block.rows for run in row.runs if run.look]
    assert sum(drawn) == len(verdicts)
