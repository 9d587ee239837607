"""Expected against found: a judgement of sets, for every set."""

from __future__ import annotations

import datetime as dt
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processors.items import Comparison, Expectation, by_date, compared, expected_sql, nothing_expected
from scrapers.oracle import Oracle

GAMES = Oracle("schedule", "games", "game_id", "game_date", item="game")
RUNNERS = Oracle("cards", "runners", "race horse", "race_date", label="horse", missing="told", item="runner")
ITEMS = st.sets(st.sampled_from([f"00{number}" for number in range(8)]))


def expecting(oracle: Oracle, items: set[str]) -> Expectation:
    return Expectation(oracle, {item: f"name of {item}" for item in items}, by="schedule (2024)")


@given(ITEMS, ITEMS)
def test_every_item_is_found_missing_or_unexpected_and_nothing_is_two_of_them(
    expected: set[str], found: set[str]
) -> None:
    result = compared(expecting(GAMES, expected), found)
    missing = {name.removeprefix("name of ") for name in result.missing}
    assert result.found + len(missing) == result.expected == len(expected)
    assert missing == expected - found
    assert set(result.unexpected) == found - expected
    assert result.is_short == (not expected <= found)


@given(ITEMS, ITEMS)
def test_what_is_only_told_never_keeps_a_date_from_being_done(expected: set[str], found: set[str]) -> None:
    result = compared(expecting(RUNNERS, expected), found)
    assert not result.is_short
    assert bool(result.told) == (expected != found)


@given(st.lists(st.tuples(st.booleans(), ITEMS, st.booleans()), max_size=3))
def test_a_date_is_empty_only_where_every_strict_oracle_is_believed_and_expects_nothing(
    said: list[tuple[bool, set[str], bool]],
) -> None:
    expectations = [
        Expectation(oracle, doubt="not verified") if doubted else expecting(oracle, items)
        for strict, items, doubted in said
        for oracle in [GAMES if strict else RUNNERS]
    ]
    strict = [(items, doubted) for is_strict, items, doubted in said if is_strict]
    proven = bool(strict) and not any(items or doubted for items, doubted in strict)
    assert bool(nothing_expected(expectations)) == proven


def test_people_read_names_and_counts() -> None:
    found = Comparison(GAMES, expected=11, found=4, missing=tuple("abcdefg"), unexpected=("x",))
    assert found.missing_text == "7 of 11 games in schedule not there: a, b, c, d, e and 2 more"
    assert found.unexpected_text == "1 game not in schedule: x"
    assert found.told == "1 game not in schedule: x"


def test_a_condition_may_look_into_another_table() -> None:
    oracle = Oracle("s", "t", "a b", "day", where="a NOT IN (SELECT a FROM {other} WHERE day BETWEEN @first AND @last)")
    sql = expected_sql(oracle, "gone_at", lambda name: f"`p.d.{name}`")
    assert "FROM `p.d.t` AS T WHERE T.`day` BETWEEN @first AND @last" in sql
    assert "(a NOT IN (SELECT a FROM `p.d.other` WHERE" in sql
    assert sql.count("T.`gone_at` IS NULL") == 1
    assert "CONCAT(CAST(T.`a` AS STRING), ' ', CAST(T.`b` AS STRING)) AS item" in sql


def test_a_table_of_an_oracle_may_have_columns_called_as_the_answer_is(bench: Any) -> None:
    name = bench.warehouse.name_of("cards")
    columns = "DATE '2025-01-03' AS race_date, '1' AS race, 'Arkle' AS horse, 7 AS item, 8 AS item_day"
    bench.warehouse.query(f"CREATE TABLE {name} AS SELECT {columns}")
    window = {"first": dt.date(2025, 1, 3), "last": dt.date(2025, 1, 3)}
    oracle = Oracle("cards", "cards", "race horse", "race_date", label="horse", item="runner")
    found = by_date(bench.warehouse.query(expected_sql(oracle, "", bench.warehouse.name_of), window))
    assert found == {dt.date(2025, 1, 3): {"1 Arkle": "Arkle"}}
