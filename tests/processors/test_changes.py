"""Created, updated, unchanged, removed: counted against the rows that a load replaces, per partition."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime

from alerting.errors import CoverageLow
from processors.base import LandedPage, Processor, Row, Table
from processors.changes import RowChanges
from scrapers.partition import Partition

DAY, NEXT, LATER = "2025-01-03", "2025-01-04", "2025-01-05"


def changes(receipt: Any, table: str = "games") -> dict[str, dict[str, int]]:
    return {
        key: {name: count for name, count in one.model_dump().items() if count}
        for key, one in receipt.tables[table].changes.items()
    }


def test_v21_a_reload_counts_created_updated_unchanged_and_removed_rows_of_each_date(bench):
    first = bench.process(
        bench.land(DAY, [bench.game(DAY, number, note="x") for number in (1, 2, 3)]), bench.land(NEXT, [])
    )
    assert changes(first) == {DAY: {"created": 3}, NEXT: {}}
    assert changes(first, "player_lines") == {DAY: {"created": 6}, NEXT: {}}

    again = bench.process(
        bench.land(
            DAY,
            [bench.game(DAY, 1, note="x"), bench.game(DAY, 2), bench.game(DAY, 4), bench.game(DAY, 5, players=1)],
        ),
        bench.land(NEXT, [bench.game(NEXT)]),
        backfill_id="b2",
    )
    assert changes(again) == {
        DAY: {"created": 2, "updated": 1, "unchanged": 1, "removed": 1},
        NEXT: {"created": 1},
    }
    assert again.changes_of(DAY) == {
        "games": {"created": 2, "updated": 1, "unchanged": 1, "removed": 1},
        "player_lines": {"created": 3, "unchanged": 4, "removed": 2},
    }

    emptied = bench.process(bench.land(NEXT, []), backfill_id="b3")
    assert changes(emptied) == {NEXT: {"removed": 1}}


def test_the_same_batch_again_changes_nothing(bench):
    manifest = bench.land(DAY, [bench.game(DAY), bench.game(DAY, 2)])
    bench.process(manifest)
    assert changes(bench.process(manifest)) == {DAY: {"unchanged": 2}}
    assert changes(bench.process(manifest, backfill_id="b2")) == {DAY: {"unchanged": 2}}


def test_a_row_that_moved_to_another_date_of_the_batch_is_updated_there(bench):
    moved = {**bench.game(DAY), "game_key": "one"}
    bench.process(bench.land(DAY, [moved]), bench.land(NEXT, []))
    later = {**bench.game(NEXT), "game_key": "one"}
    receipt = bench.process(bench.land(DAY, []), bench.land(NEXT, [later]), backfill_id="b2")
    assert changes(receipt) == {DAY: {}, NEXT: {"updated": 1}}


def keyed(day: str, key: str, **rest: Any) -> dict[str, Any]:
    """A game whose key does not name its date."""
    from_key = {"player_id": 0, "pts": 1, "game_key": key}
    return {"game_key": key, "game_date": day, "score": 1, "players": [from_key], **rest}


def test_a_key_that_stands_in_another_partition_keeps_the_old_rows_of_all_tables(bench):
    bench.process(bench.land(DAY, [keyed(DAY, "one")]), bench.land(NEXT, [keyed(NEXT, "two")]))
    before = bench.content()
    twin, good = bench.land(NEXT, [keyed(NEXT, "two", score=7), keyed(NEXT, "one")]), bench.land(LATER, [])
    receipt = bench.process(twin, good, backfill_id="b2")
    error = receipt.refused()[NEXT]
    assert isinstance(error, CoverageLow)
    assert "DUPLICATE: " in error.message
    assert "also outside the partition: 1 key; old rows were kept" in error.message
    assert receipt.partitions == (LATER,)
    assert bench.content() == before
    assert bench.table_ids() == {"games", "player_lines"}
    assert list(bench.store.list("staging/")) == []

    # Together with the date that had it, a row may move.
    moved = bench.process(bench.land(DAY, []), twin, backfill_id="b3")
    assert moved.partitions == (DAY, NEXT)
    assert bench.rows("games", "game_key", "game_date") == [("one", dt.date(2025, 1, 4)), ("two", dt.date(2025, 1, 4))]


def test_one_key_on_two_dates_of_one_batch_keeps_both_out_and_loads_the_others(bench):
    batch = [bench.land(DAY, [keyed(DAY, "one")]), bench.land(NEXT, [keyed(NEXT, "one")])]
    receipt = bench.process(*batch, bench.land(LATER, [bench.game(LATER)]))
    assert sorted(receipt.refused()) == [DAY, NEXT]
    assert receipt.partitions == (LATER,)
    assert bench.rows("games", "game_key") == [(f"{LATER}:1",)]
    assert changes(receipt)[LATER] == {"created": 1}


class Inner(Row):
    n: int


class Doc(Row):
    """One document with everything that a column can be."""

    entity: str
    doc_id: str
    day: dt.date | None
    price: float | None = None
    tags: list[str]
    nested: Inner | None = None
    gone_at: AwareDatetime | None = None


class Docs(Processor):
    source = "docs"
    tables: ClassVar[tuple[Table, ...]] = (
        Table(
            "docs",
            Doc,
            ("entity", "doc_id"),
            "day",
            entity_field="entity",
            whole_entity=True,
            deleted_field="gone_at",
            granularity="MONTH",
        ),
    )

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        for doc in json.loads(page.body):
            yield "docs", {"entity": partition.entity, "gone_at": None, **doc}


def landed(bench: Any, entity: str, *docs: dict[str, Any]) -> Any:
    return bench.land_body(
        Partition.whole(entity, "UTC"),
        json.dumps(docs).encode(),
        counts={"docs": len(docs)},
        empty_evidence="" if docs else "200 []",
    )


def test_snapshots_of_entities_count_their_own_rows_and_a_tombstone_that_comes_back_is_created(bench):
    bench.processor = Docs()

    def doc(name: str, **rest: Any) -> dict[str, Any]:
        return {"doc_id": name, "day": None, "tags": ["a", "b"], "nested": {"n": 1}, **rest}

    first = bench.process(landed(bench, "x", doc("1"), doc("2")), landed(bench, "y", doc("1")))
    assert changes(first, "docs") == {"x": {"created": 2}, "y": {"created": 1}}
    second = bench.process(
        landed(bench, "x", doc("1", tags=["a"]), doc("3")),
        landed(bench, "y", doc("1", nested={"n": 2})),
        backfill_id="2",
    )
    assert changes(second, "docs") == {"x": {"updated": 1, "created": 1, "removed": 1}, "y": {"updated": 1}}
    third = bench.process(landed(bench, "x", doc("1", tags=["a"]), doc("2")), landed(bench, "y"), backfill_id="3")
    assert changes(third, "docs") == {"x": {"unchanged": 1, "created": 1, "removed": 1}, "y": {"removed": 1}}


states = st.dictionaries(st.integers(1, 5), st.tuples(st.integers(0, 1), st.sampled_from([None, "a", ""])), max_size=5)


@pytest.mark.long
@given(states, states)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_counts_are_those_of_the_difference_of_any_two_states(bench, before, after):
    def games(state: dict[int, Any]) -> list[dict[str, Any]]:
        return [bench.game(DAY, number, score, players=1, note=note) for number, (score, note) in state.items()]

    bench.process(bench.land(DAY, games(before)), backfill_id="before")
    receipt = bench.process(bench.land(DAY, games(after)), backfill_id="after")
    expected = RowChanges(
        created=len(after.keys() - before.keys()),
        removed=len(before.keys() - after.keys()),
        unchanged=sum(after[key] == before[key] for key in after.keys() & before.keys()),
        updated=sum(after[key] != before[key] for key in after.keys() & before.keys()),
    )
    assert receipt.tables["games"].changes == {DAY: expected}
    bench.process(bench.land(DAY, []), backfill_id="emptied")


@pytest.mark.parametrize("other", [RowChanges(), RowChanges(created=1, removed=2)])
def test_changes_add_up(other):
    assert RowChanges(created=1, updated=2) + other == RowChanges(
        created=1 + other.created, updated=2, removed=other.removed
    )
