"""Which partitions have to wait, because a source that comes first (`Scraper.requires`) is not done with them.

A partition waits only before it is begun for the first time: a retry, a reload and a later reading need nobody.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from alerting.errors import ConfigurationError
from alerting.ranges import compress_dates
from alerting.wording import plural
from flows.ledger.ledger import LedgerEntry
from flows.planning.known_first_date import known_scraper
from flows.planning.plan import Plan, why_unaskable
from flows.wiring import Services
from scrapers.base import Scraper
from scrapers.partition import VARIANT_MARK, Partition, partitions_between

ONE_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Lacking:
    """Partitions of a source, by key, that have to be done first and are not."""

    source: str
    keys: tuple[str, ...]
    has_dates: bool

    @property
    def command(self) -> str:
        """What does them."""
        if not self.has_dates:
            return f"gapless run {self.source} --entities '{', '.join(self.keys)}' --reason never_collected"
        first, last = (partitions_of_key(key)[at] for key, at in ((self.keys[0], 0), (self.keys[-1], 1)))
        return f"gapless run {self.source} {first} {last} --reason never_collected"


def partitions_of_key(key: str) -> tuple[dt.date, dt.date]:
    """First and last date (inclusive) of a dated partition.

    >>> partitions_of_key("2025-02")
    (datetime.date(2025, 2, 1), datetime.date(2025, 2, 28))
    """
    first = dt.date.fromisoformat(key if len(key) == 10 else f"{key}-01")
    if len(key) == 10:
        return first, first
    return first, (first + dt.timedelta(days=31)).replace(day=1) - ONE_DAY


@dataclass(frozen=True, slots=True)
class Waiver:
    """What nobody waits for: ``coming`` sources are done when the plan is, all others where it is ``ignored``."""

    ignored: bool = False
    coming: Collection[str] = ()


NONE_WAIVED = Waiver()


def in_order(
    services: Services,
    scraper: Scraper,
    plan: Plan,
    entries: Mapping[str, LedgerEntry],
    now: dt.datetime,
    waiver: Waiver = NONE_WAIVED,
) -> Plan:
    """``plan`` with what has to wait, or with the note that it does not because that is waived.

    Raises ``ConfigurationError`` when nothing is left to be done, because all of it waits.
    """
    unbegun = [one for one in plan.to_fetch if (entry := entries.get(one.key)) is None or not entry.attempts]
    if not scraper.requires or not unbegun:
        return plan
    required = [name for name in scraper.requires if name not in waiver.coming]
    waits = [found for name in required if (found := _lacking(services, scraper, name, unbegun, now))]
    if not waits:
        return plan
    names: dict[str, list[str]] = {}
    for _, keys in waits:
        for key, source in keys.items():
            names.setdefault(key, []).append(source)
    told = "; ".join(_told(lacking, keys) for lacking, keys in waits)
    commands = "; then ".join(lacking.command for lacking, _ in waits)
    if waiver.ignored:
        return plan.noting(f"ignore_requires: started anyway, {told}")
    waiting = plan.waiting({key: f"waits for {' and '.join(sources)}" for key, sources in names.items()})
    if not any(item.path.is_work for item in waiting.items):
        raise ConfigurationError(
            f"nothing can start: {told}. Nothing was done",
            source=scraper.source,
            stage="plan",
            hint=f"{commands}; or, to run without it: -p ignore_requires=true",
        )
    return waiting.noting(f"Left out, {told}: {commands}, then this range again")


def _told(lacking: Lacking, keys: Mapping[str, str]) -> str:
    return f"{plural(len(keys), 'partition')}, {lacking.source} is not done with {compress_dates(lacking.keys)}"


def _lacking(
    services: Services, scraper: Scraper, name: str, partitions: Sequence[Partition], now: dt.datetime
) -> tuple[Lacking, dict[str, str]] | None:
    """What of source ``name`` is missing, and the keys of ``partitions`` that have to wait for it; None for nothing."""
    required = known_scraper(services, name)
    needed = {one.key: needed_keys(scraper, required, one, now) for one in partitions}
    dated = [key for keys in needed.values() for key in keys]
    has_dates = required.step != "whole"
    entries = services.source_kit(name).ledger.refresh(*((min(dated), max(dated)) if has_dates and dated else ()))
    missing = {key: lacking for key, keys in needed.items() if (lacking := not_done(keys, entries))}
    if not missing:
        return None
    keys = tuple(dict.fromkeys(sorted(one for lacking in missing.values() for one in lacking)))
    return Lacking(name, keys, has_dates), dict.fromkeys(missing, name)


def needed_keys(scraper: Scraper, required: Scraper, partition: Partition, now: dt.datetime) -> list[str]:
    """Partitions of ``required`` that have to be done before ``partition``; none that it can never have.

    Of a source that is asked by entity these are the entities whose snapshot speaks of the partition's dates, where an
    oracle says so, and else all of them.
    """
    if required.step == "whole":
        return sorted(entities_of(scraper, required, partition))
    days = partitions_between(partition.start, partition.end - ONE_DAY, required.zone, required.step)
    return [one.key for one in days if not why_unaskable(required, one, required.earliest(now))]


def entities_of(scraper: Scraper, required: Scraper, partition: Partition) -> set[str]:
    """Names of the entities of ``required`` that speak of ``partition``."""
    speaker = next((one.entity for one in scraper.oracles if one.source == required.source and one.entity), None)
    if speaker is None or partition.is_whole:
        return set(required.entities)
    return {speaker(partition.start + dt.timedelta(days=number)) for number in range(partition.days)}


def not_done(keys: Iterable[str], entries: Mapping[str, LedgerEntry]) -> list[str]:
    """Those of ``keys`` without a good verdict; an entity without variants stands for all that are known of it.

    >>> at = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    >>> from flows.ledger.ledger import Verdict
    >>> not_done(["a", "b"], {"a": LedgerEntry("s", "a", Verdict.VERIFIED, "bf-1", at)})
    ['b']
    """
    good: dict[str, bool] = {}
    for key, entry in entries.items():
        name = key.partition(VARIANT_MARK)[0]
        good[name] = good.get(name, True) and entry.verdict.is_good
    return [key for key in keys if not good.get(key, False)]
