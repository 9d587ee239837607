"""What meets no row of the tables is loaded without a comparison, and nothing else is."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from pydantic import AwareDatetime

from processors import vacancy
from processors.base import LandedPage, Processor, Row, Table
from processors.load_plan import Constraint, TableBatch
from processors.process import LoadContext, prepare
from processors.vacancy import Identities, WrittenLately
from processors.warehouse import BigQueryWarehouse
from scrapers.partition import Partition

if TYPE_CHECKING:
    from .conftest import Bench

DAY, NEXT, LATER = "2025-01-03", "2025-01-04", "2025-01-05"


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables that were compared with staged rows, in order."""
    found: list[str] = []
    real = BigQueryWarehouse.compare

    def compare(self: Any, batch: Any, staged: Any) -> Any:
        found.append(batch.table.name)
        return real(self, batch, staged)

    monkeypatch.setattr(BigQueryWarehouse, "compare", compare)
    return found


def keyed(day: str, key: str, **rest: Any) -> dict[str, Any]:
    """A game whose key does not name its date."""
    return {"game_key": key, "game_date": day, "score": 1, "players": [{"player_id": 0, "pts": 1}], **rest}


def created(receipt: Any, table: str = "games") -> dict[str, int]:
    changes = receipt.tables[table].changes
    assert all(one.created == sum(one.model_dump().values()) for one in changes.values())
    return {key: one.created for key, one in changes.items()}


def test_a_first_fill_is_not_compared_and_counts_all_its_rows_as_created(bench: Bench, compared: list[str]) -> None:
    batch = bench.land(DAY, [bench.game(DAY, 1), bench.game(DAY, 2)]), bench.land(NEXT, []), bench.land(LATER, [])
    receipt = bench.process(*batch)
    beside = bench.process(bench.land("2025-01-06", [bench.game("2025-01-06")]), backfill_id="b2")
    assert compared == []
    assert created(receipt) == {DAY: 2, NEXT: 0, LATER: 0}
    assert created(receipt, "player_lines") == {DAY: 4, NEXT: 0, LATER: 0}
    assert created(beside) == {"2025-01-06": 1}
    assert [row[0] for row in bench.rows("games", "game_key")] == [f"{DAY}:1", f"{DAY}:2", "2025-01-06:1"]
    assert all(one.is_ok for one in bench.verify(*batch, receipt=receipt).values())


def test_rows_in_the_scope_are_compared_whether_the_run_knows_of_them_or_not(bench: Bench, compared: list[str]) -> None:
    manifest = bench.land(DAY, [bench.game(DAY)])
    bench.process(manifest)
    again = bench.process(manifest)
    known = bench.process(bench.land(DAY, []), verified={DAY: {"games": 1, "player_lines": 2}})
    assert sorted(compared) == ["games", "games", "player_lines", "player_lines"]
    assert again.changes_of(DAY) == {"games": {"unchanged": 1}, "player_lines": {"unchanged": 2}}
    assert known.changes_of(DAY) == {"games": {"removed": 1}, "player_lines": {"removed": 2}}


def test_a_date_that_is_emptied_is_compared(bench: Bench, compared: list[str]) -> None:
    bench.process(bench.land(DAY, [bench.game(DAY)]))
    assert bench.process(bench.land(DAY, [])).changes_of(DAY)["games"] == {"removed": 1}
    assert sorted(compared) == ["games", "player_lines"]


def test_a_key_that_stands_on_another_date_of_the_table_or_of_the_batch_is_found(
    bench: Bench, compared: list[str]
) -> None:
    bench.process(bench.land(DAY, [keyed(DAY, "one")]))
    assert compared == []
    twin = bench.process(bench.land(NEXT, [keyed(NEXT, "one")]), bench.land(LATER, [keyed(LATER, "two")]))
    assert list(twin.failures) == [NEXT]
    both = bench.process(*[bench.land(day, [keyed(day, "three")]) for day in ("2025-02-01", "2025-02-02")])
    assert sorted(both.failures) == ["2025-02-01", "2025-02-02"]
    # Each was found by the comparison of its table; what was left of the batch met nothing.
    assert compared == ["games", "games"]
    assert [row[0] for row in bench.rows("games", "game_key")] == ["one", "two"]


def test_a_key_of_the_batch_before_is_found_though_the_table_was_asked_before_that_was_written(
    bench: Bench, compared: list[str]
) -> None:
    context = LoadContext(bench.processor, bench.landing, bench.warehouse, "b1")
    first, apart, twin = (
        prepare([bench.land(day, [keyed(day, key)])], context)
        for day, key in ((DAY, "one"), (NEXT, "two"), (LATER, "one"))
    )
    assert first.publish().partitions == (DAY,)
    assert apart.publish().partitions == (NEXT,)
    assert compared == []
    refused = twin.publish()
    assert refused.partitions == ()
    assert list(refused.failures) == [LATER]
    assert "also outside the partition" in refused.failures[LATER].message
    assert compared == ["games"]
    assert bench.rows("games", "game_key") == [("one",), ("two",)]


