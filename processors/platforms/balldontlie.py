"""Ball Don't Lie, NBA: how its rows are read, whichever list they come from. https://docs.balldontlie.io"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

COUNTS = "fgm fga fg3m fg3a ftm fta oreb dreb reb ast stl blk turnover pf pts"
SHARES = "fg_pct fg3_pct ft_pct"
"""Columns of a player's line: points and counts, and shares from 0 to 1."""

ABOUT_PLAYER = "first_name last_name position height weight jersey_number college country"
DRAFT = "draft_year draft_round draft_number"

SIDES = ("home", "visitor")

NO_DATES: Mapping[str, None] = MappingProxyType({"listed_on": None, "deleted_at": None})
"""Of a row of a whole list: a list has no date, and who is on the newest one is not deleted."""


def prefixed(prefix: str, names: str) -> str:
    """Names with a prefix.

    >>> prefixed("player_", "height weight")
    'player_height player_weight'
    """
    return " ".join(f"{prefix}{name}" for name in names.split())


class Prefixed(dict[str, str]):
    """Names with ``prefix`` before them, each made once: for the many objects of one page.

    >>> of_player = Prefixed("player_")
    >>> of_player["id"]
    'player_id'
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def __missing__(self, name: str) -> str:
        """Makes it."""
        made = self[name] = f"{self._prefix}{name}"
        return made


def flat(prefix: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A nested object as columns; a text of blanks is no value.

    >>> flat("team_", {"id": 45, "conference": "    "})
    {'team_id': 45, 'team_conference': None}
    """
    return {
        f"{prefix}{name}": None if isinstance(value, str) and not value.strip() else value
        for name, value in row.items()
    }
