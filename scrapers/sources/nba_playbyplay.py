"""NBA.com, play-by-play: the scoreboard of a US Eastern date lists its games, each a file on cdn.nba.com."""

import datetime as dt

from alerting.errors import CoverageLow, SourceContractError
from scrapers.answers import Answer
from scrapers.base import Findings, Page, Request
from scrapers.partition import Partition
from scrapers.platforms.nba_com import (
    NbaCdn,
    NbaDates,
    finals,
    list_evidence,
    listed_games,
    opened,
    postponed,
    scheduled_in,
    unsettled,
)

FOLDER = "/static/json/liveData/playbyplay/"


class NbaPlaybyplay(NbaCdn, NbaDates):
    """Every action of each game that is over. A game without a file is named, and its date has no rows of it."""

    title = "NBA.com: play-by-play"
    tables = ("nba_pbp",)
    oracles = scheduled_in("nba_pbp")
    floor = dt.date(2019, 10, 1)
    floor_evidence = "no live file of an earlier season is found: https://github.com/swar/nba_api/issues/342"
    is_paginated = True
    page_size = 1
    calls_guess = 8.0

    def first_request(self, partition: Partition) -> Request:
        """The list of the date, from the other host."""
        return self.scoreboard_request(partition, site="stats")

    def says_absent(self, answer: Answer) -> bool:
        """What is behind the host says so with 403 in XML of a file that it does not have; a block is a web page."""
        return answer.status == 403 and b"<Code>AccessDenied</Code>" in answer.body[:1000]

    def inspect(self, partition: Partition, page: Page) -> Findings:
        """The list names the games that are asked for; a game's file has all of its actions, the last one its end."""
        rest = tuple(page.request.cursor.split(",")) if page.request.cursor else ()
        game_id = page.request.path.removeprefix(f"{FOLDER}playbyplay_").removesuffix(".json")
        if page.is_absent:
            # No evidence of emptiness: a date of which no game has a file has not been published.
            return Findings({}, absent=(game_id,), next_request=self._next(rest))
        document = opened(page)
        if page.request.path == self.scoreboard_path:
            games = listed_games(document, page, partition.start)
            return Findings(
                {"nba_pbp": 0},
                lists=(*finals(games), *postponed(games)),
                absent=postponed(games),
                unsettled=unsettled(games),
                empty_evidence=list_evidence(games, partition.start),
                next_request=self._next(finals(games)),
            )
        try:
            told, actions = document["game"]["gameId"], document["game"]["actions"]
            numbers = [action["actionNumber"] for action in actions]
            ends = [action for action in actions if (action["actionType"], action["subType"]) == ("game", "end")]
            if told != game_id:
                raise SourceContractError(f"asked for the plays of {game_id}, got those of {str(told)[:20]}")
            if any(type(number) is not int for number in numbers):
                raise TypeError("actionNumber is not a number")
        except (KeyError, TypeError, ValueError) as error:
            raise SourceContractError(f"play-by-play has an unexpected shape: {type(error).__name__} {error}") from None
        if len(set(numbers)) != len(numbers):
            raise CoverageLow(f"game {game_id} has {len(numbers)} actions under {len(set(numbers))} numbers")
        if not ends:
            raise CoverageLow(f"the {len(numbers)} actions of game {game_id} stop before its end")
        return Findings({"nba_pbp": len(actions)}, keys=(game_id,), next_request=self._next(rest))

    def _next(self, game_ids: tuple[str, ...]) -> Request | None:
        if not game_ids:
            return None
        path = f"{FOLDER}playbyplay_{game_ids[0]}.json"
        return Request(path, cursor=",".join(game_ids[1:]), site="cdn", absent_ok=True)
