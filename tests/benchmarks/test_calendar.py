"""Ten years of days of eight sources as one page: read from the ledger's listing and rendered."""

from __future__ import annotations

import datetime as dt
import time

import pytest

from alerting.memory_store import MemoryObjectStore
from flows.ledger.ledger import Ledger, LedgerEntry, Verdict
from flows.settings import Settings
from flows.truth.whole_history import read_histories
from flows.views.calendar_page import Links, calendar_page
from flows.wiring import Services
from scrapers.partition import partitions_between

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
SOURCE = "bdl_box_scores"
NOW = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)


def test_ten_years_of_eight_sources_are_drawn_within_two_seconds() -> None:
    store = MemoryObjectStore()
    ledger = Ledger(store, SOURCE)
    for number, one in enumerate(partitions_between(dt.date(2016, 11, 28), dt.date(2026, 11, 27), "UTC")):
        verdict = Verdict.FAILED_RETRYABLE if number % 40 == 7 else Verdict.VERIFIED
        ledger.put(LedgerEntry(SOURCE, one.key, verdict, f"bf-{number // 30:012x}", NOW, "a", 1, loaded={"games": 9}))
    services = Services(Settings(project="p"))
    services.__dict__["store"] = store
    began_s = time.process_time()
    page = calendar_page(read_histories(services, [SOURCE] * 8, NOW), Links(), NOW)
    took_s = time.process_time() - began_s
    print(f"\n  calendar of 8 sources x 10 years  {took_s:6.2f} s CPU  {len(page.encode()) / 1000:6.0f} kB")
    assert took_s < 2
    assert len(page.encode()) < 300_000
