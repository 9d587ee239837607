"""The sample of NBA.com: both of its hosts, its two shapes, its oddities, and troubles.

    with NbaUpstream(now=dt.datetime(2025, 4, 1, 12, tzinfo=dt.UTC)) as upstream:    # upstream.url
        ...

``/cdn`` is cdn.nba.com: ``static/json/staticData/scheduleLeagueV2.json`` (the season that is on by its clock, and no
other) and ``static/json/liveData/playbyplay/playbyplay_{id}.json``; what it does not have is a 403 in the XML of a
storage service. ``/stats`` is stats.nba.com: ``stats/scheduleleaguev2?Season=``, ``stats/scoreboardv2`` and ``v3``
(``GameDate=``), ``stats/boxscoretraditionalv2`` and ``v3`` (``GameID=``), ``stats/leaguegamelog``. Both answer browsers
only: without the ``User-Agent`` and ``Referer`` of one a 403 comes.

Assumptions, where nothing is recorded: the 403 of a missing game; a box score of a game that is not over has no
players; the schedule has a postponed game as PPD until the day after its first date, and at its new date from then on.

Control, see `sample_server`; and ``POST season`` (a list of `league.Change`), ``POST clock``
(``{"now": "2025-02-01T00:00:00Z"}``, null = the real one). Kinds of trouble of its own: `NbaKind`. A rule's date is
that of ``GameDate`` or ``DateFrom``, or of the game that is asked for.

Truth: `league` (games, scores, lines), `nba_answers` (how many rows they become).
"""

from __future__ import annotations

import copy
import datetime as dt
import functools
import gzip
import json
import re
import socket
from typing import Any, Literal

from pydantic import TypeAdapter

from deployments.local.upstreams import nba_answers
from deployments.local.upstreams.league import CHANGES, EASTERN, Calendar, Game, Listed, game_of, usual_calendar
from deployments.local.upstreams.sample_rules import Rule, TransportKind
from deployments.local.upstreams.sample_server import Answer, Call, SampleUpstream
from deployments.local.upstreams.season import season_of

NbaKind = Literal[
    TransportKind,
    "access_denied",  # the edge's web page with 403: a block
    "missing",  # the storage service's XML with 403: there is no such file
    "empty_body",  # 200 and nothing
    "empty",  # no game, no row, no action
    "v2",  # the old shape where the newer one was asked for
    "shuffled",  # columns of the old shape in another order, and a set more
    "singular",  # resultSet, and one object where one set is
    "repeated",  # the first game listed three times, once for each broadcaster
    "contradiction",  # the first game listed twice, differently
    "one_line",  # the second team of the first game has no points
    "wrong_echo",  # the echo, the date or the id is that of another request
    "live",  # the first game is in its third quarter
    "postponed",  # the first game is postponed
    "lost_game",  # the first game is missing
    "lost_player",  # the first player of the first team is missing
    "no_players",  # the first team has none
    "number_id",  # ids of games are numbers, without the zeros at their front
    "double_row",  # the first row comes twice
    "cut",  # the second half of the actions is missing
    "renamed",  # "gameStatus" or "PTS" have another name
]

_SEASON = re.compile(r"(\d{4})-\d\d")
_PLAYS = re.compile(r"/cdn/static/json/liveData/playbyplay/playbyplay_(\d{10})\.json")
_DENIED = (
    b"<HTML><HEAD>\n<TITLE>Access Denied</TITLE>\n</HEAD><BODY>\n<H1>Access Denied</H1>\n"
    b"You don't have permission to access this server.<P>\nReference #18.sample\n</BODY>\n</HTML>\n"
)
_MISSING = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message>'
    b"<RequestId>SAMPLE</RequestId></Error>"
)
_FILE = "/cdn/static/json/staticData/scheduleLeagueV2.json"


