"""Benchmarks that are scripts still run: small, and without a look at the clock."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import beside_dlt
import rows_of_dates

from alerting.memory_store import MemoryObjectStore
from scrapers.landing import Landing
from scrapers.partition import Partition
from scrapers.scrape import ScrapeContext, scrape


def test_the_comparison_with_dlt_lands_admits_and_stages_every_row(tmp_path: Path) -> None:
    partitions = [Partition.day(beside_dlt.FIRST + dt.timedelta(days=number), "US/Eastern") for number in range(2)]
    assert beside_dlt.by_gapless(partitions, beside_dlt.Answers(2), tmp_path) > 100
    assert all(file.stat().st_size for file in tmp_path.iterdir())


def test_dates_of_many_rows_are_staged_whole(tmp_path: Path) -> None:
    landing = Landing(MemoryObjectStore("gs://bench"))
    context = ScrapeContext(rows_of_dates.Exchange(), rows_of_dates.Answers(30), landing, "bf-bench", "bench")
    days = [Partition.day(rows_of_dates.FIRST + dt.timedelta(days=number), "UTC") for number in range(2)]
    rows, spooled = rows_of_dates.staged([scrape(day, context) for day in days], landing, tmp_path)
    assert rows == 60
    assert spooled > 60 * 100
