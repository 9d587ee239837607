"""A source that takes ranges: a span of dates by one call, and every date with a verdict of its own."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from alerting.errors import CoverageLow, CriticalError, LandingUnavailable, SourceUnavailable
from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from alerting.smart_alert_manager import SmartAlertManager
from flows.asked import Asked
from flows.dates import land_window
from flows.ledger.ledger import Ledger, Verdict
from flows.parameters import Mode
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.run.work_set import Landed
from flows.settings import Settings
from flows.truth.cleanup import find_leftovers
from flows.wiring import Services, SourceKit
from processors.base import LandedPage, Processor, Row, Table
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.manifest import Manifest
from scrapers.pace.quota import Purpose
from scrapers.partition import Partition, partitions_between
from scrapers.spans import dates_of

if TYPE_CHECKING:
    from .conftest import Place, Ran

FIRST = dt.date(2025, 1, 1)
CAP = 50


class Sale(Row):
    sale_id: int
    sale_date: dt.date
    minute: int


class Sales(Processor):
    """One row a sale."""

    source = "sales"
    tables = (Table("sales", Sale, ("sale_id",), "sale_date"),)

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in json.loads(page.body):
            yield "sales", {name: row[name] for name in ("sale_id", "sale_date", "minute")}


class SalesScraper(Scraper):
    """Sales from an instant to another, at most 50 of them."""

    source = title = "sales"
    zone, base_url, tables = "UTC", "https://sales.example", ("sales",)
    result_cap, days_per_call, floor = CAP, 10, dt.date(2024, 1, 1)

    def first_request(self, partition: Partition) -> Request:
        return self._between(partition.begins_at, partition.ends_at)

    def parts(self, partition: Partition) -> range:
        return partition.steps(dt.timedelta(hours=1))

    def part_request(self, partition: Partition, part: range) -> Request:
        return self._between(*partition.instants_of(part, dt.timedelta(hours=1)))

    @staticmethod
    def _between(begin: dt.datetime, end: dt.datetime) -> Request:
        return Request("/sales", (("from", begin.isoformat()), ("to", end.isoformat())))

    def inspect(self, partition: Partition, page: Page) -> Findings:
        rows = json.loads(page.body)
        if any(row.get("is_broken") for row in rows):
            raise CoverageLow("a sale without its lines")
        named = ((dt.date.fromisoformat(row["sale_date"]), "sales", row) for row in rows)
        return Findings({"sales": len(rows)}, empty_evidence="200 and below the cap", dates=dates_of(named))


class Shop:
    """Answers in this process; what it raises is an outage of that call."""

    received_bytes = 0

    def __init__(self, per_day: dict[int, int]) -> None:
        self.rows: list[dict[str, Any]] = []
        for day, count in sorted(per_day.items()):
            date = FIRST + dt.timedelta(days=day)
            for at in range(count):
                minute = at * 1440 // count
                self.rows.append({"sale_id": 1000 * day + at, "sale_date": str(date), "minute": minute})
        self.asked: list[tuple[str, str]] = []
        self.fails: Callable[[str, str], bool] = lambda begin, end: False
        self._lock = threading.Lock()

    @property
    def calls(self) -> int:
        return len(self.asked)

    units = calls

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        begin, end = (dt.datetime.fromisoformat(value) for _, value in request.params)
        with self._lock:
            self.asked.append((f"{begin:%m-%d}", f"{end:%m-%d}"))
        if self.fails(*self.asked[-1]):
            raise SourceUnavailable("503", source="sales", stage="scrape")
        midnight = dt.time(tzinfo=dt.UTC)
        found = [
            row
            for row in self.rows
            if begin
            <= dt.datetime.combine(dt.date.fromisoformat(row["sale_date"]), midnight)
            + dt.timedelta(minutes=row["minute"])
            < end
        ]
        body = json.dumps(found[:CAP]).encode()
        return Page(request, page_number, 200, {}, body, utc_now(), 0.2)

    def close(self) -> None:
        pass


def keys(first: int, last: int) -> list[str]:
    return [str(FIRST + dt.timedelta(days=day)) for day in range(first, last + 1)]


class MemoryStore(MemoryObjectStore):
    calls: dict[str, int] = {}  # noqa: RUF012


class MemoryKit(SourceKit):
    """The source ``sales``, asked at the shop of its services."""

    services: Memory

    def build_scraper(self) -> Scraper:
        return SalesScraper()

    @cached_property
    def processor(self) -> Any:
        return Sales()

    @cached_property
    def client(self) -> Any:
        return self.services.shop


class Memory(Services):
    """Storage and alerts in memory, no warehouse."""

    kit_type = MemoryKit

    def __init__(self, shop: Shop) -> None:
        super().__init__(Settings(project="p", console_only=True))
        store = MemoryStore()
        self.__dict__.update(store=store, alerts=SmartAlertManager(store=store, channels=[]))
        self.shop = shop

    def run(self, last: int) -> Run:
        asked = Asked(source="sales", start_date=FIRST, end_date=FIRST + dt.timedelta(days=last), breaker=False)
        run = Run(self, asked, "bf-1", PlainOrchestrator())
        run.work.partitions = {one.key: one for one in partitions_between(asked.start_date, asked.end_date, "UTC")}
        run.ledger.refresh()
        return run


LANDED: dict[Run, list[Landed]] = {}


def landed_of(run: Run) -> dict[str, Manifest]:
    return {one.key: one.manifest for one in LANDED[run]}


def window(run: Run, *names: str) -> dict[str, str]:
    """Lands one window without a server, and gives the verdicts of its dates; what is to be loaded is in ``LANDED``."""
    LANDED[run] = []
    asyncio.run(land_window(run, list(names or run.work.partitions), LANDED[run].append))
    verdicts = {key: str(entry.verdict) for key, entry in run.ledger.refresh().items()}
    run.close()
    return verdicts


def test_thirty_dates_take_three_calls_and_each_has_its_verdict() -> None:
    services = Memory(Shop({day: 2 for day in range(30) if day != 7}))
    run = services.run(29)
    verdicts = window(run)
    assert verdicts == dict.fromkeys(keys(0, 29), "landed")
    assert sorted(services.shop.asked) == [("01-01", "01-11"), ("01-11", "01-21"), ("01-21", "01-31")]
    assert {key: manifest.counts["sales"] for key, manifest in landed_of(run).items()} == {
        key: 2 * (key != "2025-01-08") for key in keys(0, 29)
    }
    assert landed_of(run)["2025-01-08"].empty_evidence.startswith("200 and below the cap")
    assert (len(run.tally.answers_s), run.tally.rows) == (30, 58)
    assert sum(run.tally.answers_s) == pytest.approx(0.6)


def test_an_answer_at_the_cap_is_cut_at_its_dates_down_to_one_and_then_by_hours() -> None:
    services = Memory(Shop({0: 10, 1: 30, 2: 20, 3: 120, 4: 5}))
    run = services.run(4)
    assert set(window(run).values()) == {"landed"}
    counted = {key: manifest.counts["sales"] for key, manifest in landed_of(run).items()}
    assert counted == dict(zip(keys(0, 4), (10, 30, 20, 120, 5), strict=True))
    by_range = Counter(services.shop.asked)
    assert by_range["01-01", "01-03"] == 1, "the dates before the one at which the answer ended"
    assert by_range["01-05", "01-06"] == 1, "the neighbour of a large date is asked for once"


def test_a_step_is_named_by_the_dates_of_its_call() -> None:
    labels: list[str] = []

    class Noting(PlainOrchestrator):
        async def step(self, name: str, label: str, *rest: Any) -> Any:
            labels.append(f"{name}: {label}")
            return await super().step(name, label, *rest)

    run = Memory(Shop(dict.fromkeys(range(10), 2))).run(9)
    run.orchestrator = Noting()
    window(run)
    assert labels == ["scrape together: scrape 2025-01-01..2025-01-10 (10)"]


def test_only_missing_neighbours_are_asked_for_together() -> None:
    services = Memory(Shop(dict.fromkeys(range(10), 2)))
    run = services.run(9)
    window(run, *keys(0, 2), *keys(4, 5), *keys(8, 8))
    assert sorted(services.shop.asked) == [("01-01", "01-04"), ("01-05", "01-07"), ("01-09", "01-10")]


def test_a_call_that_fails_for_good_fails_its_dates_and_no_other() -> None:
    shop = Shop(dict.fromkeys(range(30), 2))
    shop.fails = lambda begin, _: begin == "01-11"
    run = Memory(shop).run(29)
    verdicts = window(run)
    assert [key for key, verdict in verdicts.items() if verdict == "failed_retryable"] == keys(10, 19)
    assert sum(verdict == "landed" for verdict in verdicts.values()) == 20
    entry = run.ledger.get("2025-01-15")
    assert entry is not None
    assert (entry.error_type, entry.attempts, entry.pages_fetched) == ("SourceUnavailable", 1, 0)
    assert "2025-01-15" in entry.error


def test_dates_that_could_not_be_recorded_fail_and_those_beside_them_are_landed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services = Memory(Shop(dict.fromkeys(range(10), 2)))
    run = services.run(9)
    advance = run.ledger.advance
    broken = {"2025-01-03"}

    def flaky(partition: str, *facts: Any, **more: Any) -> Any:
        if partition in broken:
            broken.discard(partition)
            raise LandingUnavailable("503", source="sales", stage="ledger")
        return advance(partition, *facts, **more)

    monkeypatch.setattr(run.ledger, "advance", flaky)
    verdicts = window(run)
    assert [key for key, verdict in verdicts.items() if verdict == "failed_retryable"] == ["2025-01-03"]
    assert sorted(landed_of(run)) == [key for key in keys(0, 9) if key != "2025-01-03"]
    assert run.stopped_by is None


def test_a_second_try_asks_only_for_what_the_first_did_not_record() -> None:
    services = Memory(Shop(dict.fromkeys(range(10), 2)))
    run = services.run(9)
    window(run, *keys(0, 3))
    again = services.run(9)
    again.work.landed = {one.key: one for one in LANDED[run]}
    window(again)
    assert services.shop.asked == [("01-01", "01-05"), ("01-05", "01-11")]


def test_what_a_live_run_did_meanwhile_is_left_out_and_the_rest_is_asked_for() -> None:
    services = Memory(Shop(dict.fromkeys(range(10), 2)))
    run = services.run(9)
    run.work.done_elsewhere = {"2025-01-05"}
    verdicts = window(run)
    assert sorted(verdicts) == [key for key in keys(0, 9) if key != "2025-01-05"]
    assert sorted(services.shop.asked) == [("01-01", "01-05"), ("01-06", "01-11")]


def test_a_stopped_run_asks_for_no_range() -> None:
    services = Memory(Shop(dict.fromkeys(range(10), 2)))
    run = services.run(9)
    run.stop(CriticalError("the key is dead"), "scrape")
    assert window(run) == {}
    assert services.shop.calls == 0


@pytest.fixture
def shop(place: Place, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The source ``sales`` beside the others, on the emulators of ``place``."""
    made = Shop({day: (day * 7) % 13 for day in range(59)} | {20: 120})

    class ShopKit(MemoryKit):
        @cached_property
        def client(self) -> Any:
            return made

    def choose(self: Services, source: str, purpose: Purpose = "backfill") -> SourceKit:
        return (ShopKit if source == "sales" else SourceKit)(self, source, purpose)

    monkeypatch.setattr(Services, "source_kit", choose)
    return made