class NbaUpstream(SampleUpstream[NbaKind]):
    """See the module.

    Args:
        port: On 127.0.0.1; 0 takes a free one.
        now: Fixes its clock; None is the real one.
        changes: What went wrong in the season, beside the two games that are postponed every year.
        latency_ms: Added to every data answer.
        listener: Takes its connections instead of those of ``port``.
    """

    rules = TypeAdapter(list[Rule[NbaKind]])

    def __init__(
        self,
        port: int = 0,
        *,
        now: dt.datetime | None = None,
        latency_ms: float = 0.0,
        listener: socket.socket | None = None,
    ) -> None:
        super().__init__(port, latency_ms=latency_ms, listener=listener)
        self.now = now
        self.calendar: Calendar | None = None
        self.controls |= {"season": self.set_season, "clock": self._set_clock}

    def set_season(self, document: Any) -> None:
        """Takes a list of `league.Change`; an empty one is a season in which nothing went wrong."""
        self.calendar = Calendar(CHANGES.validate_python(document))

    def today(self) -> dt.date:
        """The US Eastern date by its clock."""
        return (self.now or dt.datetime.now(dt.UTC)).astimezone(EASTERN).date()

    def refusal(self, call: Call) -> Answer | None:
        """Whoever is no browser."""
        is_browser = call.headers.get("user-agent", "").startswith("Mozilla/5.0")
        is_sent_by_site = call.headers.get("referer", "") == "https://www.nba.com/"
        return None if is_browser and is_sent_by_site else Answer(403, _DENIED, media_type="text/html")

    def error(self, status: int, text: str) -> Answer:
        """As the edge says it."""
        return Answer(status, {"Message": text or "An error has occurred."})

    def date_of(self, call: Call) -> dt.date | None:
        """``GameDate``, ``DateFrom``, or the first date of the game."""
        found = _PLAYS.fullmatch(call.path)
        game_id = found[1] if found else call.get("GameID")
        try:
            if game_id:
                return game_of(game_id).date
            return dt.date.fromisoformat(call.get("GameDate") or call.get("DateFrom") or "")
        except ValueError:
            return None

    def answer(self, call: Call, kind: NbaKind | None) -> Answer:
        """By path."""
        if kind == "access_denied":
            return Answer(403, _DENIED, media_type="text/html")
        if kind == "empty_body":
            return Answer(200, b"")
        plays = _PLAYS.fullmatch(call.path)
        if call.path.startswith("/cdn/") and (kind == "missing" or not (plays or call.path == _FILE)):
            return Answer(403, _MISSING, media_type="application/xml")
        try:
            if plays:
                return self._plays(plays[1], kind)
            document = self._document(call, kind)
        except ValueError as error:
            return Answer(400, {"Message": str(error)})
        return Answer(404, {"Message": "Not Found"}) if document is None else Answer(200, _spoiled(document, kind))

    def is_over(self, game: Game) -> bool:
        """Whether it was played before today."""
        return game.date < self.today()

    def listed(self, call: Call, date: dt.date) -> list[tuple[Listed, bool]]:
        """The games of a date as the call sees them, and whether each is over."""
        return [(one, self.is_over(one.game)) for one in self._calendar(call, date).listed_on(date)]

    def _calendar(self, call: Call, date: dt.date) -> Calendar:
        calendar = usual_calendar(season_of(date)) if self.calendar is None else self.calendar
        return calendar.for_path(call.path)

    def _document(self, call: Call, kind: NbaKind | None) -> dict[str, Any] | None:
        asked = dict(call.params)
        endpoint = call.path.rpartition("/")[2]
        if call.path == _FILE:
            return self._schedule(call, season_of(self.today()))
        if endpoint == "scheduleleaguev2":
            found = _SEASON.fullmatch(asked.get("Season", ""))
            if found is None:
                raise ValueError("Season must be 2024-25")
            return self._schedule(call, int(found[1]) - (kind == "wrong_echo"))
        if endpoint in ("scoreboardv2", "scoreboardv3"):
            date = dt.date.fromisoformat(asked["GameDate"]) - dt.timedelta(days=kind == "wrong_echo")
            games = self.listed(call, date)
            if endpoint == "scoreboardv2" or kind in ("v2", "shuffled", "singular"):
                return nba_answers.scoreboard_v2({**asked, "GameDate": date.isoformat()}, date, games)
            return nba_answers.scoreboard_v3(date, games)
        if endpoint in ("boxscoretraditionalv2", "boxscoretraditionalv3"):
            game = game_of(asked["GameID"])
            if kind == "wrong_echo":
                game = game_of(f"{int(game.nba_id) + (1 if game.nba_id.endswith('1') else -1):010d}")
            if endpoint == "boxscoretraditionalv2" or kind in ("v2", "shuffled", "singular"):
                return nba_answers.box_score_v2({**asked, "GameID": game.nba_id}, game)
            return nba_answers.box_score_v3(game)
        if endpoint == "leaguegamelog":
            return self._game_log(call, asked, kind)
        return None

    def _schedule(self, call: Call, season: int) -> dict[str, Any]:
        days = []
        for at in range((dt.date(season + 1, 7, 1) - dt.date(season, 10, 1)).days):
            date = dt.date(season, 10, 1) + dt.timedelta(days=at)
            games = [
                (one, is_over)
                for one, is_over in self.listed(call, date)
                if not one.is_postponed or self.today() <= date + dt.timedelta(days=1)
            ]
            if self.today() <= date:
                # A game that was put off to this date is not on it before its old date is over.
                games = [(one, over) for one, over in games if one.game.first_date == date or self._is_known(one.game)]
            if games:
                days.append((date, games))
        return nba_answers.schedule(f"{season}-{(season + 1) % 100:02d}", days)

    def _is_known(self, game: Game) -> bool:
        return self.today() > game.first_date + dt.timedelta(days=1)

    def _game_log(self, call: Call, asked: dict[str, str], kind: NbaKind | None) -> dict[str, Any]:
        first, last = (dt.date.fromisoformat(asked[name]) for name in ("DateFrom", "DateTo"))
        if kind == "wrong_echo":
            first, last = first - dt.timedelta(days=1), last - dt.timedelta(days=1)
        games = [
            one.game
            for at in range((last - first).days + 1)
            for one, is_over in self.listed(call, first + dt.timedelta(days=at))
            if is_over and not one.is_postponed
            if one.game.season_name == asked["Season"] and nba_answers.SEASON_TYPE[one.game.kind] == asked["SeasonType"]
        ]
        echo = {**asked, "Counter": int(asked["Counter"]), "DateFrom": first.isoformat(), "DateTo": last.isoformat()}
        return nba_answers.game_log(echo, games, of_players=asked["PlayerOrTeam"] == "P")

    def _plays(self, game_id: str, kind: NbaKind | None) -> Answer:
        try:
            game = game_of(game_id)
        except ValueError:
            return Answer(403, _MISSING, media_type="application/xml")
        if not self.is_over(game):
            return Answer(403, _MISSING, media_type="application/xml")
        if kind is None:
            return Answer(200, _packed_plays(game), is_packed=True)
        return Answer(200, _spoiled(nba_answers.play_by_play(game), kind))

    def _set_clock(self, document: Any) -> None:
        self.now = None if document["now"] is None else dt.datetime.fromisoformat(document["now"])


