"""`gapless cleanup`: finds what no manifest, ledger entry or running load names. Removes it only when told to.

Never touched: an attempt with a manifest, an attempt that a ledger entry names, pages behind which a later run would go
on, landed pages of a source that feeds on another (each is good for any later attempt), anything younger than
``min_age``, and any object at all while a living
run holds the source's lease. What is removed is looked for with the lease in hand: a run stages under names that
follow from what it loads, so one that was a leftover may be in use again.
"""

# The names in the SQL are those of staging tables, checked against a pattern.
# ruff: noqa: S608

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

from alerting.object_store import StoredObject
from flows.coordination.kept_lease import held_by_hand
from flows.wiring import Services
from scrapers.manifest import source_prefix

_ATTEMPT = re.compile(r"landing/source=[^/]+/(?:partition|run)=([^/]+)/attempt=([^/]+)/(.+)")
_STAGING_TABLE = re.compile(r"stg_([A-Za-z0-9_]+)_[0-9a-f]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that nothing names: ``kind`` is ``attempt``, ``staging object`` or ``staging table``."""

    kind: str
    name: str
    written_at: dt.datetime | None
    size_bytes: int
    why: str
    objects: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the number of objects instead of their names."""
        return {**dataclasses.asdict(self), "objects": len(self.objects)}


def find_leftovers(services: Services, source: str, now: dt.datetime, min_age: dt.timedelta) -> list[Leftover]:
    """Leftovers of one source, by kind and name. Reads only."""
    before = now - min_age
    resumable_for = dt.timedelta(hours=services.settings.checkpoint_max_age_h)
    found = [
        *_orphaned_attempts(services, source, now - max(min_age, resumable_for)),
        *_staging_objects(services, source, before),
        *_staging_tables(services, source, before),
    ]
    return sorted(found, key=lambda one: (one.kind, one.name))


def remove_leftovers(services: Services, source: str, now: dt.datetime, min_age: dt.timedelta) -> list[Leftover]:
    """Removes what ``find_leftovers`` finds, and returns it. Raises ``LeaseHeld`` while a run works."""
    with held_by_hand(services, source, "cleanup") as lease:
        found = find_leftovers(services, source, now, min_age)
        for one in found:
            lease.check()
            if one.kind == "staging table":
                services.warehouse.query(f"DROP TABLE IF EXISTS {services.warehouse.name_of(one.name)}")
            for name in one.objects:
                services.store.delete(name)
    return found


def _orphaned_attempts(services: Services, source: str, before: dt.datetime) -> Iterator[Leftover]:
    keeps_pages = bool(services.source_kit(source).scraper.feeds_on)
    named = {(key, entry.attempt) for key, entry in services.source_kit(source).ledger.refresh().items()}
    attempts: dict[tuple[str, str], list[StoredObject]] = {}
    for stored in services.store.list(source_prefix(source)):
        match = _ATTEMPT.fullmatch(stored.name)
        if match:
            attempts.setdefault((match[1], match[2]), []).append(stored)
    for (key, attempt), objects in attempts.items():
        landed = any(one.name.endswith("/manifest.json") for one in objects)
        if keeps_pages and any("/page-" in one.name for one in objects):
            continue
        if landed or (key, attempt) in named or not all(_older(one, before) for one in objects):
            continue
        yield _leftover("attempt", f"{key} attempt {attempt}", objects, "no manifest: it ended before it was complete")


def _staging_objects(services: Services, source: str, before: dt.datetime) -> Iterator[Leftover]:
    for stored in services.store.list(f"staging/source={source}/"):
        if _older(stored, before):
            yield _leftover("staging object", stored.name, [stored], "its load has ended")


def _staging_tables(services: Services, source: str, before: dt.datetime) -> Iterator[Leftover]:
    schema = services.warehouse.name_of("INFORMATION_SCHEMA").strip("`").replace(".INFORMATION_SCHEMA", "")
    rows = services.warehouse.query(
        f"SELECT table_name, creation_time FROM `{schema}`.INFORMATION_SCHEMA.TABLES WHERE table_name LIKE 'stg_%'"
    )
    ours = {table.name for table in services.source_kit(source).processor.tables}
    for row in rows:
        name, created = str(row["table_name"]), row["creation_time"]
        match = _STAGING_TABLE.fullmatch(name)
        if match and match[1] in ours and (created is None or created < before):
            yield Leftover("staging table", name, created, 0, "its load has ended; it would expire by itself")


def _older(stored: StoredObject, before: dt.datetime) -> bool:
    return stored.updated_at is not None and stored.updated_at < before


def _leftover(kind: str, name: str, objects: list[StoredObject], why: str) -> Leftover:
    written = [one.updated_at for one in objects if one.updated_at]
    return Leftover(
        kind,
        name,
        max(written, default=None),
        sum(one.size_bytes for one in objects),
        why,
        tuple(one.name for one in objects),
    )
