from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator

import pytest

from deployments.local.upstream import Upstream
from scrapers.base import Page, Rate, Request, Scraper, SourceAccess
from scrapers.budget import Budget
from scrapers.client import SourceClient
from scrapers.registry import scraper


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(api_key="planted-key-0123456789") as server:
        yield server


@pytest.fixture
def box_scores() -> Scraper:
    return scraper("bdl_box_scores")


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
