"""What civic.band answers, and what it means: limits, refusals, probes and the list of its towns."""

from __future__ import annotations

import datetime as dt
import re
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("datasette")

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    RateLimited,
    SourceContractError,
    SourceUnavailable,
)
from scrapers.base import Page
from scrapers.partition import Partition
from scrapers.platforms.count_check import is_unchanged
from scrapers.registry import scraper
from scrapers.sources.civic_band import CivicBand

TOWN = "alameda.ca"
FEED = Path(__file__).parents[3] / "shared" / "fixtures" / "civicband" / "rss_trimmed.xml"
AGENDAS = Partition.whole(f"{TOWN}~agendas", "UTC")


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
    assert (empty.counts, empty.empty_evidence) == ({"civic_pages": 0}, "200, count 0 and no rows")


def test_a_site_that_blocked_is_not_asked_again_for_its_other_documents_and_the_others_are(bench_of):
    bench = bench_of(5, towns={"html.ca": (5, 5)})
    bench.upstream.trouble({"town": "html.ca", "do": "fail", "status": 200, "html": True})
    client = bench.client()
    with pytest.raises(BlockedBySource, match="web page"):
        bench.scrape(Partition.whole("html.ca~agendas", "UTC"), client=client)
    asked = client.calls
    with pytest.raises(BlockedBySource, match=r"html\.ca blocked an earlier call .* no call was made"):
        bench.scrape(Partition.whole("html.ca~minutes", "UTC"), client=client)
    assert client.calls == asked
    assert bench.scrape(client=client).counts == {"civic_pages": 5}


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
