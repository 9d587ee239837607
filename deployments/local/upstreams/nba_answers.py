"""What NBA.com says of a game of the sample season, in the shapes of its endpoints.

Truth for tests: `player_lines` and `actions_of` say what the documents hold, without reading them.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deployments.local.upstreams.league import EASTERN, Game, Line, Listed, Side
from deployments.local.upstreams.play_by_play import Play, plays_of
from deployments.local.upstreams.rosters import Player, Team

FINAL = 3
_FALSE_Z = "%Y-%m-%dT%H:%M:%SZ"
_DNP = "DNP - Coach's Decision"
_TYPE_DIGIT = {"preseason": 1, "regular": 2, "all_star": 3, "playoffs": 4, "play_in": 5, "cup_final": 6}
SEASON_TYPE = {
    "preseason": "Pre Season",
    "regular": "Regular Season",
    "all_star": "All Star",
    "playoffs": "Playoffs",
    "play_in": "PlayIn",
    "cup_final": "IST",
}
_BROADCASTERS = ("ESPN", "NBA TV", "TNT")


def status_of(listed: Listed, *, is_over: bool) -> tuple[int, str]:
    """``gameStatus`` and its words; a postponed game is a scheduled one that says PPD."""
    if listed.is_postponed:
        return 1, "PPD"
    if is_over:
        return FINAL, listed.game.box_score().status
    clock = listed.game.tip_off_eastern
    return 1, f"{clock.hour % 12 or 12}:{clock:%M} {'pm' if clock.hour >= 12 else 'am'} ET"


def schedule(season: str, days: Iterable[tuple[dt.date, Sequence[tuple[Listed, bool]]]]) -> dict[str, Any]:
    """The schedule of a season; ``days`` are dates with games, and whether each is over."""
    dates = [
        {"gameDate": f"{date:%m/%d/%Y} 00:00:00", "games": [_scheduled(listed, is_over) for listed, is_over in games]}
        for date, games in days
    ]
    return {
        "meta": _meta(f"league/00/{season}/scheduleleaguev2"),
        "leagueSchedule": {"seasonYear": season, "leagueId": "00", "gameDates": dates, "weeks": []},
    }


def _scheduled(listed: Listed, is_over: bool) -> dict[str, Any]:
    game = listed.game
    status, text = status_of(listed, is_over=is_over)
    eastern, utc = game.tip_off_eastern, game.tip_off
    scores = (game.box_score().home.score, game.box_score().visitor.score) if status == FINAL else (0, 0)
    return {
        "gameId": game.nba_id,
        "gameCode": game.code,
        "gameStatus": status,
        "gameStatusText": text + ("   " if status == FINAL else ""),
        "gameSequence": game.number + 1,
        # Eastern clocks, all of them, whatever the Z says.
        "gameDateEst": f"{game.date}T00:00:00Z",
        "gameTimeEst": f"1900-01-01T{eastern:%H:%M:%S}Z",
        "gameDateTimeEst": eastern.strftime(_FALSE_Z),
        "gameDateUTC": f"{dt.datetime.combine(game.date, dt.time(), EASTERN).astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "gameTimeUTC": f"1900-01-01T{utc:%H:%M:%S}Z",
        "gameDateTimeUTC": utc.strftime(_FALSE_Z),
        "weekNumber": game.date.isocalendar().week,
        "ifNecessary": False,
        "seriesGameNumber": "",
        "gameLabel": "Preseason" if game.kind == "preseason" else "",
        "gameSubLabel": "",
        "seriesText": "",
        "arenaName": f"{game.home.city} Arena",
        "arenaCity": game.home.city,
        "arenaState": "",
        "postponedStatus": "N",
        "isNeutral": game.kind in ("all_star", "cup_final"),
        "homeTeam": _team(game.home) | {"wins": 0, "losses": 0, "score": scores[0], "seed": 0},
        "awayTeam": _team(game.visitor) | {"wins": 0, "losses": 0, "score": scores[1], "seed": 0},
        "pointsLeaders": [],
    }


def scoreboard_v3(date: dt.date, games: Sequence[tuple[Listed, bool]]) -> dict[str, Any]:
    """``scoreboardv3``."""
    board = {"gameDate": date.isoformat(), "leagueId": "00", "leagueName": "National Basketball Association"}
    return {
        "meta": _meta(f"league/00/{date:%Y/%m/%d}/scoreboard"),
        "scoreboard": {**board, "games": [_board_game(listed, is_over) for listed, is_over in games]},
    }


def _board_game(listed: Listed, is_over: bool) -> dict[str, Any]:
    game = listed.game
    status, text = status_of(listed, is_over=is_over)
    sides = (game.box_score().home, game.box_score().visitor) if status == FINAL else (None, None)
    return {
        "gameId": game.nba_id,
        "gameCode": game.code,
        "gameStatus": status,
        "gameStatusText": text,
        "period": 4 + game.box_score().overtimes if status == FINAL else 0,
        "gameClock": "",
        "gameTimeUTC": game.tip_off.strftime(_FALSE_Z),
        "gameEt": game.tip_off_eastern.strftime(_FALSE_Z),
        "regulationPeriods": 4,
        "gameLabel": "",
        "gameSubLabel": "",
        "seriesText": "",
        "broadcasters": {"nationalBroadcasters": [{"broadcasterId": 1, "broadcastDisplay": "ESPN"}]},
        "homeTeam": _board_team(game.home, sides[0]),
        "awayTeam": _board_team(game.visitor, sides[1]),
    }


def _board_team(team: Team, side: Side | None) -> dict[str, Any]:
    periods = [
        {"period": at, "periodType": "REGULAR" if at <= 4 else "OVERTIME", "score": points}
        for at, points in enumerate(side.periods if side else (), 1)
    ]
    record = {"wins": team.bdl_id, "losses": 40 - team.bdl_id, "score": side.score if side else 0, "seed": 0}
    return {**_team(team), **record, "inBonus": None, "timeoutsRemaining": 1, "periods": periods}


_HEADER = (
    "GAME_DATE_EST GAME_SEQUENCE GAME_ID GAME_STATUS_ID GAME_STATUS_TEXT GAMECODE HOME_TEAM_ID VISITOR_TEAM_ID SEASON "
    "LIVE_PERIOD LIVE_PC_TIME NATL_TV_BROADCASTER_ABBREVIATION ARENA_NAME"
)
_PERIODS = [f"PTS_QTR{at}" for at in range(1, 5)] + [f"PTS_OT{at}" for at in range(1, 11)]
_TEAM_OF_LINE = (
    "GAME_DATE_EST GAME_SEQUENCE GAME_ID TEAM_ID TEAM_ABBREVIATION TEAM_CITY_NAME TEAM_NAME TEAM_WINS_LOSSES"
)
_LINE_SCORE = f"{_TEAM_OF_LINE} {' '.join(_PERIODS)} PTS FG_PCT FT_PCT FG3_PCT AST REB TOV"


def scoreboard_v2(asked: Mapping[str, Any], date: dt.date, games: Sequence[tuple[Listed, bool]]) -> dict[str, Any]:
    """``scoreboardv2``: the visitors' line first."""
    header, lines = [], []
    for at, (listed, is_over) in enumerate(games, 1):
        game = listed.game
        status, text = status_of(listed, is_over=is_over)
        begin = [f"{date}T00:00:00", at, game.nba_id]
        period = 4 + game.box_score().overtimes if status == FINAL else 0
        teams = [game.home.nba_id, game.visitor.nba_id, str(game.season)]
        told = _BROADCASTERS[at % 3]
        header.append([*begin, status, text, game.code, *teams, period, "     ", told, f"{game.home.city} Arena"])
        sides = (game.box_score().visitor, game.box_score().home) if status == FINAL else (None, None)
        lines += [
            [*begin, *_line_score(team, side)] for team, side in zip((game.visitor, game.home), sides, strict=True)
        ]
    return _old_shape("scoreboardV2", asked, {"GameHeader": (_HEADER, header), "LineScore": (_LINE_SCORE, lines)})


