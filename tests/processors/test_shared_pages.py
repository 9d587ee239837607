"""Pages that neighbouring dates share: each date gets its own rows, a neighbour's rows are no rejects, none is lost."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alerting.memory_store import MemoryObjectStore
from processors.base import LandedPage, Processor, Row, Table
from processors.batch_reading import BatchRows, read_batch
from processors.staging import TableSpool
from scrapers.base import Dated, Findings, Page, Request, Scraper
from scrapers.landing import Landing
from scrapers.partition import Partition, partitions_between
from scrapers.scrape import ScrapeContext
from scrapers.spans import scrape_span

FIRST, LAST = dt.date(2025, 1, 1), dt.date(2025, 1, 4)


class Sale(Row):
    id: int
    day: dt.date
    price: int


class Sales(Processor):
    source = "sales"
    tables = (Table("sales", Sale, ("id",), "day"),)

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in json.loads(page.body):
            yield "sales", row


class SalesScraper(Scraper):
    source = title = "sales"
    zone, base_url, tables, days_per_call = "UTC", "https://sales.example", ("sales",), 31

    def first_request(self, partition: Partition) -> Request:
        return Request("/sales", (("from", str(partition.start)), ("to", str(partition.end))))

    def inspect(self, partition: Partition, page: Page) -> Findings:
        dates: dict[dt.date, int] = {}
        rows = json.loads(page.body)
        for row in rows:
            day = dt.date.fromisoformat(row["day"][:10])
            dates[day] = dates.get(day, 0) + 1
        found = {day: Dated({"sales": count}) for day, count in dates.items()}
        return Findings({"sales": len(rows)}, empty_evidence="200", dates=found)


class Answer:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows, self.reads = rows, 0

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        body = json.dumps(self.rows).encode()
        return Page(request, page_number, 200, {}, body, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 0.1)


class CountingStore(MemoryObjectStore):
    def __init__(self) -> None:
        super().__init__()
        self.read_names: list[str] = []

    def read(self, name: str) -> tuple[bytes, int]:
        self.read_names.append(name)
        return super().read(name)


def sale(number: int, day: int, **changes: Any) -> dict[str, Any]:
    return {"id": number, "day": f"2025-01-{day:02d}", "price": 5, **changes}


def read(rows: list[dict[str, Any]], folder: Path) -> tuple[BatchRows, CountingStore]:
    store = CountingStore()
    landing = Landing(store)
    answer = scrape_span(
        partitions_between(FIRST, LAST, "UTC"),
        ScrapeContext(scraper=SalesScraper(), client=Answer(rows), landing=landing, backfill_id="bf", code_version="0"),
    )
    spools = {"sales": TableSpool(folder, "sales")}
    batch = BatchRows(hashlib.sha256(b"x").hexdigest(), spools)
    store.read_names.clear()
    # Another process than the one that landed them, which still knows what it wrote.
    read_batch(batch, list(answer.manifests.values()), Sales(), Landing(store))
    return batch, store


def test_each_date_takes_its_own_rows_and_the_page_is_read_once(tmp_path: Path) -> None:
    batch, store = read([sale(1, 1), sale(2, 1), sale(3, 2), sale(4, 4)], tmp_path)
    assert {key: one.rows["sales"] for key, one in batch.admitted.items()} == {
        "2025-01-01": 2,
        "2025-01-02": 1,
        "2025-01-03": 0,
        "2025-01-04": 1,
    }
    assert (batch.failures, batch.rejects) == ({}, {})
    assert batch.spools["sales"].rows == 4
    assert len(store.read_names) == 1


def test_a_broken_row_fails_its_own_date_and_no_neighbour(tmp_path: Path) -> None:
    batch, _ = read([sale(1, 1), sale(2, 2, price="x"), sale(3, 3)], tmp_path)
    assert list(batch.failures) == ["2025-01-02"]
    assert sorted(batch.admitted) == ["2025-01-01", "2025-01-03", "2025-01-04"]
    assert batch.spools["sales"].rows == 2


def test_a_date_written_another_way_is_still_a_neighbours(tmp_path: Path) -> None:
    batch, _ = read([sale(1, 1), {**sale(2, 2), "day": "2025-01-02T00:00:00"}], tmp_path)
    assert {key: one.rows["sales"] for key, one in batch.admitted.items() if one.rows["sales"]} == {
        "2025-01-01": 1,
        "2025-01-02": 1,
    }
    assert batch.failures == {}


def test_a_row_without_a_date_belongs_to_nobody_and_stops_all_who_share_its_page(tmp_path: Path) -> None:
    """The scraper counted it for one date; whose it is cannot be told."""

    rows = [sale(1, 1), sale(2, 2)]
    batch, _ = read(rows, tmp_path)
    assert batch.failures == {}

    class Odd(Sales):
        def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
            yield from super().rows(partition, page)
            yield "sales", {"id": 9, "day": None, "price": 1}

    landing = Landing(MemoryObjectStore())
    answer = scrape_span(
        partitions_between(FIRST, dt.date(2025, 1, 2), "UTC"),
        ScrapeContext(scraper=SalesScraper(), client=Answer(rows), landing=landing, backfill_id="bf", code_version="0"),
    )
    spools = {"sales": TableSpool(tmp_path, "again")}
    batch = BatchRows("y", spools)
    read_batch(batch, list(answer.manifests.values()), Odd(), landing)
    assert sorted(batch.failures) == ["2025-01-01", "2025-01-02"]
