"""What the recount would refuse is refused before a table is touched."""

from __future__ import annotations

import pytest

from alerting.errors import CoverageLow

DAY, NEXT = "2025-01-03", "2025-01-04"

REFUSED = [
    ("fewer rows than announced", {}, {"source_total": 3}, "the source announced 3 rows, 1 are landed"),
    ("more rows than announced", {}, {"source_total": 0}, "the source announced 0 rows, 1 are landed"),
    ("a parent without children", {"players": 0}, {}, "1 games rows have too few or too many player_lines rows"),
    ("too many children", {"players": 6}, {}, "1 games rows have too few or too many player_lines rows"),
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
    assert "1 rows have NULL" in receipt.refused()[DAY].message
    assert bench.content() == before


def test_the_others_of_the_batch_are_loaded(bench):
    bad, good = bench.land(DAY, [bench.game(DAY, players=0)]), bench.land(NEXT, [bench.game(NEXT)])
    receipt = bench.process(bad, good)
    assert receipt.partitions == (NEXT,)
    assert bench.rows("games", "game_key") == [(f"{NEXT}:1",)]
