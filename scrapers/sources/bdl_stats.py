"""Ball Don't Lie, NBA statistics: the line of each player in each game of a US Eastern date. https://docs.balldontlie.io"""

from typing import Any

from alerting.errors import SourceContractError
from scrapers.base import Findings
from scrapers.oracle import Oracle
from scrapers.partition import Partition
from scrapers.platforms.balldontlie import BdlDates, id_of, is_final, refuse_another_date


class BdlStats(BdlDates):
    """Both teams of every game that ``bdl_games`` has must have lines; an empty list by itself proves nothing."""

    title = "Ball Don't Lie: NBA statistics"
    path = "/v1/stats"
    tables = ("nba_bdl_stats",)
    needs_tier = "all-star"
    requires = ("bdl_games",)
    oracles = (
        Oracle(
            "bdl_games",
            "nba_bdl_game_teams",
            "bdl_game_id team_id",
            "game_date",
            item="team",
            label="bdl_game_id team_abbreviation",
        ),
    )
    calls_guess = 3.0

    def read(self, partition: Partition, rows: list[Any]) -> Findings:
        """Counts the lines of games that are over, after a look at the dates and teams of all."""
        keys, unsettled, lines = [], dict[str, None](), 0
        for line in rows:
            game, team = line["game"], line["team"]["id"]
            refuse_another_date(partition, game)
            if team not in (game["home_team_id"], game["visitor_team_id"]):
                raise SourceContractError(f"line {id_of(line)} is of team {team}, which is not in game {game['id']}")
            keys.append(str(id_of(line)))
            id_of(line["player"])
            if is_final(game):
                lines += 1
            else:
                unsettled[f"game {game['id']} ({game['status']})"] = None
        return Findings({self.tables[0]: lines}, keys=tuple(keys), unsettled=tuple(unsettled))