def _line_score(team: Team, side: Side | None) -> list[Any]:
    named = [team.nba_id, team.tricode, team.city, team.name, f"{team.bdl_id}-{40 - team.bdl_id}"]
    if side is None:
        return [*named, *[None] * (len(_PERIODS) + 7)]
    total = _total(side.lines)
    ratios = [_ratio(*total[:2]), _ratio(*total[4:6]), _ratio(*total[2:4])]
    periods = [*side.periods, *[0] * (len(_PERIODS) - len(side.periods))]
    return [*named, *periods, side.score, *ratios, total[8], total[6] + total[7], total[11]]


_NUMBERS = "MIN FGM FGA FG_PCT FG3M FG3A FG3_PCT FTM FTA FT_PCT OREB DREB REB AST STL BLK TO PF PTS PLUS_MINUS"
_OF_PLAYER = (
    "GAME_ID TEAM_ID TEAM_ABBREVIATION TEAM_CITY PLAYER_ID PLAYER_NAME NICKNAME START_POSITION COMMENT " + _NUMBERS
)
_OF_TEAM = "GAME_ID TEAM_ID TEAM_NAME TEAM_ABBREVIATION TEAM_CITY " + _NUMBERS


def box_score_v2(asked: Mapping[str, Any], game: Game) -> dict[str, Any]:
    """``boxscoretraditionalv2``: who did not play has no numbers."""
    players, teams = [], []
    for side in (game.box_score().visitor, game.box_score().home):
        team = side.team
        for line in side.lines:
            who = [line.player.nba_id, f"{line.player.first_name} {line.player.last_name}", line.player.first_name]
            comment = "" if line.did_play else f"{_DNP:<40}"
            numbers = [_minutes(line), *_numbers(line)] if line.did_play else [None] * 20
            begin = [game.nba_id, team.nba_id, team.tricode, team.city]
            players.append([*begin, *who, _position(line), comment, *numbers])
        begin = [game.nba_id, team.nba_id, team.name, team.tricode, team.city]
        teams.append([*begin, f"{240 + 25 * game.box_score().overtimes}:00", *_team_numbers(game, side)])
    sets = {"PlayerStats": (_OF_PLAYER, players), "TeamStats": (_OF_TEAM, teams)}
    return _old_shape("boxscore", asked, sets)


