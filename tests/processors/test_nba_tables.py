"""Tables of NBA.com against the generated season, and against payloads that were recorded at the real site."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.local.upstreams.league import BoxScore, Calendar, Game, Line, games_in, usual_changes
from deployments.local.upstreams.nba_upstream import NbaUpstream
from processors.base import LandedPage
from processors.load_plan import pack
from processors.registry import processor
from scrapers.base import Page, Request, SourceAccess
from scrapers.client import SourceClient
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape

NOW = dt.datetime(2024, 11, 20, 12, tzinfo=dt.UTC)
FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "nba_com"
HOSTS = {"nba_schedule": "/{site}", "nba_scoreboard": "/stats", "nba_boxscores": "/stats", "nba_gamelog": "/stats"}
HOSTS["nba_playbyplay"] = "/{site}"
DAYS = [dt.date(2024, 10, 10), dt.date(2024, 11, 15), dt.date(2024, 11, 16)]
V2 = {"scoreboard_path": "/stats/scoreboardv2", "box_score_path": "/stats/boxscoretraditionalv2"}
COUNTED = ("fgm", "fga", "fg3m", "fg3a", "ftm", "fta", "oreb", "dreb", "ast", "stl", "blk", "turnover", "pf", "pts")
SEASON = "2024-25"
Load = Callable[..., list[Manifest]]


@pytest.fixture(scope="module")
def shared() -> Iterator[NbaUpstream]:
    with NbaUpstream(now=NOW) as server:
        yield server


@pytest.fixture
def upstream(shared: NbaUpstream) -> NbaUpstream:
    shared.now, shared.calendar = NOW, None
    shared.trouble()
    return shared


@pytest.fixture
def load(bench: Any, upstream: NbaUpstream) -> Load:
    """Fetches partitions of a source, loads them in as few batches as can be, and recounts them."""

    def load(name: str, *wanted: dt.date | str, **facts: Any) -> list[Manifest]:
        source = type(scraper(name))()
        for fact, value in facts.items():
            setattr(source, fact, value)
        bench.processor = processor(name)
        access = SourceAccess(upstream.url + HOSTS[name])
        with SourceClient(source, access, Budget(Rate())) as client:
            context = ScrapeContext(source, client, bench.landing, "b1", "0", now=lambda: upstream.now or NOW)
            manifests = [
                scrape(
                    Partition.whole(one, source.zone) if isinstance(one, str) else Partition.day(one, source.zone),
                    context,
                )
                for one in wanted
            ]
        for batch in pack(manifests):
            receipt = bench.process(*batch, accept_shrink=False)
            assert receipt.failures == {}
            assert (receipt.unknown_fields, receipt.absent_fields) == ({}, {})
            assert all(one.is_ok for one in bench.verify(*batch, receipt=receipt).values())
        return manifests

    return load


def rows_of(name: str, partition: Partition, body: bytes, *, path: str = "/x", **params: str) -> list[Any]:
    """Rows by table, each checked by its model, as a load does it."""
    of = processor(name)
    models = {table.name: table.model for table in of.tables}
    page = LandedPage(path, tuple(params.items()), 200, {}, NOW, body)
    return [(table, models[table](**row)) for table, row in of.rows(partition, page)]


def recorded(name: str) -> bytes:
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return path.read_bytes()


def test_a_season_is_loaded_as_the_league_has_it(bench: Any, load: Load) -> None:
    load("nba_schedule", SEASON)
    truth = games_in(2024)
    found = {row[0]: row[1:] for row in bench.rows("nba_schedule", "game_id", "game_date", "game_kind", "tip_off_at")}
    assert found == {game.nba_id: (game.date, game.kind, game.tip_off) for game in truth}
    scores = bench.rows("nba_schedule", "game_id", "status", "home_score", "away_score", "home_team_id")
    over = {game.nba_id: game for game in truth if game.date < dt.date(2024, 11, 20)}
    assert len(over) > 100
    for game_id, status, home, away, team in scores:
        expected: tuple[Any, ...] = (1, None, None)
        if game_id in over:
            box = over[game_id].box_score()
            expected = (3, box.home.score, box.visitor.score)
        assert (status, home, away) == expected
        assert team == next(game for game in truth if game.nba_id == game_id).home.nba_id


def test_a_later_schedule_moves_a_postponed_game_and_leaves_a_tombstone_of_a_dropped_one(
    bench: Any, load: Load, upstream: NbaUpstream
) -> None:
    postponed = next(game for game in games_in(2024) if game.nba_id == usual_changes(2024)[0].game)
    dropped = next(game for game in games_in(2024) if game.kind == "playoffs")
    seen: list[tuple[Any, ...]] = []

    def look(on: dt.date) -> None:
        upstream.now = dt.datetime.combine(on, dt.time(12), dt.UTC)
        load("nba_schedule", SEASON)
        told = bench.rows("nba_schedule", "game_id", "game_date", "is_postponed", "status_text", "deleted_at IS NULL")
        seen.append(next(row for row in told if row[0] == postponed.nba_id))
        assert len(told) == len(games_in(2024))

    changes = [change.model_dump() for change in usual_changes(2024)[:1]]
    upstream.set_season(changes)
    look(postponed.date)
    upstream.set_season([*changes, {"kind": "drop", "game": dropped.nba_id}])
    look(postponed.date + dt.timedelta(days=2))
    assert seen[0][1:] == (postponed.date, True, "PPD", True)
    assert seen[1][1] > postponed.date
    assert seen[1][2] is False
    gone = bench.rows("nba_schedule", "game_id", "deleted_at IS NULL")
    assert [game_id for game_id, is_current in gone if not is_current] == [dropped.nba_id]


def test_the_recorded_schedule_becomes_a_row_a_game_with_its_tip_off_in_true_utc() -> None:
    body = recorded("cdn_schedule_preseason_2025.json")
    found = rows_of("nba_schedule", Partition.whole("2025-26", "America/New_York"), body)
    games = [game for date in json.loads(body)["leagueSchedule"]["gameDates"] for game in date["games"]]
    utc = {game["gameId"]: dt.datetime.fromisoformat(game["gameDateTimeUTC"]) for game in games}
    assert {row.game_id: row.tip_off_at for _, row in found} == utc
    assert Counter(row.game_kind for _, row in found) == {"preseason": len(games)}


@pytest.mark.parametrize(
    ("game_id", "kind"),
    [
        ("0012400001", "preseason"),
        ("0022400561", "regular"),
        ("0032400001", "all_star"),
        ("0042400101", "playoffs"),
        ("0052400101", "play_in"),
        ("0062400001", "cup_final"),
        ("0092400001", "other"),
    ],
)
def test_the_kind_of_a_game_is_read_off_its_id(game_id: str, kind: str) -> None:
    game = {
        **{"gameId": game_id, "gameStatus": 1, "gameStatusText": "TBD", "gameDateEst": "2025-05-04T00:00:00Z"},
        **{"gameDateTimeEst": "2025-05-04T00:00:00Z", "homeTeam": None, "awayTeam": None},
    }
    game |= {f"{side}Team": {"teamId": 0, "teamTricode": "", "score": 0} for side in ("home", "away")}
    document = {"leagueSchedule": {"seasonYear": SEASON, "gameDates": [{"games": [game]}]}}
    [(_, row)] = rows_of("nba_schedule", Partition.whole(SEASON, "America/New_York"), json.dumps(document).encode())
    assert (row.game_kind, row.tip_off_at, row.home_team_id) == (kind, None, None)


def played(*dates: dt.date) -> list[tuple[Game, BoxScore]]:
    return [(game, game.box_score()) for date in dates for game in Calendar().played_on(date)]


def numbers(line: Line) -> tuple[int, ...]:
    return tuple(getattr(line, name) for name in COUNTED)


@pytest.mark.parametrize("facts", [{}, V2], ids=["v3", "v2"])
def test_games_and_team_lines_are_those_of_the_league(bench: Any, load: Load, facts: dict[str, str]) -> None:
    load("nba_scoreboard", *DAYS, **facts)
    games = bench.rows(
        "nba_games", "game_id", "game_date", "season", "status_text", "periods", "home_score", "away_score"
    )
    assert games == sorted(
        (game.nba_id, game.date, SEASON, box.status, 4 + box.overtimes, box.home.score, box.visitor.score)
        for game, box in played(*DAYS)
    )
    periods = [f"IFNULL({name}, 0)" for name in ("q1", "q2", "q3", "q4", "ot1", "ot2", "ot3")]
    lines = bench.rows("nba_team_lines", "game_id", "team_id", "is_home", "pts", *periods)
    assert lines == sorted(
        (game.nba_id, side.team.nba_id, side is box.home, side.score, *side.periods, *[0] * (7 - len(side.periods)))
        for game, box in played(*DAYS)
        for side in (box.home, box.visitor)
    )
    tip_offs = {} if facts else {game.nba_id: game.tip_off for game, _ in played(*DAYS)}
    assert dict(bench.rows("nba_games", "game_id", "tip_off_at")) == tip_offs or facts


@pytest.mark.parametrize("facts", [{}, V2], ids=["v3", "v2"])
def test_box_scores_are_those_of_the_league_in_either_shape(bench: Any, load: Load, facts: dict[str, str]) -> None:
    load("nba_boxscores", *DAYS[1:], **facts)
    found = bench.rows("nba_player_boxscores", "game_id", "player_id", "team_id", "did_play", "minutes", *COUNTED)
    assert found == sorted(
        (
            *(game.nba_id, line.player.nba_id, line.team.nba_id, line.did_play),
            f"{line.minutes}:{line.seconds:02d}" if line.did_play else None,
            *(numbers(line) if line.did_play else [None] * len(COUNTED)),
        )
        for game, box in played(*DAYS[1:])
        for side in (box.home, box.visitor)
        for line in side.lines
    )
    comments = {comment for (comment,) in bench.rows("nba_player_boxscores", "comment")}
    assert comments == {None, "DNP - Coach's Decision"}


def test_game_logs_have_who_played_and_both_teams(bench: Any, load: Load) -> None:
    load("nba_gamelog", *DAYS[:2])
    games = played(*DAYS[:2])
    found = bench.rows("nba_gamelog_players", "game_id", "player_id", "team_id", "minutes", "won", *COUNTED)
    assert found == sorted(
        (game.nba_id, line.player.nba_id, side.team.nba_id, line.minutes, side.team == box.winner, *numbers(line))
        for game, box in games
        for side in (box.home, box.visitor)
        for line in side.lines
        if line.did_play
    )
    teams = bench.rows("nba_gamelog_teams", "game_id", "team_id", "is_home", "pts", "game_kind")
    assert teams == sorted(
        (game.nba_id, side.team.nba_id, side is box.home, side.score, game.kind)
        for game, box in games
        for side in (box.home, box.visitor)
    )
    assert {row[4] for row in teams} == {"preseason", "regular"}


def test_plays_add_up_to_the_final_score_and_to_the_points_of_each_player(bench: Any, load: Load) -> None:
    load("nba_playbyplay", DAYS[0])
    ends = "action_type = 'game'"
    scores = bench.rows("nba_pbp", "game_id", ends, "score_home", "score_away")
    assert {row[0]: row[2:] for row in scores if row[1]} == {
        game.nba_id: (box.home.score, box.visitor.score) for game, box in played(DAYS[0])
    }
    worth = "CASE action_type WHEN '2pt' THEN 2 WHEN '3pt' THEN 3 WHEN 'freethrow' THEN 1 ELSE 0 END"
    points: Counter[tuple[str, int]] = Counter()
    for game_id, player, is_made, value in bench.rows("nba_pbp", "game_id", "player_id", "shot_result = 'Made'", worth):
        if is_made:
            points[game_id, player] += value
    assert points == {
        (game.nba_id, line.player.nba_id): line.pts
        for game, box in played(DAYS[0])
        for side in (box.home, box.visitor)
        for line in side.lines
        if line.pts
    }


def test_a_game_that_is_listed_on_two_dates_is_refused_on_the_second(
    bench: Any, load: Load, upstream: NbaUpstream
) -> None:
    game = played(DAYS[1])[0][0]
    load("nba_scoreboard", DAYS[1])
    upstream.set_season([{"kind": "double", "game": game.nba_id, "to": str(DAYS[2])}])
    with pytest.raises(AssertionError, match="DUPLICATE: nba_games: also outside the partition: 1 value of game_id"):
        load("nba_scoreboard", DAYS[2])
    assert {date for (date,) in bench.rows("nba_games", "game_date")} == {DAYS[1]}


def asked_for(name: str, path: str, date: dt.date, body: bytes, **params: str) -> tuple[dict[str, int], list[Any]]:
    """What the scraper counts in a recorded page, and its rows."""
    source = scraper(name)
    partition = Partition.day(date, source.zone)
    page = Page(Request(path, tuple(params.items())), 1, 200, {}, body, NOW, 0.1)
    return dict(source.inspect(partition, page).counts), rows_of(name, partition, body, path=path, **params)


@pytest.mark.parametrize("date", [dt.date(2024, 1, 15), dt.date(2025, 1, 15)])
def test_recorded_scoreboards_of_the_old_shape_become_their_games(date: dt.date) -> None:
    body = recorded(f"scoreboardv2_{date}.json")
    asked = {"DayOffset": "0", "GameDate": str(date), "LeagueID": "00"}
    counts, found = asked_for("nba_scoreboard", "/stats/scoreboardv2", date, body, **asked)
    sets = {one["name"]: one for one in json.loads(body)["resultSets"]}
    header, lines = (
        [dict(zip(sets[name]["headers"], row, strict=True)) for row in sets[name]["rowSet"]]
        for name in ("GameHeader", "LineScore")
    )
    assert counts == {"nba_games": len(header), "nba_team_lines": len(lines)} == Counter(table for table, _ in found)
    told = {(row.game_id, row.team_id): row.pts for table, row in found if table == "nba_team_lines"}
    assert told == {(line["GAME_ID"], line["TEAM_ID"]): line["PTS"] for line in lines}


def test_the_recorded_scoreboard_of_the_newer_shape_becomes_its_games() -> None:
    body, date = recorded("scoreboardv3_2025-11-05.json"), dt.date(2025, 11, 5)
    counts, found = asked_for("nba_scoreboard", "/stats/scoreboardv3", date, body, GameDate=str(date), LeagueID="00")
    games = json.loads(body)["scoreboard"]["games"]
    assert counts == {"nba_games": 11, "nba_team_lines": 22} == Counter(table for table, _ in found)
    told = {row.game_id: (row.home_score, row.away_score) for table, row in found if table == "nba_games"}
    assert told == {game["gameId"]: (game["homeTeam"]["score"], game["awayTeam"]["score"]) for game in games}


@pytest.mark.parametrize(
    ("file", "date", "game_id", "players", "dressed", "points"),
    [
        ("boxscoretraditionalv2_0022400561.json", dt.date(2025, 1, 15), "0022400561", 25, 17, {125, 119}),
        ("boxscoretraditionalv3_0022200552.json", dt.date(2023, 1, 2), "0022200552", 23, 19, {145, 134}),
    ],
)
def test_recorded_box_scores_of_both_shapes_have_every_player_and_add_up(
    file: str, date: dt.date, game_id: str, players: int, dressed: int, points: set[int]
) -> None:
    path = f"/stats/{file.partition('_')[0]}"
    counts, found = asked_for("nba_boxscores", path, date, recorded(file), GameID=game_id)
    assert counts == {"nba_team_boxscores": 2, "nba_player_boxscores": players} == Counter(one for one, _ in found)
    lines = [row for table, row in found if table == "nba_player_boxscores"]
    assert sum(line.did_play for line in lines) == dressed
    assert {line.pts for line in lines if not line.did_play} == {None}
    teams = {row.team_id: row.pts for table, row in found if table == "nba_team_boxscores"}
    assert set(teams.values()) == points
    scored: Counter[int] = Counter()
    for line in lines:
        scored[line.team_id] += line.pts or 0
    assert scored == teams


def test_the_recorded_game_log_becomes_its_157_lines() -> None:
    body, date = recorded("leaguegamelog_players_2025-03-15.json"), dt.date(2025, 3, 15)
    asked = {"Counter": "1000", "DateFrom": str(date), "DateTo": str(date), "LeagueID": "00", "PlayerOrTeam": "P"}
    counts, found = asked_for("nba_gamelog", "/stats/leaguegamelog", date, body, **asked)
    assert counts == {"nba_gamelog_players": 157}
    [log] = json.loads(body)["resultSets"]
    rows = [dict(zip(log["headers"], row, strict=True)) for row in log["rowSet"]]
    assert {(row.game_id, row.player_id, row.pts, row.minutes) for _, row in found} == {
        (row["GAME_ID"], row["PLAYER_ID"], row["PTS"], row["MIN"]) for row in rows
    }


def test_recorded_plays_of_a_game_with_overtime_become_its_506_actions() -> None:
    body, date = recorded("cdn_playbyplay_0022400561.json"), dt.date(2025, 1, 15)
    path = "/static/json/liveData/playbyplay/playbyplay_0022400561.json"
    counts, found = asked_for("nba_playbyplay", path, date, body)
    assert counts == {"nba_pbp": 506} == Counter(table for table, _ in found)
    actions = json.loads(body)["game"]["actions"]
    assert {row.action_number for _, row in found} == {action["actionNumber"] for action in actions}
    last = found[-1][1]
    assert (last.score_home, last.score_away, last.period, last.left_s) == (119, 125, 5, 0.0)
    made = [row for _, row in found if row.shot_result == "Made"]
    assert sum({"2pt": 2, "3pt": 3, "freethrow": 1}[row.action_type] for row in made) == 119 + 125
    assert sum(row.shot_distance_ft is not None for _, row in found) == 178
