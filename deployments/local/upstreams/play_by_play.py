"""What happened in each game of the sample season, play by play: the same for every source that tells it.

``plays_of(game)`` adds up to ``game.box_score()``: points of each side by period and of each player, shots, threes,
free throws, rebounds, fouls and turnovers of each player. Assists, blocks and steals are told as far as there are shots
and turnovers of the others for them. Whoever does something is on the floor.
"""

from __future__ import annotations

import functools
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deployments.local.upstreams.league import BoxScore, Game, Line, Side
from deployments.local.upstreams.rosters import Player, Team

PlayKind = Literal[
    "period_start",
    "jump_ball",
    "shot",
    "free_throw",
    "rebound",
    "foul",
    "turnover",
    "timeout",
    "substitution",
    "period_end",
]
QUARTER_S, OVERTIME_S = 720, 300
_STARTERS_UNTIL, _BENCH_FROM = 0.62, 0.55
_TIMEOUTS = 5
_CARRIED = ("other", "points", "is_three", "is_offensive", "attempt", "attempts")


@dataclass(frozen=True)
class Play:
    """One play.

    Attributes:
        number: From 1, in order.
        left_s: Seconds left in the period.
        team: Whose play it is; None for the begin and end of a period.
        player: Who did it; None for these and for timeouts. Of a substitution, who leaves.
        other: Who assisted, blocked or stole; of a substitution, who enters; of a jump ball, the opponent.
        points: Of shots and free throws; 0 for a miss, None for all else.
        is_three: A shot from behind the line, made or missed.
        attempt, attempts: Of free throws: which of how many.
        is_offensive: Of a rebound.
        distance_ft, x, y: Of a shot: from the basket, in feet, and in tenths of a foot from it.
        scores: Of home and visitor, after the play.
        floor: The five of home and the five of the visitor, after the play.
    """

    number: int
    period: int
    left_s: int
    kind: PlayKind
    team: Team | None = None
    player: Player | None = None
    other: Player | None = None
    points: int | None = None
    is_three: bool = False
    attempt: int = 0
    attempts: int = 0
    is_offensive: bool = False
    distance_ft: int | None = None
    x: int | None = None
    y: int | None = None
    scores: tuple[int, int] = (0, 0)
    floor: tuple[tuple[Player, ...], tuple[Player, ...]] = ((), ())


def period_s(period: int) -> int:
    """How long a period is."""
    return QUARTER_S if period <= 4 else OVERTIME_S


def plays_of(game: Game) -> tuple[Play, ...]:
    """All plays of a game that is over, in order."""
    return _plays(game.nba_id, game.box_score())


@dataclass
class _Event:
    """A play that has no place in the game yet."""

    kind: PlayKind
    side: int
    line: Line | None
    points: int | None = None
    is_three: bool = False
    is_offensive: bool = False
    other: Player | None = None
    period: int = 0
    left_s: int = 0
    attempt: int = 0
    attempts: int = 0


@functools.lru_cache(maxsize=256)
def _plays(nba_id: str, box: BoxScore) -> tuple[Play, ...]:
    dice = random.Random(f"plays {nba_id}")  # noqa: S311 - repeatable, no secret
    sides = (box.home, box.visitor)
    events = [event for number, side in enumerate(sides) for event in _events_of(number, side, dice)]
    _name_others(events, sides, dice)
    for event in events:
        _place(event, len(box.home.periods), dice)
    _group_free_throws(events)
    return tuple(_told(events, sides, dice))


def _events_of(number: int, side: Side, dice: random.Random) -> list[_Event]:
    """Everything that the box score says of a side; what makes points has its period."""
    events: list[_Event] = []
    for line in side.lines:
        twos, threes = line.fgm - line.fg3m, line.fg3m
        missed_threes = line.fg3a - threes
        missed_twos = line.fga - line.fgm - missed_threes
        events += [_Event("shot", number, line, 2) for _ in range(twos)]
        events += [_Event("shot", number, line, 3, is_three=True) for _ in range(threes)]
        events += [_Event("free_throw", number, line, 1) for _ in range(line.ftm)]
        events += [_Event("shot", number, line, 0) for _ in range(missed_twos)]
        events += [_Event("shot", number, line, 0, is_three=True) for _ in range(missed_threes)]
        events += [_Event("free_throw", number, line, 0) for _ in range(line.fta - line.ftm)]
        events += [_Event("rebound", number, line, is_offensive=True) for _ in range(line.oreb)]
        events += [_Event("rebound", number, line) for _ in range(line.dreb)]
        events += [_Event("foul", number, line) for _ in range(line.pf)]
        events += [_Event("turnover", number, line) for _ in range(line.turnover)]
    events += [_Event("timeout", number, None) for _ in range(_TIMEOUTS)]
    dice.shuffle(events)
    made: dict[int, list[_Event]] = {worth: [e for e in events if e.points == worth] for worth in (1, 2, 3)}
    split = _split(side.periods, {worth: len(found) for worth, found in made.items()})
    for period, counts in enumerate(split, 1):
        for worth, count in counts.items():
            for _ in range(count):
                made[worth].pop().period = period
    return events


def _split(targets: Sequence[int], counts: Mapping[int, int]) -> list[dict[int, int]]:
    """How many ones, twos and threes each period has, so that its points are the target's.

    >>> _split([5, 3], {1: 2, 2: 0, 3: 2})
    [{1: 2, 2: 0, 3: 1}, {1: 0, 2: 0, 3: 1}]
    """
    found = _search(tuple(targets), (counts[1], counts[2], counts[3]))
    assert found is not None, "no such periods can be made of these shots"
    return [dict(zip((1, 2, 3), period, strict=True)) for period in found]


