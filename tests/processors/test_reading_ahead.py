"""Pages of a batch are read in the order of its dates: those in memory in place, others ahead of their turn."""

from __future__ import annotations

import datetime as dt
import threading

import pytest

from alerting.memory_store import MemoryObjectStore
from processors import batch_reading
from scrapers.base import Findings, Page, Request
from scrapers.landing import Landing
from scrapers.manifest import Manifest, content_hash
from scrapers.partition import Partition, partitions_between

AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FIRST, LAST = dt.date(2025, 1, 1), dt.date(2025, 1, 30)


class Store(MemoryObjectStore):
    def __init__(self) -> None:
        super().__init__()
        self.read_in: dict[str, str] = {}

    def read(self, name: str) -> tuple[bytes, int]:
        self.read_in[name] = threading.current_thread().name
        return super().read(name)


def landed(landing: Landing, day: Partition) -> Manifest:
    page = Page(Request("/"), 1, 200, {}, day.key.encode(), AT, 0.1)
    record = landing.put_page("toy", day, "20260101T000000Z-a", page, Findings({"t": 1}))
    return Manifest(
        source="toy",
        partition=day.key,
        start=day.start,
        end=day.end,
        zone=day.zone,
        attempt="20260101T000000Z-a",
        backfill_id="bf",
        code_version="0",
        landed_at=AT,
        pages=(record,),
        counts={"t": 1},
        content_hash=content_hash((record,)),
    )


@pytest.mark.parametrize("just_landed", [0, 10, 30])
def test_every_page_comes_once_and_in_order_and_only_those_of_storage_by_other_threads(just_landed: int) -> None:
    store = Store()
    before, landing = Landing(store), Landing(store)
    days = partitions_between(FIRST, LAST, "UTC")
    # As after a restart, of whose dates some were landed since.
    manifests = [landed(landing if place >= 30 - just_landed else before, day) for place, day in enumerate(days)]
    assert sum(map(landing.is_in_memory, manifests)) == just_landed
    read = [(manifest.partition, *bodies()) for manifest, bodies in batch_reading._read_ahead(manifests, landing)]
    assert read == [(day.key, day.key.encode()) for day in days]
    assert set(store.read_in) == {one.pages[0].object_name for one in manifests[: 30 - just_landed]}
    assert all(name.startswith("landing") for name in store.read_in.values())
