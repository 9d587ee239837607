"""The plays of the sample season add up to its box scores."""

from __future__ import annotations

from collections import Counter

import pytest

from deployments.local.upstreams.league import BoxScore, Game, Line, games_in
from deployments.local.upstreams.play_by_play import Play, plays_of

GAMES = games_in(2024)
SOME = [*GAMES[3::131], *[game for game in GAMES if game.kind == "all_star"]]
WITH_OVERTIMES = next(game for game in GAMES if game.box_score().overtimes > 1)
FIVES = (5, 5)


def _lines(box: BoxScore) -> list[Line]:
    return [line for side in (box.home, box.visitor) for line in side.lines]


@pytest.mark.parametrize("game", [*SOME, WITH_OVERTIMES], ids=lambda game: game.nba_id)
def test_points_of_plays_are_those_of_periods_and_players(game: Game) -> None:
    plays, box = plays_of(game), game.box_score()
    for side in (box.home, box.visitor):
        by_period = Counter[int]()
        for play in plays:
            by_period[play.period] += (play.points or 0) if play.team == side.team else 0
        assert tuple(by_period[period] for period in range(1, len(side.periods) + 1)) == side.periods
    assert plays[-1].scores == (box.home.score, box.visitor.score)
    points = Counter[int]()
    for play in plays:
        if play.points:
            assert play.player
            points[play.player.nba_id] += play.points
    assert {line.player.nba_id: line.pts for line in _lines(box) if line.pts} == points


def test_every_count_of_a_box_score_but_assists_blocks_and_steals_is_a_count_of_plays() -> None:
    for game in SOME[:4]:
        plays = plays_of(game)

        def count(line: Line, kind: str, plays: tuple[Play, ...] = plays, **facts: bool) -> int:
            mine = [play for play in plays if play.kind == kind and play.player == line.player]
            return sum(all(getattr(play, name) == value for name, value in facts.items()) for play in mine)

        for line in _lines(game.box_score()):
            assert count(line, "shot") == line.fga
            assert count(line, "shot", is_three=True) == line.fg3a
            assert count(line, "free_throw") == line.fta
            assert count(line, "rebound", is_offensive=True) == line.oreb
            assert count(line, "rebound", is_offensive=False) == line.dreb
            assert count(line, "foul") == line.pf
            assert count(line, "turnover") == line.turnover


def test_whoever_does_something_is_one_of_the_five_on_the_floor() -> None:
    for play in plays_of(SOME[0]):
        assert tuple(len(set(five)) for five in play.floor) == FIVES
        playing = {player for five in play.floor for player in five}
        if play.kind == "substitution":
            assert play.other in playing
            assert play.player not in playing
        else:
            assert {play.player, play.other} - {None} <= playing


def test_plays_are_numbered_and_time_and_score_run_one_way() -> None:
    plays = plays_of(WITH_OVERTIMES)
    assert [play.number for play in plays] == list(range(1, len(plays) + 1))
    assert [(play.period, -play.left_s) for play in plays] == sorted((play.period, -play.left_s) for play in plays)
    assert [play.scores for play in plays] == sorted(play.scores for play in plays)
    assert {play.kind for play in plays if play.team is None} == {"period_start", "period_end"}