def _search(targets: tuple[int, ...], left: tuple[int, int, int]) -> list[tuple[int, int, int]] | None:
    if len(targets) == 1:
        return [left] if left[0] + 2 * left[1] + 3 * left[2] == targets[0] else None
    share = targets[0] / max(sum(targets), 1)
    for threes in sorted(range(left[2] + 1), key=lambda count: abs(count - left[2] * share)):
        for twos in sorted(range(left[1] + 1), key=lambda count: abs(count - left[1] * share)):
            ones = targets[0] - 2 * twos - 3 * threes
            if 0 <= ones <= left[0]:
                rest = _search(targets[1:], (left[0] - ones, left[1] - twos, left[2] - threes))
                if rest is not None:
                    return [(ones, twos, threes), *rest]
    return None


def _name_others(events: list[_Event], sides: tuple[Side, Side], dice: random.Random) -> None:
    """Assists to made shots, blocks to missed ones and steals to turnovers, of those who share the floor most."""
    for number, side in enumerate(sides):
        made = [e for e in events if e.side == number and e.kind == "shot" and e.points]
        missed = [e for e in events if e.side != number and e.kind == "shot" and e.points == 0]
        lost = [e for e in events if e.side != number and e.kind == "turnover"]
        for chances, what in ((made, "ast"), (missed, "blk"), (lost, "stl")):
            dice.shuffle(chances)
            for line in side.lines:
                free = [e for e in chances if e.other is None and e.line is not line]
                alike = [e for e in free if e.line is not None and e.line.is_starter == line.is_starter]
                for event in (alike or free)[: getattr(line, what)]:
                    event.other = line.player


def _place(event: _Event, periods: int, dice: random.Random) -> None:
    """Gives an event its period, if it has none, and its time: starters begin, the bench ends a period."""
    if not event.period:
        weights = [period_s(number) for number in range(1, periods + 1)]
        event.period = dice.choices(range(1, periods + 1), weights)[0]
    first, last = 0.01, 0.99
    if event.line is not None:
        first, last = (first, _STARTERS_UNTIL) if event.line.is_starter else (_BENCH_FROM, last)
    event.left_s = int(period_s(event.period) * (1 - dice.uniform(first, last)))


def _group_free_throws(events: list[_Event]) -> None:
    """Those of a player in a period come two at a time."""
    grouped: defaultdict[tuple[int, Player], list[_Event]] = defaultdict(list)
    for event in events:
        if event.kind == "free_throw" and event.line is not None:
            grouped[event.period, event.line.player].append(event)
    for throws in grouped.values():
        for begin in range(0, len(throws), 2):
            trip = throws[begin : begin + 2]
            for attempt, throw in enumerate(trip, 1):
                throw.left_s, throw.attempt, throw.attempts = trip[0].left_s, attempt, len(trip)


class _Floor:
    """Who plays; the score; the number of the next play."""

    def __init__(self, sides: tuple[Side, Side], dice: random.Random) -> None:
        self.sides, self.dice = sides, dice
        self.fives = [[line.player for line in side.lines[:5]] for side in sides]
        self.scores = [0, 0]
        self.number = 0

    def play(self, kind: PlayKind, period: int, left_s: int, side: int | None = None, **told: Any) -> Play:
        self.number += 1
        team = None if side is None else self.sides[side].team
        scores, floor = (self.scores[0], self.scores[1]), (tuple(self.fives[0]), tuple(self.fives[1]))
        return Play(self.number, period, left_s, kind, team, scores=scores, floor=floor, **told)

    def enter(self, event: _Event, players: Sequence[tuple[int, Player]]) -> Iterator[Play]:
        """Substitutions until all of them play."""
        busy = {player for _, player in players}
        for side, player in players:
            five = self.fives[side]
            if player not in five:
                leaves = self.dice.choice([one for one in five if one not in busy])
                five[five.index(leaves)] = player
                yield self.play("substitution", event.period, event.left_s, side, player=leaves, other=player)


def _told(events: list[_Event], sides: tuple[Side, Side], dice: random.Random) -> Iterator[Play]:
    floor = _Floor(sides, dice)
    order = {id(event): place for place, event in enumerate(events)}
    for period in range(1, len(sides[0].periods) + 1):
        yield floor.play("period_start", period, period_s(period))
        if period == 1:
            first, second = floor.fives[0][0], floor.fives[1][0]
            yield floor.play("jump_ball", period, period_s(period), 0, player=first, other=second)
        ours = [event for event in events if event.period == period]
        for event in sorted(ours, key=lambda one: (-one.left_s, one.line is None, one.attempts, order[id(one)])):
            yield from _one(event, floor, dice)
        yield floor.play("period_end", period, 0)


def _one(event: _Event, floor: _Floor, dice: random.Random) -> Iterator[Play]:
    players = [] if event.line is None else [(event.side, event.line.player)]
    if event.other is not None:
        players.append((event.side if event.kind == "shot" and event.points else 1 - event.side, event.other))
    yield from floor.enter(event, players)
    floor.scores[event.side] += event.points or 0
    place: dict[str, int] = {}
    if event.kind == "shot":
        feet = dice.randint(23, 29) if event.is_three else dice.randint(0, 21)
        x = dice.randint(-10 * feet, 10 * feet)
        place = {"distance_ft": feet, "x": x, "y": int(max(100 * feet * feet - x * x, 0) ** 0.5)}
    told = {
        name: getattr(event, name) for name in ("other", "points", "is_three", "is_offensive", "attempt", "attempts")
    }
    yield floor.play(
        event.kind,
        event.period,
        event.left_s,
        event.side,
        player=event.line.player if event.line else None,
        **told,
        **place,
    )
