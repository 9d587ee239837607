"""The league that every sample of NBA games shows: one game, the same everywhere."""

import datetime as dt
from collections import Counter

import pytest

from deployments.local.upstreams.league import (
    CHANGES,
    Calendar,
    Change,
    Listed,
    game_id_kind,
    game_of,
    games_in,
    usual_changes,
)
from deployments.local.upstreams.rosters import DEFUNCT_TEAMS, TEAMS
from deployments.local.upstreams.season import games_on

SEASON = 2024
GAMES = games_in(SEASON)
REGULAR = [game for game in GAMES if game.kind == "regular"]


def test_a_season_has_about_1230_regular_games_and_the_kinds_that_life_has():
    assert Counter(game.kind for game in GAMES) == {
        "preseason": 70,
        "regular": 1218,
        "cup_final": 1,
        "all_star": 1,
        "play_in": 12,
        "playoffs": 97,
    }


def test_ids_are_unique_and_say_the_kind_and_the_season():
    assert len({game.nba_id for game in GAMES}) == len(GAMES)
    assert len({game.bdl_id for game in GAMES} - {None}) == sum(game.bdl_id is not None for game in GAMES)
    assert all(game_id_kind(game.nba_id) == game.kind and game.nba_id[3:5] == "24" for game in GAMES)
    assert {game.kind for game in GAMES if game.bdl_id is None} == {"preseason", "all_star"}
    assert {len(game.nba_id) for game in GAMES} == {10}


def test_the_instant_of_a_game_lies_on_its_eastern_date_and_mostly_not_on_that_of_utc():
    assert all(game.tip_off_eastern.date() == game.date for game in GAMES)
    assert all(game.tip_off.date() > game.date for game in GAMES)


@pytest.mark.parametrize("date", [dt.date(2025, 1, 3), dt.date(2024, 12, 30), dt.date(2003, 1, 3)])
def test_the_documents_of_a_date_are_those_of_the_sample_of_box_scores(date):
    games = Calendar().played_on(date)

    assert [game.document(is_new=date.year >= 2025) for game in games] == games_on(date)


def test_a_box_score_adds_up_and_says_what_the_document_says():
    for game in REGULAR[::40]:
        document, box = game.document(), game.box_score()
        for side, name in ((box.home, "home"), (box.visitor, "visitor")):
            assert side.score == document[f"{name}_team_score"] == sum(side.periods)
            assert side.score == sum(line.pts for line in side.lines)
            assert [line.pts for line in side.lines] == [line["pts"] for line in document[f"{name}_team"]["players"]]
            assert [line.player.bdl_id for line in side.lines] == [
                line["player"]["id"] for line in document[f"{name}_team"]["players"]
            ]
            assert sum(line.is_starter for line in side.lines) == 5
            assert all(line.did_play is (line.minutes > 0) for line in side.lines)
        assert box.winner in (game.home, game.visitor)
        assert len(box.home.periods) == len(box.visitor.periods) == document["period"]
    assert {game.box_score().status for game in REGULAR[:200]} == {"Final", "Final/OT", "Final/OT2"}


def test_teams_and_players_have_one_id_each_at_nba_com():
    teams = {(team.bdl_id, team.nba_id, team.tricode) for game in REGULAR for team in (game.home, game.visitor)}
    assert len(teams) == 30
    assert (2, 1610612738, "BOS") in teams
    assert (30, 1610612764, "WAS") in teams
    players = {line.player for game in REGULAR[:60] for line in game.box_score().home.lines}
    assert len({player.nba_id for player in players}) == len({player.bdl_id for player in players}) == len(players)


def test_the_defunct_teams_have_blanks_and_ids_of_their_own():
    assert len({team["id"] for team in (*TEAMS, *DEFUNCT_TEAMS)}) == 45
    assert {(team["conference"], team["division"]) for team in DEFUNCT_TEAMS} == {("    ", "")}


def test_a_postponed_game_is_listed_on_both_dates_and_played_once_under_its_id():
    change = usual_changes(SEASON)[0]
    first = game_of(change.game)
    calendar = Calendar((change,))

    new = next(game for game in calendar.games_in(SEASON) if game.nba_id == first.nba_id)

    assert new.date > new.first_date == first.date
    assert new.bdl_id == first.bdl_id
    assert new.box_score() == first.box_score()
    assert Listed(first, is_postponed=True) in calendar.listed_on(first.date)
    assert first.nba_id not in {game.nba_id for game in calendar.played_on(first.date)}
    assert calendar.listed_on(new.date)[-1] == Listed(new)
    assert calendar.played_on(new.date)[-1] == new
    assert len(calendar.games_in(SEASON)) == len(GAMES)
    assert new.document()["date"] == str(new.date)
    teams = [team for game in calendar.played_on(new.date) for team in (game.home, game.visitor)]
    assert len(set(teams)) == len(teams)


def test_a_moved_game_leaves_nothing_on_its_first_date():
    game = REGULAR[100]
    to = game.date + dt.timedelta(days=9)

    calendar = Calendar((Change(kind="move", game=game.nba_id, to=to),))

    assert game.nba_id not in {entry.game.nba_id for entry in calendar.listed_on(game.date)}
    assert [entry.game.nba_id for entry in calendar.listed_on(to)].count(game.nba_id) == 1


def test_what_a_sample_loses_or_repeats_changes_its_list_and_not_the_truth():
    dropped, doubled, tripled, elsewhere = (game.nba_id for game in REGULAR[200:240:10])
    to = game_of(elsewhere).date + dt.timedelta(days=1)
    calendar = Calendar(
        CHANGES.validate_python(
            [
                {"kind": "drop", "game": dropped},
                {"kind": "double", "game": doubled},
                {"kind": "triple", "game": tripled},
                {"kind": "double", "game": elsewhere, "to": str(to)},
            ]
        )
    )

    listed = Counter(
        entry.game.nba_id for date in {game.date for game in REGULAR} for entry in calendar.listed_on(date)
    )

    assert calendar.games_in(SEASON) == GAMES
    assert [listed[nba_id] for nba_id in (dropped, doubled, tripled, elsewhere)] == [0, 2, 3, 2]
    assert sum(listed.values()) == sum(game.date in {one.date for one in REGULAR} for game in GAMES) - 1 + 1 + 2 + 1


def test_a_change_with_a_path_is_seen_by_calls_of_that_path_alone():
    game = REGULAR[300]
    calendar = Calendar((Change(kind="drop", game=game.nba_id, path="/stats"),))

    assert Listed(game) not in calendar.for_path("/v1/stats").listed_on(game.date)
    assert Listed(game) in calendar.for_path("/v1/games").listed_on(game.date)


@pytest.mark.parametrize("changes", [("0022409999",), (REGULAR[0].nba_id, REGULAR[0].nba_id)])
def test_an_unknown_game_and_two_changes_of_one_are_refused(changes):
    with pytest.raises(ValueError, match=r"no game|more than one"):
        Calendar(tuple(Change(kind="drop", game=nba_id) for nba_id in changes))
