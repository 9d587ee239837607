"""How many rows a partition of a table has: declared, and looked at before the load and after it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from alerting.wording import plural
from processors.verification import Finding

DAY, NEXT = "2025-01-03", "2025-01-04"


def sized(bench: Any, fewest: int, most: int) -> Any:
    games, lines = bench.processor.tables
    bench.processor = type(
        "Sized", (type(bench.processor),), {"tables": (replace(games, per_partition=(fewest, most)), lines)}
    )()
    return bench


@pytest.mark.parametrize("count", [1, 4])
def test_d16_a_partition_of_an_unlikely_size_keeps_its_old_rows(bench, count):
    bench.process(bench.land(DAY, [bench.game(DAY), bench.game(DAY, 2)]))
    before = bench.content()
    sized(bench, 2, 3)
    receipt = bench.process(bench.land(DAY, [bench.game(DAY, number) for number in range(count)]), backfill_id="b2")
    assert (
        f"games: {plural(count, 'row')}, a partition has 2 to 3; old rows were kept" in receipt.refused()[DAY].message
    )
    assert bench.content() == before


def test_d16_a_likely_size_and_a_proven_empty_date_are_loaded(bench):
    sized(bench, 2, 3)
    manifests = [bench.land(DAY, [bench.game(DAY), bench.game(DAY, 2)]), bench.land(NEXT, [])]
    receipt = bench.process(*manifests)
    assert not receipt.refused()
    assert all(found.is_ok for found in bench.verify(*manifests, receipt=receipt).values())


@pytest.mark.parametrize(("limits", "finding"), [((2, 9), Finding.SHORT), ((0, 0), Finding.EXTRA)])
def test_d16_verify_compares_what_is_there_with_the_expected_size(bench, limits, finding):
    manifest = bench.land(DAY, [bench.game(DAY)])
    receipt = bench.process(manifest)
    assert bench.verify(manifest, receipt=receipt)[DAY].is_ok
    found = sized(bench, *limits).verify(manifest, receipt=receipt)[DAY]
    assert found.verdict is finding
    assert f"games: 1 row, a partition has {limits[0]} to {limits[1]}" in found.evidence
