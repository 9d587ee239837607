"""What no two rows may share beside the key: within a date, within a load, against the table, and in the recount."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import json
from typing import Any, ClassVar

import pytest

from alerting.errors import ConfigurationError
from deployments.local.upstreams.season import games_on
from processors.base import Table
from processors.registry import processor
from processors.schema import check_table
from processors.verification import Finding
from scrapers.partition import Partition

from .conftest import Toy

FIRST, SECOND = "2025-01-03", "2025-01-04"


class ScoredOnce(Toy):
    """No score comes twice: it stands for an id of the source's own."""

    tables: ClassVar[tuple[Table, ...]] = (dataclasses.replace(Toy.tables[0], unique=(("score",),)), Toy.tables[1])


@pytest.fixture
def once(bench: Any) -> Any:
    bench.processor = ScoredOnce()
    return bench


def test_a_value_that_comes_twice_in_a_date_is_a_reject_and_the_date_is_refused(once):
    receipt = once.process(once.land(FIRST, [once.game(FIRST, 1), once.game(FIRST, 2)]))
    failure = receipt.failures[FIRST]
    assert failure.error_type == "RowRejected"
    assert "another row has the same score (100,)" in failure.message


def test_a_value_on_two_dates_of_one_load_refuses_both_and_loads_the_third(once):
    dates = [once.land(day, [once.game(day, score=score)]) for day, score in ((FIRST, 1), (SECOND, 1))]
    receipt = once.process(*dates, once.land("2025-01-05", [once.game("2025-01-05", score=2)]))
    assert receipt.partitions == ("2025-01-05",)
    assert {key: (one.message, one.hint) for key, one in receipt.failures.items()} == {
        day: (
            f"DUPLICATE: games: also outside the partition: 1 value of score: 1 (also on {other}); old rows were kept",
            f"gapless run toy {FIRST} {SECOND} --mode full --dates {FIRST},{SECOND} --reason validation_failed",
        )
        for day, other in ((FIRST, SECOND), (SECOND, FIRST))
    }


def test_a_value_that_the_table_has_on_another_date_is_refused_until_that_date_has_given_it_up(once):
    once.process(once.land(FIRST, [once.game(FIRST, score=1)]))
    late = once.land(SECOND, [once.game(SECOND, score=1)])
    refused = once.process(late).failures
    assert [one.message.partition(": 1 ")[2] for one in refused.values()] == [
        f"value of score: 1 (also on {FIRST}); old rows were kept"
    ]
    again = once.land(FIRST, [once.game(FIRST, score=7)])
    assert once.process(again, late, backfill_id="b2").partitions == (FIRST, SECOND)


def test_the_recount_finds_it_by_itself(once):
    manifests = [once.land(day, [once.game(day, score=score)]) for day, score in ((FIRST, 1), (SECOND, 2))]
    receipt = once.process(*manifests)
    once.sql("UPDATE {games} SET score = 1 WHERE TRUE")
    found = once.verify(*manifests, receipt=receipt)
    assert {one.verdict for one in found.values()} == {Finding.DUPLICATE}
    assert found[FIRST].evidence == "games: 1 row with the score of others"


def weighed_before_and_after_nine_years(once: Any, within_days: int) -> tuple[int, int, int]:
    """Bytes of loading and verifying one date, before and after; and the rows that the nine years have."""
    games, lines = ScoredOnce.tables
    once.processor.tables = (dataclasses.replace(games, unique_within_days=within_days), lines)

    def read_bytes(attempt: str) -> int:
        warehouse = once.weighed()
        manifest = once.land(FIRST, [once.game(FIRST, score=7)], attempt=attempt)
        once.process(manifest, backfill_id=attempt, verified={FIRST: {"games": 1}})
        assert once.verify(manifest)[FIRST].is_ok
        return warehouse.size_bytes

    once.process(once.land(FIRST, [once.game(FIRST, score=7)]))
    before = read_bytes("before")
    once.sql(
        "INSERT INTO {games} (game_key, game_date, score) SELECT CONCAT(CAST(day AS STRING), ':1') AS game_key, day AS "
        "game_date, 1000 + UNIX_DATE(day) AS score "
        "FROM UNNEST(GENERATE_DATE_ARRAY(DATE '2015-01-01', DATE '2023-12-31')) AS day"
    )
    return before, read_bytes("after"), (dt.date(2023, 12, 31) - dt.date(2014, 12, 31)).days


