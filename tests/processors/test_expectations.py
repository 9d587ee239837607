"""What the recount would refuse is refused before a table is touched."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from alerting.errors import CoverageLow
from processors.base import Row, Table
from processors.expectations import Expectations
from scrapers.manifest import Manifest

DAY, NEXT = "2025-01-03", "2025-01-04"

REFUSED = [
    ("fewer rows than announced", {}, {"source_total": 3}, "the source announced 3 rows, 1 landed"),
    ("more rows than announced", {}, {"source_total": 0}, "the source announced 0 rows, 1 landed"),
    ("a parent without children", {"players": 0}, {}, "1 games row has too few or too many player_lines rows"),
    ("too many children", {"players": 6}, {}, "1 games row has too few or too many player_lines rows"),
]


@pytest.mark.parametrize(("game", "facts", "said"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED])
def test_a_partition_that_the_recount_would_refuse_keeps_its_old_rows(bench, game, facts, said):
    bench.process(bench.land(DAY, [bench.game(DAY)]))
    before = bench.content()
    receipt = bench.process(bench.land(DAY, [bench.game(DAY, score=7, **game)], **facts))
    error = receipt.refused()[DAY]
    assert isinstance(error, CoverageLow)
    assert said in error.message
    assert "old rows were kept" in error.message
    assert bench.content() == before


def test_a_null_where_a_value_must_be_keeps_the_old_rows(bench):
    bench.process(bench.land(DAY, [bench.game(DAY)]))
    before = bench.content()
    worse = bench.game(DAY, score=7)
    worse["players"][0]["pts"] = None
    receipt = bench.process(bench.land(DAY, [worse]))
    assert "1 row has NULL" in receipt.refused()[DAY].message
    assert bench.content() == before


def test_a_row_without_its_parent_keeps_the_old_rows_and_the_recount_agrees(bench):
    good = bench.land(DAY, [bench.game(DAY)])
    bench.process(good)
    before = bench.content()
    worse = bench.game(DAY, score=7)
    worse["players"] += [
        {"player_id": 9, "pts": 1, "game_key": "nowhere"},
        {"player_id": 8, "pts": 1, "game_key": NEXT},
    ]
    other = bench.land(NEXT, [bench.game(NEXT)])
    receipt = bench.process(bench.land(DAY, [worse]), other)
    error = receipt.refused()[DAY]
    assert isinstance(error, CoverageLow)
    assert "ORPHAN: player_lines: 2 rows without their games row; old rows were kept" in error.message
    assert receipt.partitions == (NEXT,)
    bench.sql(f"DELETE FROM {{games}} WHERE game_date = DATE '{NEXT}'")
    bench.sql(f"DELETE FROM {{player_lines}} WHERE game_date = DATE '{NEXT}'")
    assert bench.content() == before
    bench.sql("UPDATE {player_lines} SET game_key = 'nowhere' WHERE player_id = 1")
    assert bench.verify(good)[DAY].verdict == "ORPHAN"


class Order(Row):
    """A parent whose reference may be null."""

    order: str | None
    day: dt.date


class Line(Row):
    """Its child."""

    line: str
    order: str | None
    day: dt.date


DATE = dt.date.fromisoformat(DAY)
ORDERS = Table("orders", Order, ("order",), "day")


def judged(*references: str | None, **declared: Any) -> str:
    """The problem of one order, one order that is null, and a line for each reference."""
    child = Table("lines", Line, ("line",), "day", parent=("orders", ("order",)), **declared)
    expectations = Expectations((ORDERS, child))
    for number, reference in enumerate(references):
        expectations.take(child, Line(line=str(number), order=reference, day=DATE))
    # Parents after children: as in some sources.
    for name in ("one", None):
        expectations.take(ORDERS, Order(order=name, day=DATE))
    manifest = Manifest.model_construct(counts={"orders": 2}, source_total=None)
    return expectations.problem(manifest, {"orders": 2, "lines": len(references)})


@pytest.mark.parametrize(
    ("references", "declared", "said"),
    [
        (("one", "one"), {}, ""),
        (("one", "two", "two"), {}, "ORPHAN: lines: 2 rows without their orders row"),
        ((None, "one"), {}, "ORPHAN: lines: 1 row without their orders row"),
        (("two", None), {"parent_elsewhere": True}, ""),
        (("one", "one"), {"per_parent": (1, 1)}, "2 orders rows have too few or too many lines rows (1 to 1)"),
    ],
)
def test_a_reference_has_a_parent_in_its_partition_and_null_is_none(references, declared, said):
    assert judged(*references, **declared) == said


def test_the_others_of_the_batch_are_loaded(bench):
    bad, good = bench.land(DAY, [bench.game(DAY, players=0)]), bench.land(NEXT, [bench.game(NEXT)])
    receipt = bench.process(bad, good)
    assert receipt.partitions == (NEXT,)
    assert bench.rows("games", "game_key") == [(f"{NEXT}:1",)]
