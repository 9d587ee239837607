from __future__ import annotations

import copy
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.errors import CoverageLow, NothingPublished, PipelineError, SourceContractError
from deployments.local.upstreams.season import games_on
from scrapers.base import Page, Request
from scrapers.partition import Partition
from scrapers.registry import scraper

NEW, OLD, OLDEST = dt.date(2025, 1, 3), dt.date(2024, 1, 3), dt.date(2003, 1, 3)
FIXTURE = Path(__file__).parents[3] / "shared" / "fixtures" / "balldontlie" / "box_scores_2026-01-09.json"
SOURCE = scraper("bdl_box_scores")


def _inspect(page, date: dt.date, games: Any):
    body = games if isinstance(games, bytes) else json.dumps({"data": games}).encode()
    return SOURCE.inspect(Partition.day(date, SOURCE.zone), page(body))


@pytest.mark.fixtures
@pytest.mark.skipif(not FIXTURE.exists(), reason="no recorded payloads here")
def test_the_recorded_day_has_ten_games_and_347_player_lines(page):
    findings = _inspect(page, dt.date(2026, 1, 9), FIXTURE.read_bytes())
    assert findings.counts == {"nba_bdl_games": 10, "nba_bdl_player_stats": 347}
    assert (findings.empty_evidence, findings.unsettled, findings.next_request) == ("", (), None)


@pytest.mark.parametrize("date", [NEW, OLD, OLDEST], ids=str)
def test_every_generation_of_the_payload_is_counted(page, date):
    games = games_on(date)
    findings = _inspect(page, date, games)
    assert findings.counts == {"nba_bdl_games": len(games), "nba_bdl_player_stats": 34 * len(games)}
    assert games


def test_the_request_asks_for_the_local_date():
    request = SOURCE.first_request(Partition.day(NEW, SOURCE.zone))
    assert (request.path, request.params) == ("/v1/box_scores", (("date", "2025-01-03"),))


def test_only_the_exact_empty_answer_proves_a_day_without_games(page):
    findings = _inspect(page, NEW, b'{"data":[]}')
    assert findings.empty_evidence
    assert set(findings.counts.values()) == {0}
    with pytest.raises(NothingPublished):
        _inspect(page, NEW, b'{"data":[],"message":"try later"}')


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"data":null}', b'{"data":{}}x', b"\x93\x94", b'{"data":[1]}', b"null"]
)
def test_another_shape_is_a_broken_contract_and_never_an_empty_day(page, body):
    with pytest.raises(SourceContractError):
        _inspect(page, NEW, body)


def test_games_of_another_date_mean_that_the_source_ignored_ours(page):
    with pytest.raises(SourceContractError, match=r"asked for 2025-01-04, got .* of 2025-01-03"):
        _inspect(page, dt.date(2025, 1, 4), games_on(NEW))


def test_a_game_that_is_not_final_is_named_as_unsettled(page):
    games = games_on(NEW)
    games[0]["status"] = "1st Qtr"
    name = f"{games[0]['visitor_team']['abbreviation']}-{games[0]['home_team']['abbreviation']}"
    findings = _inspect(page, NEW, games)
    assert findings.unsettled == (f"{name} (1st Qtr)",)
    assert findings.counts == {"nba_bdl_games": len(games) - 1, "nba_bdl_player_stats": 34 * (len(games) - 1)}


def test_two_games_of_one_pair_on_one_day_are_told_apart_by_their_ids(page):
    games = games_on(NEW)
    games.append({**copy.deepcopy(games[0]), "id": 1})
    assert _inspect(page, NEW, games).counts["nba_bdl_games"] == len(games)
    games[-1]["id"] = games[0]["id"]
    with pytest.raises(CoverageLow, match="came twice"):
        _inspect(page, NEW, games)


@pytest.mark.parametrize("date", [NEW, OLD], ids=["with an id", "without"])
def test_one_game_under_swapped_sides_came_twice(page, date):
    games = games_on(date)
    first = games[0]
    games.append({**first, "home_team": first["visitor_team"], "visitor_team": first["home_team"]})
    with pytest.raises(CoverageLow, match="came twice"):
        _inspect(page, date, games)


def test_blank_abbreviations_make_no_two_games_one(page):
    games = games_on(NEW)
    for game in games:
        del game["id"]
        game["status"] = "Postponed"
        game["home_team"]["abbreviation"] = game["visitor_team"]["abbreviation"] = ""
    findings = _inspect(page, NEW, games)
    assert len(set(findings.unsettled)) == len(games)
    assert findings.unsettled[0].startswith("team ")


def test_scheduled_games_without_players_are_unsettled_and_no_failure(page):
    games = games_on(NEW, is_over=False)
    findings = _inspect(page, NEW, games)
    assert len(findings.unsettled) == len(games)
    assert findings.counts["nba_bdl_player_stats"] == 0


def test_a_final_game_without_the_players_of_a_team_is_short(page):
    games = games_on(NEW)
    games[1]["visitor_team"]["players"] = []
    with pytest.raises(CoverageLow, match=r"17 \+ 0 players"):
        _inspect(page, NEW, games)


def test_a_game_that_comes_twice_is_refused(page):
    games = games_on(NEW)
    with pytest.raises(CoverageLow, match="twice"):
        _inspect(page, NEW, [*games, copy.deepcopy(games[0])])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["data", "date", "home_team"]), inner),
)


@given(document=JSON)
@settings(max_examples=40, deadline=None)
def test_no_document_at_all_escapes_the_taxonomy(document):
    page = Page(Request("/"), 1, 200, {}, json.dumps(document).encode(), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 0.1)
    try:
        findings = SOURCE.inspect(Partition.day(NEW, SOURCE.zone), page)
    except PipelineError:
        return
    assert findings.empty_evidence
    assert document == {"data": []}