def test_a_backfill_by_ranges_is_complete_verified_by_date_and_knows_what_is_done(
    place: Place, ran: Ran, shop: Shop
) -> None:
    _, facts = ran("2025-01-01", "2025-02-28", source="sales")
    assert facts.verdict == "COMPLETE"
    empty = [day for day in range(59) if (day * 7) % 13 == 0 and day != 20]
    assert facts.verdict_counts == {"empty_ok": len(empty), "verified": 59 - len(empty)}
    assert facts.calls == shop.calls < 59 / 2
    name = place.services.warehouse.name_of("sales")
    found = place.sql(f"SELECT sale_date, COUNT(*) AS n FROM {name} GROUP BY sale_date")
    wanted = Counter(row["sale_date"] for row in shop.rows)
    assert {str(row["sale_date"]): row["n"] for row in found} == dict(wanted)

    calls = shop.calls
    _, again = ran("2025-01-01", "2025-02-28", source="sales")
    assert (again.verdict, shop.calls) == ("COMPLETE", calls)
    _, reread = ran("2025-01-01", "2025-02-28", source="sales", mode=Mode.REPROCESS)
    assert (reread.verdict, shop.calls) == ("COMPLETE", calls)
    late = utc_now() + dt.timedelta(days=2)
    left = {
        name for one in find_leftovers(place.services, "sales", late, dt.timedelta(hours=1)) for name in one.objects
    }
    entries = Ledger(place.store, "sales").refresh().values()
    named = {
        page.object_name
        for entry in entries
        for page in place.services.landing.read_manifest(entry.manifest_name).pages
    }
    assert len(entries) == 59
    assert not left & named, "only answers at the cap are left over"


