"""A game that never becomes final keeps neither its date nor its own state hidden."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from alerting.instant import utc_now
from flows.parameters import Mode
from scrapers.partition import Partition
from scrapers.sources.bdl_box_scores import BdlBoxScores

if TYPE_CHECKING:
    from .conftest import Place, Ran

SOURCE, DATE, NEXT = "bdl_box_scores", "2025-01-14", "2025-01-15"


def test_final_games_of_an_old_date_load_and_the_open_one_is_listed_until_it_is_final(
    place: Place, ran: Ran, gapless: Any
) -> None:
    place.upstream.trouble({"kind": "not_final", "dates": [DATE]})
    _, facts = ran(DATE, NEXT)
    entry = place.entry(DATE)
    assert (facts.verdict, entry.verdict.value) == ("COMPLETE", "verified")
    assert entry.open_items.startswith("1 open: ")
    assert "(3rd Qtr)" in entry.open_items
    assert facts.provisional == {DATE: f"loaded without items that are not final: {entry.open_items}"}
    statuses = place.sql(f"SELECT DISTINCT status FROM {{games}} WHERE game_date = '{DATE}'")
    assert [row["status"] for row in statuses] == ["Final"]
    games = entry.loaded["nba_bdl_games"]
    assert gapless("verify", SOURCE, DATE, NEXT).code == 0
    assert f"loaded without items that are not final: {DATE}, {entry.open_items}" in gapless("status", SOURCE).out
    (found,) = gapless("audit", SOURCE, "--from", DATE, "--to", NEXT, "--json").data["deficits"]
    assert (found["deficit"], found["ranges"]) == ("open_items", DATE)

    place.upstream.trouble()
    ran(DATE, DATE, mode=Mode.FULL.value)
    assert place.entry(DATE).open_items == ""
    assert place.entry(DATE).loaded["nba_bdl_games"] == games + 1
    assert gapless("audit", SOURCE, "--from", DATE, "--to", NEXT).code == 0


def test_an_open_game_that_is_accepted_as_a_loss_is_listed_no_more_and_keeps_who_and_why(
    place: Place, ran: Ran, gapless: Any
) -> None:
    place.upstream.trouble({"kind": "not_final", "dates": [DATE]})
    ran(DATE, DATE)
    line = ("accept-open", SOURCE, DATE, "--reason", "the game was cancelled")
    assert "the game was cancelled" in gapless(*line).out
    assert place.entry(DATE).open_accepted.endswith("the game was cancelled")
    assert place.entry(DATE).verdict.value == "verified"
    assert gapless("audit", SOURCE, "--from", DATE, "--to", DATE).code == 0
    assert "loaded without" not in gapless("status", SOURCE).out
    assert "nothing of it is open; nothing was changed" in gapless("accept-open", SOURCE, NEXT, "--reason", "x").err


def test_a_date_of_this_week_waits_for_its_open_game(place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BdlBoxScores, "settle_after_days", (utc_now().date() - dt.date.fromisoformat(DATE)).days + 1)
    place.upstream.trouble({"kind": "not_final", "dates": [DATE]})
    ran(DATE, NEXT)
    assert (place.entry(DATE).verdict.value, place.entry(NEXT).verdict.value) == ("partial", "verified")
    assert place.entry(DATE).error_type == "NotSettled"


def test_a_source_without_settle_after_days_is_blocked_by_open_items_for_ever():
    partition = Partition.day(dt.date(2025, 1, 14), "UTC")
    scraper = type("Patient", (BdlBoxScores,), {"settle_after_days": 0})
    assert scraper.blocks_at(partition, dt.datetime(2095, 1, 1, tzinfo=dt.UTC))
    assert not BdlBoxScores.blocks_at(partition, dt.datetime(2025, 1, 18, tzinfo=dt.UTC))
    assert BdlBoxScores.blocks_at(partition, dt.datetime(2025, 1, 17, 23, 59, tzinfo=dt.UTC))
