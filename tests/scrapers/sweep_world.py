"""A site that cannot be asked for a date: sizes in half steps, ends included, a cap, and a world that moves."""

from __future__ import annotations

import datetime as dt
import json
import math
import random
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from alerting.errors import SourceUnavailable
from alerting.memory_store import MemoryObjectStore
from scrapers.bands import Band
from scrapers.base import Findings, Page, Request, Scraper, Swept
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.partition import Partition, partitions_between
from scrapers.scrape import ScrapeContext
from scrapers.sweeps import SweepScrape, digest_of

PAGE, CAP = 10, 50
FIRST, MONTHS = dt.date(2024, 1, 1), 14
NOW = dt.datetime(2025, 6, 1, tzinfo=dt.UTC)

Row = dict[str, Any]


class Homes(Scraper):
    """By town, then size, then price."""

    source = title = "homes"
    zone, base_url, tables, step = "UTC", "https://homes.example", ("homes",), "month"
    sweeps: tuple[str, ...] = ("north", "south")
    axes: ClassVar = (range(20, 120), range(0, 64))
    result_cap, page_size, grows, floor = CAP, PAGE, True, dt.date(2023, 1, 1)

    def first_request(self, partition: Partition) -> Request:
        return self.band_request(Band(self.sweeps[0], self.axes))

    def band_request(self, band: Band) -> Request:
        sizes, prices = band.ranges
        asked = {"town": band.of}
        if sizes != self.axes[0]:
            asked |= {"size_min": str(sizes.start), "size_max": str(sizes.stop)}
        if prices != self.axes[1]:
            asked |= {"price_min": str(prices.start), "price_max": str(prices.stop - 1)}
        return Request("/homes", (*asked.items(), ("page", "1")), cursor="1")

    def inspect(self, partition: Partition, page: Page) -> Findings:
        answer, number = json.loads(page.body), int(page.request.cursor)
        swept = tuple(
            Swept(
                row["id"],
                dt.date.fromisoformat(row["date"]),
                digest_of(json.dumps(row)),
                (None if row["size"] is None else math.floor(row["size"]), row["price"]),
            )
            for row in answer["rows"]
        )
        following = None
        if number * PAGE < answer["total"] and number * PAGE < CAP:
            params = (*page.request.params[:-1], ("page", str(number + 1)))
            following = Request("/homes", params, cursor=str(number + 1))
        return Findings(
            {"homes": len(swept)},
            source_total=answer["total"],
            swept=swept,
            next_request=following,
            empty_evidence="" if swept else "200, total 0",
        )


def homes(count: int, seed: int = 1, *, towns: tuple[str, ...] = Homes.sweeps) -> list[Row]:
    """Most of them of a few sizes, newest first."""
    chance = random.Random(seed)
    rows = [
        {
            "id": f"{seed}{number:05d}",
            "town": chance.choice(towns),
            "date": str(FIRST + dt.timedelta(days=chance.randrange(30 * MONTHS))),
            "size": min(119.5, max(20.0, round(2 * chance.gauss(60, 12)) / 2)),
            "price": chance.randrange(64),
        }
        for number in range(count)
    ]
    return sorted(rows, key=lambda row: row["date"], reverse=True)


class Site:
    """Answers in this process. ``at`` is what happens before the call of that number; ``down`` are calls that fail."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.calls = 0
        self.asked: list[str] = []
        self.at: dict[int, Callable[[], object]] = {}
        self.down: set[int] = set()

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        self.calls += 1
        self.at.get(self.calls, lambda: None)()
        if self.calls in self.down:
            raise SourceUnavailable("503", source="homes", stage="scrape")
        asked = dict(request.params)
        self.asked.append(" ".join(f"{name}={value}" for name, value in request.params))
        found = [row for row in self.rows if _is_in(row, asked)]
        begin = (int(asked["page"]) - 1) * PAGE
        shown = found[begin : min(begin + PAGE, CAP)]
        body = json.dumps({"total": len(found), "rows": shown}).encode()
        return Page(request, page_number, 200, {}, body, NOW, 0.1)

    def add(self, **facts: Any) -> None:
        """The newest sale."""
        base = {"id": f"n{self.calls}", "town": "north", "date": "2025-02-20", "size": 60.0, "price": 30}
        self.rows.insert(0, {**base, **facts})

    def withdraw(self, row: Row) -> None:
        self.rows.remove(row)

    def by_month(self) -> dict[str, set[str]]:
        months: dict[str, set[str]] = {}
        for row in self.rows:
            months.setdefault(row["date"][:7], set()).add(row["id"])
        return months


def _is_in(row: Row, asked: Mapping[str, str]) -> bool:
    if row["town"] != asked["town"]:
        return False
    for name in ("size", "price"):
        low, high = asked.get(f"{name}_min"), asked.get(f"{name}_max")
        if low is not None and (row[name] is None or not int(low) <= row[name] <= int(high or 0)):
            return False
    return True


class Bench:
    """A site, a landing zone, and the sweep between them."""

    def __init__(self, rows: list[Row], scraper: Scraper | None = None) -> None:
        self.site = Site(rows)
        self.landing = Landing(MemoryObjectStore())
        self.scraper = scraper or Homes()

    @property
    def months(self) -> list[Partition]:
        return partitions_between(FIRST, dt.date(2025, 2, 28), "UTC", "month")

    def begin(self, months: list[Partition] | None = None, **context: Any) -> SweepScrape:
        given = {"backfill_id": "b1", "code_version": "0", "now": lambda: NOW, **context}
        return SweepScrape(
            months or self.months, ScrapeContext(scraper=self.scraper, client=self.site, landing=self.landing, **given)
        )

    def sweep(self, months: list[Partition] | None = None, **context: Any) -> dict[str, Manifest]:
        result = self.begin(months, **context).go_on(10_000)
        assert result is not None
        return result.manifests

    def ids(self, manifests: Mapping[str, Manifest]) -> dict[str, list[str]]:
        """As a loader takes them: rows of the month, superseded ones left out, each key once."""
        found = {}
        for key, manifest in manifests.items():
            ids: dict[str, str] = {}
            for record in manifest.pages:
                for row in json.loads(self.landing.read_page(record))["rows"]:
                    if row["date"].startswith(key) and row["id"] not in record.superseded:
                        assert ids.setdefault(row["id"], json.dumps(row)) == json.dumps(row), "two forms of one row"
            found[key] = sorted(ids)
        return found


def fewest_calls(rows: list[Row]) -> int:
    """No reader can do with less: a page holds ten rows of one town, and a town is asked at least once."""
    towns = [sum(row["town"] == town for row in rows) for town in Homes.sweeps]
    return sum(max(1, math.ceil(count / PAGE)) for count in towns)
