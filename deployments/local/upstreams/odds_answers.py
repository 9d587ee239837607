"""The words in which The Odds API tells of events and prices."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable
from typing import Any

from deployments.local.upstreams.odds_world import MARKET_UPDATES_FROM, SPORT, Event, Line, Snapshot


def envelope(snapshot: Snapshot, data: Any) -> dict[str, Any]:
    """What every historical answer has around its data."""
    return {
        "timestamp": instant(snapshot.at),
        "previous_timestamp": None if snapshot.previous is None else instant(snapshot.previous),
        "next_timestamp": None if snapshot.next is None else instant(snapshot.next),
        "data": data,
    }


def event(one: Event) -> dict[str, Any]:
    """An event without prices."""
    return {
        "id": one.id,
        "sport_key": SPORT,
        "sport_title": "NBA",
        "commence_time": instant(one.commence_time),
        "home_team": one.home_team,
        "away_team": one.away_team,
    }


def priced_event(one: Event, lines: Iterable[Line], snapshot: dt.datetime, *, is_american: bool) -> dict[str, Any]:
    """An event with its prices, which are in the order of bookmakers and markets."""
    bookmakers = []
    for (key, title), of_book in itertools.groupby(lines, lambda line: (line.bookmaker, line.bookmaker_title)):
        listed = list(of_book)
        updated = instant(listed[0].last_update)
        markets = [
            {
                "key": market,
                **({"last_update": updated} if snapshot >= MARKET_UPDATES_FROM else {}),
                "outcomes": [_outcome(line, is_american) for line in of_market],
            }
            for market, of_market in itertools.groupby(listed, lambda line: line.market)
        ]
        bookmakers.append({"key": key, "title": title, "last_update": updated, "markets": markets})
    return {**event(one), "bookmakers": bookmakers}


def instant(at: dt.datetime) -> str:
    """In UTC, to the second, with a Z."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _outcome(line: Line, is_american: bool) -> dict[str, Any]:
    outcome: dict[str, Any] = {"name": line.name}
    if line.player is not None:
        outcome["description"] = line.player
    outcome["price"] = line.american_price if is_american else _number(line.decimal_price)
    if line.point is not None:
        outcome["point"] = _number(line.point)
    return outcome


def _number(value: Any) -> int | float:
    return int(value) if value == int(value) else float(value)
