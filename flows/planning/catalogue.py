"""Which entities ``all`` means: those of the settings, else those that the source lists, else those of its scraper.

The list is read at the source by a run that asks for ``all``, at most once a day, and kept in one object, so that
``gapless plan`` and ``gapless audit`` know it without a call.
"""

from __future__ import annotations

import datetime as dt

from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting.errors import PipelineError, SourceContractError
from alerting.object_store import ObjectStore
from alerting.versioned_record import VersionedRecord
from alerting.wording import plural
from flows.planning.requested import names_all
from flows.wiring import Services
from scrapers.attempt import Fetcher
from scrapers.base import Scraper
from scrapers.platforms.catalogue import Catalogued

FRESH_FOR = dt.timedelta(days=1)
SMALLEST_SHARE = 0.9
"""A list that has lost more than a tenth of its names at once is taken for a broken one."""


class Catalogue(BaseModel):
    """The entities of one source as it listed them at ``read_at`` (aware UTC), sorted."""

    model_config = ConfigDict(frozen=True)

    entities: tuple[str, ...]
    read_at: dt.datetime


def known_entities(services: Services, scraper: Scraper) -> tuple[str, ...]:
    """What ``all`` means now. Makes no call to the source. Raises ``StateUnreadable``."""
    if scraper.source in services.settings.source_entities or not isinstance(scraper, Catalogued):
        return scraper.entities
    stored = read_catalogue(services.store, scraper.source)
    return stored.entities if stored else scraper.entities


def read_catalogue(store: ObjectStore, source: str) -> Catalogue | None:
    """The list as last read, None when it never was. Raises ``StateUnreadable``."""
    return _record(store, source).read()


def refresh_catalogue(
    services: Services, scraper: Scraper, client: Fetcher | None, entities: str, now: dt.datetime
) -> list[str]:
    """Reads the list again where ``entities`` asks for all of them and it is older than a day. Blocking.

    Gives what the mail has to say of it. A list that cannot be had stops nothing: the last known one is used.
    """
    source = scraper.source
    if client is None or not isinstance(scraper, Catalogued) or not names_all(entities):
        return []
    if source in services.settings.source_entities:
        return []
    known = read_catalogue(services.store, source)
    if known and now - known.read_at < FRESH_FOR:
        return []
    before = known.entities if known else scraper.entities
    try:
        found = scraper.catalogue(client.fetch(scraper.catalogue_request()))
        if len(found) < SMALLEST_SHARE * len(before):
            raise SourceContractError(f"{plural(len(found), 'name')} in the list, {len(before):,} in the last one")
    except PipelineError as error:
        which = f"of {known.read_at:%Y-%m-%d}" if known else "of the scraper"
        used = f"the one {which} is used: {plural(len(before), 'name')}"
        return [f"the source's list of entities was not read ({error}); {used}"]
    _record(services.store, source).put(Catalogue(entities=found, read_at=now))
    new = sorted(set(found) - set(before))
    if not new:
        return []
    names = ", ".join(new[:10]) + " ..." * (len(new) > 10)
    return [f"{plural(len(new), 'entity', 'is', 'are')} new in the source's list: {names}"]


_SHAPE = TypeAdapter(Catalogue)


def _record(store: ObjectStore, source: str) -> VersionedRecord[Catalogue]:
    hint = "delete that object: the next run reads the list again"
    name = f"catalogue/source={source}/entities.json"
    return VersionedRecord(store, name, _SHAPE, source=source, stage="plan", hint=hint)
