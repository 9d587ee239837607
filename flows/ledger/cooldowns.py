"""Cooldowns: until when an account, or one site of a source that asks many, is left alone after a block.

One object each: ``cooldowns/<account>.json``, and ``cooldowns/<account>/<site>.json``. Nothing is ever removed, so that
the last block of each can be looked up.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting.object_store import ObjectStore
from alerting.versioned_record import VersionedRecord
from flows.ledger.entry import Verdict
from scrapers.base import Scraper
from scrapers.registry import account_of, sources_of


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


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Partitions that a block keeps from being asked for until ``until`` (aware), where the others of the source are.

    ``who`` blocked, a site or an account; ``lift`` is the command of a person who knows that the block is gone.
    """

    keys: tuple[str, ...]
    who: str
    until: dt.datetime
    lift: str


def held_back(
    store: ObjectStore, scraper: Scraper, verdicts: Mapping[str, Verdict], now: dt.datetime
) -> list[HeldBack]:
    """Which of the partitions without a good verdict wait for a site, or for the host of another account.

    Empty where a refusal concerns the whole source. Raises ``StateUnreadable``.
    """
    still_open = [key for key, verdict in verdicts.items() if not verdict.is_good]
    found = []
    for site, cooldown in (sites_left_alone(store, scraper, now) if still_open else {}).items():
        if keys := tuple(key for key in still_open if scraper.site_of(key) == site):
            found.append(HeldBack(keys, site, cooldown.until, lift_command(scraper.source, site)))
    blocked = tuple(key for key in still_open if verdicts[key] is Verdict.BLOCKED)
    for account in sorted({*scraper.hosts.values()} - {scraper.account_name}) if blocked else ():
        member = sources_of(account)[0]
        if until := cooling_until(store, member, now):
            found.append(HeldBack(blocked, account, until, lift_command(member)))
    return found


def lift_command(source: str, site: str = "") -> str:
    """What a person types who knows that the block is gone."""
    return f"gapless lift-cooldown {source}{f' --site {site}' if site else ''} --reason WHY"
