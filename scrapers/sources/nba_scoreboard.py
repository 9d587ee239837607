"""NBA.com, scoreboards: the games of a US Eastern date and their points by period, in one call."""

from alerting.errors import CoverageLow
from scrapers.base import Findings, Page, Request
from scrapers.partition import Partition
from scrapers.platforms.nba_com import (
    FINAL,
    NbaStats,
    list_evidence,
    listed_games,
    opened,
    postponed,
    scheduled_in,
    teams_scored,
    unsettled,
)


class NbaScoreboard(NbaStats):
    """Final games and two lines for each; a postponed game is named and has no rows."""

    title = "NBA.com: scoreboards"
    tables = ("nba_games", "nba_team_lines")
    oracles = scheduled_in("nba_games")

    def first_request(self, partition: Partition) -> Request:
        """The one request of the date."""
        return self.scoreboard_request(partition)

    def inspect(self, partition: Partition, page: Page) -> Findings:
        """Counts games that are over, each once, and makes sure that both of their teams have points."""
        document = opened(page)
        games = listed_games(document, page, partition.start)
        scored = teams_scored(document)
        over = [game for game in games if game.status == FINAL]
        for game in over:
            if scored.get(game.game_id) != set(game.teams):
                lines = len(scored.get(game.game_id, ()))
                raise CoverageLow(f"final game {game.name} has points of {lines} of its 2 teams")
        return Findings(
            {"nba_games": len(over), "nba_team_lines": 2 * len(over)},
            unsettled=unsettled(games),
            absent=postponed(games),
            empty_evidence=list_evidence(games, partition.start),
        )
