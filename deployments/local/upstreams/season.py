"""A made-up basketball season for every year: the same date always gives the same games, in the API's real shape.

Sums hold: a team's score is the sum of its players' points and of its quarters and overtimes. Dates before
``NEW_SHAPE_FROM`` come in the older shape (no game id, instant, quarters or plus-minus), and those before
``CLOCK_MINUTES_UNTIL`` with minutes such as ``37:12``.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping
from typing import Any

from deployments.local.upstreams.rosters import TEAMS, roster

FIRST_DATE = dt.date(1990, 1, 1)
LAST_DATE = dt.date(2030, 12, 31)
NEW_SHAPE_FROM = dt.date(2025, 1, 1)
CLOCK_MINUTES_UNTIL = dt.date(2010, 1, 1)

# Games on a day of the regular season, Monday first: Tuesdays and Thursdays are quiet, Wednesdays and Fridays full.
_GAMES_BY_WEEKDAY = ((5, 9), (2, 7), (8, 14), (2, 6), (8, 15), (5, 10), (4, 9))
_BENCH_SHARE = (1.0,) * 5 + (0.6,) * 5 + (0.0,) * 7


def games_on(date: dt.date, *, is_over: bool = True) -> list[dict[str, Any]]:
    """All games of a US Eastern date, as ``data`` of ``/v1/box_scores``; not yet played ones unless ``is_over``."""
    return [
        played(date, index, home, visitor, is_over=is_over, is_new=date >= NEW_SHAPE_FROM)
        for index, (home, visitor, _) in enumerate(fixtures_on(date))
    ]


def fixtures_on(date: dt.date) -> list[tuple[Mapping[str, Any], Mapping[str, Any], dt.datetime]]:
    """Home team, visitors and tip-off in UTC of the games that ``games_on`` has, in the same order."""
    if not FIRST_DATE <= date <= LAST_DATE:
        return []
    dice = random.Random(f"games {date}")  # noqa: S311
    teams = dice.sample(TEAMS, len(TEAMS))
    return [
        (teams[2 * index], teams[2 * index + 1], tip_off_of(date, index)) for index in range(_number_of(date, dice))
    ]


def late_game(date: dt.date) -> dict[str, Any]:
    """A game that ``games_on`` does not have, also on a date without any, of two teams that did not play.

    Where all of them play, it is one of two that play already.
    """
    dice = random.Random(f"games {date}")  # noqa: S311
    teams = dice.sample(TEAMS, len(TEAMS))
    idle = teams[2 * _number_of(date, dice) :]
    home, visitor = idle[:2] or (teams[2], teams[0])
    return played(date, 99, home, visitor, is_over=True, is_new=date >= NEW_SHAPE_FROM)


def bdl_id_of(date: dt.date, index: int) -> int:
    """The id of the game of that number; also where the older shape does not tell it."""
    return date.toordinal() * 100 + index


def season_of(date: dt.date) -> int:
    """The year in which the season of a date began."""
    return date.year if date.month >= 8 else date.year - 1


def _number_of(date: dt.date, dice: random.Random) -> int:
    month_day = (date.month, date.day)
    if (6, 20) < month_day < (10, 22) or month_day == (12, 24) or _is_all_star_break(date):
        return 0
    if (4, 14) <= month_day <= (4, 15) or dice.random() < 0.02:
        return 0
    if (4, 16) <= month_day <= (5, 10):
        return dice.randint(2, 4)
    if (5, 11) <= month_day <= (5, 31):
        return dice.randint(0, 2)
    if date.month == 6:
        return date.day % 2
    return dice.randint(*_GAMES_BY_WEEKDAY[date.weekday()])


def all_star_sunday(year: int) -> dt.date:
    """The third Sunday of February."""
    first = dt.date(year, 2, 1)
    return first + dt.timedelta(days=(6 - first.weekday()) % 7 + 14)


def _is_all_star_break(date: dt.date) -> bool:
    """Friday to Wednesday around it."""
    return -2 <= (date - all_star_sunday(date.year)).days <= 3


def played(
    date: dt.date,
    index: int,
    home: Mapping[str, Any],
    visitor: Mapping[str, Any],
    *,
    is_over: bool = True,
    is_new: bool = True,
) -> dict[str, Any]:
    """The game of that number on a date, in the newer or the older shape; scores and lines are those of both."""
    dice = random.Random(f"game {date} {index}")  # noqa: S311
    tip_off = tip_off_of(date, index)
    lines = [_lines(date, team, dice) for team in (home, visitor)] if is_over else [[], []]
    scores = [sum(line["pts"] for line in team) for team in lines]
    if is_over and scores[0] == scores[1]:
        _add_free_throw(lines[0][0])
        scores[0] += 1
    overtimes = _overtimes(scores[0] - scores[1], dice) if is_over else []
    game: dict[str, Any] = {"date": date.isoformat() if date >= CLOCK_MINUTES_UNTIL else f"{date}T00:00:00.000Z"}
    if is_new:
        game = {"id": bdl_id_of(date, index), **game, "datetime": f"{tip_off.isoformat()}.000Z"}
        for side, score, which in (("home", scores[0], 0), ("visitor", scores[1], 1)):
            game |= _periods(side, score, [overtime[which] for overtime in overtimes], dice, is_over)
    game |= {
        "season": season_of(date),
        "status": "Final" if is_over else f"{tip_off.isoformat()}Z",
        "period": 4 + len(overtimes) if is_over else 0,
        "time": "Final" if is_over else None,
        "postseason": (4, 16) <= (date.month, date.day) <= (6, 20),
        "home_team_score": scores[0],
        "visitor_team_score": scores[1],
    }
    for side, team, players, margin in (
        ("home_team", home, lines[0], scores[0] - scores[1]),
        ("visitor_team", visitor, lines[1], scores[1] - scores[0]),
    ):
        for line in players:
            if is_new:
                player = line.pop("player")
                line |= {"plus_minus": 0 if line["min"] == "00" else margin + dice.randint(-9, 9), "player": player}
        game[side] = {**team, "players": players}
    return game


def tip_off_of(date: dt.date, index: int) -> dt.datetime:
    """When the game of that number begins, in UTC and without a zone: between 19:00 and 22:30 in winter's New York."""
    return dt.datetime.combine(date + dt.timedelta(days=1), dt.time(index % 4, 30 * (index % 2)))


