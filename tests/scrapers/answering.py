"""One good answer of a source, what it is asked by, and clients that answer without a server."""

from __future__ import annotations

import datetime as dt
import json

from deployments.local.upstreams.season import games_on
from scrapers.base import Page, Request
from scrapers.partition import Partition
from scrapers.registry import scraper

DATE = dt.date(2025, 1, 3)
SOURCE = scraper("bdl_box_scores")
DAY = Partition.day(DATE, SOURCE.zone)
REQUEST = SOURCE.first_request(DAY)
KEY = "planted-key-0123456789"
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
JSON = "Content-Type: application/json"
HTML = "Content-Type: text/html"
EMPTY = b'{"data":[]}'
GOOD = json.dumps({"data": games_on(DATE)}).encode()


class Landed:
    """Gives one page, whatever is asked."""

    def __init__(self, body: bytes, **headers: str) -> None:
        self._body, self._headers = body, headers

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        return Page(request, page_number, 200, self._headers, self._body, NOW, 0.1)


class Answering:
    """One document after the other; the last one for ever."""

    def __init__(self, *documents: object) -> None:
        self._documents, self.asked = documents, list[Request]()

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        self.asked.append(request)
        body = json.dumps(self._documents[min(len(self.asked), len(self._documents)) - 1]).encode()
        return Page(request, page_number, 200, {}, body, NOW, 0.1)
