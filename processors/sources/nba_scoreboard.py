"""NBA.com: games that are over, and the points of both teams by period."""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import AwareDatetime, Field, model_validator

from processors.base import LandedPage, Processor, Row, Table, with_nullable
from processors.platforms.nba_com import distinct, named_sets
from scrapers.answers import landed_json
from scrapers.partition import Partition
from scrapers.platforms.nba_com import FINAL, kind_of, season_of_game


class Game(Row):
    """One game that is over."""

    game_date: dt.date = Field(description="US Eastern")
    game_id: str = Field(description="10 digits with the zeros at their front")
    season: str = Field(description="2024-25, read off the id")
    game_kind: str = Field(description="preseason, regular, all_star, playoffs, play_in, cup_final; other")
    game_code: str = Field(description="date and teams, the visitors first: 20240115/HOUPHI")
    status_text: str = Field(description="Final, Final/OT2 ...")
    periods: int = Field(description="4 and the overtimes")
    tip_off_at: AwareDatetime | None = Field(description="UTC; NULL in the old shape")
    home_team_id: int
    away_team_id: int
    home_score: int
    away_score: int

    @model_validator(mode="after")
    def _has_two_teams_and_a_winner(self) -> Self:
        if self.home_team_id == self.away_team_id or self.home_score == self.away_score:
            raise ValueError("a team against itself, or a draw")
        return self


class TeamLine(Row):
    """One team's points in one game."""

    game_date: dt.date
    game_id: str
    team_id: int
    team_tricode: str | None
    team_city: str | None
    team_name: str | None
    is_home: bool
    pts: int

    @model_validator(mode="after")
    def _periods_add_up(self) -> Self:
        points = [getattr(self, name) or 0 for name in (*QUARTERS, *OVERTIMES)]
        if any(points) and sum(points) != self.pts:  # games of the first decades have no quarters
            raise ValueError(f"its periods add up to {sum(points)} points")
        return self


QUARTERS, OVERTIMES = [f"q{at}" for at in range(1, 5)], [f"ot{at}" for at in range(1, 11)]
LINES = with_nullable(
    TeamLine,
    {
        int: f"wins losses {' '.join([*QUARTERS, *OVERTIMES])} ast reb turnover",
        float: "fg_pct fg3_pct ft_pct",
    },
)


class NbaScoreboard(Processor):
    """Both shapes; the newer one has no assists, rebounds, turnovers and shares here."""

    tables = (
        Table(
            "nba_games",
            Game,
            ("game_date", "game_id"),
            "game_date",
            unique=(("game_id",),),
            unique_within_days=366,  # a postponed game is played in its season
        ),
        Table(
            "nba_team_lines",
            LINES,
            ("game_date", "game_id", "team_id"),
            "game_date",
            parent=("nba_games", ("game_date", "game_id")),
            per_parent=(2, 2),
        ),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        """One row per game, however often it is listed, and two lines for each."""
        document = landed_json(page.body)
        games = _games_of_v3(document) if "scoreboard" in document else _games_of_v2(document)
        for game, lines in games:
            ours = {"game_date": partition.start, "game_id": game["game_id"]}
            told = {"season": season_of_game(game["game_id"]), "game_kind": kind_of(game["game_id"])}
            yield "nba_games", {**game, **ours, **told}
            for line in lines:
                yield "nba_team_lines", {**line, **ours, "is_home": line["team_id"] == game["home_team_id"]}


def _games_of_v3(document: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    for game in distinct(document["scoreboard"]["games"], "gameId"):
        if game["gameStatus"] != FINAL:
            continue
        home, away = game["homeTeam"], game["awayTeam"]
        row = {
            "game_id": game["gameId"],
            "game_code": game["gameCode"],
            "status_text": game["gameStatusText"].strip(),
            "periods": game["period"],
            "tip_off_at": game["gameTimeUTC"],  # the one clock whose Z is true
            **{"home_team_id": home["teamId"], "away_team_id": away["teamId"]},
            **{"home_score": home["score"], "away_score": away["score"]},
        }
        yield row, [_line_of_v3(team) for team in (home, away)]


def _line_of_v3(team: Mapping[str, Any]) -> dict[str, Any]:
    points = [one["score"] for one in sorted(team["periods"], key=lambda one: one["period"])]
    return {
        "team_id": team["teamId"],
        "team_tricode": team["teamTricode"],
        "team_city": team["teamCity"],
        "team_name": team["teamName"],
        "wins": team.get("wins"),
        "losses": team.get("losses"),
        "pts": team["score"],
        **_by_period(points),
        **dict.fromkeys(("ast", "reb", "turnover", "fg_pct", "fg3_pct", "ft_pct")),
    }


def _games_of_v2(document: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    sets = named_sets(document)
    lines = list(distinct(sets["LineScore"], "GAME_ID", "TEAM_ID"))
    for game in distinct(sets["GameHeader"], "GAME_ID"):
        if game["GAME_STATUS_ID"] != FINAL:
            continue
        scored = {line["TEAM_ID"]: line for line in lines if line["GAME_ID"] == game["GAME_ID"]}
        home, away = game["HOME_TEAM_ID"], game["VISITOR_TEAM_ID"]
        row = {
            "game_id": game["GAME_ID"],
            "game_code": game["GAMECODE"],
            "status_text": game["GAME_STATUS_TEXT"].strip(),
            "periods": game["LIVE_PERIOD"],
            "tip_off_at": None,
            **{"home_team_id": home, "away_team_id": away},
            **{"home_score": scored[home]["PTS"], "away_score": scored[away]["PTS"]},
        }
        yield row, [_line_of_v2(line, game["LIVE_PERIOD"]) for line in scored.values()]


def _line_of_v2(line: Mapping[str, Any], periods: int) -> dict[str, Any]:
    won, _, lost = (line["TEAM_WINS_LOSSES"] or "").partition("-")
    names = [*(f"PTS_QTR{at}" for at in range(1, 5)), *(f"PTS_OT{at}" for at in range(1, 11))]
    named = {"team_tricode": "TEAM_ABBREVIATION", "team_city": "TEAM_CITY_NAME", "team_name": "TEAM_NAME"}
    named |= {"team_id": "TEAM_ID", "pts": "PTS", "ast": "AST", "reb": "REB", "turnover": "TOV"}
    named |= {"fg_pct": "FG_PCT", "fg3_pct": "FG3_PCT", "ft_pct": "FT_PCT"}
    return {
        **{column: line[name] for column, name in named.items()},
        "wins": won or None,
        "losses": lost or None,
        # An overtime that was not played has 0 points here.
        **_by_period([line[name] for name in names[:periods]]),
    }


def _by_period(points: list[Any]) -> dict[str, Any]:
    columns = [*QUARTERS, *OVERTIMES]
    return {**dict.fromkeys(columns), **dict(zip(columns, points, strict=False))}