def _overtimes(margin: int, dice: random.Random) -> list[tuple[int, int]]:
    """Points of both teams in each overtime: the last one decides by the whole margin, those before are ties."""
    if abs(margin) > 7 or dice.random() > 0.35:
        return []
    ties = [(10, 10)] if dice.random() < 0.15 else []
    low = dice.randint(4, 8)
    return [*ties, (low + max(margin, 0), low + max(-margin, 0))]


def _periods(side: str, score: int, overtimes: list[int], dice: random.Random, is_over: bool) -> dict[str, Any]:
    regular = score - sum(overtimes)
    first, second, third = (regular // 4 + dice.randint(-5, 5) for _ in range(3))
    quarters: list[int | None] = [first, second, third, regular - first - second - third]
    if not is_over:
        quarters = [None] * 4
    periods: dict[str, Any] = {f"{side}_q{number}": points for number, points in enumerate(quarters, 1)}
    for number in range(3):
        periods[f"{side}_ot{number + 1}"] = overtimes[number] if number < len(overtimes) else None
    return periods | {f"{side}_timeouts_remaining": dice.randint(0, 2), f"{side}_in_bonus": dice.random() < 0.6}


def _lines(date: dt.date, team: Mapping[str, Any], dice: random.Random) -> list[dict[str, Any]]:
    players = roster(team["id"], season_of(date))
    return [_line(date, player, share, dice) for player, share in zip(players, _BENCH_SHARE, strict=True)]


def _line(date: dt.date, player: dict[str, Any], share: float, dice: random.Random) -> dict[str, Any]:
    """One player's night. ``share`` is how much of a starter's time he gets; 0 = did not play, minutes "00"."""
    spin = dice.random
    minutes = int(share * (28 + 12 * spin()))
    fg3a = int(share * 8 * spin())
    fga = fg3a + int(share * (6 + 11 * spin()))
    fg3m = int(fg3a * 0.8 * spin())
    fgm = fg3m + int((fga - fg3a) * (0.3 + 0.45 * spin()))
    fta = int(share * 8.5 * spin())
    ftm = int(fta * (0.5 + 0.5 * spin()))
    oreb, dreb = int(share * 4 * spin()), int(share * 9 * spin())
    text = f"{minutes:02d}"
    if date < CLOCK_MINUTES_UNTIL and minutes:
        text = f"{minutes}:{int(60 * spin()):02d}"
    return {
        "min": text,
        "fgm": fgm,
        "fga": fga,
        "fg_pct": _ratio(fgm, fga),
        "fg3m": fg3m,
        "fg3a": fg3a,
        "fg3_pct": _ratio(fg3m, fg3a),
        "ftm": ftm,
        "fta": fta,
        # The recorded payload has both 0 and null for "no attempt".
        "ft_pct": _ratio(ftm, fta) if fta or spin() < 0.97 else None,
        "oreb": oreb,
        "dreb": dreb,
        "reb": oreb + dreb,
        "ast": int(share * 9 * spin()),
        "stl": int(share * 3 * spin()),
        "blk": int(share * 2.5 * spin()),
        "turnover": int(share * 4 * spin()),
        "pf": int(share * 5.5 * spin()),
        "pts": 2 * (fgm - fg3m) + 3 * fg3m + ftm,
        "player": player,
    }


def _ratio(made: int, tried: int) -> float:
    return round(made / tried, 7) if tried else 0


def _add_free_throw(line: dict[str, Any]) -> None:
    line["ftm"] += 1
    line["fta"] += 1
    line["pts"] += 1
    line["ft_pct"] = _ratio(line["ftm"], line["fta"])
