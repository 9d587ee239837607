"""What a ledger entry says of itself fits into the metadata of its object, and is there after a listing."""

from __future__ import annotations

import datetime as dt
import uuid
from pathlib import Path

import pytest

from flows.ledger.ledger import Ledger, LedgerEntry, Verdict
from scrapers.object_store import GcsObjectStore

TABLES = [f"ra_mst_of_many_{number:02d}" for number in range(12)]


@pytest.mark.parametrize("letter", ["x", "\N{CYRILLIC SMALL LETTER ZHE}", "\N{CJK UNIFIED IDEOGRAPH-4E00}"])
def test_an_entry_with_every_text_at_its_longest_is_listed_by_the_real_store(
    letter: str, gcs_root: Path, gcs_endpoint: str
) -> None:
    name = f"t{uuid.uuid4().hex[:12]}"
    (gcs_root / name).mkdir()
    store = GcsObjectStore(name, project="p", endpoint=gcs_endpoint)
    text, rows = letter * 900, dict.fromkeys(TABLES, 123456)
    entry = LedgerEntry(
        "toy",
        "2025-01-03",
        Verdict.PARTIAL,
        "bf-0f3a5c1e7b1d",
        dt.datetime(2025, 2, 1, tzinfo=dt.UTC),
        attempt="20250201T000000Z-7d1f7d1f",
        attempts=3,
        content_hash="a" * 64,
        landed=rows,
        loaded=rows,
        error_type="CoverageLow",
        error=text,
        evidence=text,
        open_items=text,
        absent=text,
        missing_items=text,
        told_items=text,
        accepted=text,
        open_accepted=text,
        last_cursor=text,
    )
    ledger = Ledger(store, "toy")
    ledger.put(entry)
    (listed,) = Ledger(store, "toy").refresh().values()
    assert (listed.verdict, listed.landed, listed.loaded) == (Verdict.PARTIAL, rows, rows)
    for told in (listed.error, listed.missing_items, listed.open_accepted):
        assert told.startswith(letter * 30)
