"""Views that several tables fill: what each knows, in one row."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from pydantic import AwareDatetime

from alerting.errors import ConfigurationError
from processors.base import Fill, LandedPage, Processor, Row, Table
from processors.views import view_sql, views_of
from processors.warehouse import BigQueryWarehouse
from scrapers.partition import Partition

DAY, NEXT = "2025-01-03", "2025-01-04"


class Announced(Row):
    day: dt.date
    id: str
    going: str | None = None
    prize: int | None = None
    horse_id: str | None = None
    horse: str | None = None


class Ended(Row):
    day: dt.date
    id: str
    going: str | None = None
    winner: str | None = None
    horse_id: str | None = None
    horse: str | None = None


class _Rows(Processor):
    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in json.loads(page.body):
            yield self.tables[0].name, row


class Cards(_Rows):
    source = "cards"
    tables: ClassVar[tuple[Table, ...]] = (
        Table(
            "cards",
            Announced,
            ("day", "id"),
            "day",
            fills=(
                Fill("races", "day id", "going prize", "has_card"),
                Fill("horses", "horse_id", "horse", seen_on="day"),
            ),
        ),
    )


class Results(_Rows):
    source = "results"
    tables: ClassVar[tuple[Table, ...]] = (
        Table(
            "results",
            Ended,
            ("day", "id"),
            "day",
            fills=(
                Fill("races", "day id", "going winner", "has_result", precedence=1),
                Fill("horses", "horse_id", "horse", seen_on="day", precedence=1),
            ),
        ),
    )


BOTH = (*Cards.tables, *Results.tables)


@pytest.fixture
def filled(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``filled(processor, day, rows)`` loads one date of one source."""
    monkeypatch.setattr("processors.process.views_filled_by", lambda _: views_of(BOTH))

    def filled(of: Processor, day: str, *rows: dict[str, Any]) -> Any:
        bench.processor = of
        body = json.dumps([{"day": day, **row} for row in rows]).encode()
        partition = Partition.day(dt.date.fromisoformat(day), "UTC")
        counts = {of.tables[0].name: len(rows)}
        return bench.process(bench.land_body(partition, body, counts=counts, empty_evidence="" if rows else "[]"))

    return filled


def test_both_tell_of_one_row_null_hides_nothing_and_a_row_that_goes_takes_only_its_own_values(
    bench: Any, filled: Any
) -> None:
    columns = ("id", "going", "prize", "winner", "has_card", "has_result")
    filled(Results(), DAY, {"id": "a", "winner": "Bay"}, {"id": "b", "going": "firm"})
    filled(Cards(), DAY, {"id": "a", "going": "soft", "prize": 5}, {"id": "b", "going": "soft"}, {"id": "c"})
    both = [("a", "soft", 5, "Bay", True, True), ("b", "firm", None, None, True, True)]
    assert bench.rows("races", *columns) == [*both, ("c", None, None, None, True, False)]
    filled(Results(), DAY, {"id": "a", "winner": "Bay"})
    alone = [("b", "soft", None, None, True, False), ("c", None, None, None, True, False)]
    assert bench.rows("races", *columns) == [both[0], *alone]
    receipt = filled(Cards(), DAY)
    assert receipt.changes_of(DAY) == {"cards": {"removed": 3}}
    assert bench.rows("races", *columns) == [("a", None, None, "Bay", False, True)]


def test_an_entity_is_as_it_was_last_seen_whatever_was_loaded_last(bench: Any, filled: Any) -> None:
    columns = ("horse_id", "horse", "CAST(first_seen AS STRING)", "CAST(last_seen AS STRING)")
    filled(Results(), NEXT, {"id": "x", "horse_id": "h", "horse": "New"})
    filled(Cards(), DAY, {"id": "a", "horse_id": "h", "horse": "Old"}, {"id": "b", "horse_id": None, "horse": "-"})
    assert bench.rows("horses", *columns) == [("h", "New", DAY, NEXT)]
    filled(Results(), NEXT, {"id": "x", "horse_id": "h"})
    assert bench.rows("horses", *columns) == [("h", "Old", DAY, NEXT)]
    filled(Results(), NEXT)
    assert bench.rows("horses", *columns) == [("h", "Old", DAY, DAY)]


def test_a_view_follows_its_definition_and_a_table_of_its_name_is_left_as_it_is(bench: Any) -> None:
    (_, races) = views_of(Cards.tables)
    bench.warehouse.ensure_view(races)
    assert bench.rows("races", "id", "prize", "has_card") == []
    (_, wider) = views_of(BOTH)
    bench.warehouse.ensure_view(wider)
    assert bench.rows("races", "id", "winner", "has_result") == []
    changed = bench.warehouse._open().get_table(bench.warehouse._reference("races")).modified
    BigQueryWarehouse(bench.warehouse.dataset, endpoint=bench.warehouse._endpoint).ensure_view(wider)
    assert bench.warehouse._open().get_table(bench.warehouse._reference("races")).modified == changed
    table = Table("other", Announced, ("day", "id"), "day", fills=(Fill("horses", "day id"),))
    bench.warehouse.ensure_table(Table("horses", Announced, ("day", "id"), "day"))
    with pytest.raises(ConfigurationError, match="horses is a TABLE"):
        bench.warehouse.ensure_view(views_of([table])[0])


class Nested(Row):
    day: dt.date
    id: str
    parts: list[str]
    prize: str | None = None
    told: str | None = None
    seen: AwareDatetime | None = None


@pytest.mark.parametrize(
    ("fill", "problem"),
    [
        (Fill("races", "id day", "prize"), "has the key id\\+day"),
        (Fill("races", "day id", "prize", seen_on="day"), "seen_on here and not there"),
        (Fill("races", "day id", "gone"), "no column nested.gone"),
        (Fill("races", "day id", "prize", precedence=1), "prize is INTEGER in cards and STRING in nested"),
        (Fill("races", "day id", "going=prize"), "going: neither of cards and nested comes first"),
        (Fill("races", "day id", "parts", precedence=1), "which one is newer cannot be told"),
        (Fill("races", "day id", "told", precedence=1), "a column cannot be called told"),
        (Fill("races", "day id", "", precedence=16), "precedence is 0 to 15"),
        (Fill("cards", "day id", ""), "a table has the same name"),
    ],
)
def test_fills_that_contradict_each_other_are_refused_before_anything_is_done(fill: Fill, problem: str) -> None:
    table = Table("nested", Nested, ("day", "id"), "day", fills=(fill,))
    with pytest.raises(ConfigurationError, match=problem):
        views_of([*Cards.tables, table])


def test_the_key_of_a_view_is_the_plain_column_of_every_table_so_that_a_date_prunes_them_all() -> None:
    (_, races) = views_of(BOTH)
    assert view_sql(races, lambda name: f"`{name}`").partition(" FROM (")[2] == (
        "SELECT `day` AS `day`, `id` AS `id`, `going` AS `going`, `prize` AS `prize`, "
        "CAST(NULL AS STRING) AS `winner`, TRUE AS `has_card`, FALSE AS `has_result`, 0 AS `told` "
        "FROM `cards` UNION ALL "
        "SELECT `day`, `id`, `going`, NULL, `winner`, FALSE, TRUE, 1 FROM `results`) GROUP BY `day`, `id`"
    )
