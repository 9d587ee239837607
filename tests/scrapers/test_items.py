"""A list and its items: what the source lists for a date and what was fetched of it must be the same."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from alerting.errors import NotSettled
from alerting.memory_store import MemoryObjectStore
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.landing import Landing
from scrapers.partition import Partition
from scrapers.scrape import ScrapeContext, scrape

DAY = Partition.day(dt.date(2025, 1, 3), "UTC")
GAMES = [f"g{number}" for number in range(1, 10)]


class Games(Scraper):
    """A list of the day's games, then one call a game. ``fetched`` is how many of them it bothers to fetch."""

    source, title, zone, base_url, tables = "games", "Games", "UTC", "https://games.example", ("games",)
    is_paginated = True
    page_size = 1
    fetched = len(GAMES)

    def first_request(self, partition: Partition) -> Request:
        return Request("/games", (("date", partition.key),))

    def inspect(self, partition: Partition, page: Page) -> Findings:
        answer = json.loads(page.body)
        if page.request.path == "/games":
            wanted = tuple(answer[: self.fetched])
            return Findings({}, keys=tuple(answer), confirms=True, next_request=self._game(wanted))
        rest = tuple(page.request.cursor.split(",")) if page.request.cursor else ()
        return Findings({"games": 1}, keys=(answer["id"],), next_request=self._game(rest))

    def _game(self, wanted: tuple[str, ...]) -> Request | None:
        return Request(f"/games/{wanted[0]}", cursor=",".join(wanted[1:])) if wanted else None


class Kinds(Scraper):
    """Three pages a day, one per kind of game; one that has none says so."""

    source, title, zone, base_url, tables = "kinds", "Kinds", "UTC", "https://games.example", ("games",)
    is_paginated = True

    def first_request(self, partition: Partition) -> Request:
        return Request("/games/1")

    def inspect(self, partition: Partition, page: Page) -> Findings:
        number = int(page.request.path.rpartition("/")[2])
        count = json.loads(page.body)
        evidence = "count 0" if count == 0 else ""
        next_one = Request(f"/games/{number + 1}") if number < 3 else None
        return Findings({"games": count or 0}, empty_evidence=evidence, next_request=next_one)


class Answers:
    def __init__(self, *counts: int | None) -> None:
        self.counts = counts

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        body = json.dumps(self.counts[page_number - 1]).encode()
        return Page(request, page_number, 200, {}, body, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 0)


class Api:
    def __init__(self, listed: list[str]) -> None:
        self.listed, self.calls = listed, 0

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        self.calls += 1
        name = request.path.rpartition("/")[2]
        body: Any = self.listed if name == "games" else {"id": name}
        return Page(request, page_number, 200, {}, json.dumps(body).encode(), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 0)


def swept(api: Api, fetched: int = len(GAMES)) -> Any:
    kind = type("Games", (Games,), {"fetched": fetched})
    landing = Landing(MemoryObjectStore())
    made = scrape(DAY, ScrapeContext(scraper=kind(), client=api, landing=landing, backfill_id="b", code_version="0"))
    return made, [json.loads(body)["id"] for body in landing.read_pages(made)]


def test_every_listed_item_is_fetched_and_the_list_itself_is_no_row():
    manifest, names = swept(Api(GAMES))
    assert names == GAMES
    assert (manifest.counts, manifest.source_total) == ({"games": 9}, 9)


@pytest.mark.parametrize("fetched", [1, 8])
def test_t46_items_that_the_source_lists_and_that_were_not_fetched_are_found_out(fetched):
    with pytest.raises(NotSettled, match=f"{9 - fetched} added"):
        swept(Api(GAMES), fetched)


def test_several_pages_are_empty_when_each_of_them_is_proven_to_be():
    def evidence(*counts: int | None) -> str:
        landing = Landing(MemoryObjectStore())
        facts = {"landing": landing, "backfill_id": "b", "code_version": "0"}
        return scrape(DAY, ScrapeContext(scraper=Kinds(), client=Answers(*counts), **facts)).empty_evidence

    assert evidence(0, 0, 0) == "3 pages, each proven empty; the last: 200, count 0"
    assert evidence(0, None, 0) == ""
    assert evidence(0, 2, 0) == ""
