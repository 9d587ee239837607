from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from deployments.local.upstreams.box_scores_upstream import Upstream
from deployments.local.upstreams.league import game_of, usual_changes
from deployments.local.upstreams.rosters import TEAMS
from deployments.local.upstreams.season import games_on


@pytest.fixture(scope="module")
def season() -> dict[dt.date, list[dict[str, Any]]]:
    first = dt.date(2024, 7, 1)
    return {date: games_on(date) for date in (first + dt.timedelta(days=offset) for offset in range(366))}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


def _call(url: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def _ask(server: Upstream, path: str, **query: str) -> tuple[int, bytes, dict[str, str]]:
    return _call(f"{server.url}{path}?{urllib.parse.urlencode(query)}", Authorization="sample-key")


def _good(server: Upstream, path: str, **query: str) -> Any:
    status, body, _ = _ask(server, path, **query)
    assert status == 200
    return json.loads(body)


def _box_scores(server: Upstream, date: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    return _call(f"{server.url}/v1/box_scores?date={date}", Authorization="sample-key", **headers)


def test_points_add_up_in_every_game_of_a_season(season):
    for games in season.values():
        for game in games:
            for side, team in (("home", "home_team"), ("visitor", "visitor_team")):
                score = game[f"{side}_team_score"]
                assert score == sum(line["pts"] for line in game[team]["players"])
                if "id" in game:
                    periods = [game[f"{side}_q{n}"] for n in (1, 2, 3, 4)] + [game[f"{side}_ot{n}"] for n in (1, 2, 3)]
                    assert score == sum(points or 0 for points in periods)
                    assert sum(points is not None for points in periods) == game["period"]
                for line in game[team]["players"]:
                    assert line["pts"] == 2 * (line["fgm"] - line["fg3m"]) + 3 * line["fg3m"] + line["ftm"]
                    assert line["ftm"] <= line["fta"]
                    assert line["fg3m"] <= line["fg3a"]
                    assert line["fgm"] <= line["fga"]
            assert game["home_team_score"] != game["visitor_team_score"]


def test_the_calendar_has_its_holes(season):
    counts = {date: len(games) for date, games in season.items()}
    assert all(counts[date] == 0 for date in counts if date.month in (7, 8, 9))
    assert counts[dt.date(2024, 12, 24)] == 0
    assert [counts[dt.date(2025, 2, day)] for day in range(14, 20)] == [0] * 6
    assert 900 < sum(counts.values()) < 1700
    assert max(counts.values()) <= 15


def test_keys_are_unique_and_no_team_plays_twice_a_day(season):
    ids = [game["id"] for games in season.values() for game in games if "id" in game]
    assert len(set(ids)) == len(ids) > 0
    for games in season.values():
        teams = [game[side]["id"] for game in games for side in ("home_team", "visitor_team")]
        assert len(set(teams)) == len(teams)
        players = [
            line["player"]["id"]
            for game in games
            for side in ("home_team", "visitor_team")
            for line in game[side]["players"]
        ]
        assert len(set(players)) == len(players)


def test_the_shape_changes_with_the_generations():
    old, new = games_on(dt.date(2024, 12, 30))[0], games_on(dt.date(2025, 1, 3))[0]
    assert set(new) - set(old) >= {"id", "datetime", "home_q1", "visitor_ot3"}
    assert "plus_minus" not in old["home_team"]["players"][0]
    assert "plus_minus" in new["home_team"]["players"][0]
    oldest = games_on(dt.date(2003, 1, 3))[0]
    assert oldest["date"] == "2003-01-03T00:00:00.000Z"
    assert ":" in oldest["home_team"]["players"][0]["min"]
    assert {line["min"] for line in new["home_team"]["players"]} >= {"00"}


def test_another_process_generates_the_same_season():
    code = (
        "import datetime, hashlib, json; from deployments.local.upstreams.season import games_on;"
        "print(hashlib.sha256(json.dumps(games_on(datetime.date(2025, 1, 3))).encode()).hexdigest())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] != b""


def test_the_thirty_teams_are_known_by_id():
    assert [team["id"] for team in TEAMS] == list(range(1, 31))
    assert TEAMS[12]["full_name"] == "LA Clippers"
    assert TEAMS[24] == {
        "id": 25,
        "conference": "West",
        "division": "Northwest",
        "city": "Portland",
        "name": "Trail Blazers",
        "full_name": "Portland Trail Blazers",
        "abbreviation": "POR",
    }


def test_it_speaks_the_contract(upstream):
    assert _box_scores(upstream, "2025-07-04")[:2] == (200, b'{"data":[]}')
    status, body, headers = _call(f"{upstream.url}/v1/box_scores?date=2025-01-03")
    assert (status, body, headers["Content-Type"]) == (401, b"Unauthorized", "text/plain; charset=utf-8")
    assert _box_scores(upstream, "yesterday")[0] == 400
    plain = _box_scores(upstream, "2025-01-03")[1]
    packed = _box_scores(upstream, "2025-01-03", **{"Accept-Encoding": "gzip"})
    assert packed[2]["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed[1]) == plain
    assert json.loads(plain)["data"] == games_on(dt.date(2025, 1, 3))
    future = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=2)
    assert all(game["status"] != "Final" for game in json.loads(_box_scores(upstream, future.isoformat())[1])["data"])
    assert _call(f"{upstream.url}/healthz")[0] == 200
    assert _call(f"{upstream.url}/other")[0] == 404


def test_calls_are_counted_exactly_and_the_control_needs_no_key(upstream):
    threads = [threading.Thread(target=_box_scores, args=(upstream, f"2025-01-{day:02d}")) for day in range(1, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _call(f"{upstream.url}/v1/box_scores?date=2025-01-01")
    report = json.loads(_call(f"{upstream.url}/gapless/calls")[1])
    assert report["total"] == len(report["requests"]) == 11
    assert report["by_date"]["2025-01-01"] == 2
    assert report["by_status"] == {"200": 10, "401": 1}
    assert 1 <= report["peak_concurrency"] <= 10
    _call(f"{upstream.url}/gapless/calls", "DELETE")
    assert json.loads(_call(f"{upstream.url}/gapless/calls")[1])["total"] == 0


def test_trouble_strikes_as_often_as_told_and_only_on_its_dates(upstream):
    rules = [
        {"kind": "429", "dates": ["2025-01-03"], "times_per_date": 1, "retry_after_s": 3},
        {"kind": "500", "from": "2025-01-03", "to": "2025-01-04", "times": 2},
    ]
    assert _call(f"{upstream.url}/gapless/trouble", "POST", rules)[0] == 200
    status, _, headers = _box_scores(upstream, "2025-01-03")
    assert (status, headers["Retry-After"]) == (429, "3")
    seen = [_box_scores(upstream, date)[0] for date in ("2025-01-02", "2025-01-04", "2025-01-03", "2025-01-04")]
    assert seen == [200, 500, 500, 200]
    _call(f"{upstream.url}/gapless/trouble", "POST", [{"kind": "401"}])
    assert _box_scores(upstream, "2025-01-03")[:2] == (401, b"Unauthorized")
    _call(f"{upstream.url}/gapless/trouble", "DELETE")
    assert _box_scores(upstream, "2025-01-03")[0] == 200


def test_an_unknown_kind_of_trouble_is_refused(upstream):
    status, body, _ = _call(f"{upstream.url}/gapless/trouble", "POST", [{"kind": "earthquake"}])
    assert status == 400
    assert b"earthquake" in body


@pytest.mark.parametrize(
    "kind",
    [
        "not_final",
        "empty",
        "one_game",
        "drop_players",
        "drop_last_player",
        "wrong_date",
        "duplicate_game",
        "late_game",
        "renamed_field",
        "drop_top_scorer",
        "one_player",
        "wrong_score",
        "negative_score",
        "null_id",
    ],
)
def test_a_spoiled_answer_differs_from_the_good_one_and_spoils_nothing_else(upstream, kind):
    good = _box_scores(upstream, "2025-01-03")[1]
    upstream.trouble({"kind": kind, "times": 1})
    status, bad, _ = _box_scores(upstream, "2025-01-03")
    assert status == 200
    assert json.loads(bad) != json.loads(good)
    assert _box_scores(upstream, "2025-01-03")[1] == good


def test_a_late_game_comes_also_on_a_date_without_games_between_teams_that_had_no_game_with_each_other(upstream):
    for date, games in (("2024-12-24", 0), ("2025-01-03", len(games_on(dt.date(2025, 1, 3))))):
        upstream.trouble({"kind": "late_game"})
        found = json.loads(_box_scores(upstream, date)[1])["data"]
        pairs = {(game["home_team"]["id"], game["visitor_team"]["id"]) for game in found}
        assert len(found) == len(pairs) == games + 1


# -- the other endpoints of the account --------------------------------------------------------------------------------


def _walk(upstream: Upstream, path: str, **query: str) -> list[dict[str, Any]]:
    """Every row of a list, by its cursors."""
    rows: list[dict[str, Any]] = []
    while True:
        document = _good(upstream, path, **query)
        rows += document["data"]
        assert document["meta"].pop("per_page") == int(query.get("per_page", 25))
        if not document["meta"]:
            return rows
        query["cursor"] = str(document["meta"]["next_cursor"])


def test_games_and_stats_say_what_box_scores_say_on_pages_whose_last_has_no_cursor():
    truth = games_on(dt.date(2025, 1, 3))
    with Upstream() as upstream:
        games = _walk(upstream, "/v1/games", **{"dates[]": "2025-01-03", "per_page": "5"})
        stats = _walk(upstream, "/v1/stats", **{"dates[]": "2025-01-03", "per_page": "100"})
        some = _walk(upstream, "/v1/stats", **{"game_ids[]": str(truth[2]["id"]), "per_page": "100"})

    assert [(game["id"], game["home_team_score"]) for game in games] == [
        (game["id"], game["home_team_score"]) for game in truth
    ]
    lines = [line for game in truth for side in ("home_team", "visitor_team") for line in game[side]["players"]]
    assert [(row["player"]["id"], row["pts"], row["min"]) for row in stats] == [
        (line["player"]["id"], line["pts"], line["min"]) for line in lines
    ]
    assert {row["game"]["id"] for row in some} == {truth[2]["id"]}
    assert len(some) == 34


def test_every_endpoint_answers_only_the_tier_that_opens_it():
    opened = {}
    for tier in ("free", "all-star", "goat"):
        with Upstream(tier=tier) as upstream:
            for path in ("games", "teams", "players", "players/active", "player_injuries", "stats", "box_scores"):
                status, body, _ = _ask(upstream, f"/v1/{path}", **{"date": "2025-01-03", "dates[]": "2025-01-03"})
                opened.setdefault(tier, {})[path] = status
                assert status == 200 or body == b"Unauthorized"
    assert [path for path, status in opened["free"].items() if status == 200] == ["games", "teams", "players"]
    assert [path for path, status in opened["all-star"].items() if status == 401] == ["box_scores"]
    assert set(opened["goat"].values()) == {200}


def test_the_limit_is_of_all_endpoints_together_and_names_no_time():
    with Upstream(per_minute=3) as upstream:
        answers = [_ask(upstream, f"/v1/{path}") for path in ("teams", "players", "games", "teams")]

    assert [status for status, _, _ in answers] == [200, 200, 200, 429]
    assert "retry-after" not in {name.lower() for name in answers[-1][2]}


@pytest.mark.parametrize("size", ["0", "101", "many"])
def test_a_page_of_more_than_a_hundred_is_refused(size):
    with Upstream() as upstream:
        assert _ask(upstream, "/v1/teams", per_page=size)[0] == 200, "an endpoint without pages ignores it"
        assert _ask(upstream, "/v1/games", per_page=size)[0] == 400


def test_a_changed_season_is_seen_by_games_stats_and_box_scores_alike():
    change = usual_changes(2024)[0]
    game = game_of(change.game)
    with Upstream() as upstream:
        _call(f"{upstream.url}/gapless/season", "POST", [change.model_dump(mode="json")])
        query = {"dates[]": str(game.date), "per_page": "100"}
        games = {row["id"]: row["status"] for row in _walk(upstream, "/v1/games", **query)}
        stats = {row["game"]["id"] for row in _walk(upstream, "/v1/stats", **query)}
        box_scores = _good(upstream, "/v1/box_scores", date=str(game.date))

    assert games.pop(game.bdl_id) == "Postponed"
    assert set(games.values()) == {"Final"}
    assert stats == set(games)
    assert {one["id"]: one["status"] for one in box_scores["data"]} == {**games, game.bdl_id: "Postponed"}


def test_there_are_forty_five_teams_and_the_players_of_all_seasons():
    with Upstream(now=dt.datetime(2025, 3, 1, tzinfo=dt.UTC)) as upstream:
        teams = _good(upstream, "/v1/teams")
        active = _walk(upstream, "/v1/players/active", per_page="100")
        ever = _walk(upstream, "/v1/players", per_page="100")
        injured = _walk(upstream, "/v1/player_injuries", per_page="100")

    assert [len(teams["data"]), len(active)] == [45, 510]
    assert {row["id"] for row in injured} < {row["id"] for row in active} < {row["id"] for row in ever}
    assert len({row["id"] for row in ever}) == len(ever) > 3900


def test_a_season_before_the_first_one_has_no_games_and_none_that_is_postponed() -> None:
    assert usual_changes(1988) == ()
