"""From landed answers to files that a load job reads: rows a second and core, and memory, for dates of many rows.

    python tests/benchmarks/rows_of_dates.py 20000 14
    python tests/benchmarks/rows_of_dates.py 20000 50 --together

Rows of 9 columns (date, instant, 2 integers, float, boolean, 3 texts) are read from gzip, admitted against their model
and staged as gzip JSON lines. Each date is a batch of its own, and the best one counts, as other work only takes
away; with ``--together`` they are one batch, whose memory and files count.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime

from alerting.local_store import FileObjectStore
from processors.base import LandedPage, Processor, Row, Table
from processors.batch_reading import BatchRows, read_batch
from processors.staging import TableSpool
from scrapers.answers import landed_json
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.partition import Partition
from scrapers.scrape import ScrapeContext, scrape

FIRST = dt.date(2024, 1, 1)


class Trade(Row):
    """One trade."""

    trade_date: dt.date
    trade_id: int
    symbol: str
    venue: str
    at: AwareDatetime
    price: float
    size: int
    is_buy: bool
    note: str | None = None


class Trades(Processor):
    """Answers are rows already."""

    source = "trades"
    tables = (Table("trades", Trade, ("trade_id",), "trade_date"),)

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in landed_json(page.body)["data"]:
            yield "trades", row


class Exchange(Scraper):
    """A source of one call a date."""

    source = "trades"
    zone = "UTC"
    base_url = "https://example.org"
    tables = ("trades",)
    floor = FIRST

    def first_request(self, partition: Partition) -> Request:
        return Request(f"/{partition.key}")

    def inspect(self, partition: Partition, page: Page) -> Findings:
        return Findings({"trades": len(json.loads(page.body)["data"])})


class Answers:
    """A source that answers from memory."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        day = request.path[1:]
        rows = [
            {
                "trade_date": day,
                "trade_id": number,
                "symbol": f"SYM{number % 97}",
                "venue": "XNAS",
                "at": f"{day}T12:{number % 60:02}:{number % 59:02}Z",
                "price": 100.25 + number % 500,
                "size": number % 1000,
                "is_buy": number % 2 == 0,
                "note": None,
            }
            for number in range(self._rows)
        ]
        return Page(request, page_number, 200, {}, json.dumps({"data": rows}).encode(), dt.datetime.now(dt.UTC), 0.05)


def staged(manifests: Sequence[Manifest], landing: Landing, folder: Path) -> tuple[int, int]:
    """Rows of a batch, and the bytes of them that were on disk."""
    processor = Trades()
    spools = {table.name: TableSpool(folder, table.name) for table in processor.tables}
    batch = BatchRows("bench", spools)
    read_batch(batch, manifests, processor, landing)
    assert not batch.failures, batch.failures
    for spool in spools.values():
        spool.upload(landing.store, f"staging/{folder.name}/", spool.sha256()[:8])
        spool.close()
    return sum(spool.rows for spool in spools.values()), sum(file.stat().st_size for file in folder.iterdir())


def peak_mib() -> float:
    """The most that this process has held so far."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


@dataclass(frozen=True, slots=True)
class Measured:
    """Rows a second and core of the best batch; memory before and at the peak; bytes of the files of one batch."""

    rows_a_second: float
    before_mib: float
    peak_mib: float
    spooled_bytes: int


def measure(rows: int, dates: int, *, together: bool = False) -> Measured:
    """So many dates of so many rows, read, admitted and staged."""
    with tempfile.TemporaryDirectory() as root:
        store = FileObjectStore(Path(root) / "bucket")
        context = ScrapeContext(Exchange(), Answers(rows), Landing(store), "bf-bench", "bench")
        days = (Partition.day(FIRST + dt.timedelta(days=number), "UTC") for number in range(dates))
        manifests = [scrape(day, context) for day in days]
        before, best, spooled = peak_mib(), 0.0, 0
        for number, batch in enumerate([manifests] if together else [[one] for one in manifests]):
            folder = Path(root) / f"spool-{number}"
            folder.mkdir()
            # Nothing of it in memory, as in the process that loads what another one has landed.
            landing, began_s = Landing(store), time.process_time()
            staged_rows, spooled = staged(batch, landing, folder)
            best = max(best, staged_rows / (time.process_time() - began_s))
    return Measured(best, before, peak_mib(), spooled)


def main() -> None:
    """Prints one line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("rows", type=int)
    options.add_argument("dates", type=int)
    options.add_argument("--together", action="store_true")
    given = options.parse_args()
    found = measure(given.rows, given.dates, together=given.together)
    what = f"{given.dates} dates of {given.rows:,} rows{' together' if given.together else ''}"
    print(
        f"{what}: {found.rows_a_second:,.0f} rows a second and core; memory {found.before_mib:.0f} MiB, then "
        f"{found.peak_mib:.0f}; {found.spooled_bytes / 2**20:.0f} MiB on disk; load of the machine "
        f"{os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
