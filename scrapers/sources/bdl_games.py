"""Ball Don't Lie, NBA games: teams, score and status of every game of a US Eastern date. https://docs.balldontlie.io"""

from typing import Any

from scrapers.base import Findings
from scrapers.partition import Partition
from scrapers.platforms.balldontlie import (
    BdlDates,
    id_of,
    is_final,
    refuse_another_date,
    scheduled_by_teams,
    shown_team,
)


class BdlGames(BdlDates):
    """Games that are over; others stay open, and are named. The schedule has other ids, so that teams are matched."""

    title = "Ball Don't Lie: NBA games"
    path = "/v1/games"
    tables = ("nba_bdl_game_list", "nba_bdl_game_teams")
    requires = ("nba_schedule",)
    oracles = scheduled_by_teams("nba_bdl_game_list")
    is_proof = True

    def read(self, partition: Partition, rows: list[Any]) -> Findings:
        """Counts games that are over, after making sure that all are of the asked date."""
        keys, unsettled, over = [], [], 0
        for game in rows:
            refuse_another_date(partition, game)
            keys.append(str(id_of(game)))
            name = f"{shown_team(game['visitor_team'])}-{shown_team(game['home_team'])}"
            if is_final(game):
                over += 1
            else:
                unsettled.append(f"{name} ({game['status']})")
        counts = dict(zip(self.tables, (over, 2 * over), strict=True))
        return Findings(counts, keys=tuple(keys), unsettled=tuple(unsettled))
