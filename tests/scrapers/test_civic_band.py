"""Sweeps of civic.band, a real Datasette: nothing lost and nothing doubled, whatever happens between two pages."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("datasette")

from alerting.errors import (
    NotSettled,
    SourceUnavailable,
)
from scrapers.base import Page, Request
from scrapers.client import SourceClient
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.object_store import GcsObjectStore
from scrapers.partition import Partition
from scrapers.scrape import SWEEPS

TOWN = "alameda.ca"
AGENDAS = Partition.whole(f"{TOWN}~agendas", "UTC")


class Killed(BaseException):
    """The process is gone: nothing may catch it."""


class Fragile:
    """A client that dies instead of making call ``dies_at`` (from 1); ``before`` is called with the number of each."""

    def __init__(self, client: SourceClient, dies_at: int = 0, before: Callable[[int], None] | None = None) -> None:
        self.client, self.dies_at, self.before, self.calls = client, dies_at, before, 0

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        self.calls += 1
        if self.before:
            self.before(self.calls)
        if self.calls == self.dies_at:
            raise Killed
        return self.client.fetch(request, page_number)


@pytest.mark.parametrize("seed", [1, 2])
def test_v03_12345_of_12345_pages_come_through_kills_at_random_pages_and_no_page_is_fetched_twice(bench_of, seed):
    bench = bench_of(12_345)
    chosen = random.Random(seed)
    manifest, kills = None, 0
    while manifest is None:
        try:
            manifest = bench.scrape(
                client=Fragile(bench.client(), dies_at=chosen.randint(2, 8)), backfill_id=f"b{kills}"
            )
        except Killed:
            kills += 1
    assert kills >= 3
    assert bench.ids(manifest) == bench.upstream.ids(TOWN)
    assert len(bench.ids(manifest)) == manifest.source_total == 12_345
    assert bench.upstream.calls == {"alameda.ca~agendas": 26}
    assert manifest.resumed_pages > 0
    assert [page.cursor for page in manifest.pages[1:13]] == [page.next_cursor for page in manifest.pages[:12]]

    alone = bench.anew().scrape(client=bench.client())
    assert (alone.content_hash, alone.counts) == (manifest.content_hash, manifest.counts)


def test_v20_a_kill_before_any_single_page_gives_what_an_undisturbed_run_gives(bench_of):
    first = bench_of(330)
    upstream = first.upstream
    for dies_at in range(2, 15):
        upstream.calls.clear()
        bench = first.anew()
        with pytest.raises(Killed):
            bench.scrape(client=Fragile(bench.client(), dies_at), page_size=50)
        manifest = bench.scrape(page_size=50)
        bench.close()
        assert manifest.resumed_pages == dies_at - 1
        assert bench.ids(manifest) == upstream.ids(TOWN)
        assert sum(upstream.calls.values()) == 14


def test_v03_the_checkpoint_is_read_back_from_cloud_storage(bench_of, gcs_root, gcs_endpoint):
    bucket = f"b{uuid.uuid4().hex[:12]}"
    (gcs_root / bucket).mkdir()
    bench = bench_of(330)
    bench.landing = Landing(GcsObjectStore(bucket, project="p", endpoint=gcs_endpoint))
    with pytest.raises(Killed):
        bench.scrape(client=Fragile(bench.client(), 6), page_size=50)
    manifest = bench.scrape(page_size=50)
    assert manifest.resumed_pages == 5
    assert bench.ids(manifest) == bench.upstream.ids(TOWN)


def test_v12_another_page_size_after_a_kill_goes_on_at_the_same_cursor(bench_of):
    bench = bench_of(330)
    with pytest.raises(Killed):
        bench.scrape(client=Fragile(bench.client(), 4), page_size=50)
    manifest = bench.scrape(page_size=80)
    assert manifest.resumed_pages == 3
    assert bench.ids(manifest) == bench.upstream.ids(TOWN)
    assert [page.counts.get("civic_pages", 0) for page in manifest.pages if not page.confirms] == [
        50,
        50,
        50,
        80,
        80,
        20,
    ]


def test_a_town_that_changes_while_it_is_read_is_read_again_and_never_mixed(bench_of):
    size_after = {"delete": 327, "add": 333, "alter": 330}
    cases = {f"{do}-{call}.ca": (do, call) for do in size_after for call in (2, 7, 9, 14)}
    bench = bench_of(towns=dict.fromkeys(cases, (330, 0)))
    bench.upstream.trouble(
        *({"town": town, "at_call": call, "do": do, "rows": 3, "seed": call} for town, (do, call) in cases.items())
    )
    for town, (do, call) in cases.items():
        manifest = bench.scrape(Partition.whole(f"{town}~agendas", "UTC"), page_size=50)
        assert bench.ids(manifest) == bench.upstream.ids(town), town
        assert manifest.source_total == len(bench.upstream.ids(town)) == size_after[do], town
        assert bench.upstream.calls[f"{town}~agendas"] > call, town


def test_a_town_that_never_rests_is_not_landed_and_keeps_its_evidence(bench_of):
    bench = bench_of(330)
    every_tenth = [
        {"town": TOWN, "at_call": call, "do": "alter", "rows": 1, "seed": call} for call in range(5, 14 * SWEEPS + 1, 5)
    ]
    bench.upstream.trouble(*every_tenth)
    with pytest.raises(NotSettled, match=f"during each of {SWEEPS} sweeps"):
        bench.scrape(page_size=50)
    names = [found.name for found in bench.landing.store.list("landing/")]
    assert names
    assert not [name for name in names if name.endswith("manifest.json")]
    bench.upstream.trouble()
    assert bench.ids(bench.scrape(page_size=50)) == bench.upstream.ids(TOWN)


def test_a_checkpoint_of_a_town_whose_count_changed_since_is_not_gone_on_with(bench_of):
    bench = bench_of(330)
    with pytest.raises(Killed):
        bench.scrape(client=Fragile(bench.client(), 5), page_size=50)
    bench.upstream.change(TOWN, "delete", rows=5, seed=3)
    manifest = bench.scrape(page_size=50)
    assert manifest.resumed_pages == 0
    assert bench.ids(manifest) == bench.upstream.ids(TOWN)


def test_a_checkpoint_that_is_too_old_is_not_gone_on_with(bench_of):
    bench = bench_of(330)
    with pytest.raises(Killed):
        bench.scrape(client=Fragile(bench.client(), 5), page_size=50)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)
    manifest = bench.scrape(page_size=50, now=lambda: later, resume_within=dt.timedelta(hours=1))
    assert manifest.resumed_pages == 0
    assert sum(bench.upstream.calls.values()) == 4 + 14


def test_two_overlapping_sweeps_of_one_town_end_with_the_same_rows(bench_of):
    first = bench_of(330)
    for overlaps_at in (2, 3, 7, 12):
        bench, other = first.anew(), list[Manifest]()

        def overlap(call: int, bench: Any = bench, at: int = overlaps_at, into: list[Manifest] = other) -> None:
            if call == at:
                into.append(bench.scrape(page_size=50, backfill_id="b2"))

        mine = bench.scrape(client=Fragile(bench.client(), before=overlap), page_size=50)
        bench.close()
        assert bench.ids(mine) == bench.ids(other[0]) == first.upstream.ids(TOWN)
        assert mine.content_hash == other[0].content_hash
        assert mine.object_name == other[0].object_name


def test_a_finished_snapshot_is_no_checkpoint_the_next_one_is_read_in_full(bench_of):
    bench = bench_of(330)
    first = bench.scrape(page_size=50)
    bench.upstream.change(TOWN, "delete", rows=30)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
    second = bench.scrape(page_size=50, now=lambda: later)
    assert (first.attempt != second.attempt, second.resumed_pages) == (True, 0)
    assert len(bench.ids(second)) == 300


def test_v04_a_page_that_fails_leaves_the_pages_before_it_and_says_where_it_stopped(bench_of):
    bench = bench_of(330)
    bench.upstream.trouble({"town": TOWN, "at_call": 4, "do": "fail", "status": 503})
    with pytest.raises(SourceUnavailable) as caught:
        bench.scrape(page_size=50)
    assert caught.value.facts["rows_kept"] == 150
    assert caught.value.facts["last_cursor"] == bench.upstream.ids(TOWN)[99]
    assert bench.scrape(page_size=50).resumed_pages == 3
