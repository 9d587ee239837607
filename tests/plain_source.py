"""A dated source for tests of plans: nobody calls it."""

from __future__ import annotations

import datetime as dt

from scrapers.base import Findings, Page, Request, Scraper
from scrapers.partition import Partition


class PlainSource(Scraper):
    """One request a day, and no rows."""

    source = "toy"
    zone = "UTC"
    base_url = "https://example.org"
    tables = ("t",)
    floor = dt.date(2024, 1, 1)

    def first_request(self, partition: Partition) -> Request:
        return Request("/" + partition.key)

    def inspect(self, partition: Partition, page: Page) -> Findings:
        return Findings({})
