from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from answering import KEY, REQUEST, SOURCE
from raw_server import Pieces, RawServer

from alerting.memory_store import MemoryObjectStore
from deployments.local.upstreams.box_scores_upstream import Upstream
from deployments.local.upstreams.civic_towns import LOCAL_CIVIC_KEY
from scrapers.base import Page, Request, Scraper, SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.rate import Rate
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape
from scrapers.sources.civic_band import CivicBand

if TYPE_CHECKING:
    from deployments.local.upstreams.civic_upstream import CivicUpstream

CIVIC_TOWN = "alameda.ca"
AGENDAS = Partition.whole(f"{CIVIC_TOWN}~agendas", "UTC")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(api_key="planted-key-0123456789") as server:
        yield server


@pytest.fixture
def box_scores() -> Scraper:
    return scraper("bdl_box_scores")


@pytest.fixture
def fetched() -> Iterator[Callable[..., Page]]:
    """Fetches through a client from a server that sends these bytes; ``made`` is the last client."""
    with_servers: list[RawServer] = []

    def fetch(answer: bytes | Callable[[int, bytes], Pieces], source: Scraper | None = None, **parts: Any) -> Page:
        server = RawServer(answer if callable(answer) else lambda number, asked: [answer])
        with_servers.append(server.__enter__())
        access = SourceAccess(server.url, {"bdl_api_key": KEY}, timeout_s=parts.pop("timeout_s", 5.0))
        client = SourceClient(source or SOURCE, access, parts.pop("budget", None) or Budget(Rate()))
        fetch.made, fetch.server = client, server
        return client.fetch(REQUEST)

    yield fetch
    for server in with_servers:
        fetch.made.close()
        server.__exit__(None, None, None)


@pytest.fixture
def client_of(upstream: Upstream, box_scores: Scraper) -> Iterator[Callable[..., SourceClient]]:
    """Builds clients of the sample upstream; keyword arguments replace the parts."""
    opened: list[SourceClient] = []

    def build(**parts) -> SourceClient:
        access = SourceAccess(
            parts.pop("base_url", upstream.url),
            parts.pop("secrets", {"bdl_api_key": "planted-key-0123456789"}),
            timeout_s=parts.pop("timeout_s", 5.0),
        )
        client = SourceClient(
            parts.pop("scraper", box_scores), access, parts.pop("budget", None) or Budget(Rate()), **parts
        )
        opened.append(client)
        return client

    yield build
    for client in opened:
        client.close()


def page_of(body: bytes) -> Page:
    return Page(Request("/"), 1, 200, {}, body, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 0.1)


@pytest.fixture
def page() -> Callable[[bytes], Page]:
    return page_of


class CivicBench:
    """A sample of civic.band, a landing zone, and the scraper between them."""

    def __init__(self, upstream: CivicUpstream) -> None:
        self.upstream = upstream
        self.landing = Landing(MemoryObjectStore())
        self.opened: list[SourceClient] = []

    def anew(self) -> CivicBench:
        """The same sample with a landing zone that is empty."""
        return type(self)(self.upstream)

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
            ScrapeContext(
                scraper=self.source(page_size),
                client=client or self.client(),
                landing=self.landing,
                backfill_id=rest.pop("backfill_id", "b1"),
                code_version="0",
                **rest,
            ),
        )

    def close(self) -> None:
        for client in self.opened:
            client.close()

    def ids(self, manifest: Manifest) -> list[str]:
        bodies = self.landing.read_pages(manifest)
        return [row["id"] for body in bodies for row in json.loads(body)["rows"]]


@pytest.fixture
def bench_of(tmp_path: Path) -> Iterator[Callable[..., CivicBench]]:
    """Starts an upstream with towns of the given sizes."""
    pytest.importorskip("datasette")
    from deployments.local.upstreams.civic_upstream import CivicUpstream

    started: list[tuple[CivicUpstream, CivicBench]] = []

    def start(agendas: int = 300, **options) -> CivicBench:
        towns = {CIVIC_TOWN: (agendas, 0), **options.pop("towns", {})}
        upstream = CivicUpstream(data_dir=tmp_path / f"towns-{len(started)}", towns=towns, **options)
        bench = CivicBench(upstream.__enter__())
        started.append((upstream, bench))
        return bench

    yield start
    for upstream, bench in started:
        bench.close()
        upstream.__exit__(None, None, None)
