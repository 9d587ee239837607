"""The sample season as every source of NBA games shows it: one game has an id at each, and the same score everywhere.

``games_in(2024)`` are all games of 2024-25, preseason and All-Star game included, as they were first scheduled.
A `Calendar` is what a sample lists of them, with what went wrong: games that were postponed or moved, and games that
this sample lost or lists more than once. Nothing here reads a clock: whether a game is over, the sample says.

Ball Don't Lie has no preseason and no All-Star game (``bdl_id`` is None); all else agrees with `season.games_on`.
"""

from __future__ import annotations

import datetime as dt
import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from deployments.local.upstreams.rosters import ALL_STARS, TEAMS, Player, Team, player_of, team_of
from deployments.local.upstreams.season import (
    all_star_sunday,
    bdl_id_of,
    fixtures_on,
    played,
    season_of,
    tip_off_of,
)

EASTERN = ZoneInfo("America/New_York")

GameKind = Literal["preseason", "regular", "all_star", "playoffs", "play_in", "cup_final"]
_PREFIXES: Mapping[GameKind, str] = MappingProxyType(
    {"preseason": "001", "regular": "002", "all_star": "003", "playoffs": "004", "play_in": "005", "cup_final": "006"}
)
_PRESEASON = ((10, 4), (10, 18))
_CUP_FINAL_FROM = (12, 16)
_PLAY_IN = ((4, 16), (4, 18))
_PLAYOFFS = ((4, 19), (6, 20))


@dataclass(frozen=True)
class Line:
    """One player's night.

    Attributes:
        is_starter: One of the first five.
        minutes, seconds: Both 0 for who did not play.
        plus_minus: As Ball Don't Lie has it: not the sum of anything.
    """

    player: Player
    team: Team
    is_starter: bool
    minutes: int
    seconds: int
    fgm: int
    fga: int
    fg3m: int
    fg3a: int
    ftm: int
    fta: int
    oreb: int
    dreb: int
    ast: int
    stl: int
    blk: int
    turnover: int
    pf: int
    pts: int
    plus_minus: int

    @property
    def did_play(self) -> bool:
        """Whether he has any minutes."""
        return bool(self.minutes or self.seconds)