_STATISTICS = (
    "fieldGoalsMade fieldGoalsAttempted fieldGoalsPercentage threePointersMade threePointersAttempted "
    "threePointersPercentage freeThrowsMade freeThrowsAttempted freeThrowsPercentage reboundsOffensive "
    "reboundsDefensive reboundsTotal assists steals blocks turnovers foulsPersonal points plusMinusPoints"
)


def box_score_v3(game: Game) -> dict[str, Any]:
    """``boxscoretraditionalv3``: who did not play has no minutes, a comment, and zeros."""
    box = game.box_score()
    sides = {"homeTeam": box.home, "awayTeam": box.visitor}
    told = {name: _side_v3(game, side) for name, side in sides.items()}
    ids = {"gameId": game.nba_id, "awayTeamId": game.visitor.nba_id, "homeTeamId": game.home.nba_id}
    return {"meta": _meta(f"games/{game.nba_id}/boxscoretraditional"), "boxScoreTraditional": {**ids, **told}}


def _side_v3(game: Game, side: Side) -> dict[str, Any]:
    players = [
        {
            "personId": line.player.nba_id,
            "firstName": line.player.first_name,
            "familyName": line.player.last_name,
            "nameI": _initial(line),
            "playerSlug": "",
            "position": _position(line),
            "comment": "" if line.did_play else _DNP,
            "jerseyNum": line.player.jersey,
            "statistics": {
                "minutes": _minutes(line) if line.did_play else "",
                **dict(zip(_STATISTICS.split(), _numbers_v3(line), strict=True)),
            },
        }
        for line in side.lines
    ]
    numbers: dict[str, Any] = dict(zip(_STATISTICS.split(), _floated(_team_numbers(game, side)), strict=True))
    minutes = f"{240 + 25 * game.box_score().overtimes}:00"
    return {**_team(side.team), "players": players, "statistics": {"minutes": minutes, **numbers}}


