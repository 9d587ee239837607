"""What tables of the sample odds must hold, as rows, and what filling them costs: from the world and not its answers.

A test tells what was bought as `Ask`s. The names of the columns are the plain ones: a test maps them to its tables'.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from deployments.local.upstreams.odds_world import Event, OddsWorld, Snapshot

Row = dict[str, Any]


@dataclass(frozen=True)
class Ask:
    """One historical call.

    Attributes:
        at: ``date``, in UTC.
        markets: None for the events alone.
        event_id: None for all events.
        odds_format: ``decimal`` or ``american``.
    """

    at: dt.datetime
    markets: tuple[str, ...] | None = None
    regions: tuple[str, ...] = ("us",)
    event_id: str | None = None
    odds_format: str = "decimal"


def snapshots(world: OddsWorld, asks: Iterable[Ask], now: dt.datetime) -> list[Row]:
    """One row per snapshot, however many asked for it."""
    found = {snapshot.at: snapshot for snapshot, _ in _answered(world, asks, now)}
    return [
        {"snapshot_at": one.at, "previous_snapshot_at": one.previous, "next_snapshot_at": one.next}
        for _, one in sorted(found.items())
    ]


def events(world: OddsWorld, asks: Iterable[Ask], now: dt.datetime) -> list[Row]:
    """One row per snapshot and event that an answer holds, with or without prices."""
    found = {
        (snapshot.at, event.id): {
            "snapshot_at": snapshot.at,
            "event_id": event.id,
            "game_date": event.game_date,
            "commence_time": event.commence_time,
            "home_team": event.home_team,
            "away_team": event.away_team,
        }
        for snapshot, ask in _answered(world, asks, now)
        for event in _events(world, ask, snapshot)
    }
    return [found[key] for key in sorted(found)]


def lines(world: OddsWorld, asks: Iterable[Ask], now: dt.datetime) -> list[Row]:
    """One row per snapshot, event, bookmaker, market, outcome, player and point; the price in the format asked for."""
    found = {}
    for snapshot, ask in _answered(world, asks, now):
        for event in _events(world, ask, snapshot) if ask.markets else ():
            for line in world.lines(event, snapshot.at, markets=ask.markets or (), regions=ask.regions):
                key = (snapshot.at, event.id, line.bookmaker, line.market, line.name, line.player or "", line.point)
                is_american = ask.odds_format == "american"
                found[key] = {
                    "snapshot_at": snapshot.at,
                    "event_id": event.id,
                    "game_date": event.game_date,
                    "bookmaker": line.bookmaker,
                    "market": line.market,
                    "outcome": line.name,
                    "player": line.player,
                    "point": line.point,
                    "price": line.american_price if is_american else line.decimal_price,
                    "odds_format": ask.odds_format,
                    "last_update": line.last_update,
                }
    return [found[key] for key in sorted(found, key=str)]


def absent(world: OddsWorld, asks: Iterable[Ask], now: dt.datetime) -> list[Ask]:
    """The asks for an event that their snapshot does not list: 404, for nothing."""
    asked = [ask for ask in asks if ask.event_id is not None]
    return [ask for snapshot, ask in _answered(world, asked, now) if not _events(world, ask, snapshot)]


def credits_spent(world: OddsWorld, asks: Iterable[Ask], now: dt.datetime) -> int:
    """What the calls cost, each of them made once."""
    spent = 0
    for snapshot, ask in _answered(world, asks, now):
        listed = _events(world, ask, snapshot)
        if ask.markets is None:
            spent += bool(listed)
        elif ask.event_id is None:
            spent += 10 * len(ask.markets) * len(ask.regions) if listed else 0
        else:
            returned = {market for event in listed for market in _markets(world, event, snapshot, ask)}
            spent += 10 * len(returned & set(ask.markets)) * len(ask.regions)
    return spent


def _markets(world: OddsWorld, event: Event, snapshot: Snapshot, ask: Ask) -> set[str]:
    priced = world.lines(event, snapshot.at, markets=ask.markets or (), regions=ask.regions)
    return {line.market for line in priced}


def _answered(world: OddsWorld, asks: Iterable[Ask], now: dt.datetime) -> Iterator[tuple[Snapshot, Ask]]:
    for ask in asks:
        snapshot = world.snapshot_at(ask.at, now)
        if snapshot is not None:
            yield snapshot, ask


def _events(world: OddsWorld, ask: Ask, snapshot: Snapshot) -> list[Event]:
    return [event for event in world.events_at(snapshot.at) if ask.event_id in (None, event.id)]