@dataclass(frozen=True)
class Side:
    """One team in a game that is over; its score is the sum of its periods, and of its lines.

    Attributes:
        periods: Four quarters and the overtimes.
    """

    team: Team
    score: int
    periods: tuple[int, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class BoxScore:
    """A game that is over."""

    home: Side
    visitor: Side

    @property
    def overtimes(self) -> int:
        """How many there were."""
        return len(self.home.periods) - 4

    @property
    def winner(self) -> Team:
        """Who has more points; nobody draws."""
        return self.home.team if self.home.score > self.visitor.score else self.visitor.team

    @property
    def status(self) -> str:
        """``Final``, ``Final/OT``, ``Final/OT2``, as NBA.com says; Ball Don't Lie says ``Final`` of all."""
        return "Final" + ("" if not self.overtimes else "/OT" + (str(self.overtimes) if self.overtimes > 1 else ""))


@dataclass(frozen=True)
class Game:
    """One game.

    Attributes:
        nba_id: Ten digits, with the kind of game first.
        bdl_id: None for games that Ball Don't Lie does not have.
        season: Year in which it began.
        date: US Eastern, on which it is played.
        first_date: US Eastern, for which it was first scheduled.
        number: Of its ``first_date``, from 0.
    """

    nba_id: str
    bdl_id: int | None
    kind: GameKind
    season: int
    date: dt.date
    first_date: dt.date
    number: int
    home: Team
    visitor: Team

    @property
    def season_name(self) -> str:
        """``2024-25``."""
        return f"{self.season}-{(self.season + 1) % 100:02d}"

    @property
    def tip_off(self) -> dt.datetime:
        """In UTC, mostly on the day after ``date``."""
        return tip_off_of(self.date, self.number).replace(tzinfo=dt.UTC)

    @property
    def tip_off_eastern(self) -> dt.datetime:
        """In New York, on ``date``."""
        return self.tip_off.astimezone(EASTERN)

    @property
    def code(self) -> str:
        """``20250103/BOSMIA``, the visitors first."""
        return f"{self.date:%Y%m%d}/{self.visitor.tricode}{self.home.tricode}"

    def document(self, *, is_over: bool = True, is_new: bool = True) -> dict[str, Any]:
        """The game as an element of ``data`` of ``/v1/box_scores``."""
        sides = (_raw(self.home), _raw(self.visitor))
        game = played(self.first_date, self.number, *sides, is_over=is_over, is_new=is_new)
        if self.date != self.first_date:
            moved = game["date"].replace(str(self.first_date), str(self.date))
            game |= {"date": moved, **({"datetime": f"{self.tip_off:%Y-%m-%dT%H:%M:%S}.000Z"} if is_new else {})}
            if not is_over:
                game["status"] = f"{self.tip_off:%Y-%m-%dT%H:%M:%S}Z"
        return game

    def box_score(self) -> BoxScore:
        """How it ended."""
        return _box_score(self.nba_id, self.first_date, self.number, self.home, self.visitor)


def game_id_kind(nba_id: str) -> GameKind:
    """The kind of game that an id of NBA.com says."""
    return next(kind for kind, prefix in _PREFIXES.items() if nba_id.startswith(prefix))


@functools.lru_cache(maxsize=8)
def games_in(season: int) -> tuple[Game, ...]:
    """All games of the season that begins in that year, in the order of their dates, as first scheduled."""
    numbers: dict[GameKind, int] = {}
    found = []
    has_cup_final = False
    for day in range((dt.date(season + 1, 7, 1) - dt.date(season, 10, 1)).days):
        date = dt.date(season, 10, 1) + dt.timedelta(days=day)
        for number, (home, visitor, kind) in enumerate(_on(date)):
            if kind == "regular" and not has_cup_final and _CUP_FINAL_FROM <= (date.month, date.day) <= (12, 31):
                kind, has_cup_final = "cup_final", True
            numbers[kind] = numbers.get(kind, 0) + 1
            nba_id = f"{_PREFIXES[kind]}{season % 100:02d}{numbers[kind]:05d}"
            bdl_id = None if kind in ("preseason", "all_star") else bdl_id_of(date, number)
            found.append(Game(nba_id, bdl_id, kind, season, date, date, number, team_of(home), team_of(visitor)))
    return tuple(found)


class Change(BaseModel):
    """What became of one game.

    ``postpone``: its date lists it as postponed, and it is played on ``to``. ``move``: the schedule has it on ``to``
    instead, and its date does not list it. Both are so for every source; without ``to`` it is the first date, two
    days later or more, on which neither team plays. The others are faults of the sample that has them: ``drop`` does
    not list it, ``double`` lists it twice under its one id (the second time on ``to``, if given), ``triple`` three
    times on its date. With ``path`` only calls see it whose path contains that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["postpone", "move", "drop", "double", "triple"]
    game: str = Field(pattern=r"^\d{10}$")
    to: dt.date | None = None
    path: str = ""


CHANGES = TypeAdapter(tuple[Change, ...])
"""For the control call of a sample: ``POST /gapless/season`` takes a list of them."""


@dataclass(frozen=True)
class Listed:
    """An entry of a date: ``is_postponed`` where the game was to be played and was not."""

    game: Game
    is_postponed: bool = False


@dataclass(frozen=True)
class Calendar:
    """The season with changes. Asks nothing of the path: ``for_path`` gives the calendar that a call sees."""

    changes: tuple[Change, ...] = ()
    _moved: Mapping[str, Game] = field(init=False, repr=False, compare=False)
    _listed: Mapping[dt.date, tuple[Listed, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for a game that there is not, and for a second change of one."""
        if len({change.game for change in self.changes}) != len(self.changes):
            raise ValueError("a game has more than one change")
        moved: dict[str, Game] = {}
        listed: dict[dt.date, list[Listed]] = {}

        def day_of(date: dt.date) -> list[Listed]:
            return listed.setdefault(date, [Listed(game) for game in _first_scheduled(date)])

        for change in self.changes:
            game = game_of(change.game)
            day = day_of(game.date)
            place = day.index(Listed(game))
            if change.kind in ("postpone", "move"):
                new = replace(game, date=change.to or _next_free(game))
                moved[game.nba_id] = new
                day[place : place + 1] = [Listed(game, is_postponed=True)] if change.kind == "postpone" else []
                day_of(new.date).append(Listed(new))
            elif change.kind == "drop":
                del day[place]
            elif change.kind == "double" and change.to is not None:
                day_of(change.to).append(Listed(replace(game, date=change.to)))
            else:
                day[place:place] = [Listed(game)] * (1 if change.kind == "double" else 2)
        object.__setattr__(self, "_moved", moved)
        object.__setattr__(self, "_listed", {date: tuple(day) for date, day in listed.items()})

    def for_path(self, path: str) -> Calendar:
        """With the changes that calls of this path see."""
        return _calendar(tuple(change for change in self.changes if change.path in path))

    def listed_on(self, date: dt.date) -> tuple[Listed, ...]:
        """What a source lists of a US Eastern date; games that were moved to it come last."""
        listed = self._listed.get(date)
        return tuple(Listed(game) for game in _first_scheduled(date)) if listed is None else listed

    def played_on(self, date: dt.date) -> tuple[Game, ...]:
        """The truth: games that were played on that date, whatever a sample lists."""
        stayed = [game for game in _first_scheduled(date) if game.nba_id not in self._moved]
        return (*stayed, *(game for game in self._moved.values() if game.date == date))

    def games_in(self, season: int) -> tuple[Game, ...]:
        """The truth of a season, in the order of its dates."""
        games = [self._moved.get(game.nba_id, game) for game in games_in(season)]
        return tuple(sorted(games, key=lambda game: (game.date, game.first_date, game.number)))


def game_of(nba_id: str) -> Game:
    """The game as first scheduled; ``ValueError`` where there is none of that id."""
    if len(nba_id) == 10 and nba_id.isdecimal():
        year = int(nba_id[3:5])
        for game in games_in(year + (1900 if year >= 80 else 2000)):
            if game.nba_id == nba_id:
                return game
    raise ValueError(f"the season has no game {nba_id[:40]!r}")


def usual_changes(season: int) -> tuple[Change, ...]:
    """Two games that are postponed in every season that has games then: one of January, one of March."""
    regular = [game for game in games_in(season) if game.kind == "regular"]
    months = ([game for game in regular if game.date.month == month] for month in (1, 3))
    return tuple(Change(kind="postpone", game=games[len(games) // 2].nba_id) for games in months if games)


@functools.lru_cache(maxsize=64)
def usual_calendar(season: int) -> Calendar:
    """What every sample of the season's games shows unless it is told otherwise."""
    return Calendar(usual_changes(season))


@functools.lru_cache(maxsize=64)
def _calendar(changes: tuple[Change, ...]) -> Calendar:
    return Calendar(changes)


@functools.lru_cache(maxsize=4096)
def _first_scheduled(date: dt.date) -> tuple[Game, ...]:
    return tuple(game for game in games_in(season_of(date)) if game.date == date)


def _next_free(game: Game) -> dt.date:
    """The first date, two days later or more, on which others play and neither of its teams does."""
    teams = {game.home, game.visitor}
    for days in range(2, 60):
        date = game.date + dt.timedelta(days=days)
        others = _first_scheduled(date)
        if others and not any(teams & {other.home, other.visitor} for other in others):
            return date
    raise ValueError(f"no free date for {game.nba_id}: say one")


def _on(date: dt.date) -> list[tuple[Mapping[str, Any], Mapping[str, Any], GameKind]]:
    month_day = (date.month, date.day)
    if date == all_star_sunday(date.year):
        return [(ALL_STARS[0], ALL_STARS[1], "all_star")]
    if _PRESEASON[0] <= month_day <= _PRESEASON[1]:
        dice = random.Random(f"preseason {date}")  # noqa: S311
        teams = dice.sample(TEAMS, len(TEAMS))
        return [(teams[2 * at], teams[2 * at + 1], "preseason") for at in range(dice.randint(3, 6))]
    kind: GameKind = "regular"
    if _PLAY_IN[0] <= month_day <= _PLAY_IN[1]:
        kind = "play_in"
    elif _PLAYOFFS[0] <= month_day <= _PLAYOFFS[1]:
        kind = "playoffs"
    return [(home, visitor, kind) for home, visitor, _ in fixtures_on(date)]


def _raw(team: Team) -> Mapping[str, Any]:
    return next(raw for raw in (*TEAMS, *ALL_STARS) if raw["id"] == team.bdl_id)


@functools.lru_cache(maxsize=4096)
def _box_score(nba_id: str, date: dt.date, number: int, home: Team, visitor: Team) -> BoxScore:
    game = played(date, number, _raw(home), _raw(visitor))
    sides = []
    for side, team in (("home", home), ("visitor", visitor)):
        names = [f"{side}_{name}" for name in ("q1", "q2", "q3", "q4", "ot1", "ot2", "ot3")]
        periods = tuple(game[name] for name in names if game[name] is not None)
        lines = tuple(
            _line(nba_id, team, raw, is_starter=place < 5) for place, raw in enumerate(game[f"{side}_team"]["players"])
        )
        sides.append(Side(team, game[f"{side}_team_score"], periods, lines))
    return BoxScore(*sides)


_COUNTS = "fgm fga fg3m fg3a ftm fta oreb dreb ast stl blk turnover pf pts plus_minus"


def _line(nba_id: str, team: Team, raw: Mapping[str, Any], *, is_starter: bool) -> Line:
    minutes, _, seconds = raw["min"].partition(":")
    made_up = (int(nba_id[5:]) * 7 + raw["player"]["id"] * 13) % 60 if int(minutes) else 0
    counts = {name: raw[name] for name in _COUNTS.split()}
    return Line(player_of(raw["player"]), team, is_starter, int(minutes), int(seconds or made_up), **counts)
