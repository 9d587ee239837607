"""Ball Don't Lie: the lines of players in games that are over. https://docs.balldontlie.io"""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from processors.base import Balance, LandedPage, Processor, Row, Table, with_nullable
from processors.platforms.balldontlie import ABOUT_PLAYER, COUNTS, DRAFT, SHARES, SIDES, flat, prefixed
from scrapers.answers import landed_json
from scrapers.partition import Partition
from scrapers.platforms.balldontlie import is_final


class StatLine(Row):
    """One player's line in one game."""

    game_date: dt.date = Field(description="US Eastern date")
    bdl_game_id: int
    player_id: int
    stat_id: int = Field(alias="id")
    team_id: int
    season: int = Field(description="year in which the season began")
    minutes: str | None = Field(None, alias="min", description="as sent: 37, 05, or 37:12; 00 did not play")
    home_team_id: int
    visitor_team_id: int
    home_team_score: int = Field(description="points of the host in this game, as each of its lines repeats it")
    visitor_team_score: int


LINES = with_nullable(
    StatLine,
    {
        bool: "postseason",
        int: f"{COUNTS} {prefixed('player_', DRAFT)}",
        float: SHARES,
        str: f"team_abbreviation {prefixed('player_', ABOUT_PLAYER)}",
    },
)


class BdlStats(Processor):
    """A game of one US Eastern date that is not over has no lines."""

    tables = (
        Table(
            "nba_bdl_stats",
            LINES,
            ("game_date", "bdl_game_id", "player_id"),
            "game_date",
            unique=(("stat_id",),),
            unique_within_days=366,  # a postponed game is played in its season
        ),
    )
    balances = tuple(
        Balance(
            ("nba_bdl_stats", f"{side}_team_score"),
            ("nba_bdl_stats", "pts"),
            (("bdl_game_id", "bdl_game_id"), (f"{side}_team_id", "team_id")),
        )
        for side in SIDES
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ARG002
        """One row per line."""
        for line in landed_json(page.body)["data"]:
            game, team, player = line.pop("game"), line.pop("team"), line.pop("player")
            if not is_final(game):
                continue
            player.pop("team_id", None)  # where he plays now
            told = {name: game[name] for name in _OF_GAME if name in game}
            ours = {"game_date": game["date"][:10], "bdl_game_id": game["id"]}
            of_team = {"team_id": team["id"], "team_abbreviation": team["abbreviation"]}
            yield "nba_bdl_stats", {**line, **flat("player_", player), **told, **of_team, **ours}


_OF_GAME = ("season", "postseason", *(f"{side}_team_{name}" for side in SIDES for name in ("id", "score")))
