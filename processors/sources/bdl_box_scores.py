"""Ball Don't Lie box scores: games and their players' lines. https://docs.balldontlie.io/#box-scores"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from typing import Any, Self

from pydantic import AwareDatetime, Field, model_validator

from alerting.errors import CoverageLow
from processors.base import Balance, LandedPage, Processor, Row, Table, with_nullable
from processors.platforms.balldontlie import ABOUT_PLAYER, COUNTS, DRAFT, SHARES, SIDES, Prefixed, prefixed
from scrapers.answers import landed_json
from scrapers.partition import Partition

TEAM_NAMES = " ".join(f"{side}_team_{name}" for side in SIDES for name in ("abbreviation", "name", "full_name"))
UNWANTED = frozenset(f"{side}_team_{name}" for side in SIDES for name in ("conference", "division", "city"))


class Game(Row):
    """One finished game."""

    game_key: str = Field(description="date:home team id:visitor team id; and the game id where a pair plays twice")
    game_date: dt.date = Field(description="US Eastern date")
    bdl_game_id: int | None = Field(None, alias="id", description="absent in recordings of 2024")
    starts_at: AwareDatetime | None = Field(None, alias="datetime", description="UTC; may be the next day")
    season: int = Field(description="year in which the season began")
    status: str
    home_team_id: int
    visitor_team_id: int
    home_team_score: int
    visitor_team_score: int

    @model_validator(mode="after")
    def _has_two_teams(self) -> Self:
        if self.home_team_id == self.visitor_team_id:
            raise ValueError("a team against itself")
        return self


class PlayerLine(Row):
    """One player's line in one game."""

    game_key: str
    game_date: dt.date
    player_id: int
    team_id: int
    minutes: str | None = Field(None, alias="min", description="as sent: 37, 05, or 37:12; 00 did not play")


PERIODS = (
    "home_q1 home_q2 home_q3 home_q4 home_ot1 home_ot2 home_ot3 home_timeouts_remaining "
    "visitor_q1 visitor_q2 visitor_q3 visitor_q4 visitor_ot1 visitor_ot2 visitor_ot3 visitor_timeouts_remaining"
)
FLAGS = "postseason home_in_bonus visitor_in_bonus"
GAMES = with_nullable(Game, {int: f"period {PERIODS}", bool: FLAGS, str: f"time {TEAM_NAMES}"})
LINES = with_nullable(
    PlayerLine,
    {
        int: f"{COUNTS} plus_minus {prefixed('player_', DRAFT)}",
        float: SHARES,
        str: prefixed("player_", ABOUT_PLAYER),
    },
)


class BdlBoxScores(Processor):
    """Games and player lines of one US Eastern date; both generations of the payload."""

    tables = (
        Table(
            "nba_bdl_games",
            GAMES,
            ("game_key",),
            "game_date",
            unique=(("bdl_game_id",),),
            unique_within_days=366,  # a postponed game is played in its season; the longest, 2019/20, had 356 days
            ignored=UNWANTED,
        ),
        Table(
            "nba_bdl_player_stats",
            LINES,
            ("game_key", "player_id"),
            "game_date",
            parent=("nba_bdl_games", ("game_key",)),
            per_parent=(10, 80),
        ),  # five a side have to start
    )

    balances = tuple(
        Balance(
            ("nba_bdl_games", f"{side}_team_score"),
            ("nba_bdl_player_stats", "pts"),
            (("game_key", "game_key"), (f"{side}_team_id", "team_id")),
        )
        for side in ("home", "visitor")
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ARG002
        """One row per final game, one per player and game; others have scores that will change."""
        games = [game for game in landed_json(page.body)["data"] if game["status"] == "Final"]
        pairs = Counter((game["home_team"]["id"], game["visitor_team"]["id"]) for game in games)
        pair_of: dict[str, tuple[Any, Any]] = {}
        of_player = Prefixed("player_")
        for game in games:
            sides = {side: game.pop(f"{side}_team") for side in SIDES}
            date = game.pop("date")[:10]  # "2024-04-04T00:00:00.000Z" in older recordings; the Z is noise
            pair = (sides["home"]["id"], sides["visitor"]["id"])
            key = f"{date}:{pair[0]}:{pair[1]}" + (f":{game['id']}" if pairs[pair] > 1 else "")
            shared = {"game_key": key, "game_date": date}
            for team in sides.values():
                for line in team.pop("players"):
                    who = line["player"]["id"]
                    if who is not None and pair_of.setdefault(str(who), pair) != pair:
                        raise CoverageLow(f"player {who} stands in two games of {date}; old rows were kept")
                    player = {of_player[name]: value for name, value in line.pop("player").items()}
                    yield "nba_bdl_player_stats", {**line, **player, **shared, "team_id": team["id"]}
            teams = {f"{side}_team_{name}": value for side, team in sides.items() for name, value in team.items()}
            yield "nba_bdl_games", {**game, **teams, **shared}
