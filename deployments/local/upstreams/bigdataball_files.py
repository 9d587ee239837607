"""BigDataBall's play-by-play of the sample season: a CSV file a game, with the oddities of the real ones.

Ids without their leading zeros, 44 columns, lines that end in CR LF, blank or ``unknown`` coordinates, and now and then
a play that is neither typed nor told. ``rows_of`` is the truth: the cells of a file by column.
"""

from __future__ import annotations

import csv
import functools
import io
import random

from deployments.local.upstreams.league import Game
from deployments.local.upstreams.play_by_play import Play, period_s, plays_of
from deployments.local.upstreams.rosters import Player

_COLUMNS = (
    "game_id data_set date a1 a2 a3 a4 a5 h1 h2 h3 h4 h5 period away_score home_score remaining_time elapsed "
    "play_length play_id team event_type assist away home block entered left num opponent outof player points "
    "possession reason result steal type shot_distance original_x original_y converted_x converted_y description"
)
COLUMNS = tuple(_COLUMNS.split())
_EVENTS = {
    "period_start": "start of period",
    "period_end": "end of period",
    "jump_ball": "jump ball",
    "free_throw": "free throw",
}
_UNTOLD_SHARE, _UNKNOWN_PLACE_SHARE = 0.004, 0.01


def file_name(game: Game) -> str:
    """``[2025-01-03]-0022400477-BOS@MIA.csv``."""
    return f"[{game.date}]-{game.nba_id}-{game.visitor.tricode}@{game.home.tricode}.csv"


@functools.lru_cache(maxsize=512)
def csv_of(game: Game, revision: int = 0) -> bytes:
    """The file; each revision corrects the words of one play, as the vendor does without a word."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows_of(game, revision))
    return text.getvalue().encode()


def rows_of(game: Game, revision: int = 0) -> list[dict[str, str]]:
    """The cells of the file, "" for blank ones."""
    dice = random.Random(f"bigdataball {game.nba_id}")  # noqa: S311 - repeatable, no secret
    rows, before_s = [], 0
    for play in plays_of(game):
        elapsed_s = period_s(play.period) - play.left_s
        length_s = max(elapsed_s - before_s, 0) if play.kind != "period_start" else 0
        rows.append(_row(game, play, length_s, dice))
        before_s = elapsed_s
    if revision:
        told = next(row for row in rows if row["event_type"] == "shot")
        told["description"] += f" [corrected {revision}]"
    return rows


def _row(game: Game, play: Play, length_s: int, dice: random.Random) -> dict[str, str]:
    row = dict.fromkeys(COLUMNS, "")
    row |= {
        "game_id": str(int(game.nba_id)),
        "data_set": _data_set(game),
        "date": game.date.isoformat(),
        "period": str(play.period),
        "home_score": str(play.scores[0]),
        "away_score": str(play.scores[1]),
        "remaining_time": _clock(play.left_s),
        "elapsed": _clock(period_s(play.period) - play.left_s),
        "play_length": _clock(length_s),
        "play_id": str(play.number),
    }
    for side, five in zip("ha", play.floor, strict=True):
        row |= {f"{side}{place}": _name(player) for place, player in enumerate(five, 1)}
    if play.kind == "timeout" and dice.random() < _UNTOLD_SHARE * 20:
        return row | {"type": "unknown"}
    row["event_type"] = _EVENTS.get(play.kind, play.kind)
    row["type"] = _type(play)
    row["team"] = play.team.tricode if play.team else ""
    row["player"] = _name(play.player)
    row |= _others(play)
    if play.points is not None:
        row |= {"points": str(play.points), "result": "made" if play.points else "missed"}
    if play.kind == "free_throw":
        row |= {"num": str(play.attempt), "outof": str(play.attempts)}
    if play.kind == "shot" and play.x is not None and play.y is not None:
        row |= {
            "shot_distance": str(play.distance_ft),
            "original_x": str(play.x),
            "original_y": str(play.y),
            # Binary fractions as the vendor prints them: 15.600000000000001.
            "converted_x": repr(25 + play.x / 10),
            "converted_y": repr(5 + play.y / 10),
        }
        if dice.random() < _UNKNOWN_PLACE_SHARE:
            row |= dict.fromkeys(("original_x", "original_y", "converted_x", "converted_y"), "unknown")
    row["description"] = _description(play)
    return row


def _others(play: Play) -> dict[str, str]:
    other = _name(play.other)
    if play.kind == "substitution":
        return {"left": _name(play.player), "entered": other}
    if play.kind == "jump_ball":
        return {"home": _name(play.player), "away": other, "possession": _name(play.floor[0][1])}
    if play.kind == "turnover":
        return {"steal": other, "reason": "bad pass"}
    return {"assist" if play.points else "block": other} if play.kind == "shot" else {}


def _type(play: Play) -> str:
    if play.kind == "shot":
        return "3pt jump shot" if play.is_three else "jump shot"
    return {
        "free_throw": f"free throw {play.attempt}/{play.attempts}",
        "rebound": "rebound offensive" if play.is_offensive else "rebound defensive",
        "foul": "personal",
        "turnover": "bad pass",
        "timeout": "timeout: regular",
        "substitution": "sub",
    }.get(play.kind) or _EVENTS[play.kind]


def _description(play: Play) -> str:
    last = play.player.last_name if play.player else ""
    if play.kind in ("period_start", "period_end"):
        return ""
    if play.kind == "shot":
        words = f"{last} {play.distance_ft}' {'3PT ' if play.is_three else ''}Jump Shot"
        return words if play.points else f"MISS {words}"
    if play.kind == "free_throw":
        return f"{'' if play.points else 'MISS '}{last} Free Throw {play.attempt} of {play.attempts}"
    if play.kind == "substitution" and play.other:
        return f"SUB: {play.other.last_name} FOR {last}"
    return (
        f"{last or (play.team.name.upper() if play.team else '')} {play.kind.replace('_', ' ')}, {_clock(play.left_s)}"
    )


def _data_set(game: Game) -> str:
    if game.kind == "playoffs":
        return f"NBA {game.season + 1} Playoffs"
    return f"NBA {game.season}-{game.season + 1} Regular Season"


def _name(player: Player | None) -> str:
    return f"{player.first_name} {player.last_name}" if player else ""


def _clock(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
