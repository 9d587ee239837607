"""NBA.com, game logs: the lines of teams and of players of a US Eastern date, each kind of game in two calls."""

from collections.abc import Mapping
from typing import Any

from alerting.errors import CoverageLow, SourceContractError, Truncated
from scrapers.base import Findings, Page, Request
from scrapers.partition import Partition
from scrapers.platforms.nba_com import (
    SEASON_TYPES,
    NbaStats,
    finals,
    is_game_id,
    kind_of,
    list_evidence,
    listed_games,
    opened,
    postponed,
    refuse_another_echo,
    result_sets,
    scheduled_in,
    season_of_game,
    unsettled,
)

CAP = 1000
FEWEST_PLAYERS = 5


class NbaGamelog(NbaStats):
    """The scoreboard says which games there are: an empty log proves nothing, and one request is of one season type."""

    title = "NBA.com: game logs"
    tables = ("nba_gamelog_teams", "nba_gamelog_players")
    oracles = scheduled_in("nba_gamelog_teams")
    is_paginated = True
    page_size = CAP
    calls_guess = 3.0

    def first_request(self, partition: Partition) -> Request:
        """The list of the date."""
        return self.scoreboard_request(partition)

    def inspect(self, partition: Partition, page: Page) -> Findings:
        """The list names the games; the logs of teams and of players must each have all of them."""
        document = opened(page)
        if page.request.path == self.scoreboard_path:
            games = listed_games(document, page, partition.start)
            logs = sorted({_log_of(game_id) for game_id in finals(games)})
            return Findings(
                dict.fromkeys(self.tables, 0),
                lists=(*(f"{one} {of}" for one in finals(games) for of in ("teams", "players")), *postponed(games)),
                absent=postponed(games),
                unsettled=unsettled(games),
                empty_evidence=list_evidence(games, partition.start),
                next_request=self._next(partition, [f"{of}@{log}" for log in logs for of in "TP"]),
            )
        of_players = dict(page.request.params)["PlayerOrTeam"] == "P"
        try:
            refuse_another_echo(document, page.request.params)
            listed = result_sets(document)["LeagueGameLog"]
            rows = [row for row in listed if row["WL"] is not None]  # a game under way has no winner
            games_of = _by_game(rows, partition.key, "PLAYER_ID" if of_players else "TEAM_ID")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SourceContractError(f"a game log has an unexpected shape: {type(error).__name__} {error}") from None
        if len(listed) >= CAP:
            raise Truncated(f"a game log came with {len(listed):,} rows, and at most {CAP:,} were asked for")
        for game_id, teams in games_of.items():
            fewest = FEWEST_PLAYERS if of_players else 1
            if len(teams) != 2 or min(teams.values()) < fewest or (not of_players and max(teams.values()) > 1):
                raise CoverageLow(f"game {game_id} has {' + '.join(map(str, teams.values()))} lines")
        rest = page.request.cursor.split(",") if page.request.cursor else []
        return Findings(
            {self.tables[1 if of_players else 0]: len(rows)},
            keys=tuple(f"{game_id} {'players' if of_players else 'teams'}" for game_id in games_of),
            next_request=self._next(partition, rest),
        )

    def _next(self, partition: Partition, logs: list[str]) -> Request | None:
        if not logs:
            return None
        of, _, log = logs[0].partition("@")
        season, _, kind = log.partition(" ")
        params = {"Counter": str(CAP), "DateFrom": partition.key, "DateTo": partition.key, "Direction": "ASC"}
        params |= {"LeagueID": "00", "PlayerOrTeam": of, "Season": season, "SeasonType": SEASON_TYPES[kind]}
        return Request("/stats/leaguegamelog", (*params.items(), ("Sorter", "DATE")), cursor=",".join(logs[1:]))


def _log_of(game_id: str) -> str:
    """Season and kind of game, by which a log is asked for."""
    if kind_of(game_id) not in SEASON_TYPES:
        raise SourceContractError(f"game {game_id} is of a kind for which no game log is known")
    return f"{season_of_game(game_id)} {kind_of(game_id)}"


def _by_game(rows: list[dict[str, Any]], date: str, identity: str) -> Mapping[str, dict[int, int]]:
    """Lines of each team, by game."""
    found: dict[str, dict[int, int]] = {}
    seen = set()
    for row in rows:
        game_id, team = row["GAME_ID"], row["TEAM_ID"]
        if row["GAME_DATE"][:10] != date or not is_game_id(game_id):
            raise SourceContractError(f"asked for {date}, got game {str(game_id)[:20]} of {row['GAME_DATE'][:10]}")
        if (game_id, row[identity]) in seen or row["PTS"] is None:
            raise CoverageLow(f"game {game_id} has a line twice, or one without points")
        seen.add((game_id, row[identity]))
        teams = found.setdefault(game_id, {})
        teams[team] = teams.get(team, 0) + 1
    return found
