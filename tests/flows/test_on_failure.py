"""``on_failure=stop``: nothing behind the first failure is asked for, and all of it is still to be done."""

from __future__ import annotations

from typing import Any

FIRST, LAST = "2025-10-21", "2025-10-26"
DATES = [f"2025-10-{day}" for day in range(21, 27)]


def test_t20_on_failure_stop_leaves_the_dates_behind_the_first_failure_pending_and_a_rerun_does_them(
    place: Any, ran: Any
) -> None:
    place.upstream.trouble({"kind": "500", "dates": [DATES[2]]})
    _, facts = ran(FIRST, LAST, on_failure="stop", order="sequential")
    assert facts.verdict == "ABORTED(red_flag)"
    assert "first failure" in " ".join(facts.notes)
    assert sorted(place.upstream.calls.report()["by_date"]) == DATES[:3]
    assert [facts.calendar[date] for date in DATES[2:]] == ["failed_retryable", "planned", "planned", "planned"]
    assert {facts.calendar[date] for date in DATES[:2]} <= {"verified", "empty_ok"}

    place.upstream.trouble()
    again, facts = ran(FIRST, LAST, on_failure="stop")
    assert facts.verdict == "COMPLETE"
    assert again.tally.calls == 4


def test_t20_on_failure_continue_does_all_dates_but_the_failing_one(place: Any, ran: Any) -> None:
    place.upstream.trouble({"kind": "500", "dates": [DATES[2]]})
    _, facts = ran(FIRST, LAST, order="sequential", breaker=False)
    assert facts.verdict_counts.pop("failed_retryable") == 1
    assert sum(facts.verdict_counts.values()) == 5
    assert set(facts.verdict_counts) <= {"verified", "empty_ok"}
