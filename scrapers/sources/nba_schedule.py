"""NBA.com, the schedule of a season: every game, its date and what became of it; other sources are held to it."""

import datetime as dt
import re
from typing import Any

from alerting.errors import NothingPublished, SourceContractError
from scrapers.base import Findings, Page, Request
from scrapers.partition import Partition
from scrapers.platforms.nba_com import KINDS, NbaCdn, is_game_id, is_postponed, opened, season_of

FILE = "/static/json/staticData/scheduleLeagueV2.json"


class NbaSchedule(NbaCdn):
    """The file on cdn.nba.com is of one season and takes no parameter; stats.nba.com is asked for any other season."""

    title = "NBA.com: schedule of a season"
    tables = ("nba_schedule",)
    step = "whole"
    entities = tuple(f"{year}-{(year + 1) % 100:02d}" for year in range(2019, 2027))
    calls_guess = 2.0
    timeout_s = 120.0  # 9 MB

    def entities_of(self, today: dt.date) -> tuple[str, ...]:
        """The season that is on: no game of another one is moved any more."""
        return (season_of(today),)

    def first_request(self, partition: Partition) -> Request:
        """The file of the season that is on; the cursor says which season is looked for."""
        if not re.fullmatch(r"(19|20)\d\d-\d\d", partition.entity):
            raise SourceContractError(f"{partition.entity!r} is not a season; one is written 2024-25")
        return Request(FILE, cursor=partition.entity, site="cdn")

    def inspect(self, partition: Partition, page: Page) -> Findings:
        """Counts the games of the season, each once; goes on to the other host where the file is of another season."""
        document = opened(page)
        try:
            season, dates = document["leagueSchedule"]["seasonYear"], document["leagueSchedule"]["gameDates"]
            if not isinstance(season, str) or not isinstance(dates, list):
                raise TypeError("seasonYear or gameDates")
            if season != partition.entity and page.request.site == "cdn":
                asked = (("LeagueID", "00"), ("Season", partition.entity))
                request = Request("/stats/scheduleleaguev2", asked, site="stats")
                return Findings({self.tables[0]: 0}, next_request=request, empty_evidence=f"the file is of {season}")
            if season != partition.entity:
                raise SourceContractError(f"asked for the season {partition.entity}, got that of {season[:20]!r}")
            games = [self._told(game, season) for date in dates for game in date["games"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SourceContractError(f"a schedule has an unexpected shape: {type(error).__name__} {error}") from None
        found: dict[str, set[tuple[Any, ...]]] = {}
        for game in games:
            found.setdefault(game[0], set()).add(game[1:])
        for game_id, told in found.items():
            # A postponed game may stand at its old date as well as at its new one.
            if len([one for one in told if not is_postponed(one[0], one[1])]) > 1:
                raise SourceContractError(f"game {game_id} is scheduled at {len(told)} times")
        if not found:
            raise NothingPublished(f"a schedule of {season} without a game proves nothing")
        return Findings({self.tables[0]: len(found)})

    def _told(self, game: dict[str, Any], season: str) -> tuple[Any, ...]:
        """Id, status, its words, date and teams; ``ValueError`` for a game of another season."""
        game_id, home, away = game["gameId"], game["homeTeam"], game["awayTeam"]
        if not is_game_id(game_id):
            raise ValueError(f"id {str(game_id)[:20]!r}")
        if game_id[:3] in KINDS and game_id[3:5] != season[2:4]:
            raise ValueError(f"game {game_id} in the season {season}")
        if type(game["gameStatus"]) is not int:
            raise TypeError(f"status of game {game_id}")
        when = game["gameDateTimeEst"].strip()
        return game_id, game["gameStatus"], game["gameStatusText"].strip(), when, home["teamId"], away["teamId"]