def test_a_batch_that_is_forgotten_leaves_nothing(bench: Bench) -> None:
    context = LoadContext(bench.processor, bench.landing, bench.warehouse, "b1")
    prepared = prepare([bench.land(DAY, [bench.game(DAY)])], context)
    assert len(bench.table_ids()) == 4
    prepared.forget()
    assert bench.table_ids() == {"games", "player_lines"}
    assert list(bench.store.list("staging/")) == []
    assert bench.rows("games", "game_key") == []


def test_more_values_than_a_query_takes_are_compared(
    bench: Bench, compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vacancy, "MAX_KEYS", 2)
    monkeypatch.setattr("processors.load_plan.MAX_KEYS", 2)
    bench.process(bench.land(DAY, [bench.game(DAY, number) for number in (1, 2)]))
    assert compared == []
    bench.process(bench.land(NEXT, [bench.game(NEXT, number) for number in (1, 2, 3)]))
    assert compared == ["games"]


@pytest.mark.parametrize(("score", "is_alone"), [(1, False), (2, True), (None, True)])
def test_a_value_that_only_one_row_may_have_is_asked_for(
    bench: Bench, compared: list[str], score: int | None, *, is_alone: bool
) -> None:
    games, lines = bench.processor.tables
    tables = (dataclasses.replace(games, unique=(("note",),)), lines)
    bench.processor = type("Once", (type(bench.processor),), {"tables": tables})()
    bench.process(bench.land(DAY, [bench.game(DAY, note="1")]))
    receipt = bench.process(bench.land(NEXT, [bench.game(NEXT, note=None if score is None else str(score))]))
    assert (receipt.partitions == (NEXT,), compared == []) == (is_alone, is_alone)


class Doc(Row):
    """One document of one entity."""

    entity: str
    doc_id: str
    day: dt.date | None
    gone_at: AwareDatetime | None = None


class Docs(Processor):
    source = "docs"
    tables: ClassVar[tuple[Table, ...]] = (
        Table("docs", Doc, ("entity", "doc_id"), "day", entity_field="entity", whole_entity=True,
              deleted_field="gone_at", granularity="MONTH"),
    )  # fmt: skip

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        for name in page.body.decode().split():
            yield "docs", {"entity": partition.entity, "doc_id": name, "day": None, "gone_at": None}


def test_a_whole_entity_with_nothing_but_tombstones_is_compared_and_a_new_one_is_not(
    bench: Bench, compared: list[str]
) -> None:
    bench.processor = Docs()

    def snapshot(entity: str, docs: str) -> Any:
        counts = {"docs": len(docs.split())}
        whole = Partition.whole(entity, "UTC")
        return bench.land_body(whole, docs.encode(), counts=counts, empty_evidence="" if docs else "200 []")

    first = bench.process(snapshot("x", "1 2"), snapshot("y", "1"))
    assert (created(first, "docs"), compared) == ({"x": 2, "y": 1}, [])
    bench.process(snapshot("x", ""), backfill_id="b2")
    del compared[:]
    back = bench.process(snapshot("x", "1"), snapshot("z", "1"), backfill_id="b3")
    assert compared == ["docs"]
    assert created(back, "docs") == {"x": 1, "z": 1}
    assert len(bench.rows("docs", "entity", "doc_id")) == 4


def test_what_was_written_before_the_look_does_not_count_and_what_is_forgotten_does() -> None:
    games = Table("games", Row, ("game_key",), "game_date")
    batch = TableBatch(games, (Constraint("game_date", (dt.date(2025, 1, 3),)),), "d", "b1", (), 1)
    written = WrittenLately()

    def of(*keys: str) -> Identities:
        found = Identities()
        found.add({"game_key": set(keys)})
        return found

    written.add({"games": of("a")})
    mark = written.mark()
    assert not written.meets(batch, of("a"), mark)
    written.add({"games": of("b")})
    assert written.meets(batch, of("b"), mark)
    assert not written.meets(batch, of("a"), mark)
    for _ in range(20):
        written.add({"games": of("c")})
    assert written.meets(batch, of("a"), mark), "what was written right after the look is forgotten"


def test_of_a_million_values_no_more_are_kept_than_show_that_they_are_too_many() -> None:
    found = Identities()
    found.add({"game_key": {"a", "b"}})
    found.add({"game_key": {str(number) for number in range(vacancy.MAX_KEYS + 500)}})
    found.add({"game_key": {"c"}})
    assert len(found.values["game_key"]) == vacancy.MAX_KEYS + 1
    assert {"a", "b"} < found.values["game_key"]