def test_a_date_with_unique_values_within_days_reads_the_same_bytes_before_and_after_nine_years(once):
    before, after, _ = weighed_before_and_after_nine_years(once, within_days=366)
    assert after == before > 0


def test_unique_in_the_whole_table_reads_its_column_of_every_row_at_the_load_and_at_the_recount(once):
    before, after, rows = weighed_before_and_after_nine_years(once, within_days=0)
    column_bytes, date_bytes = 8, 8  # the load leaves out what it replaces, by date
    assert after - before == rows * (column_bytes + date_bytes + column_bytes)


@pytest.mark.parametrize(("earlier", "is_refused"), [("2024-12-24", True), ("2024-12-23", False)])
def test_a_value_is_looked_for_so_many_days_around_the_load_as_the_table_declares(once, earlier, is_refused):
    games, lines = ScoredOnce.tables
    once.processor.tables = (dataclasses.replace(games, unique_within_days=10), lines)
    first, late = (once.land(day, [once.game(day, score=1)]) for day in (earlier, FIRST))
    once.process(first)
    assert set(once.process(late).failures) == ({FIRST} if is_refused else set())
    assert (once.verify(first)[earlier].verdict, FIRST in once.process(late).partitions) == ("OK", not is_refused)


def test_days_without_unique_columns_are_refused_at_start():
    with pytest.raises(ConfigurationError, match="unique_within_days is a number of days"):
        check_table(dataclasses.replace(Toy.tables[0], unique_within_days=10))


@pytest.fixture
def box_scores(bench: Any) -> Any:
    bench.processor = processor("bdl_box_scores")
    return bench


def landed(bench: Any, day: str, games: list[dict[str, Any]]) -> Any:
    lines = sum(len(game[side]["players"]) for game in games for side in ("home_team", "visitor_team"))
    return bench.land_body(
        Partition.day(dt.date.fromisoformat(day), "America/New_York"),
        json.dumps({"data": games}).encode(),
        counts={"nba_bdl_games": len(games), "nba_bdl_player_stats": lines},
    )


def of(day: str) -> list[dict[str, Any]]:
    return copy.deepcopy(games_on(dt.date.fromisoformat(day)))


def test_one_game_on_three_dates_is_loaded_on_the_first_alone(box_scores):
    box_scores.process(landed(box_scores, FIRST, of(FIRST)))
    for day in (SECOND, "2025-01-05"):
        games = of(day)
        games[0]["id"] = of(FIRST)[0]["id"]
        receipt = box_scores.process(landed(box_scores, day, games))
        assert "also outside the partition: 1 value of bdl_game_id" in receipt.failures[day].message


def test_one_id_under_swapped_sides_is_refused(box_scores):
    games = of(FIRST)
    swapped = copy.deepcopy(games[0])
    swapped["home_team"], swapped["visitor_team"] = swapped["visitor_team"], swapped["home_team"]
    receipt = box_scores.process(landed(box_scores, FIRST, [*games, swapped]))
    assert "stands in two games of 2025-01-03" in receipt.failures[FIRST].message
    for side in ("home_team", "visitor_team"):
        for number, line in enumerate(swapped[side]["players"]):
            line["player"]["id"] = 10_000_000 + 100 * (side == "home_team") + number
    receipt = box_scores.process(landed(box_scores, FIRST, [*games, swapped]))
    assert f"another row has the same bdl_game_id ({games[0]['id']},)" in receipt.failures[FIRST].message


def test_a_team_against_itself_is_refused(box_scores):
    games = of(FIRST)
    games[0]["visitor_team"]["id"] = games[0]["home_team"]["id"]
    receipt = box_scores.process(landed(box_scores, FIRST, games))
    assert "a team against itself" in receipt.failures[FIRST].message


def test_a_player_in_two_games_of_one_day_is_refused(box_scores):
    games = of(FIRST)
    who = games[0]["home_team"]["players"][0]["player"]
    games[1]["home_team"]["players"][0]["player"] = dict(who)
    receipt = box_scores.process(landed(box_scores, FIRST, games))
    assert f"player {who['id']} stands in two games of 2025-01-03" in receipt.failures[FIRST].message
