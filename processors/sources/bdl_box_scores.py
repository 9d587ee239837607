"""Ball Don't Lie box scores: one game and its players' lines. https://docs.balldontlie.io/#box-scores."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import AwareDatetime, Field, create_model

from processors.base import Processor, Row, Table, nullable
from scrapers.partition import Partition

_SIDES = ("home", "visitor")
_QUARTERS = " ".join(f"{side}_{part}" for side in _SIDES for part in ["q1", "q2", "q3", "q4", "ot1", "ot2", "ot3"])


class _Game(Row):
    game_key: str = Field(description="date:home team id:visitor team id; recordings of 2024 have no game id")
    game_date: dt.date = Field(description="US Eastern date")
    bdl_game_id: int | None = Field(None, alias="id", description="absent in recordings of 2024")
    starts_at: AwareDatetime | None = Field(None, alias="datetime", description="UTC; may be the next day")
    home_team_id: int
    visitor_team_id: int
    home_team_score: int
    visitor_team_score: int
    season: int = Field(description="year in which the season began")
    status: str


class _PlayerLine(Row):
    game_key: str
    game_date: dt.date
    player_id: int
    team_id: int
    minutes: str | None = Field(None, alias="min", description="as sent: 37, 05, or 37:12; 00 did not play")


_TEAM_NAMES = " ".join(f"{side}_team_{name}" for side in _SIDES for name in ("abbreviation", "name", "full_name"))
_UNWANTED = frozenset(f"{side}_team_{name}" for side in _SIDES for name in ("conference", "division", "city"))
Game = create_model(
    "Game",
    __base__=_Game,
    __doc__="One finished game.",
    **nullable(int, f"period home_timeouts_remaining visitor_timeouts_remaining {_QUARTERS}"),
    **nullable(bool, "postseason home_in_bonus visitor_in_bonus"),
    **nullable(str, f"time {_TEAM_NAMES}"),
)
PlayerLine = create_model(
    "PlayerLine",
    __base__=_PlayerLine,
    __doc__="One player's line in one game.",
    **nullable(int, "fgm fga fg3m fg3a ftm fta oreb dreb reb ast stl blk turnover pf pts plus_minus"),
    **nullable(float, "fg_pct fg3_pct ft_pct"),
    **nullable(str, "player_first_name player_last_name player_position player_height player_weight"),
    **nullable(str, "player_jersey_number player_college player_country"),
    **nullable(int, "player_draft_year player_draft_round player_draft_number"),
)


class BdlBoxScores(Processor):
    """Games and player lines of one US Eastern date; both generations of the payload."""

    tables: ClassVar[tuple[Table, ...]] = (
        Table("nba_bdl_games", Game, ("game_key",), "game_date", ignored=_UNWANTED),
        Table(
            "nba_bdl_player_stats",
            PlayerLine,
            ("game_key", "player_id"),
            "game_date",
            parent=("nba_bdl_games", ("game_key",)),
            per_parent=(10, 80),  # five a side have to start
        ),
    )

    def rows(self, partition: Partition, body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ARG002, D102
        for game in json.loads(body)["data"]:
            sides = {side: game.pop(f"{side}_team") for side in _SIDES}
            date = game.pop("date")[:10]  # "2024-04-04T00:00:00.000Z" in older recordings; the Z is noise
            shared = {"game_key": f"{date}:{sides['home']['id']}:{sides['visitor']['id']}", "game_date": date}
            for team in sides.values():
                for line in team.pop("players"):
                    player = {f"player_{name}": value for name, value in line.pop("player").items()}
                    yield "nba_bdl_player_stats", {**line, **player, **shared, "team_id": team["id"]}
            teams = {f"{side}_team_{name}": value for side, team in sides.items() for name, value in team.items()}
            yield "nba_bdl_games", {**game, **teams, **shared}
