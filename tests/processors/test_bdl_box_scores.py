"""Ball Don't Lie box scores: the recorded answer, and the older shape."""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections import Counter
from pathlib import Path

import pytest

from processors.admission import Admission
from processors.base import LandedPage
from processors.registry import processor
from scrapers.partition import Partition

RECORDED = Path(__file__).parents[3] / "shared/fixtures/balldontlie/box_scores_2026-01-09.json"
SOURCE = "bdl_box_scores"
GENERATION_2024_LACKS = ("id", "datetime", "home_q1", "home_q2", "home_q3", "home_q4", "home_ot1", "home_in_bonus")


def line(player_id: int, **fields):
    return {
        "min": "05",
        "pts": 2,
        "plus_minus": 1,
        "ft_pct": None,
        "player": {"id": player_id, "first_name": "A"},
    } | fields


def game(**fields):
    team = {"conference": "East", "division": "Atlantic", "city": "Boston", "name": "Celtics"}
    return {
        "id": 7, "date": "2026-01-09", "datetime": "2026-01-10T00:00:00.000Z", "season": 2025, "status": "Final",
        "period": 4, "time": "Final", "postseason": False, "home_team_score": 125, "visitor_team_score": 117,
        "home_team": {**team, "id": 2, "full_name": "B", "abbreviation": "BOS", "players": [line(1)]},
        "visitor_team": {**team, "id": 28, "full_name": "T", "abbreviation": "TOR", "players": [line(2)]},
    } | fields  # fmt: skip


def read(games, day=dt.date(2026, 1, 9)):
    rows = {"nba_bdl_games": [], "nba_bdl_player_stats": []}
    source = processor(SOURCE)
    partition = Partition.day(day, "America/New_York")
    admission = Admission(partition, source.tables, lambda table: lambda line: rows[table].append(json.loads(line)))
    body = json.dumps({"data": games}).encode()
    page = LandedPage("/v1/box_scores", (), 200, {}, dt.datetime(2026, 2, 1, tzinfo=dt.UTC), body)
    for table, raw in source.rows(partition, page):
        admission.take(table, raw)
    return admission, rows


def test_a_game_becomes_one_row_and_a_line_per_player():
    admission, rows = read([game()])
    assert admission.reject_counts.total() == 0
    assert dict(admission.unknown_fields) == {}
    (row,) = rows["nba_bdl_games"]
    assert (row["game_key"], row["bdl_game_id"], row["home_team_abbreviation"]) == ("2026-01-09:2:28", 7, "BOS")
    assert row["starts_at"] == "2026-01-10T00:00:00Z"
    assert row["game_date"] == "2026-01-09"
    assert [(one["player_id"], one["team_id"], one["minutes"]) for one in rows["nba_bdl_player_stats"]] == [
        (1, 2, "05"),
        (2, 28, "05"),
    ]


def test_the_older_payload_gets_the_same_keys():
    old = {name: value for name, value in game().items() if name not in GENERATION_2024_LACKS}
    old["date"] = "2026-01-09T00:00:00.000Z"
    admission, rows = read([old])
    assert admission.reject_counts.total() == 0
    assert rows["nba_bdl_games"][0]["game_key"] == read([game()])[1]["nba_bdl_games"][0]["game_key"]
    assert rows["nba_bdl_games"][0]["bdl_game_id"] is None
    assert admission.absent_fields["nba_bdl_games.bdl_game_id"] == 1


def test_minutes_stay_as_they_were_sent():
    _, rows = read([game(home_team=game()["home_team"] | {"players": [line(1, min="37:12"), line(3, min="00")]})])
    assert [one["minutes"] for one in rows["nba_bdl_player_stats"]][:2] == ["37:12", "00"]


def test_a_missing_score_is_a_reject_and_not_a_zero():
    admission, _ = read([game(home_team_score=None)])
    assert admission.rejects[0].reason.startswith("home_team_score")


def test_a_game_of_another_date_is_a_reject():
    admission, rows = read([game(date="2026-01-10")])
    assert rows == {"nba_bdl_games": [], "nba_bdl_player_stats": []}
    assert admission.reject_counts["nba_bdl_games"] == 1


def test_fields_that_appear_upstream_are_told_on_all_levels():
    changed = copy.deepcopy(game(arena="TD"))
    changed["home_team"]["mascot"] = "L"
    changed["home_team"]["players"][0]["steals_pct"] = 0.1
    changed["home_team"]["players"][0]["player"]["shoe"] = 47
    admission, rows = read([changed])
    assert set(admission.unknown_fields) == {
        "nba_bdl_games.arena",
        "nba_bdl_games.home_team_mascot",
        "nba_bdl_player_stats.steals_pct",
        "nba_bdl_player_stats.player_shoe",
    }
    assert len(rows["nba_bdl_player_stats"]) == 2


@pytest.mark.fixtures
@pytest.mark.skipif(not RECORDED.exists(), reason="recorded payloads are not part of the repository")
def test_the_recorded_answer_comes_out_with_exactly_its_games_and_players(bench):
    body = RECORDED.read_bytes()
    expected = json.loads(body)["data"]
    bench.processor = processor(SOURCE)
    counts = {"nba_bdl_games": 10, "nba_bdl_player_stats": 347}
    partition = Partition.day(dt.date(2026, 1, 9), "America/New_York")
    manifest = bench.land_body(partition, body, counts=counts)
    receipt = bench.process(manifest)
    assert receipt.unknown_fields == {}
    assert receipt.absent_fields == {}
    found = bench.verify(manifest, receipt=receipt)[partition.key]
    assert found.is_ok, found.evidence
    assert found.loaded == counts
    games = bench.rows("nba_bdl_games", "bdl_game_id", "home_team_score", "visitor_team_score")
    assert games == sorted((one["id"], one["home_team_score"], one["visitor_team_score"]) for one in expected)
    lines = bench.rows("nba_bdl_player_stats", "team_id", "player_id", "pts", "minutes")
    assert lines == sorted(
        (one[side]["id"], player["player"]["id"], player["pts"], player["min"])
        for one in expected
        for side in ("home_team", "visitor_team")
        for player in one[side]["players"]
    )
    assert max(Counter(team for team, *_ in lines).values()) < 20


def test_a_game_that_is_not_final_is_no_row_and_a_pair_that_plays_twice_is_told_apart_by_the_id():
    admission, rows = read([game(), game(id=8), game(id=9, status="Postponed")])
    assert admission.rejects == []
    assert sorted(row["game_key"] for row in rows["nba_bdl_games"]) == ["2026-01-09:2:28:7", "2026-01-09:2:28:8"]
    assert len(rows["nba_bdl_player_stats"]) == 4
