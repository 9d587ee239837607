"""civic.band against a real Datasette: nothing lost and nothing doubled, whatever happens between two pages."""

from __future__ import annotations

import datetime as dt
import json
import random
import re
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("datasette")

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    NotSettled,
    RateLimited,
    SourceContractError,
    SourceUnavailable,
)
from alerting.local_store import MemoryObjectStore
from deployments.local.civic_upstream import LOCAL_CIVIC_KEY, CivicUpstream
from scrapers.base import Page, Rate, Request, SourceAccess
from scrapers.budget import Budget
from scrapers.client import SourceClient
from scrapers.landing import Landing, Manifest
from scrapers.object_store import GcsObjectStore
from scrapers.partition import Partition
from scrapers.probing import is_unchanged
from scrapers.registry import scraper
from scrapers.scrape import SWEEPS, scrape
from scrapers.sources.civic_band import CivicBand

TOWN = "alameda.ca"
FEED = Path(__file__).parents[3] / "shared" / "fixtures" / "civicband" / "rss_trimmed.xml"
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


class Bench:
    def __init__(self, upstream: CivicUpstream) -> None:
        self.upstream = upstream
        self.landing = Landing(MemoryObjectStore())
        self.opened: list[SourceClient] = []

    def source(self, page_size: int = 1000) -> CivicBand:
        source = type(scraper("civic_band"))()
        source.page_size = page_size
        return source

    def client(self, key: str = LOCAL_CIVIC_KEY, base_url: str = "") -> SourceClient:
        access = SourceAccess(base_url or self.upstream.base_url, {"civic_band_api_key": key} if key else {})
        self.opened.append(SourceClient(self.source(), access, Budget(Rate())))
        return self.opened[-1]

    def scrape(self, partition: Partition = AGENDAS, *, client=None, page_size: int = 1000, **rest) -> Manifest:
        return scrape(
            partition,
            scraper=self.source(page_size),
            client=client or self.client(),
            landing=self.landing,
            backfill_id=rest.pop("backfill_id", "b1"),
            code_version="0",
            **rest,
        )

    def close(self) -> None:
        for client in self.opened:
            client.close()

    def ids(self, manifest: Manifest) -> list[str]:
        bodies = self.landing.read_pages(manifest)
        return [row["id"] for body in bodies for row in json.loads(body)["rows"]]


