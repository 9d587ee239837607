"""A small sample of Hemnet, a landing zone, and the sweep between them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, ClassVar

from alerting.memory_store import MemoryObjectStore
from deployments.local.upstreams.sold_upstream import SoldUpstream
from scrapers.base import SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import Partition, partitions_between
from scrapers.rate import Rate
from scrapers.scrape import ScrapeContext
from scrapers.sources.hemnet_sales import HemnetSales
from scrapers.sweeps import SweepScrape

NOW = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)


class SmallHemnetSales(HemnetSales):
    """Of a site that shows 20 sales a page and 5 pages."""

    source = "hemnet_sales"
    page_size = 20
    result_cap: ClassVar = 100


class SoldBench:
    """One landing zone; ``scraper`` and ``session`` may be changed before a sweep."""

    def __init__(self, upstream: SoldUpstream, scraper: HemnetSales | None = None) -> None:
        self.upstream = upstream
        self.landing = Landing(MemoryObjectStore())
        self.scraper = scraper or SmallHemnetSales()
        self.scraper.sweeps = upstream.world.areas
        self.session = ""
        self.renewed: list[str] = []

    @property
    def months(self) -> list[Partition]:
        world = self.upstream.world
        return partitions_between(world.first, world.last_month, self.scraper.zone, "month")

    def sweep(self, months: Sequence[Partition] = (), **context: Any) -> dict[str, Manifest]:
        secrets = {"hemnet_session": self.session} if self.session else {}
        access = SourceAccess(self.upstream.url, secrets, renewed=lambda _, text: self.renewed.append(text))
        given = {"backfill_id": "b1", "code_version": "0", "now": lambda: NOW, **context}
        with SourceClient(self.scraper, access, Budget(Rate())) as client:
            made = ScrapeContext(scraper=self.scraper, client=client, landing=self.landing, **given)
            result = SweepScrape(months or self.months, made).go_on(10_000)
        assert result is not None
        return result.manifests

    @property
    def asked(self) -> list[str]:
        """Queries of the calls that were answered, in order."""
        return [one["query"] for one in self.upstream.calls.report()["requests"] if one["status"] == 200]
