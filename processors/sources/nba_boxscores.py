"""NBA.com: traditional box scores of teams and players."""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from processors.base import Balance, LandedPage, Processor, Row, Table, with_nullable
from processors.platforms.nba_com import COUNTS, SHARES, named_sets, numbers_of
from processors.told_values import joined, unless_blank
from scrapers.answers import landed_json
from scrapers.partition import Partition


class TeamBox(Row):
    """One team in one game."""

    game_date: dt.date = Field(description="US Eastern")
    game_id: str = Field(description="10 digits with the zeros at their front")
    team_id: int
    team_tricode: str | None
    minutes: str | None = Field(description="of all players, minutes:seconds")


class PlayerBox(Row):
    """One player in one game; who did not play has no numbers."""

    game_date: dt.date
    game_id: str
    team_id: int
    player_id: int
    player_name: str
    start_position: str | None = Field(description="G, F, C of who began; NULL of the bench")
    did_play: bool
    comment: str | None = Field(description="why he did not play: DNP - Coach's Decision ...")
    minutes: str | None = Field(description="minutes:seconds")


KINDS = {int: COUNTS, float: SHARES}


class NbaBoxscores(Processor):
    """Both shapes; the page of the list has no rows."""

    tables = (
        Table("nba_team_boxscores", with_nullable(TeamBox, KINDS), ("game_date", "game_id", "team_id"), "game_date"),
        Table(
            "nba_player_boxscores",
            with_nullable(PlayerBox, KINDS),
            ("game_date", "game_id", "player_id"),
            "game_date",
            parent=("nba_team_boxscores", ("game_date", "game_id", "team_id")),
            per_parent=(5, 40),
        ),
    )
    balances = (
        Balance(
            ("nba_team_boxscores", "pts"),
            ("nba_player_boxscores", "pts"),
            (("game_id", "game_id"), ("team_id", "team_id")),
        ),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        """Two rows of teams, and one for each player."""
        game_id = dict(page.params).get("GameID")
        if game_id is None:
            return
        ours = {"game_date": partition.start, "game_id": game_id}
        document = landed_json(page.body)
        found = _rows_of_v3(document) if "boxScoreTraditional" in document else _rows_of_v2(document)
        for table, row in found:
            yield table, {**row, **ours}


def _rows_of_v3(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for side in ("homeTeam", "awayTeam"):
        team = document["boxScoreTraditional"][side]
        statistics = team["statistics"]
        named = {"team_id": team["teamId"], "team_tricode": team["teamTricode"], "minutes": statistics["minutes"]}
        yield "nba_team_boxscores", {**named, **numbers_of(statistics)}
        for player in team["players"]:
            minutes = player["statistics"]["minutes"]
            names = joined([player["firstName"], player["familyName"]], " ")
            name = names.strip() if isinstance(names, str) else names
            told = (player["personId"], name, player["position"], player["comment"], minutes)
            yield _player(team["teamId"], told, player["statistics"])


def _rows_of_v2(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    sets = named_sets(document)
    for team in sets["TeamStats"]:
        named = {"team_id": team["TEAM_ID"], "team_tricode": team["TEAM_ABBREVIATION"], "minutes": team["MIN"]}
        yield "nba_team_boxscores", {**named, **numbers_of(team)}
    for player in sets["PlayerStats"]:
        names = ("PLAYER_ID", "PLAYER_NAME", "START_POSITION", "COMMENT", "MIN")
        yield _player(player["TEAM_ID"], tuple(player[name] for name in names), player)


def _player(team_id: int, told: tuple[Any, ...], numbers: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    player_id, name, position, comment, minutes = told
    row = {
        "team_id": team_id,
        "player_id": player_id,
        "player_name": name,
        "start_position": unless_blank(position),
        "did_play": bool(minutes),
        "comment": (comment or "").strip() or None,
        "minutes": unless_blank(minutes),
    }
    return "nba_player_boxscores", {**row, **numbers_of(numbers, did_play=bool(minutes))}
