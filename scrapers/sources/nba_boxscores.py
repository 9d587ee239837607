"""NBA.com, traditional box scores: the scoreboard of a US Eastern date lists its games, each of which is a call."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from alerting.errors import CoverageLow, SourceContractError
from scrapers.base import Findings, Page, Request
from scrapers.partition import Partition
from scrapers.platforms.nba_com import (
    NbaStats,
    finals,
    list_evidence,
    listed_games,
    opened,
    postponed,
    refuse_another_echo,
    result_sets,
    scheduled_in,
    unsettled,
)

FEWEST_PLAYERS = 5


class NbaBoxscores(NbaStats):
    """Two teams and their players of each game that is over; who did not play has a line that says why."""

    title = "NBA.com: box scores"
    tables = ("nba_team_boxscores", "nba_player_boxscores")
    oracles = scheduled_in("nba_team_boxscores")
    is_paginated = True
    page_size = 1
    calls_guess = 8.0
    box_score_path: ClassVar[str] = "/stats/boxscoretraditionalv3"

    def first_request(self, partition: Partition) -> Request:
        """The list of the date."""
        return self.scoreboard_request(partition)

    def inspect(self, partition: Partition, page: Page) -> Findings:
        """The list names the games that are asked for; a game's page has its two teams and their players."""
        document = opened(page)
        if page.request.path == self.scoreboard_path:
            games = listed_games(document, page, partition.start)
            return Findings(
                dict.fromkeys(self.tables, 0),
                lists=(*finals(games), *postponed(games)),
                absent=postponed(games),
                unsettled=unsettled(games),
                empty_evidence=list_evidence(games, partition.start),
                next_request=self._next(finals(games)),
            )
        game_id = dict(page.request.params)["GameID"]
        try:
            lines = list(_lines_of_v3(document) if "boxScoreTraditional" in document else _lines_of_v2(document, page))
            if any(told != game_id for told, _, _, _ in lines):
                raise SourceContractError(f"asked for the box score of {game_id}, got that of {lines[0][0]}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SourceContractError(f"a box score has an unexpected shape: {type(error).__name__} {error}") from None
        played: dict[int, int] = {}
        for _, team, _, minutes in lines:
            played[team] = played.get(team, 0) + bool(minutes)
        if len(played) != 2 or min(played.values()) < FEWEST_PLAYERS:
            raise CoverageLow(f"game {game_id} has {' + '.join(map(str, played.values())) or 0} players who played")
        if len({player for _, _, player, _ in lines}) != len(lines):
            raise CoverageLow(f"game {game_id} has a player twice")
        rest = tuple(page.request.cursor.split(",")) if page.request.cursor else ()
        counts = {"nba_team_boxscores": 2, "nba_player_boxscores": len(lines)}
        return Findings(counts, keys=(game_id,), next_request=self._next(rest))

    def _next(self, game_ids: tuple[str, ...]) -> Request | None:
        if not game_ids:
            return None
        params = {"EndPeriod": "0", "EndRange": "0", "GameID": game_ids[0]}
        params |= {"RangeType": "0", "StartPeriod": "0", "StartRange": "0"}
        return Request(self.box_score_path, tuple(params.items()), cursor=",".join(game_ids[1:]))


def _lines_of_v3(document: Mapping[str, Any]) -> Iterator[tuple[str, int, int, str]]:
    """Game, team, player and minutes."""
    box = document["boxScoreTraditional"]
    for side in ("homeTeam", "awayTeam"):
        if box[side]["statistics"]["points"] is None:
            raise CoverageLow(f"game {box['gameId']} has no points of team {box[side]['teamId']}")
        for player in box[side]["players"]:
            if player["statistics"]["points"] is None and player["statistics"]["minutes"]:
                raise CoverageLow(f"game {box['gameId']} has no points of player {player['personId']}")
            yield box["gameId"], box[side]["teamId"], player["personId"], player["statistics"]["minutes"]


def _lines_of_v2(document: Mapping[str, Any], page: Page) -> Iterator[tuple[str, int, int, str]]:
    refuse_another_echo(document, (("GameID", dict(page.request.params)["GameID"]),))
    sets = result_sets(document)
    teams = {row["TEAM_ID"] for row in sets["TeamStats"] if row["PTS"] is not None}
    if len(teams) != 2 or len(sets["TeamStats"]) != 2 or {row["TEAM_ID"] for row in sets["PlayerStats"]} != teams:
        raise CoverageLow(f"{len(sets['TeamStats'])} lines are of teams that have points, or whose players are there")
    for row in sets["PlayerStats"]:
        yield row["GAME_ID"], row["TEAM_ID"], row["PLAYER_ID"], row["MIN"]
