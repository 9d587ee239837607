"""NBA.com: how its values are read, whichever endpoint and shape they come from. https://github.com/swar/nba_api"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

EASTERN = ZoneInfo("America/New_York")

COUNTS = "fgm fga fg3m fg3a ftm fta oreb dreb reb ast stl blk turnover pf pts plus_minus"
SHARES = "fg_pct fg3_pct ft_pct"
"""Columns of a line in a box score or a game log: points and counts, and shares from 0 to 1."""

_OF_V2 = {"to": "turnover", "tov": "turnover"}
_OF_V3 = {
    "fieldGoalsMade": "fgm",
    "fieldGoalsAttempted": "fga",
    "fieldGoalsPercentage": "fg_pct",
    "threePointersMade": "fg3m",
    "threePointersAttempted": "fg3a",
    "threePointersPercentage": "fg3_pct",
    "freeThrowsMade": "ftm",
    "freeThrowsAttempted": "fta",
    "freeThrowsPercentage": "ft_pct",
    "reboundsOffensive": "oreb",
    "reboundsDefensive": "dreb",
    "reboundsTotal": "reb",
    "assists": "ast",
    "steals": "stl",
    "blocks": "blk",
    "turnovers": "turnover",
    "foulsPersonal": "pf",
    "points": "pts",
    "plusMinusPoints": "plus_minus",
}


def numbers_of(line: Mapping[str, Any], *, did_play: bool = True) -> dict[str, Any]:
    """The counts and shares of a line in either shape; all NULL of who did not play, whom V3 gives zeros.

    >>> numbers_of({"PTS": 2, "TO": 1, "MIN": "2:30"}), numbers_of({"points": 0}, did_play=False)["pts"]
    ({'turnover': 1, 'pts': 2}, None)
    """
    named = {_OF_V3.get(name) or _OF_V2.get(name.lower(), name.lower()): value for name, value in line.items()}
    wanted = f"{COUNTS} {SHARES}".split()
    # A column that is gone is left out, so that the receipt tells.
    return {name: named[name] for name in wanted if name in named} if did_play else dict.fromkeys(wanted)


def eastern_instant(text: str) -> dt.datetime | None:
    """The instant, in UTC, of an Eastern clock that bears a false Z; None for the year 1900, which is no date.

    An offset that it bears is no false one.

    >>> eastern_instant("2025-10-02T12:00:00Z").isoformat(), eastern_instant("2025-10-02T12:00:00+02:00").isoformat()
    ('2025-10-02T16:00:00+00:00', '2025-10-02T10:00:00+00:00')
    """
    clock = dt.datetime.fromisoformat(text.strip().removesuffix("Z"))
    if clock.year < 1946:
        return None
    return (clock if clock.tzinfo else clock.replace(tzinfo=EASTERN)).astimezone(dt.UTC)


def named_sets(document: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Sets of rows by column name, of an answer in the old shape."""
    sets = document["resultSets"] if "resultSets" in document else document["resultSet"]
    listed = [sets] if isinstance(sets, dict) else sets
    return {one["name"]: [dict(zip(one["headers"], row, strict=True)) for row in one["rowSet"]] for one in listed}


def distinct(rows: list[dict[str, Any]], *columns: str) -> Iterator[dict[str, Any]]:
    """The first row of each identity."""
    seen = set()
    for row in rows:
        identity = tuple(row[column] for column in columns)
        if identity not in seen:
            seen.add(identity)
            yield row
