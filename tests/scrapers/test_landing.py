"""What was landed a moment ago is loaded from memory, within bounds; everything else from storage."""

from __future__ import annotations

import datetime as dt
import gzip
import random
from typing import Any

import pytest

from alerting.errors import LandingUnavailable
from alerting.memory_store import MemoryObjectStore
from scrapers import landing as module
from scrapers.base import Findings, Page, Request
from scrapers.landing import Landing
from scrapers.manifest import PageRecord
from scrapers.partition import Partition

DAY = Partition.day(dt.date(2025, 1, 3), "UTC")
FOUND = Findings({"t": 1})


class Store(MemoryObjectStore):
    def __init__(self) -> None:
        super().__init__()
        self.read_names: list[str] = []

    def read(self, name: str) -> tuple[bytes, int]:
        self.read_names.append(name)
        return super().read(name)


def put(
    landing: Landing, number: int, body: bytes, findings: Findings | None = FOUND, packed: bytes = b""
) -> PageRecord:
    page = Page(Request("/t"), number, 200, {}, body, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 0.1, packed)
    return landing.put_page("toy", DAY, "20260101T000000Z-aaaa", page, findings)


def test_a_page_that_storage_has_just_taken_is_read_without_a_call() -> None:
    landing = Landing(store := Store())
    record = put(landing, 1, b"[1]")
    assert [landing.read_page(record) for _ in range(2)] == [b"[1]"] * 2
    assert store.read_names == []
    assert Landing(store).read_page(record) == b"[1]"
    assert store.read_names == [record.object_name]


def test_a_page_that_came_as_gzip_is_stored_so() -> None:
    body = b"[1]" + bytes(100)
    packed = gzip.compress(body, compresslevel=1, mtime=0)
    landing = Landing(store := Store())
    record = put(landing, 1, body, packed=packed)
    assert store.read(record.object_name)[0] == packed
    assert Landing(store).read_page(record) == body


def test_a_page_that_is_no_more_what_it_came_in_is_packed_again() -> None:
    """A key was masked in it."""
    body = b"key=***" + bytes(100)
    landing = Landing(store := Store())
    record = put(landing, 1, body, packed=gzip.compress(b"key=pl4" + bytes(100), compresslevel=1, mtime=0))
    assert gzip.decompress(store.read(record.object_name)[0]) == body


def test_older_pages_make_room_and_are_read_from_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RECENT_BYTES", 10_000)
    landing = Landing(store := Store())
    noise = random.Random(1)
    bodies = [noise.randbytes(3_000) for _ in range(5)]
    records = [put(landing, number, body) for number, body in enumerate(bodies, 1)]
    assert [landing.read_page(record) for record in records] == bodies
    assert store.read_names == [record.object_name for record in records[:2]]


def test_a_page_that_storage_did_not_take_is_not_kept() -> None:
    class Refusing(Store):
        def write(self, name: str, data: bytes, **rest: Any) -> int:
            raise LandingUnavailable("storage is down")

    landing = Landing(store := Refusing())
    with pytest.raises(LandingUnavailable):
        put(landing, 1, b"[1]")
    other = put(Landing(MemoryObjectStore()), 1, b"[1]")
    with pytest.raises(Exception, match="page-0001"):
        landing.read_page(other)
    assert store.read_names == [other.object_name]
