"""Ball Don't Lie, NBA box scores: one call per US Eastern game date. https://docs.balldontlie.io/#box-scores"""

import datetime as dt
from typing import Any

from alerting.errors import CoverageLow, NothingPublished, SourceContractError
from scrapers.answers import parsed_json
from scrapers.base import Findings, Page, Request
from scrapers.partition import Partition
from scrapers.platforms.balldontlie import FINAL, FIRST_SEASON, BallDontLie, scheduled_by_teams, shown_team
from scrapers.platforms.nba_calendar import NBA_RESTS


class BdlBoxScores(BallDontLie):
    """Games and player lines of one date; not paginated. Recordings of 2024 have no game id and no quarters."""

    title = "Ball Don't Lie: NBA box scores"
    tables = ("nba_bdl_games", "nba_bdl_player_stats")
    floor = FIRST_SEASON
    needs_tier = "goat"
    compared = scheduled_by_teams("nba_bdl_games")
    rests = NBA_RESTS
    settle_after_days = 3  # a postponed game keeps its date for months

    def first_request(self, partition: Partition) -> Request:
        """The one request of the date."""
        return Request("/v1/box_scores", (("date", partition.start.isoformat()),))

    def inspect(self, partition: Partition, page: Page) -> Findings:
        """Counts final games and their player lines, after making sure that all are of the asked date."""
        document = parsed_json(page.body)
        if document == {"data": []}:
            return Findings(dict.fromkeys(self.tables, 0), empty_evidence='200 {"data":[]}')
        lines, seen, unsettled = 0, set[Any](), []
        try:
            for game in document["data"]:
                home, visitor = game["home_team"], game["visitor_team"]
                name = f"{shown_team(visitor)}-{shown_team(home)}"
                if [type(one) for one in (game["status"], home["players"], visitor["players"])] != [str, list, list]:
                    raise TypeError(f"status or players of {name}")
                if not partition.contains(dt.date.fromisoformat(game["date"][:10])):
                    raise SourceContractError(f"asked for {partition.key}, got {name} of {game['date'][:10]}")
                # Without an id the same two teams are one game, whoever is called the host.
                identity = frozenset((home["id"], visitor["id"])) if game.get("id") is None else game["id"]
                if identity in seen:
                    raise CoverageLow(f"game {name} came twice in one response")
                seen.add(identity)
                if game["status"] != FINAL:
                    unsettled.append(f"{name} ({game['status']})")
                    continue
                players = len(home["players"]), len(visitor["players"])
                if not all(players):
                    raise CoverageLow(f"final game {name} has {players[0]} + {players[1]} players")
                lines += sum(players)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SourceContractError(f"a box score has an unexpected shape: {type(error).__name__} {error}") from None
        if not seen:
            raise NothingPublished("an empty list of unknown shape proves nothing")
        return Findings(
            {"nba_bdl_games": len(seen) - len(unsettled), "nba_bdl_player_stats": lines}, unsettled=tuple(unsettled)
        )