_LOG = "TEAM_ID TEAM_ABBREVIATION TEAM_NAME GAME_ID GAME_DATE MATCHUP WL " + _NUMBERS.replace(" TO ", " TOV ")


def game_log(asked: Mapping[str, Any], games: Sequence[Game], *, of_players: bool) -> dict[str, Any]:
    """``leaguegamelog``: players who played, or teams; minutes are whole."""
    rows = []
    for game in games:
        box = game.box_score()
        for side, other, sign in ((box.home, box.visitor, "vs."), (box.visitor, box.home, "@")):
            team = [side.team.nba_id, side.team.tricode, side.team.full_name, game.nba_id, game.date.isoformat()]
            team += [f"{side.team.tricode} {sign} {other.team.tricode}", "W" if side.score > other.score else "L"]
            season = f"{_TYPE_DIGIT[game.kind]}{game.season}"
            if not of_players:
                rows.append([season, *team, 240 + 25 * box.overtimes, *_team_numbers(game, side), 1])
                continue
            for line in side.lines:
                if line.did_play:
                    who = [season, line.player.nba_id, f"{line.player.first_name} {line.player.last_name}"]
                    rows.append([*who, *team, line.minutes, *_numbers(line), float(line.pts), 1])
    columns = f"SEASON_ID {_LOG} VIDEO_AVAILABLE"
    if of_players:
        columns = f"SEASON_ID PLAYER_ID PLAYER_NAME {_LOG} FANTASY_PTS VIDEO_AVAILABLE"
    return _old_shape("leaguegamelog", asked, {"LeagueGameLog": (columns, rows)})


def play_by_play(game: Game) -> dict[str, Any]:
    """``liveData/playbyplay``."""
    return {
        "meta": {"version": 1, "code": 200, "request": f"http://nba.cloud/games/{game.nba_id}/playbyplay?Format=json"},
        "game": {"gameId": game.nba_id, "actions": actions_of(game)},
    }


def actions_of(game: Game) -> list[dict[str, Any]]:
    """The plays of the game as actions; their numbers have gaps, as in life, and a substitution is two of them."""
    told: list[dict[str, Any]] = []
    number = 0
    plays = plays_of(game)
    for play in plays:
        for sub, player in _actors(play):
            number += 2 if play.number % 5 == 0 else 1
            told.append(_action(game, play, number, len(told) + 1, sub, player))
    last = told[-1]
    ended = {"actionNumber": number + 1, "orderNumber": last["orderNumber"] + 10_000}
    return [*told, {**last, **ended, "actionType": "game", "subType": "end", "description": "Game End"}]


def _actors(play: Play) -> list[tuple[str, Player | None]]:
    """Sub-type and player of each action that the play becomes."""
    if play.kind == "substitution":
        return [("out", play.player), ("in", play.other)]
    subs = {
        "period_start": "start",
        "period_end": "end",
        "rebound": "offensive" if play.is_offensive else "defensive",
        "free_throw": f"{play.attempt} of {play.attempts}",
        "foul": "personal",
        "shot": "Jump Shot",
    }
    return [(subs.get(play.kind, ""), play.player)]


_ACTION_TYPE = {"period_start": "period", "period_end": "period", "jump_ball": "jumpball", "free_throw": "freethrow"}


