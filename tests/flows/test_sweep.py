"""A source without dates: one sweep fills all months that were asked for, and each month has a verdict of its own."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest
from sweep_world import FIRST, Bench, Homes, Site, homes

from alerting.errors import BlockedBySource, CriticalError
from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from alerting.smart_alert_manager import SmartAlertManager
from flows.asked import Asked
from flows.dates import land_window
from flows.ledger.ledger import Verdict
from flows.parameters import Mode
from flows.planning.planner import plan_asked
from flows.run.cost_history import remember_cost
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.run.work_set import Landed
from flows.settings import Settings
from flows.wiring import Services, SourceKit
from processors.base import LandedPage, Processor, Row, Table
from scrapers.pace.quota import Purpose
from scrapers.partition import Partition

if TYPE_CHECKING:
    from conftest import Place

    from .conftest import Ran

LAST = dt.date(2025, 2, 28)


class Home(Row):
    sale_id: str
    sold_on: dt.date
    town: str
    size: float
    price: int


class HomesProcessor(Processor):
    """One row a sale."""

    source = "homes"
    tables = (Table("homes", Home, ("sale_id",), "sold_on"),)

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in json.loads(page.body)["rows"]:
            yield (
                "homes",
                {"sale_id": row["id"], "sold_on": row["date"], **{n: row[n] for n in ("town", "size", "price")}},
            )


class SiteClient(Site):
    """As a client of a run."""

    received_bytes = units = 0
    drift = ()

    def close(self) -> None:
        pass


def kit_with(site: Site) -> type[SourceKit]:
    class Kit(SourceKit):
        def build_scraper(self) -> Any:
            return Homes()

        @cached_property
        def processor(self) -> Any:
            return HomesProcessor()

        @cached_property
        def client(self) -> Any:
            return site

    return Kit


class Memory(Services):
    """Storage and alerts in memory, no warehouse."""

    def __init__(self, site: Site) -> None:
        super().__init__(Settings(project="p", console_only=True))
        store = type("Store", (MemoryObjectStore,), {"calls": {}})()
        self.__dict__.update(store=store, alerts=SmartAlertManager(store=store, channels=[]))
        self.kit = kit_with(site)

    def source_kit(self, source: str, purpose: Purpose = "backfill") -> SourceKit:
        return self.kit(self, source, purpose)

    def run(self, labels: list[str] | None = None, backfill_id: str = "bf-1") -> Run:
        class Noting(PlainOrchestrator):
            async def step(self, name: str, label: str, *rest: Any) -> Any:
                if labels is not None:
                    labels.append(f"{name}: {label}")
                return await super().step(name, label, *rest)

        asked = Asked(source="homes", start_date=FIRST, end_date=LAST, breaker=False)
        run = Run(self, asked, backfill_id, Noting())
        run.work.partitions = {one.key: one for one in Bench([]).months}
        run.ledger.refresh()
        return run


def window(run: Run) -> Counter[str]:
    landed: list[Landed] = []
    asyncio.run(land_window(run, list(run.work.partitions), landed.append))
    verdicts = Counter(str(entry.verdict) for entry in run.ledger.refresh().values())
    run.close()
    return verdicts


def test_all_months_come_of_one_window_whose_steps_are_some_pages_each() -> None:
    site, labels = SiteClient(homes(900)), list[str]()
    run = Memory(site).run(labels)
    assert window(run) == {"landed": 14}
    assert labels[0] == "sweep: sweep 2024-01..2025-02 (14) from page 1"
    assert labels[1].endswith("from page 26")
    assert run.tally.sweep_pages == site.calls
    assert run.tally.rows == 900
    assert {run.tally.tries(key) for key in run.work.partitions} == {1}


def test_a_stop_between_two_steps_begins_no_further_page_and_a_later_run_goes_on_there() -> None:
    site = SiteClient(homes(900))
    services = Memory(site)
    run = services.run()
    site.at[40] = lambda: run.stop(CriticalError("the budget is spent"), "scrape")
    assert window(run) == {}
    assert site.calls == 50
    assert window(services.run()) == {"landed": 14}
    assert Counter(site.asked).most_common(1)[0][1] == 1


def test_a_block_blocks_all_months_cools_the_source_down_and_costs_no_call_twice() -> None:
    site = SiteClient(homes(900))
    services = Memory(site)

    def block() -> None:
        raise BlockedBySource("a challenge page came with status 403", source="homes", stage="scrape")

    site.at[60] = block
    run = services.run()
    assert window(run) == {"blocked": 14}
    assert isinstance(run.stopped_by, BlockedBySource)
    assert [one.name for one in services.store.list("cooldowns/")] == ["cooldowns/homes.json"]
    assert window(services.run(backfill_id="bf-2")) == {"landed": 14}
    assert Counter(site.asked).most_common(1)[0][1] == 1


@pytest.fixture
def site(place: Place, monkeypatch: pytest.MonkeyPatch) -> SiteClient:
    """The source ``homes`` beside the others, on the emulators of ``place``."""
    made = SiteClient(homes(700))
    kit = kit_with(made)

    def choose(self: Services, source: str, purpose: Purpose = "backfill") -> SourceKit:
        return (kit if source == "homes" else SourceKit)(self, source, purpose)

    monkeypatch.setattr(Services, "source_kit", choose)
    return made


def test_a_backfill_is_complete_exact_by_month_and_a_later_sweep_loads_only_the_months_that_changed(
    place: Place, ran: Ran, site: SiteClient
) -> None:
    def loaded() -> dict[str, int]:
        name = place.services.warehouse.name_of("homes")
        found = place.sql(
            f"SELECT FORMAT_DATE('%Y-%m', sold_on) AS m, COUNT(DISTINCT sale_id) AS n FROM {name} GROUP BY m"
        )
        return {row["m"]: row["n"] for row in found}

    first, last = str(FIRST), str(LAST)
    run, facts = ran(first, last, source="homes")
    assert (facts.verdict, facts.verdict_counts) == ("COMPLETE", {"verified": 14})
    assert loaded() == {month: len(ids) for month, ids in site.by_month().items()}
    assert facts.calls == site.calls
    remember_cost(run, facts)

    planned = plan_asked(
        place.services, Asked(source="homes", start_date=FIRST, end_date=LAST, mode=Mode.FULL), utc_now()
    )
    assert planned.estimate.calls == site.calls, "the calls of the last sweep"

    site.rows[5]["price"] = 63 - site.rows[5]["price"]
    site.rows.append({**site.rows[-1], "id": "late", "date": "2024-03-10"})
    changed = {site.rows[5]["date"][:7], "2024-03"}
    run, facts = ran(first, last, source="homes", mode=Mode.FULL)
    assert facts.verdict == "COMPLETE"
    assert {key for receipt in run.tally.receipts for key in receipt.partitions} == changed
    assert loaded() == {month: len(ids) for month, ids in site.by_month().items()}
    entry = run.ledger.get("2024-03")
    assert entry is not None
    assert entry.verdict is Verdict.VERIFIED
    calls = site.calls
    _, facts = ran(first, last, source="homes", mode=Mode.REPROCESS)
    assert (facts.verdict, site.calls) == ("COMPLETE", calls)


def test_a_row_that_was_corrected_between_two_pages_is_loaded_in_its_later_form(
    place: Place, ran: Ran, site: SiteClient
) -> None:
    still = Bench([dict(row) for row in site.rows])
    still.sweep()
    edges = {int(one.split("size_min=")[1].split()[0]) for one in still.site.asked if "size_min" in one}
    edge = next(row for row in site.rows if row["size"] in edges and row["town"] == "north")
    seen = [
        at
        for at, one in enumerate(still.site.asked, 1)
        if "north size_min" in one and f"_max={edge['size']:.0f}" in one
    ]
    site.at[max(seen) + 1] = lambda: edge.update(date="2024-01-05")
    _, facts = ran(str(FIRST), str(LAST), source="homes")
    assert facts.verdict == "COMPLETE"
    name = place.services.warehouse.name_of("homes")
    found = place.sql(f"SELECT sold_on FROM {name} WHERE sale_id = '{edge['id']}'")
    assert [str(row["sold_on"]) for row in found] == ["2024-01-05"]


def test_months_share_the_verdict_of_a_run_by_the_plans_own_total(place: Place, ran: Ran, site: SiteClient) -> None:
    bad = {f"2024-{month:02d}" for month in (2, 5, 8)}
    for month in bad:
        next(row for row in site.rows if row["date"].startswith(month))["price"] = 0.5
    _, facts = ran(str(FIRST), str(LAST), source="homes", breaker=False)
    assert facts.verdict_counts["verified"] == 11
    assert facts.verdict == "FAILED", "11 of 14 are 79 %, and 90 % is what is acceptable"
