"""A made-up market for the games of the sample season: everything is a function of the instant asked.

`OddsWorld` is the truth that tests compare tables with: `snapshot_at`, `events_at` and `lines`; `odds_truth` has rows.

* A snapshot is taken every five minutes, every ten before September 2022; its seconds drift, some are missing.
* An event is listed from two days before its game until some time after it; then it is gone, also by its id. Its
  ``commence_time`` moves shortly before the game, and tells the real tip-off afterwards. The Clippers are called "Los
  Angeles Clippers" here and "LA Clippers" in the box scores.
* A game that is postponed is gone three hours before its first tip-off, and is listed again under its old id before the
  new one.
* Each bookmaker belongs to a region; an exchange has ``h2h_lay`` wherever it has ``h2h``. Player markets exist from May
  2023 on, for single events only.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from deployments.local.upstreams.league import Game, usual_calendar
from deployments.local.upstreams.rosters import roster
from deployments.local.upstreams.season import fixtures_on, season_of

SPORT: Final = "basketball_nba"
FIRST_SNAPSHOT: Final = dt.datetime(2020, 6, 6, 10, tzinfo=dt.UTC)
FIVE_MINUTES_FROM: Final = dt.datetime(2022, 9, 1, tzinfo=dt.UTC)
PLAYER_MARKETS_FROM: Final = dt.datetime(2023, 5, 3, tzinfo=dt.UTC)
MARKET_UPDATES_FROM: Final = dt.datetime(2023, 1, 1, tzinfo=dt.UTC)
"""Older snapshots have ``last_update`` on the bookmaker alone."""

BOOKMAKERS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = MappingProxyType(
    {
        "us": (("draftkings", "DraftKings"), ("fanduel", "FanDuel"), ("betmgm", "BetMGM"), ("bovada", "Bovada")),
        "us2": (("espnbet", "ESPN BET"), ("hardrockbet", "Hard Rock Bet")),
        "uk": (("skybet", "Sky Bet"), ("betfair_ex_uk", "Betfair")),
        "eu": (("pinnacle", "Pinnacle"), ("unibet_eu", "Unibet"), ("betfair_ex_eu", "Betfair")),
        "au": (("sportsbet", "SportsBet"), ("tab", "TAB")),
    }
)
"""Key and title by region."""

FEATURED_MARKETS: Final = ("h2h", "spreads", "totals")
PLAYER_MARKETS: Final = ("player_points", "player_rebounds", "player_assists")
_EXCHANGES = frozenset({"betfair_ex_uk", "betfair_ex_eu"})
_LISTED_BEFORE = dt.timedelta(hours=48)
_CALLED_OFF_BEFORE = dt.timedelta(hours=3)
_MOVES_BEFORE = dt.timedelta(minutes=50)
_PRICED_BEFORE = dt.timedelta(hours=36)
_OTHER_NAMES = {"LA Clippers": "Los Angeles Clippers"}


@dataclass(frozen=True)
class Snapshot:
    """What was seen at one instant; the two others are its neighbours, None where there is none."""

    at: dt.datetime
    previous: dt.datetime | None
    next: dt.datetime | None


@dataclass(frozen=True)
class Event:
    """A game as a snapshot lists it.

    Attributes:
        game_date: US Eastern, as the season has it.
        scheduled: The tip-off in the season's calendar; `commence_time` is what the snapshot says.
        commence_time: It moves.
    """

    id: str
    game_date: dt.date
    scheduled: dt.datetime
    commence_time: dt.datetime
    home_team: str
    away_team: str


@dataclass(frozen=True)
class Line:
    """One price. ``player`` is None but for player markets, ``point`` but for spreads, totals and player markets."""

    bookmaker: str
    bookmaker_title: str
    market: str
    name: str
    player: str | None
    point: Decimal | None
    decimal_price: Decimal
    last_update: dt.datetime

    @property
    def american_price(self) -> int:
        """As American bookmakers write it: what 100 win, or with a minus what wins 100."""
        win = self.decimal_price - 1
        return round(100 * win) if win >= 1 else -round(100 / win)


@dataclass(frozen=True)
class _Game:
    id: str
    date: dt.date
    tip_off: dt.datetime
    delay: dt.timedelta
    listed_from: dt.datetime
    gone_at: dt.datetime
    home: str
    away: str
    home_id: int
    away_id: int


@dataclass(frozen=True)
class OddsWorld:
    """The whole world; two that are given the same are the same.

    Attributes:
        has_postponements: Two games of every season are postponed, the same as at the other samples; otherwise none.
    """

    seed: int = 1
    has_postponements: bool = False

    def snapshot_at(self, asked: dt.datetime, now: dt.datetime) -> Snapshot | None:
        """The newest snapshot up to the instant asked and up to now; None before the first one."""
        start = _slot(min(asked, now))
        at = self._taken(start)
        if at is None or at > min(asked, now):
            at = self._neighbour(start, -1)
        if at is None:
            return None
        after = self._neighbour(_slot(at), 1)
        return Snapshot(at, self._neighbour(_slot(at), -1), after if after is not None and after <= now else None)

    def events_at(self, snapshot: dt.datetime) -> tuple[Event, ...]:
        """The events that a snapshot lists, by the time at which they begin."""
        dates = [snapshot.date() + dt.timedelta(days=offset) for offset in range(-2, 3)]
        games = [game for date in dates for game in _games(self, date)]
        listed = [_event(game, snapshot) for game in games if game.listed_from <= snapshot < game.gone_at]
        return tuple(sorted(listed, key=lambda event: (event.commence_time, event.id)))

    def event(self, event_id: str, snapshot: dt.datetime) -> Event | None:
        """An event by its id; None when the snapshot does not list it (any longer)."""
        return next((event for event in self.events_at(snapshot) if event.id == event_id), None)

    def lines(
        self,
        event: Event,
        snapshot: dt.datetime,
        *,
        markets: Collection[str],
        regions: Collection[str] = (),
        bookmakers: Collection[str] = (),
    ) -> tuple[Line, ...]:
        """The prices of an event, in the order of the API: bookmaker, market, outcome."""
        if event.scheduled - snapshot > _PRICED_BEFORE:
            return ()
        found: list[Line] = []
        for region, members in BOOKMAKERS.items():
            for key, title in members:
                if key in bookmakers or (region in regions and not bookmakers):
                    found += self._book(event, snapshot, key, title, markets)
        return tuple(found)

    def _book(self, event: Event, snapshot: dt.datetime, key: str, title: str, markets: Collection[str]) -> list[Line]:
        if self._dice("offers", event.id, key).random() < 0.1:
            return []
        updated = snapshot - dt.timedelta(seconds=self._dice("age", event.id, key, snapshot).randint(5, 59))
        asked = [market for market in (*FEATURED_MARKETS, *PLAYER_MARKETS) if market in markets]
        if "h2h" in asked and key in _EXCHANGES:
            asked.insert(1, "h2h_lay")
        found: list[Line] = []
        for market in asked:
            # A price stands for a quarter of an hour, then it is another one.
            dice = self._dice("price", event.id, key, market, int(snapshot.timestamp()) // 900)
            if market in PLAYER_MARKETS:
                outcomes = self._player_outcomes(event, market, key, dice) if snapshot >= PLAYER_MARKETS_FROM else []
            else:
                outcomes = self._game_outcomes(event, market, dice)
            found += [Line(key, title, market, *outcome, updated) for outcome in outcomes]
        return found

    def _game_outcomes(
        self, event: Event, market: str, dice: random.Random
    ) -> list[tuple[str, str | None, Decimal | None, Decimal]]:
        own = self._dice("level", event.id)
        strength, total = own.randint(-12, 12), own.randint(205, 245)
        if market in ("h2h", "h2h_lay"):
            home = min(max(0.5 + strength / 28 + dice.uniform(-0.02, 0.02), 0.05), 0.95)
            margin = 1.02 if market == "h2h_lay" else 0.955
            prices = [Decimal(str(round(max(margin / chance, 1.01), 2))) for chance in (1 - home, home)]
            return [
                (team, None, None, price)
                for team, price in zip((event.away_team, event.home_team), prices, strict=True)
            ]
        first, second = (Decimal(dice.randint(180, 200)) / 100 for _ in range(2))
        if market == "spreads":
            point = Decimal(strength) + dice.choice((Decimal("0.5"), Decimal("-0.5"), Decimal(0)))
            return [(event.away_team, None, point, first), (event.home_team, None, -point, second)]
        point = Decimal(total) + Decimal("0.5") * dice.randint(0, 1)
        return [("Over", None, point, first), ("Under", None, point, second)]

    def _player_outcomes(
        self, event: Event, market: str, key: str, dice: random.Random
    ) -> list[tuple[str, str | None, Decimal | None, Decimal]]:
        outcomes: list[tuple[str, str | None, Decimal | None, Decimal]] = []
        for player in _players(self, event.id, event.game_date):
            level = {"player_points": 18, "player_rebounds": 6, "player_assists": 4}[market] + dice.randint(-3, 6)
            # One bookmaker offers several points for each player.
            for step in (-2, 0, 2) if key == "unibet_eu" else (0,):
                for name in ("Over", "Under"):
                    point = Decimal(level + step) + Decimal("0.5")
                    outcomes.append((name, player, point, Decimal(dice.randint(165, 230)) / 100))
        return outcomes

    def _taken(self, slot: dt.datetime) -> dt.datetime | None:
        """When the snapshot of a slot was taken; None = it is missing."""
        if slot < FIRST_SNAPSHOT:
            return None
        dice = self._dice("snapshot", slot)
        seconds = dice.randint(33, 44)
        return None if dice.random() < 0.01 else slot + dt.timedelta(seconds=seconds)

    def _neighbour(self, slot: dt.datetime, way: int) -> dt.datetime | None:
        while slot >= FIRST_SNAPSHOT:
            # Backwards, the step is that of the slot before: the first of September 2022 follows a longer one.
            slot += way * _step(slot if way > 0 else slot - dt.timedelta(seconds=1))
            taken = self._taken(slot)
            if taken is not None:
                return taken
        return None

    def _dice(self, *what: object) -> random.Random:
        return random.Random(f"{self.seed} {what}")  # noqa: S311 - repeatable, no secret


def _step(at: dt.datetime) -> dt.timedelta:
    return dt.timedelta(minutes=5 if at >= FIVE_MINUTES_FROM else 10)


def _slot(at: dt.datetime) -> dt.datetime:
    return at.replace(minute=at.minute - at.minute % (_step(at).seconds // 60), second=0, microsecond=0)


@functools.lru_cache(maxsize=256)
def _games(world: OddsWorld, date: dt.date) -> tuple[_Game, ...]:
    """Games that were to begin on that date, and then those that were moved to it."""
    moved = _postponed(season_of(date)) if world.has_postponements else ()
    called_off = {game.number for game in moved if game.first_date == date}
    games = []
    for index in range(len(fixtures_on(date))):
        game = _game(world, date, index)
        if index in called_off:
            game = replace(game, delay=dt.timedelta(), gone_at=game.tip_off - _CALLED_OFF_BEFORE)
        games.append(game)
    for one in moved:
        if one.date == date:
            first = _game(world, one.first_date, one.number)
            ahead = one.tip_off - first.tip_off
            games.append(
                replace(
                    first,
                    date=date,
                    tip_off=one.tip_off,
                    listed_from=max(first.listed_from + ahead, first.tip_off - _CALLED_OFF_BEFORE),
                    gone_at=first.gone_at + ahead,
                )
            )
    return tuple(games)


def _game(world: OddsWorld, date: dt.date, index: int) -> _Game:
    home, visitor, tip_off = fixtures_on(date)[index]
    key = hashlib.blake2b(f"{world.seed} {date} {index}".encode(), digest_size=16).hexdigest()
    dice = random.Random(f"event {key}")  # noqa: S311 - repeatable, no secret
    begins = tip_off.replace(tzinfo=dt.UTC)
    delay = dt.timedelta(seconds=dice.choice((0, 0, 600, dice.randint(30, 900))))
    return _Game(
        key,
        date,
        begins,
        delay,
        begins - _LISTED_BEFORE,
        begins + delay + dt.timedelta(minutes=dice.randint(130, 165)),
        _OTHER_NAMES.get(home["full_name"], home["full_name"]),
        _OTHER_NAMES.get(visitor["full_name"], visitor["full_name"]),
        home["id"],
        visitor["id"],
    )


@functools.lru_cache(maxsize=8)
def _postponed(season: int) -> tuple[Game, ...]:
    return tuple(game for game in usual_calendar(season).games_in(season) if game.date != game.first_date)


def _event(game: _Game, snapshot: dt.datetime) -> Event:
    moved = game.tip_off + game.delay if snapshot >= game.tip_off - _MOVES_BEFORE else game.tip_off
    return Event(game.id, game.date, game.tip_off, moved, game.home, game.away)


def _players(world: OddsWorld, event_id: str, game_date: dt.date) -> list[str]:
    game = next(game for game in _games(world, game_date) if game.id == event_id)
    teams = (roster(team_id, season_of(game_date))[:3] for team_id in (game.home_id, game.away_id))
    return sorted(f"{player['first_name']} {player['last_name']}" for team in teams for player in team)