def _action(game: Game, play: Play, number: int, place: int, sub: str, player: Player | None) -> dict[str, Any]:
    at = game.tip_off + dt.timedelta(minutes=35 * play.period) - dt.timedelta(seconds=play.left_s)
    kind = _ACTION_TYPE.get(play.kind, play.kind)
    if play.kind == "shot":
        kind = "3pt" if play.is_three else "2pt"
    action: dict[str, Any] = {
        "actionNumber": number,
        "clock": f"PT{play.left_s // 60:02d}M{play.left_s % 60:02d}.00S",
        "timeActual": f"{at:%Y-%m-%dT%H:%M:%S}.5Z",
        "period": play.period,
        "periodType": "REGULAR" if play.period <= 4 else "OVERTIME",
        "actionType": kind,
        "subType": sub,
        "qualifiers": [],
        "personId": player.nba_id if player else 0,
        "x": None,
        "y": None,
        "possession": play.team.nba_id if play.team else 0,
        "scoreHome": str(play.scores[0]),
        "scoreAway": str(play.scores[1]),
        "edited": f"{at:%Y-%m-%dT%H:%M:%S}Z",
        "orderNumber": 10_000 * place,
        "isTargetScoreLastPeriod": False,
        "isFieldGoal": int(play.kind == "shot"),
        "description": f"{player.last_name if player else ''} {kind} {sub}".strip(),
        "personIdsFilter": [player.nba_id] if player else [],
    }
    if play.team:
        action |= {"teamId": play.team.nba_id, "teamTricode": play.team.tricode}
    if player:
        action |= {"playerName": player.last_name, "playerNameI": f"{player.first_name[:1]}. {player.last_name}"}
    if play.points is not None:
        action["shotResult"] = "Made" if play.points else "Missed"
    if play.kind == "shot":
        action |= {
            "x": 50 + (play.x or 0) / 10,
            "y": 5 + (play.y or 0) / 10,
            "shotDistance": float(play.distance_ft or 0),
        }
    if play.kind == "shot" and play.other and play.points:
        action |= {"assistPersonId": play.other.nba_id, "assistPlayerNameInitial": play.other.last_name}
    return action


@functools.lru_cache(maxsize=512)
def player_lines(game: Game) -> tuple[int, int]:
    """How many lines a box score of the game has, and how many of them are of players who played."""
    lines = [line for side in (game.box_score().home, game.box_score().visitor) for line in side.lines]
    return len(lines), sum(line.did_play for line in lines)


def _old_shape(
    resource: str, asked: Mapping[str, Any], sets: Mapping[str, tuple[str, list[list[Any]]]]
) -> dict[str, Any]:
    listed = [{"name": name, "headers": columns.split(), "rowSet": rows} for name, (columns, rows) in sets.items()]
    return {"resource": resource, "parameters": dict(asked), "resultSets": listed}


def _meta(request: str) -> dict[str, Any]:
    return {"version": 1, "request": f"http://nba.cloud/{request}?Format=json", "time": "2026-01-22T14:21:16.2116Z"}


def _team(team: Team) -> dict[str, Any]:
    return {
        "teamId": team.nba_id,
        "teamCity": team.city,
        "teamName": team.name,
        "teamTricode": team.tricode,
        "teamSlug": team.name.lower().replace(" ", "-"),
    }


def _minutes(line: Line) -> str:
    return f"{line.minutes}:{line.seconds:02d}"


def _initial(line: Line) -> str:
    return f"{line.player.first_name[:1]}. {line.player.last_name}"


def _position(line: Line) -> str:
    return (line.player.position[:1] or "F") if line.is_starter else ""


_SUMMED = "fgm fga fg3m fg3a ftm fta oreb dreb ast stl blk turnover pf pts"


def _ratio(made: int, tried: int) -> float:
    return round(made / tried, 3) if tried else 0.0


def _total(lines: Sequence[Line]) -> list[int]:
    return [sum(getattr(line, name) for line in lines) for name in _SUMMED.split()]


def _shown(total: Sequence[int], plus_minus: int) -> list[Any]:
    fgm, fga, fg3m, fg3a, ftm, fta, oreb, dreb, ast, stl, blk, turnover, pf, pts = total
    shots = [fgm, fga, _ratio(fgm, fga), fg3m, fg3a, _ratio(fg3m, fg3a), ftm, fta, _ratio(ftm, fta)]
    return [*shots, oreb, dreb, oreb + dreb, ast, stl, blk, turnover, pf, pts, plus_minus]


def _numbers(line: Line) -> list[Any]:
    return _shown(_total([line]), line.plus_minus)


def _numbers_v3(line: Line) -> list[Any]:
    return _floated(_numbers(line)) if line.did_play else [0] * 19


def _team_numbers(game: Game, side: Side) -> list[Any]:
    box = game.box_score()
    margin = box.home.score - box.visitor.score
    return _shown(_total(side.lines), margin if side is box.home else -margin)


def _floated(numbers: Sequence[Any]) -> list[Any]:
    return [*numbers[:-1], float(numbers[-1])]
