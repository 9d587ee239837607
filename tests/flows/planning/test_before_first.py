"""Dates that the source does not have, or has no more: run, ledger, gaps, audit and verify say the same of them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from flows.ledger.ledger import Verdict
from flows.parameters import Mode
from scrapers.sources.bdl_box_scores import BdlBoxScores

if TYPE_CHECKING:
    from .conftest import Place, Ran

SOURCE = "bdl_box_scores"
EARLY, FIRST, LAST = "2025-01-01", "2025-01-03", "2025-01-04"


@pytest.fixture
def begins(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the source's first date, which moves for sources that keep only the last years."""

    def begin(date: str) -> None:
        monkeypatch.setattr(BdlBoxScores, "floor", dt.date.fromisoformat(date))

    return begin


def _verdicts(place: Place) -> dict[str, str]:
    return {key: entry.verdict.value for key, entry in place.ledger.entries().items()}


def test_what_the_plan_calls_unavailable_is_that_in_run_ledger_gaps_audit_and_verify(
    place: Place, ran: Ran, gapless: Any, begins: Any
) -> None:
    begins(FIRST)
    place.fail("2025-01-02")
    _, facts = ran(EARLY, LAST)
    assert facts.verdict == "COMPLETE"
    assert facts.verdict_counts == {"verified": 2, "unavailable": 2}
    assert _verdicts(place) == {
        EARLY: "unavailable", "2025-01-02": "unavailable", FIRST: "verified", LAST: "verified",
    }  # fmt: skip
    assert gapless("gaps", SOURCE, EARLY, LAST).code == 0
    assert gapless("audit", SOURCE, "--from", EARLY, "--to", LAST).code == 0
    seen = gapless("verify", SOURCE, EARLY, LAST)
    assert (seen.code, "4 of 4" in seen.out) == (0, True)
    assert gapless("verify", SOURCE, EARLY, "2025-01-02").code == 0
    assert "given up: 2025-01-01…2025-01-02" in gapless("status", SOURCE).out


def test_dates_before_the_first_that_no_run_asked_for_are_no_gap_either(
    place: Place, gapless: Any, begins: Any
) -> None:
    begins(FIRST)
    place.fill(FIRST, 2)
    assert gapless("gaps", SOURCE, EARLY, LAST).code == 0
    assert gapless("audit", SOURCE, "--from", EARLY, "--to", LAST).code == 0


def test_unavailable_dates_are_asked_for_once_the_source_begins_earlier(place: Place, ran: Ran, begins: Any) -> None:
    begins(FIRST)
    ran(EARLY, LAST)
    begins(EARLY)
    ran(EARLY, LAST)
    assert set(_verdicts(place).values()) == {"verified"}


def test_a_verified_date_that_ages_past_a_moving_floor_stays_verified(
    place: Place, ran: Ran, gapless: Any, begins: Any
) -> None:
    ran(EARLY, LAST)
    begins(FIRST)
    calls = place.upstream.calls.report()["by_date"].get(EARLY)
    for mode in (Mode.INCREMENTAL, Mode.FULL, Mode.VALIDATE, Mode.REPROCESS):
        _, facts = ran(EARLY, LAST, mode=mode.value)
        assert facts.verdict_counts == {"verified": 4}, mode
        assert _verdicts(place)[EARLY] == Verdict.VERIFIED, mode
        assert place.upstream.calls.report()["by_date"].get(EARLY) == calls, mode
        assert gapless("verify", SOURCE, EARLY, LAST).code == 0, mode
        assert gapless("audit", SOURCE, "--from", EARLY, "--to", LAST).code == 0, mode
