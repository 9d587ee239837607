"""Ball Don't Lie: games that are over, and the points of both teams. https://docs.balldontlie.io"""

import datetime as dt
from collections.abc import Iterator
from typing import Any, Self

from pydantic import AwareDatetime, Field, model_validator

from processors.base import LandedPage, Processor, Row, Table, with_nullable
from processors.platforms.balldontlie import SIDES, flat
from scrapers.answers import landed_json
from scrapers.partition import Partition
from scrapers.platforms.balldontlie import is_final


class ListedGame(Row):
    """One game that is over."""

    game_date: dt.date = Field(description="US Eastern date")
    bdl_game_id: int = Field(alias="id")
    starts_at: AwareDatetime | None = Field(None, alias="datetime", description="UTC; may be the next day")
    season: int = Field(description="year in which the season began")
    status: str
    home_team_id: int
    visitor_team_id: int
    home_team_score: int
    visitor_team_score: int

    @model_validator(mode="after")
    def _has_two_teams_and_a_winner(self) -> Self:
        if self.home_team_id == self.visitor_team_id or self.home_team_score == self.visitor_team_score:
            raise ValueError("a team against itself, or a draw")
        return self


class GameTeam(Row):
    """One team in one game."""

    game_date: dt.date
    bdl_game_id: int
    team_id: int
    team_abbreviation: str | None
    is_home: bool
    pts: int


TEAM_NAMES = " ".join(f"{side}_team_{name}" for side in SIDES for name in ("abbreviation", "name", "full_name"))
GAMES = with_nullable(ListedGame, {int: "period", bool: "postseason", str: f"time {TEAM_NAMES}"})
UNWANTED = frozenset(f"{side}_team_{name}" for side in SIDES for name in ("conference", "division", "city"))


class BdlGames(Processor):
    """A game of one US Eastern date that is not over has no rows."""

    tables = (
        Table(
            "nba_bdl_game_list",
            GAMES,
            ("game_date", "bdl_game_id"),
            "game_date",
            unique=(("bdl_game_id",),),
            unique_within_days=366,  # a postponed game is played in its season
            ignored=UNWANTED,
        ),
        Table(
            "nba_bdl_game_teams",
            GameTeam,
            ("game_date", "bdl_game_id", "team_id"),
            "game_date",
            parent=("nba_bdl_game_list", ("game_date", "bdl_game_id")),
            per_parent=(2, 2),
        ),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ARG002
        """One row per final game, and one for each of its teams."""
        for game in landed_json(page.body)["data"]:
            if not is_final(game):
                continue
            ours = {"game_date": game.pop("date")[:10]}
            teams = {side: flat("team_", game.pop(f"{side}_team")) for side in SIDES}
            named = {f"{side}_{name}": value for side, team in teams.items() for name, value in team.items()}
            yield "nba_bdl_game_list", {**game, **named, **ours}
            for side, team in teams.items():
                told = {name: team[name] for name in ("team_id", "team_abbreviation")}
                told |= {"is_home": side == "home", "pts": game[f"{side}_team_score"]}
                yield "nba_bdl_game_teams", {**ours, "bdl_game_id": game["id"], **told}
