"""Full snapshots of whole entities in a real (local) BigQuery: replaced as a whole, with tombstones."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from processors.registry import processor
from processors.verification import Finding
from scrapers.manifest import Manifest
from scrapers.partition import Partition

ALAMEDA, BERKELEY = "alameda.ca~agendas", "berkeley.ca~agendas"
FIRST, SECOND, THIRD = (dt.datetime(2026, 1, day, 12, tzinfo=dt.UTC) for day in (1, 2, 3))


def page(key: str, date: str | None = "2024-12-18", **fields: Any) -> dict[str, Any]:
    return {
        "id": key,
        "meeting": "CityCouncil",
        "date": date,
        "page": 1,
        "text": f"text of {key}",
        "page_image": f"/_agendas/CityCouncil/{date}/0001.png",
        **fields,
    }


@pytest.fixture
def civic(bench):
    bench.processor = processor("civic_band")
    return bench


def land(bench, entity: str, pages: list[dict[str, Any]], at: dt.datetime) -> Manifest:
    body = json.dumps({"ok": True, "next": None, "rows": pages, "truncated": False}).encode()
    return bench.land_body(
        Partition.whole(entity, "UTC"),
        body,
        counts={"civic_pages": len(pages)},
        source_total=len(pages),
        empty_evidence="" if pages else "count 0 and no rows",
        landed_at=at,
    )


def alive(bench, entity: str) -> list[str]:
    found = bench.rows("civic_pages", "entity", "page_id", "deleted_at")
    return [key for one, key, deleted_at in found if one == entity and deleted_at is None]


def test_pages_that_are_gone_stay_as_tombstones_and_come_back_alive(civic):
    snapshots = [
        land(civic, ALAMEDA, [page("a"), page("b"), page("c")], FIRST),
        land(civic, ALAMEDA, [page("a"), page("d")], SECOND),
        land(civic, ALAMEDA, [page("b"), page("d", votes_json="{}")], THIRD),
    ]
    civic.process(land(civic, BERKELEY, [page("a"), page("z")], FIRST))
    for snapshot in snapshots:
        receipt = civic.process(snapshot)
        assert civic.verify(snapshot, receipt=receipt)[ALAMEDA].verdict is Finding.OK
    rows = [row[1:] for row in civic.rows("civic_pages", "entity", "page_id", "deleted_at") if row[0] == ALAMEDA]
    assert rows == [("a", THIRD), ("b", None), ("c", SECOND), ("d", None)]
    assert ("d", "{}") in civic.rows("civic_pages", "page_id", "votes_json")
    assert alive(civic, BERKELEY) == ["a", "z"]


def test_the_same_snapshot_twice_changes_nothing_and_an_empty_town_is_buried_whole(civic):
    first = land(civic, ALAMEDA, [page("a"), page("b")], FIRST)
    civic.process(first)
    before = civic.content()
    civic.process(first, backfill_id="b2")
    assert civic.content() == before
    empty = land(civic, ALAMEDA, [], SECOND)
    receipt = civic.process(empty)
    assert civic.verify(empty, receipt=receipt)[ALAMEDA].is_ok
    assert [row[0] for row in civic.rows("civic_pages", "deleted_at")] == [SECOND, SECOND]


def test_towns_loaded_in_one_batch_do_not_bury_each_other(civic):
    both = [land(civic, ALAMEDA, [page("a")], FIRST), land(civic, BERKELEY, [page("b")], FIRST)]
    receipt = civic.process(*both)
    assert all(one.is_ok for one in civic.verify(*both, receipt=receipt).values())
    again = [land(civic, ALAMEDA, [page("c")], SECOND), land(civic, BERKELEY, [page("b")], SECOND)]
    civic.process(*again)
    assert (alive(civic, ALAMEDA), alive(civic, BERKELEY)) == (["c"], ["b"])


def test_a_malformed_date_is_kept_as_text_and_has_no_partition(civic):
    dates = ["2024-02-29", "2023-02-29", "0202-01-05", "9999-01-01", "20240229", "unknown", "", None]
    civic.process(land(civic, ALAMEDA, [page(str(number), date) for number, date in enumerate(dates)], FIRST))
    found = {
        int(key): (text, date) for key, text, date in civic.rows("civic_pages", "page_id", "date_text", "meeting_date")
    }
    assert [found[number][0] for number in range(len(dates))] == dates
    assert [found[number][1] for number in range(len(dates))] == [dt.date(2024, 2, 29)] + [None] * 7


def test_a_lost_page_is_short_a_foreign_one_is_extra_and_one_page_twice_is_a_duplicate(civic):
    manifest = land(civic, ALAMEDA, [page("a"), page("b")], FIRST)
    for change, verdict in (
        ("DELETE FROM {civic_pages} WHERE page_id = 'a'", Finding.SHORT),
        ("UPDATE {civic_pages} SET deleted_at = CURRENT_TIMESTAMP() WHERE page_id = 'a'", Finding.SHORT),
        ("UPDATE {civic_pages} SET page_id = 'b' WHERE page_id = 'a'", Finding.DUPLICATE),
    ):
        receipt = civic.process(manifest)
        assert civic.verify(manifest, receipt=receipt)[ALAMEDA].is_ok
        civic.sql(change)
        assert civic.verify(manifest, receipt=receipt)[ALAMEDA].verdict is verdict, change
        civic.sql("DELETE FROM {civic_pages} WHERE TRUE")


def test_a_town_that_comes_with_fewer_pages_keeps_them_and_one_read_anew_does_not_shrink(civic):
    civic.process(land(civic, ALAMEDA, [page(str(number)) for number in range(10)], FIRST))
    receipt = civic.process(land(civic, ALAMEDA, [page("0")], SECOND), accept_shrink=False)
    assert receipt.failures[ALAMEDA].message == "civic_pages: 10 rows before, 1 after; old rows were kept"
    assert len(alive(civic, ALAMEDA)) == 10
    # Better text of every page: other ids, as many pages.
    civic.process(land(civic, ALAMEDA, [page(f"new-{number}") for number in range(10)], THIRD), accept_shrink=False)
    assert alive(civic, ALAMEDA) == [f"new-{number}" for number in range(10)]
