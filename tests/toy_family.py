"""Toy sources in memory, for what one source is to another: a calendar, games that follow it, scores after games."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

from memory_store import MemoryObjectStore

from flows.ledger.ledger import Verdict
from flows.settings import Settings
from flows.wiring import Services, SourceKit
from scrapers.base import Findings, Oracle, Page, Request, Scraper
from scrapers.partition import Partition

NOW = dt.datetime(2025, 3, 1, 12, tzinfo=dt.UTC)


class Toy(Scraper):
    """What all of them share."""

    title = "Toy"
    family = "toys"
    zone = "America/New_York"
    base_url = "https://example.org"
    floor = dt.date(2024, 1, 1)

    def first_request(self, partition: Partition) -> Request:
        return Request(f"/{self.source}/{partition.key}")

    def inspect(self, partition: Partition, page: Page) -> Findings:
        return Findings(dict.fromkeys(self.tables, 0))


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
        Oracle("calendar", "toy_calendar", "game_id", "game_date", entity=lambda day: str(day.year - 1), item="game"),
    )


class Scores(Toy):
    """Comes after the games of its date."""

    source = "scores"
    tables = ("toy_scores",)
    requires = ("games",)


TOYS: dict[str, type[Toy]] = {kind.source: kind for kind in (Calendar, Games, Scores)}


class ToyKit(SourceKit):
    """By name, without a registry."""

    def build_scraper(self) -> Scraper:
        return TOYS[self.source]()


class ToyServices(Services):
    """Everything in memory."""

    kit_type = ToyKit

    def __init__(self) -> None:
        super().__init__(Settings(project="p", console_only=True))
        self.__dict__["store"] = MemoryObjectStore()

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
