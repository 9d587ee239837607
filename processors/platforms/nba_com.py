"""NBA.com: how its values are read, whichever endpoint they come from. https://github.com/swar/nba_api"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

EASTERN = ZoneInfo("America/New_York")


def eastern_instant(text: str) -> dt.datetime | None:
    """The instant, in UTC, of an Eastern clock that bears a false Z; None for the year 1900, which is no date.

    >>> eastern_instant("2025-10-02T12:00:00Z").isoformat()
    '2025-10-02T16:00:00+00:00'
    """
    clock = dt.datetime.fromisoformat(text.strip().removesuffix("Z"))
    return None if clock.year < 1946 else clock.replace(tzinfo=EASTERN).astimezone(dt.UTC)


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
