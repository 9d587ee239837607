"""Cooldowns: until when an account, or one site of a source that asks many, is left alone after a block.

One object each: ``cooldowns/<account>.json``, and ``cooldowns/<account>/<site>.json``. Nothing is ever removed, so that
the last block of each can be looked up.
"""

from __future__ import annotations

import datetime as dt

from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting.object_store import ObjectStore
from alerting.versioned_record import VersionedRecord
from scrapers.base import Scraper
from scrapers.registry import account_of


class Cooldown(BaseModel):
    """Why and until when (aware UTC, a whole minute) a source or site is left alone, and who ended that earlier."""

    model_config = ConfigDict(frozen=True)

    until: dt.datetime
    backfill_id: str
    why: str
    lifted_at: dt.datetime | None = None
    lifted_by: str = ""
    lifted_reason: str = ""

    def is_on(self, now: dt.datetime) -> bool:
        """Whether the source is in cooldown at ``now``."""
        return self.lifted_at is None and now < self.until


_SHAPE = TypeAdapter(Cooldown)


def cooldown_name(source: str, site: str = "") -> str:
    """Where the cooldown of a source, or of one of its sites, lies; the sources of one account have one together."""
    account = account_of(source)
    return f"cooldowns/{account}/{site}.json" if site else f"cooldowns/{account}.json"


def cooldown_record(store: ObjectStore, source: str, site: str = "") -> VersionedRecord[Cooldown]:
    """The object, to be read and written."""
    return VersionedRecord(store, cooldown_name(source, site), _SHAPE, source=source, stage="start")


def read_cooldown(store: ObjectStore, source: str, site: str = "") -> Cooldown | None:
    """The last cooldown, over or not; None when there never was one. Raises ``StateUnreadable``."""
    return cooldown_record(store, source, site).read()


def cooling_until(store: ObjectStore, source: str, now: dt.datetime) -> dt.datetime | None:
    """The instant from which runs of the source begin again (aware UTC), None when they begin already."""
    found = read_cooldown(store, source)
    return found.until if found is not None and found.is_on(now) else None


def sites_left_alone(store: ObjectStore, scraper: Scraper, now: dt.datetime) -> dict[str, Cooldown]:
    """Sites in cooldown at ``now``, sorted; none where a refusal concerns the account. Raises ``StateUnreadable``."""
    if scraper.domain != "site":
        return {}
    prefix = cooldown_name(scraper.source).removesuffix(".json") + "/"
    names = sorted(one.name for one in store.list(prefix))
    sites = [name.removeprefix(prefix).removesuffix(".json") for name in names]
    found = {site: read_cooldown(store, scraper.source, site) for site in sites}
    return {site: one for site, one in found.items() if one is not None and one.is_on(now)}


def lift_command(source: str, site: str = "") -> str:
    """What a person types who knows that the block is gone."""
    return f"gapless lift-cooldown {source}{f' --site {site}' if site else ''} --reason WHY"
