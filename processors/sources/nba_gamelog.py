"""NBA.com: game logs of teams and players, columns by name."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from processors.base import Balance, LandedPage, Processor, Row, Table, with_nullable
from processors.platforms.nba_com import COUNTS, SHARES, named_sets, numbers_of
from scrapers.answers import landed_json
from scrapers.partition import Partition
from scrapers.platforms.nba_com import kind_of


class TeamLog(Row):
    """One team in one game."""

    game_date: dt.date = Field(description="US Eastern")
    game_id: str = Field(description="10 digits with the zeros at their front")
    game_kind: str = Field(description="preseason, regular, all_star, playoffs, play_in, cup_final")
    season_id: str = Field(description="kind of season and its first year: 22024")
    team_id: int
    team_tricode: str
    team_name: str
    matchup: str = Field(description="GSW vs. NYK at home, GSW @ NYK away")
    is_home: bool
    won: bool
    minutes: int | None = Field(description="whole")


class PlayerLog(TeamLog):
    """One player who played in one game."""

    player_id: int
    player_name: str
    fantasy_points: float | None


KINDS = {int: COUNTS, float: SHARES}
_TEXTS = {"season_id": "SEASON_ID", "team_id": "TEAM_ID", "team_tricode": "TEAM_ABBREVIATION", "team_name": "TEAM_NAME"}
_TEXTS |= {"game_id": "GAME_ID", "matchup": "MATCHUP", "minutes": "MIN"}


class NbaGamelog(Processor):
    """The page of the list has no rows."""

    tables = (
        Table("nba_gamelog_teams", with_nullable(TeamLog, KINDS), ("game_date", "game_id", "team_id"), "game_date"),
        Table(
            "nba_gamelog_players",
            with_nullable(PlayerLog, KINDS),
            ("game_date", "game_id", "player_id"),
            "game_date",
            parent=("nba_gamelog_teams", ("game_date", "game_id", "team_id")),
            per_parent=(5, 40),
        ),
    )
    balances = (
        Balance(
            ("nba_gamelog_teams", "pts"),
            ("nba_gamelog_players", "pts"),
            (("game_id", "game_id"), ("team_id", "team_id")),
        ),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        """One row per line of a game that is over."""
        of = dict(page.params).get("PlayerOrTeam")
        if of is None:
            return
        for line in named_sets(landed_json(page.body))["LeagueGameLog"]:
            if line["WL"] is None:
                continue
            row = {
                **{column: line[name] for column, name in _TEXTS.items()},
                "game_date": partition.start,
                "game_kind": kind_of(line["GAME_ID"]),
                "is_home": " vs. " in line["MATCHUP"],
                "won": line["WL"] == "W",
                **numbers_of(line),
            }
            if of == "P":
                who = {"player_id": line["PLAYER_ID"], "player_name": line["PLAYER_NAME"]}
                yield "nba_gamelog_players", {**row, **who, "fantasy_points": line.get("FANTASY_PTS")}
            else:
                yield "nba_gamelog_teams", row