@functools.lru_cache(maxsize=4096)
def _packed_plays(game: Game) -> bytes:
    """The whole good answer in gzip, about 12 kB."""
    document = json.dumps(nba_answers.play_by_play(game), separators=(",", ":")).encode()
    return gzip.compress(document, compresslevel=1, mtime=0)


def _spoiled(document: dict[str, Any], kind: NbaKind | None) -> Any:
    """A document with one of the troubles that leave it well-formed; one that does not concern it changes nothing."""
    if kind is None:
        return document
    document = copy.deepcopy(document)
    if "resultSets" in document:
        _spoil_sets(document, kind)
    elif "scoreboard" in document:
        _spoil_board(document["scoreboard"]["games"], kind)
    elif "leagueSchedule" in document:
        dates = document["leagueSchedule"]["gameDates"]
        if kind == "empty":
            dates.clear()
        else:
            _spoil_board(dates[0]["games"], kind)
    elif "boxScoreTraditional" in document:
        players = document["boxScoreTraditional"]["homeTeam"]["players"]
        if kind in ("lost_player", "no_players", "empty"):
            del players[: 1 if kind == "lost_player" else None]
        elif kind == "double_row":
            players.append(copy.deepcopy(players[0]))
        elif kind == "number_id":
            document["boxScoreTraditional"]["gameId"] = int(document["boxScoreTraditional"]["gameId"])
        elif kind == "renamed":
            for player in players:
                player["statistics"]["pointsScored"] = player["statistics"].pop("points")
    else:
        actions = document["game"]["actions"]
        if kind in ("empty", "cut"):
            del actions[0 if kind == "empty" else len(actions) // 2 :]
        elif kind == "double_row":
            actions.append(copy.deepcopy(actions[0]))
        elif kind == "wrong_echo":
            document["game"]["gameId"] = "0022300001"
        elif kind == "renamed":
            for action in actions:
                action["number"] = action.pop("actionNumber")
    return document


def _spoil_board(games: list[dict[str, Any]], kind: NbaKind) -> None:
    first = games[0] if games else {}
    if kind == "empty":
        games.clear()
    elif kind == "lost_game":
        del games[:1]
    elif not first:
        return
    elif kind == "repeated":
        for station in ("ABC", "TNT"):
            told = {"nationalBroadcasters": [{"broadcastDisplay": station}]}
            games += [copy.deepcopy(first) | {"broadcasters": told}]
    elif kind == "contradiction":
        games.append(
            copy.deepcopy(first) | {"gameStatus": 2, "gameStatusText": "Q3", "gameDateTimeEst": "2025-01-01T12:00:00Z"}
        )
    elif kind == "one_line":
        first["awayTeam"]["periods"] = []
    elif kind == "live":
        first |= {"gameStatus": 2, "gameStatusText": "Q3 4:12"}
    elif kind == "postponed":
        first |= {"gameStatus": 1, "gameStatusText": "PPD"}
    elif kind == "number_id":
        for game in games:
            game["gameId"] = int(game["gameId"])
    elif kind == "renamed":
        for game in games:
            game["status"] = game.pop("gameStatus")


def _spoil_sets(document: dict[str, Any], kind: NbaKind) -> None:
    sets = document["resultSets"]
    first = sets[0]
    names, rows = first["headers"], first["rowSet"]
    if kind == "shuffled":
        for one in sets:
            one["headers"] = one["headers"][::-1]
            one["rowSet"] = [row[::-1] for row in one["rowSet"]]
        sets.insert(0, {"name": "WinProbability", "headers": ["GAME_ID", "HOME_PCT"], "rowSet": []})
    elif kind == "singular":
        document["resultSet"] = sets[0] if len(sets) == 1 else sets
        del document["resultSets"]
    elif kind == "empty":
        for one in sets:
            one["rowSet"] = []
    elif kind in ("lost_game", "lost_player"):
        del rows[:1]
    elif kind == "no_players":
        team = names.index("TEAM_ID")
        first["rowSet"] = [row for row in rows if row[team] != rows[0][team]]
    elif kind in ("live", "postponed") and "WL" in names and rows:
        game = rows[0][names.index("GAME_ID")]
        for row in [row for row in rows if row[names.index("GAME_ID")] == game]:
            row[names.index("WL")] = None
            if kind == "postponed":
                rows.remove(row)
    elif kind in ("live", "postponed") and "GAME_STATUS_ID" in names and rows:
        told = [2, "Q3 4:12"] if kind == "live" else [1, "PPD"]
        for name, value in zip(("GAME_STATUS_ID", "GAME_STATUS_TEXT"), told, strict=True):
            rows[0][names.index(name)] = value
    elif kind == "number_id":
        at = names.index("GAME_ID")
        for row in rows:
            row[at] = int(row[at])
    elif kind == "renamed":
        first["headers"] = [{"PTS": "POINTS", "GAME_STATUS_ID": "STATUS_ID"}.get(name, name) for name in names]
    elif kind in ("repeated", "double_row") and rows:
        again = [list(rows[0]) for _ in range(2 if kind == "repeated" else 1)]
        if "NATL_TV_BROADCASTER_ABBREVIATION" in names:
            for at, row in enumerate(again):
                row[names.index("NATL_TV_BROADCASTER_ABBREVIATION")] = ("ABC", "TNT")[at]
        rows += again
    elif kind == "one_line" and len(sets) > 1:
        del sets[1]["rowSet"][:1]