def test_a_full_run_loads_only_the_date_whose_rows_have_changed(place: Place, ran: Ran, shop: Shop) -> None:
    ran("2025-01-01", "2025-01-10", source="sales")
    shop.rows.append({"sale_id": 999_999, "sale_date": "2025-01-04", "minute": 1439})
    shop.rows.sort(key=lambda row: (row["sale_date"], row["minute"]))
    run, facts = ran("2025-01-01", "2025-01-10", source="sales", mode=Mode.FULL)
    assert facts.verdict == "COMPLETE"
    loaded = [key for receipt in run.tally.receipts for key in receipt.partitions if receipt.tables["sales"].rows]
    assert "2025-01-04" in loaded
    assert len(loaded) < 5
    entry = run.ledger.get("2025-01-04")
    assert entry is not None
    assert (entry.verdict, entry.loaded["sales"]) == (Verdict.VERIFIED, (3 * 7) % 13 + 1)


def test_a_date_that_is_not_as_it_should_be_fails_alone(place: Place, ran: Ran, shop: Shop) -> None:
    next(row for row in shop.rows if row["sale_date"] == "2025-01-05")["is_broken"] = True
    run, facts = ran("2025-01-01", "2025-01-10", source="sales", breaker=False)
    assert facts.verdict_counts["partial"] == 1
    entry = run.ledger.get("2025-01-05")
    assert entry is not None
    assert (entry.verdict, entry.error_type) == (Verdict.PARTIAL, "CoverageLow")
    assert sum(facts.verdict_counts.values()) == 10


def test_a_date_whose_rows_are_gone_from_a_range_keeps_them_alone(place: Place, ran: Ran, shop: Shop) -> None:
    ran("2025-01-01", "2025-01-10", source="sales")
    shop.rows = [row for row in shop.rows if row["sale_date"] != "2025-01-05"]
    run, facts = ran("2025-01-01", "2025-01-10", source="sales", mode=Mode.FULL)
    assert facts.verdict_counts["shrunk"] == 1
    entry = run.ledger.get("2025-01-05")
    assert entry is not None
    had = (4 * 7) % 13
    assert (entry.verdict, entry.loaded["sales"], entry.landed["sales"]) == (Verdict.SHRUNK, had, 0)
    name = place.services.warehouse.name_of("sales")
    found = place.sql(f"SELECT COUNT(*) AS n FROM {name} WHERE sale_date = DATE '2025-01-05'")
    assert found[0]["n"] == had
