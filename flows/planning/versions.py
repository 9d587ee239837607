"""Dates whose items were changed after they were landed, of sources that tell (`Versioned`) or feed on another.

Backfills and daily runs ask once, whatever its date, for everything that was changed since they last asked. What
differs from the landed versions is kept in one object, so that plans, gaps and audits know it without a call.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting.errors import LandingDamaged, PipelineError, SourceContractError
from alerting.object_store import ObjectStore
from alerting.ranges import compress_dates
from alerting.versioned_record import VersionedRecord
from alerting.wording import plural
from flows.ledger.ledger import LedgerEntry
from flows.planning.plan import Plan
from flows.wiring import Services
from scrapers.attempt import Fetcher
from scrapers.base import Scraper
from scrapers.platforms.catalogue import Versioned
from scrapers.scrape import begun_at

OVERLAP = dt.timedelta(days=1)
"""What was changed shortly before is asked for again: a source's index may lag behind its files."""
MOST_PAGES = 100


class Changed(BaseModel):
    """What a source last listed: its newest change (aware, by its own clock), and items of other versions than landed.

    ``versions`` are by partition key and item.
    """

    model_config = ConfigDict(frozen=True)

    read_up_to: dt.datetime
    versions: dict[str, dict[str, str]]


def changed_partitions(services: Services, scraper: Scraper, entries: Mapping[str, LedgerEntry]) -> dict[str, str]:
    """Which of ``entries`` are landed with other items than are listed by now, and what is other. No call.

    Listed by the source itself (`Versioned`), or by the one that it feeds on. Raises ``StateUnreadable``.
    """
    if scraper.feeds_on:
        return _fed_by_another_list(services, scraper, entries)
    stored = _record(services.store, scraper.source).read() if isinstance(scraper, Versioned) else None
    return _differing(services, stored.versions, entries) if stored else {}


def _fed_by_another_list(services: Services, scraper: Scraper, entries: Mapping[str, LedgerEntry]) -> dict[str, str]:
    """Partitions of which the lister is done with another list than they were read from."""
    fed = {key: entry for key, entry in entries.items() if entry.fed_by}
    if not fed:
        return {}
    lists = services.source_kit(scraper.feeds_on).ledger.refresh(min(fed), max(fed))
    found = {}
    for key, entry in fed.items():
        listed = lists.get(key)
        if listed is None or not listed.verdict.is_good or listed.content_hash == entry.fed_by:
            continue
        # An empty list is another one after every reading.
        if any(listed.landed.values()) or any(entry.landed.values()):
            found[key] = f"{scraper.feeds_on} has another list by now"
    return found


def listed_calls(
    services: Services, scraper: Scraper, plan: Plan, entries: Mapping[str, LedgerEntry]
) -> dict[str, int]:
    """By partition that is fetched, the items that the source it feeds on has listed and that are not landed here.

    Of a partition whose list has changed since, at least one.
    """
    keys = [partition.key for partition in plan.to_fetch]
    lists = services.source_kit(scraper.feeds_on).ledger.refresh(min(keys), max(keys)) if keys else {}
    found = {}
    for key in keys:
        listed, entry = lists.get(key), entries.get(key)
        many = sum(listed.landed.values()) if listed else 0
        had = sum(entry.landed.values()) if entry else 0
        found[key] = max(many - had, min(many, 1))
    return found


def refresh_versions(services: Services, scraper: Scraper, client: Fetcher | None, now: dt.datetime) -> list[str]:
    """Asks the source what was changed since it was last asked. Blocking.

    Gives what the mail has to say of it. A list that cannot be had stops nothing: what was known stays known.
    """
    if client is None or not isinstance(scraper, Versioned):
        return []
    entries = services.source_kit(scraper.source).ledger.refresh()
    begun = [begun_at(entry.attempt) or entry.updated_at for entry in entries.values() if entry.attempt]
    if not begun:
        return []
    record = _record(services.store, scraper.source)
    known = record.read() or Changed(read_up_to=min(begun), versions={})
    try:
        listed, newest = _listed(scraper, client, known.read_up_to - OVERLAP)
    except PipelineError as error:
        return [f"the source's list of changed files was not read ({error}); changes are seen by a later run"]
    versions = {key: {**known.versions.get(key, {}), **items} for key, items in (known.versions | listed).items()}
    differing = _differing(services, versions, entries)
    kept = {key: items for key, items in versions.items() if key in differing}
    record.put(Changed(read_up_to=min(max(newest or known.read_up_to, known.read_up_to), now), versions=kept))
    if not differing:
        return []
    dates = plural(len(differing), "date", "has", "have")
    return [f"{dates} other items at the source than landed: {compress_dates(sorted(differing))}"]


def _listed(
    scraper: Versioned, client: Fetcher, since: dt.datetime
) -> tuple[dict[str, dict[str, str]], dt.datetime | None]:
    request, newest = scraper.changes_request(since), None
    found: dict[str, dict[str, str]] = {}
    for number in range(1, MOST_PAGES + 1):
        page = scraper.changes(client.fetch(request, number))
        for key, items in page.versions.items():
            found.setdefault(key, {}).update(items)
        newest = max(filter(None, (newest, page.newest)), default=None)
        if page.next_request is None:
            return found, newest
        request = page.next_request
    raise SourceContractError(f"the list of changes has more than {MOST_PAGES} pages")


def _differing(
    services: Services, versions: Mapping[str, Mapping[str, str]], entries: Mapping[str, LedgerEntry]
) -> dict[str, str]:
    found = {}
    for key, listed in versions.items():
        entry = entries.get(key)
        if entry is None:
            continue
        try:
            landed = services.landing.read_manifest(entry.manifest_name).versions if entry.attempt else {}
        except LandingDamaged:
            found[key] = "what was landed of it is damaged"
            continue
        other = sorted(item for item, version in listed.items() if landed.get(item) != version)
        if other:
            more = f" and {len(other) - 1} more" if len(other) > 1 else ""
            found[key] = f"changed at the source: {other[0]}{more}"
    return found


_SHAPE = TypeAdapter(Changed)


def _record(store: ObjectStore, source: str) -> VersionedRecord[Changed]:
    hint = "delete that object: the next run asks for all that was changed since the first landing"
    name = f"catalogue/source={source}/versions.json"
    return VersionedRecord(store, name, _SHAPE, source=source, stage="plan", hint=hint)
