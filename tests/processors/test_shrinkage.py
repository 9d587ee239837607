"""Rows are not removed because an answer has fewer: in a real (local) BigQuery, table by table."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from processors.base import Table
from processors.changes import RowChanges
from processors.shrinkage import losses

from .conftest import PlayerLine

DAY, OTHER = "2025-01-03", "2025-01-04"


def guarded(bench: Any, *manifests: Any, **options: Any) -> Any:
    return bench.process(*manifests, accept_shrink=False, **options)


def games(bench: Any, day: str, count: int) -> list[dict[str, Any]]:
    return [bench.game(day, number) for number in range(count)]


def test_a_partition_that_comes_smaller_keeps_its_rows_and_its_neighbour_is_loaded(bench):
    bench.process(bench.land(DAY, games(bench, DAY, 10)))
    receipt = guarded(bench, bench.land(DAY, games(bench, DAY, 1)), bench.land(OTHER, games(bench, OTHER, 2)))
    assert receipt.partitions == (OTHER,)
    failure = receipt.failures[DAY]
    assert failure.error_type == "Shrunk"
    assert failure.message == (
        "games: 10 rows before, 1 after; player_lines: 20 rows before, 2 after; old rows were kept"
    )
    assert len(bench.rows("games", "game_key")) == 12
    assert not [name for name in bench.table_ids() if name.startswith("stg_")]


def test_a_partition_that_is_proven_empty_keeps_the_rows_it_had(bench):
    bench.process(bench.land(DAY, games(bench, DAY, 1)))
    before = bench.content()
    assert guarded(bench, bench.land(DAY, [])).failures[DAY].error_type == "Shrunk"
    assert bench.content() == before


def test_as_many_other_rows_in_place_of_the_old_ones_are_a_loss_too(bench):
    bench.process(bench.land(DAY, games(bench, DAY, 3)))
    others = [bench.game(DAY, number) for number in range(10, 13)]
    receipt = guarded(bench, bench.land(DAY, others))
    assert "games: 3 rows before, 3 after (3 of the old ones would go)" in receipt.failures[DAY].message


def test_a_tenth_of_the_rows_may_go_and_the_receipt_says_so(bench):
    bench.process(bench.land(DAY, games(bench, DAY, 10)))
    receipt = guarded(bench, bench.land(DAY, games(bench, DAY, 9)))
    assert receipt.partitions == (DAY,)
    assert receipt.changes_of(DAY)["games"] == {"unchanged": 9, "removed": 1}


def test_what_somebody_accepts_is_loaded(bench):
    bench.process(bench.land(DAY, games(bench, DAY, 10)))
    assert bench.process(bench.land(DAY, []), accept_shrink=True).partitions == (DAY,)
    assert bench.rows("games", "game_key") == []


def test_rows_that_were_never_verified_may_go(bench):
    bench.process(bench.land(DAY, games(bench, DAY, 4)))
    known = {DAY: {"games": 2, "player_lines": 4}}
    assert guarded(bench, bench.land(DAY, games(bench, DAY, 2)), verified=known).partitions == (DAY,)


def test_a_table_that_was_emptied_behind_the_ledger_does_not_make_a_smaller_answer_right(bench):
    known = {DAY: {"games": 10, "player_lines": 20}}
    receipt = guarded(bench, bench.land(DAY, games(bench, DAY, 1)), verified=known)
    assert "games: 10 rows before, 1 after" in receipt.failures[DAY].message


LINES = Table("player_lines", PlayerLine, ("game_key", "player_id"), "game_date")


@pytest.mark.parametrize(
    ("declared", "changes", "is_lost"),
    [
        ({}, {"unchanged": 90, "removed": 10}, False),
        ({}, {"unchanged": 89, "removed": 11}, True),
        ({}, {"removed": 1}, True),
        ({}, {"created": 5}, False),
        ({"usual_removal": 0.5}, {"unchanged": 1, "removed": 1}, False),
        ({"usual_removal": 0.0}, {"unchanged": 99, "removed": 1}, True),
        ({"key_is_content": True}, {"created": 9, "removed": 10}, False),
        ({"key_is_content": True}, {"created": 8, "removed": 10}, True),
    ],
)
def test_what_is_usual_is_declared_by_the_table_and_else_a_tenth(declared, changes, is_lost):
    table = dataclasses.replace(LINES, **declared)
    assert bool(losses(table, {DAY: RowChanges(**changes)}, {})) is is_lost
