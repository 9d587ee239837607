"""Toy sources for what one source is to another: a calendar, games that follow it, scores after games."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar

from alerting.memory_store import MemoryObjectStore
from flows.ledger.ledger import Verdict
from flows.settings import Settings
from flows.wiring import Services, SourceKit
from processors.base import LandedPage, Processor, Row, Table
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.oracle import Oracle
from scrapers.partition import Partition

NOW = dt.datetime(2025, 3, 1, 12, tzinfo=dt.UTC)


def season_of(day: dt.date) -> str:
    """Called by the year in which it began."""
    return str(day.year - (day.month < 7))


class Toy(Scraper):
    """What all of them share: an answer is a list of rows, and an empty list is proof."""

    title = "Toy"
    family = "toys"
    zone = "America/New_York"
    base_url = "https://example.org"
    floor = dt.date(2024, 1, 1)
    may_repeat = True

    def first_request(self, partition: Partition) -> Request:
        return Request(f"/{self.source}/{partition.key}")

    def inspect(self, partition: Partition, page: Page) -> Findings:
        rows = json.loads(page.body)
        return Findings({self.tables[0]: len(rows)}, empty_evidence="" if rows else "[]")


class Calendar(Toy):
    """Asked by season."""

    source = "calendar"
    step = "whole"
    entities: tuple[str, ...] = ("2023", "2024")
    tables = ("toy_calendar",)


class Games(Toy):
    """Its dates have the items of the calendar."""

    source = "games"
    tables = ("toy_games",)
    requires = ("calendar",)
    oracles: ClassVar[tuple[Oracle, ...]] = (
        Oracle("calendar", "toy_calendar", "game_id", "game_date", where="NOT is_off", entity=season_of, item="game"),
    )


class Scores(Toy):
    """Comes after the games of its date, and knows them by their teams."""

    source = "scores"
    tables = ("toy_scores",)
    requires = ("games",)
    oracles: ClassVar[tuple[Oracle, ...]] = (
        Oracle("games", "toy_games", "home visitor", "game_date", found_key="home guest", missing="told", item="score"),
    )


class CalendarRow(Row):
    season: str
    game_id: str
    game_date: dt.date
    home: str
    visitor: str
    is_off: bool = False


class GameRow(Row):
    game_id: str
    game_date: dt.date
    home: str
    visitor: str


class ScoreRow(Row):
    game_date: dt.date
    home: str
    guest: str


class ToyProcessor(Processor):
    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in json.loads(page.body):
            yield self.tables[0].name, row


class CalendarProcessor(ToyProcessor):
    source = "calendar"
    tables = (
        Table(
            "toy_calendar",
            CalendarRow,
            ("season", "game_id"),
            "game_date",
            entity_field="season",
            whole_entity=True,
            granularity="MONTH",
        ),
    )


class GamesProcessor(ToyProcessor):
    source = "games"
    tables = (Table("toy_games", GameRow, ("game_date", "game_id"), "game_date"),)


class ScoresProcessor(ToyProcessor):
    source = "scores"
    tables = (Table("toy_scores", ScoreRow, ("game_date", "home"), "game_date"),)


TOYS: dict[str, type[Toy]] = {kind.source: kind for kind in (Calendar, Games, Scores)}
PROCESSORS: dict[str, type[Processor]] = {
    kind.source: kind for kind in (CalendarProcessor, GamesProcessor, ScoresProcessor)
}


class ToyUpstream:
    """What the sources have, by source and partition; what nobody put there is an empty list.

    ``refuses`` is what every call of a source raises.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.asked: Counter[str] = Counter()
        self.refuses: dict[str, Exception] = {}


class ToyClient:
    """Answers from the upstream, with nothing in between."""

    def __init__(self, upstream: ToyUpstream) -> None:
        self._upstream = upstream
        self.calls = self.units = self.received_bytes = 0

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        _, source, key = request.path.split("/")
        if refused := self._upstream.refuses.get(source):
            raise refused
        self.calls += 1
        self._upstream.asked[f"{source} {key}"] += 1
        body = json.dumps(self._upstream.rows.get((source, key), [])).encode()
        return Page(request, page_number, 200, {}, body, dt.datetime.now(dt.UTC), 0.01)

    def close(self) -> None:
        """Nothing is open."""


class ToyKit(SourceKit):
    """By name, without a registry."""

    services: ToyServices

    def build_scraper(self) -> Scraper:
        return TOYS[self.source]()

    @cached_property
    def processor(self) -> Processor:
        return PROCESSORS[self.source]()

    @cached_property
    def client(self) -> Any:
        return ToyClient(self.services.upstream)


class ToyServices(Services):
    """Of the toys; in memory unless ``settings`` say where storage and tables are."""

    kit_type = ToyKit

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings or Settings(project="p", console_only=True))
        self.upstream = ToyUpstream()
        if settings is None:
            self.__dict__["store"] = MemoryObjectStore()

    def anew(self) -> ToyServices:
        """With the same upstream."""
        other = ToyServices(self.settings)
        other.upstream = self.upstream
        return other

    def record(self, source: str, keys: list[str], verdict: Verdict = Verdict.VERIFIED, **facts: Any) -> None:
        """Gives partitions a verdict, read at `NOW` unless ``attempt`` says otherwise."""
        ledger = self.source_kit(source).ledger
        ledger.refresh()
        given = {"attempts": 1, "attempt": f"{NOW:%Y%m%dT%H%M%SZ}-00000000", **facts}
        for key in keys:
            ledger.advance(key, verdict, "bf-1", NOW, **given)


def days(first: str, count: int) -> list[Partition]:
    """So many dates in a row."""
    start = dt.date.fromisoformat(first)
    return [Partition.day(start + dt.timedelta(days=at), Toy.zone) for at in range(count)]