@pytest.fixture
def bench_of(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Starts an upstream with towns of the given sizes."""
    started: list[tuple[CivicUpstream, Bench]] = []

    def start(agendas: int = 300, **options) -> Bench:
        towns = {TOWN: (agendas, 0), **options.pop("towns", {})}
        upstream = CivicUpstream(data_dir=tmp_path / f"towns-{len(started)}", towns=towns, **options)
        bench = Bench(upstream.__enter__())
        started.append((upstream, bench))
        return bench

    yield start
    for upstream, bench in started:
        bench.close()
        upstream.__exit__(None, None, None)


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

    alone = Bench(bench.upstream).scrape(client=bench.client())
    assert (alone.content_hash, alone.counts) == (manifest.content_hash, manifest.counts)


def test_v20_a_kill_before_any_single_page_gives_what_an_undisturbed_run_gives(bench_of):
    upstream = bench_of(330).upstream
    for dies_at in range(2, 15):
        upstream.calls.clear()
        bench = Bench(upstream)
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
    upstream = bench_of(330).upstream
    for overlaps_at in (2, 3, 7, 12):
        bench, other = Bench(upstream), list[Manifest]()

        def overlap(call: int, bench: Bench = bench, at: int = overlaps_at, into: list[Manifest] = other) -> None:
            if call == at:
                into.append(bench.scrape(page_size=50, backfill_id="b2"))

        mine = bench.scrape(client=Fragile(bench.client(), before=overlap), page_size=50)
        bench.close()
        assert bench.ids(mine) == bench.ids(other[0]) == upstream.ids(TOWN)
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


def test_without_a_key_pages_are_cut_to_100_and_402_is_slow_down_and_never_an_end(bench_of):
    bench = bench_of(330, per_minute=3)
    with pytest.raises(RateLimited) as caught:
        bench.scrape(client=bench.client(key=""))
    assert (caught.value.facts["status"], caught.value.facts["rows_kept"]) == (402, 300)
    bench.upstream.per_minute = 100
    manifest = bench.scrape(client=bench.client(key=""))
    assert bench.ids(manifest) == bench.upstream.ids(TOWN)
    assert [page.counts["civic_pages"] for page in manifest.pages if not page.confirms] == [100, 100, 100, 30]


def test_what_is_no_answer_is_an_error_of_that_town(bench_of):
    bench = bench_of(30, towns={"quiet.ca": (5, 0), "html.ca": (5, 5), "gone.ca": (5, 5)})
    bench.upstream.trouble(
        {"town": "html.ca", "do": "fail", "status": 200, "html": True},
        {"town": "gone.ca", "do": "fail", "status": 404, "html": True},
    )
    for name, kind in (
        ("nowhere.ca~agendas", SourceContractError),
        ("html.ca~agendas", BlockedBySource),
        ("gone.ca~agendas", SourceContractError),
        ("alameda.ca~agendas/x", SourceContractError),
        ("evil.example/.ca~agendas", SourceContractError),
    ):
        with pytest.raises(kind):
            bench.scrape(Partition.whole(name, "UTC"))
    with pytest.raises(AuthenticationError):
        bench.scrape(client=bench.client(key="a-wrong-key-0123456789"))
    empty = bench.scrape(Partition.whole("quiet.ca~minutes", "UTC"))
    assert (empty.counts, empty.empty_evidence) == ({"civic_pages": 0}, "count 0 and no rows")


def test_our_user_agent_draws_no_challenge_and_a_browser_does(bench_of):
    bench = bench_of(5)
    url = bench.upstream.base_url.replace("{site}", TOWN) + "/meetings/agendas.json"
    browser = urllib.request.Request(url, headers={"User-Agent": "Mozilla/5.0"})
    with urllib.request.urlopen(browser, timeout=10) as answer:
        assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert bench.scrape().counts == {"civic_pages": 5}


def test_a_town_that_fits_on_one_page_costs_one_call(bench_of):
    bench = bench_of(1000)
    assert bench.scrape().source_total == 1000
    assert sum(bench.upstream.calls.values()) == 1


@pytest.mark.parametrize("size", [330, 12_345])
def test_v24_counts_of_a_landed_snapshot_are_those_that_the_real_datasette_gives(bench_of, size):
    bench = bench_of(size)
    manifest, source, client = bench.scrape(), bench.source(), bench.client()
    for since in (
        dt.date(1, 1, 1),
        dt.date(2005, 7, 1),
        dt.date(2019, 2, 28),
        dt.date(2024, 1, 31),
        dt.date(9999, 1, 1),
    ):
        requests = source.probes(source.first_request(AGENDAS), since)
        asked = tuple(source.probed(client.fetch(request)) for request in requests)
        assert asked == source.counts_of(bench.landing.read_pages(manifest), since), since
    assert (asked[0] is None) == (size > 10_000)


def test_v24_a_probe_that_is_not_answered_by_the_table_is_an_error_and_never_unchanged(bench_of):
    bench = bench_of(330)
    manifest = bench.scrape(page_size=50)
    later = manifest.landed_at + dt.timedelta(days=1)
    assert is_unchanged(bench.source(), manifest, bench.landing, bench.client(), later)
    for status, html, kind in (
        (200, True, BlockedBySource),
        (404, True, SourceContractError),
        (503, False, SourceUnavailable),
    ):
        bench.upstream.trouble({"town": TOWN, "do": "fail", "status": status, "html": html})
        with pytest.raises(kind):
            is_unchanged(bench.source(), manifest, bench.landing, bench.client(), later)
    too_late = manifest.landed_at + CivicBand.trusted_for + dt.timedelta(seconds=1)
    bench.upstream.trouble()
    assert not is_unchanged(bench.source(), manifest, bench.landing, bench.client(), too_late)
    assert sum(bench.upstream.calls.values()) == 0


def test_v08_the_towns_are_those_that_the_platform_lists(bench_of):
    bench = bench_of(5, towns={"oak-park.il": (1, 0), "multnomah-county.or": (0, 1)})
    page = bench.client().fetch(bench.source().catalogue_request())
    assert bench.source().catalogue(page) == ("alameda.ca", "multnomah-county.or", "oak-park.il")
    assert bench.upstream.calls == {"feed": 1}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<!doctype html><html><title>Making sure you're not a bot!</title></html>", BlockedBySource),
        (b'{"ok": false}', BlockedBySource),
        (b"", BlockedBySource),
        (b"<?xml?><rss><channel><link>https://civic.band/rss.xml</link></channel></rss>", SourceContractError),
        (b"<rss><item><link>https://evil.example/alameda.ca.civic.band/</link></item></rss>", SourceContractError),
    ],
)
def test_what_is_no_list_of_towns_is_refused(body, kind):
    source = type(scraper("civic_band"))()
    page = Page(source.catalogue_request(), 1, 200, {}, body, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 0.1)
    with pytest.raises(kind):
        source.catalogue(page)


@pytest.mark.fixtures
@pytest.mark.skipif(not FEED.exists(), reason="recorded payloads are not part of the project")
def test_the_recorded_feed_of_the_platform_is_read():
    source = type(scraper("civic_band"))()
    page = Page(source.catalogue_request(), 1, 200, {}, FEED.read_bytes(), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 0.1)
    towns = source.catalogue(page)
    assert len(towns) == 78
    assert {"oak-park.il", "temecula.ca", "multnomah-county.or"} < set(towns)
    assert all(re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", town) for town in towns)
