"""An empty answer in the middle of the season is believed for as long as the NBA rests, and said alike everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flows.ledger.ledger import Verdict

from ..test_late_rows import live

if TYPE_CHECKING:
    from .conftest import Place, Ran

SOURCE = "bdl_box_scores"
# No date of these is without games.
FIRST, LAST, DAYS = "2025-01-10", "2025-01-18", 9


def verdicts(place: Place) -> dict[str, Verdict]:
    return {key: entry.verdict for key, entry in place.ledger.refresh().items()}


def test_an_outage_of_nine_days_in_the_season_is_not_called_empty(place: Place, ran: Ran) -> None:
    place.upstream.trouble({"kind": "empty"})
    _, facts = ran(FIRST, LAST, breaker=False)
    assert facts.verdict == "FAILED"
    assert facts.verdict_counts == {"failed_retryable": DAYS}
    entry = place.entry(FIRST)
    assert f"{FIRST} to {LAST} came empty, and the source never rests for more than 6 days" in entry.error


def test_the_all_star_break_is_empty_and_the_summer_too(place: Place, ran: Ran) -> None:
    for first, last in (("2025-02-14", "2025-02-19"), ("2025-07-01", "2025-07-10")):
        _, facts = ran(first, last)
        assert facts.verdict == "COMPLETE"
        assert set(facts.verdict_counts) == {"empty_ok"}


def test_a_daily_run_of_three_dates_sees_the_rest_that_they_are_part_of_and_so_do_gaps_audit_and_verify(
    place: Place, ran: Ran, gapless: Any
) -> None:
    place.upstream.trouble({"kind": "empty"})
    ran(FIRST, "2025-01-15", breaker=False)
    assert set(verdicts(place).values()) == {Verdict.EMPTY_OK}, "six days in a row can be a rest"
    assert gapless("audit", SOURCE, "--from", FIRST, "--to", "2025-01-15").code == 0
    live(place, "2025-01-16", 3)
    found = verdicts(place)
    assert [key for key, verdict in found.items() if verdict is Verdict.FAILED_RETRYABLE] == [
        "2025-01-16",
        "2025-01-17",
        "2025-01-18",
    ]
    gaps = gapless("gaps", SOURCE, FIRST, "2025-01-15", "--json")
    assert gaps.code == 1
    assert {gap["why"] for gap in gaps.data["gaps"]} == {"proven empty for longer than the source rests"}
    audit = gapless("audit", SOURCE, "--from", FIRST, "--to", LAST, "--json")
    assert {one["deficit"]: one["count"] for one in audit.data["deficits"]} == {"failed": 3, "long_rest": 6}
    assert gapless("verify", SOURCE, FIRST, "2025-01-15").code == 1
