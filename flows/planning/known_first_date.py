"""The first date at which a source has rows, as it was searched for: one object, and the floor of every later plan."""

from __future__ import annotations

import datetime as dt

from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting.object_store import ObjectStore
from alerting.versioned_record import VersionedRecord
from alerting.wording import plural
from flows.planning.catalogue import known_entities
from flows.wiring import Services
from scrapers.base import Scraper
from scrapers.first_date_search import Look


class FirstDate(BaseModel):
    """What was found between ``start_date`` and ``end_date`` (inclusive), by whom, with every look at the source.

    ``first_date`` is the first day of the first partition with rows; ``found_at`` is aware UTC.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    first_date: dt.date
    start_date: dt.date
    end_date: dt.date
    found_at: dt.datetime
    found_by: str
    calls: int
    looks: tuple[Look, ...]

    @property
    def evidence(self) -> str:
        """Why nothing before it is asked for, and how that is undone."""
        before = [look for look in self.looks if not look.is_there and look.partition < self.first_date.isoformat()]
        looked = f"{plural(len(before), 'partition')} before it came empty"
        looked += f", the nearest {max(look.partition for look in before)}"
        return f"(found on {self.found_at:%Y-%m-%d}: {looked}; undo: gapless first-date {self.source} --forget)"


_SHAPE = TypeAdapter(FirstDate)


def first_date_name(source: str) -> str:
    """Where the first date of a source lies."""
    return f"facts/source={source}/first_date.json"


def first_date_record(store: ObjectStore, source: str) -> VersionedRecord[FirstDate]:
    """The object that holds it."""
    hint = f"gapless first-date {source} --forget"
    return VersionedRecord(store, first_date_name(source), _SHAPE, source=source, stage="plan", hint=hint)


def read_first_date(store: ObjectStore, source: str) -> FirstDate | None:
    """The first date as last searched for, None when it never was. Raises ``StateUnreadable``."""
    return first_date_record(store, source).read()


def known_scraper(services: Services, source: str) -> Scraper:
    """The scraper with what its source itself has shown: the entities it lists, the first date with rows.

    Makes no call to the source. Raises ``ConfigurationError`` for an unknown one, ``StateUnreadable``.
    """
    scraper = services.source_kit(source).scraper
    if scraper.step == "whole":
        scraper.entities = known_entities(services, scraper)
        return scraper
    found = read_first_date(services.store, source)
    if found and found.first_date > scraper.floor:
        scraper.floor, scraper.floor_evidence = found.first_date, found.evidence
    return scraper
