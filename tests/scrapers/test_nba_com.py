"""The sources of NBA.com against a sample of both of its hosts that keeps their contract and their oddities."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from memory_store import MemoryObjectStore

from alerting.errors import (
    BlockedBySource,
    NothingPublished,
    PipelineError,
    SourceContractError,
    SourceUnavailable,
)
from deployments.local.upstreams.league import games_in
from deployments.local.upstreams.nba_upstream import NbaUpstream
from scrapers.base import Page, Rate, Scraper, SourceAccess
from scrapers.client import SourceClient
from scrapers.landing import Landing, Manifest
from scrapers.pace.budget import Budget
from scrapers.partition import Partition
from scrapers.registry import scraper
from scrapers.scrape import ScrapeContext, scrape

NOW = dt.datetime(2024, 11, 20, 12, tzinfo=dt.UTC)
FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "nba_com"
THIS_SEASON, ANOTHER = "2024-25", "2025-26"
HOSTS = {"nba_schedule": "/{site}"}


class Bench:
    """Scrapes from the sample into memory."""

    def __init__(self, upstream: NbaUpstream) -> None:
        self.upstream = upstream
        self.store = MemoryObjectStore()

    def scrape(self, name: str, what: dt.date | str, **facts: Any) -> Manifest:
        source = self.source(name, **facts)
        partition = Partition.whole(what, source.zone) if isinstance(what, str) else Partition.day(what, source.zone)
        with self.client(source) as client:
            return scrape(partition, ScrapeContext(source, client, Landing(self.store), "b1", "0", now=lambda: NOW))

    def source(self, name: str, **facts: Any) -> Scraper:
        source = type(scraper(name))()
        for fact, value in facts.items():
            setattr(source, fact, value)
        return source

    def client(self, source: Scraper) -> SourceClient:
        access = SourceAccess(self.upstream.url + HOSTS[source.source], timeout_s=5.0)
        return SourceClient(source, access, Budget(Rate()))

    @property
    def paths(self) -> list[str]:
        return [request["path"] for request in self.upstream.calls.report()["requests"]]


@pytest.fixture(scope="module")
def shared() -> Iterator[NbaUpstream]:
    with NbaUpstream(now=NOW) as server:
        yield server


@pytest.fixture
def bench(shared: NbaUpstream) -> Bench:
    shared.now, shared.calendar = NOW, None
    shared.trouble()
    shared.calls.clear()
    return Bench(shared)


def recorded(name: str) -> bytes:
    """A payload that somebody recorded at the real site."""
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return path.read_bytes()


def inspected(source: Scraper, partition: Partition, body: bytes, **request: Any) -> Any:
    asked = request.pop("asked", None) or source.first_request(partition)
    return source.inspect(partition, Page(asked, 1, 200, {}, body, NOW, 0.1))


def test_the_season_that_is_on_comes_from_the_file_of_the_one_host_in_one_call(bench: Bench) -> None:
    found = bench.scrape("nba_schedule", THIS_SEASON)
    assert found.counts == {"nba_schedule": len(games_in(2024))}
    assert bench.paths == ["/cdn/static/json/staticData/scheduleLeagueV2.json"]


def test_any_other_season_comes_from_the_other_host(bench: Bench) -> None:
    found = bench.scrape("nba_schedule", ANOTHER)
    assert found.counts == {"nba_schedule": len(games_in(2025))}
    assert bench.paths == ["/cdn/static/json/staticData/scheduleLeagueV2.json", "/stats/stats/scheduleleaguev2"]


def test_a_game_that_the_schedule_lists_three_times_is_one(bench: Bench) -> None:
    bench.upstream.set_season([{"kind": "triple", "game": "0022400561"}, {"kind": "double", "game": "0022400700"}])
    assert bench.scrape("nba_schedule", THIS_SEASON).counts == {"nba_schedule": len(games_in(2024))}


@pytest.mark.parametrize(
    ("kind", "season", "expected", "said"),
    [
        ("contradiction", THIS_SEASON, SourceContractError, "game 0012400001 is scheduled at 2 times"),
        ("empty", THIS_SEASON, NothingPublished, "without a game proves nothing"),
        ("number_id", THIS_SEASON, SourceContractError, "another shape"),
        ("renamed", THIS_SEASON, SourceContractError, "gameStatus"),
        ("wrong_echo", ANOTHER, SourceContractError, "asked for the season 2025-26, got that of '2024-25'"),
        ("empty_body", THIS_SEASON, SourceUnavailable, "empty body"),
        ("access_denied", THIS_SEASON, BlockedBySource, "challenge"),
        ("html200", THIS_SEASON, BlockedBySource, "web page"),
    ],
)
def test_a_schedule_that_is_none_is_refused_for_what_it_is(
    bench: Bench, kind: str, season: str, expected: type[PipelineError], said: str
) -> None:
    bench.upstream.trouble({"kind": kind})
    with pytest.raises(expected, match=said):
        bench.scrape("nba_schedule", season)
    assert not [one.name for one in bench.store.list("landing/") if "manifest" in one.name]


def test_a_name_that_is_no_season_is_refused_without_a_call(bench: Bench) -> None:
    with pytest.raises(SourceContractError, match="one is written 2024-25"):
        bench.scrape("nba_schedule", "2024")
    assert not bench.paths


def test_whoever_is_no_browser_is_blocked_and_our_headers_are_those_of_one(bench: Bench) -> None:
    with pytest.raises(BlockedBySource):
        bench.scrape("nba_schedule", THIS_SEASON, headers={})
    assert bench.scrape("nba_schedule", THIS_SEASON).counts["nba_schedule"]


def test_a_block_of_one_host_leaves_the_schedule_of_the_other_alone(bench: Bench) -> None:
    bench.upstream.trouble({"kind": "access_denied", "path": "/stats/"})
    source = bench.source("nba_schedule")
    with bench.client(source) as client:
        context = ScrapeContext(source, client, Landing(bench.store), "b1", "0", now=lambda: NOW)
        for season, answers in ((ANOTHER, False), (THIS_SEASON, True), ("2026-27", False)):
            partition = Partition.whole(season, source.zone)
            if answers:
                assert scrape(partition, context).counts["nba_schedule"]
                continue
            with pytest.raises(BlockedBySource):
                scrape(partition, context)
    # The host that blocked one season is not asked for the next.
    assert bench.paths.count("/stats/stats/scheduleleaguev2") == 1


def test_the_recorded_schedule_has_its_games_and_their_tip_offs_in_true_utc() -> None:
    body = recorded("cdn_schedule_preseason_2025.json")
    source = scraper("nba_schedule")
    games = [game for date in json.loads(body)["leagueSchedule"]["gameDates"] for game in date["games"]]
    partition = Partition.whole(ANOTHER, source.zone)
    assert inspected(source, partition, body).counts == {"nba_schedule": len(games)}
