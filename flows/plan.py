"""The plan: pure function of source, dates, ledger and mode. Nothing here talks to anything."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from alerting.errors import ConfigurationError
from alerting.ranges import expand_dates
from flows.ledger import LedgerEntry, Verdict
from scrapers.base import Scraper
from scrapers.partition import Partition, partitions_between


class Path(StrEnum):
    """The cheapest way to bring one partition to a good verdict."""

    FETCH = "fetch"
    RELOAD = "reload"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class PlannedPartition:
    """One partition, how it will be brought to a good verdict, and why."""

    partition: Partition
    path: Path
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Every partition of the asked range, oldest first, each with its path."""

    source: str
    start_date: dt.date
    end_date: dt.date
    zone: str
    items: tuple[PlannedPartition, ...]

    @property
    def to_fetch(self) -> list[Partition]:
        """Partitions that cost calls to the upstream."""
        return [item.partition for item in self.items if item.path is Path.FETCH]

    @property
    def to_reload(self) -> list[Partition]:
        """Partitions whose landed payloads are loaded again, without a call."""
        return [item.partition for item in self.items if item.path is Path.RELOAD]

    @property
    def keys(self) -> list[str]:
        """Keys of all partitions, skipped ones too."""
        return [item.partition.key for item in self.items]

    def to_json(self) -> bytes:
        """The plan as stored in ``runs/backfill=<id>/plan.json``: what a later process recounts against."""
        rows = [{"key": item.partition.key, "path": item.path.value, "why": item.why} for item in self.items]
        head = {"source": self.source, "start_date": str(self.start_date), "end_date": str(self.end_date)}
        return json.dumps({**head, "zone": self.zone, "items": rows}, indent=0).encode()

    def counts(self) -> Counter[str]:
        """Partitions per path."""
        return Counter(item.path.value for item in self.items)

    def date_echo(self) -> str:
        """The range in words and zone.

        >>> Plan("s", dt.date(2025, 1, 1), dt.date(2025, 1, 31), "UTC", ()).date_echo()
        '2025-01-01 to 2025-01-31 inclusive, UTC, 31 days'
        """
        days = (self.end_date - self.start_date).days + 1
        unit = "day" if days == 1 else "days"
        return f"{self.start_date} to {self.end_date} inclusive, {self.zone}, {days:,} {unit}"

    def describe(self) -> str:
        """Date echo and counts, one line."""
        counts = self.counts()
        return (
            f"{self.source}: {self.date_echo()}. {len(self.items):,} partitions: {counts[Path.FETCH]:,} to fetch, "
            f"{counts[Path.RELOAD]:,} to load from landed payloads, {counts[Path.SKIP]:,} done already"
        )


def requested_partitions(
    scraper: Scraper, start_date: dt.date, end_date: dt.date, dates: str, now: dt.datetime
) -> list[Partition]:
    """The partitions asked for, oldest first; ``dates`` (ranges as in a mail) narrows the range.

    Raises ``ConfigurationError`` for a start after the end, a range before the source's floor, a date that is not
    over and settled, or dates outside the range. Nothing was done then.
    """
    if start_date > end_date:
        raise _bad(scraper, f"start_date {start_date} is after end_date {end_date}", "swap them")
    if end_date < scraper.floor:
        raise _bad(scraper, f"the source begins at {scraper.floor}, end_date is {end_date}", "ask for later dates")
    partitions = partitions_between(start_date, end_date, scraper.zone, scraper.step)
    unsettled = [partition for partition in partitions if scraper.settled_at(partition) > now]
    if unsettled:
        settled = [partition for partition in partitions if scraper.settled_at(partition) <= now]
        last = f"the last settled one is {settled[-1].key}" if settled else "none of them is settled"
        raise _bad(
            scraper,
            f"{unsettled[0].key} is not over and settled before {scraper.settled_at(unsettled[0]):%Y-%m-%d %H:%M} UTC "
            f"(it is {now:%Y-%m-%d %H:%M} UTC); {last}",
            f"end_date={settled[-1].key}" if settled else "wait, or ask for earlier dates",
        )
    if not dates.strip():
        return partitions
    wanted = _wanted_keys(scraper, dates)
    outside = sorted(wanted - {partition.key for partition in partitions})
    if outside:
        raise _bad(scraper, f"{outside[0]} lies outside {start_date} to {end_date}", "widen the range")
    return [partition for partition in partitions if partition.key in wanted]


def _wanted_keys(scraper: Scraper, dates: str) -> set[str]:
    try:
        return set(expand_dates(dates))
    except ValueError as error:
        raise _bad(scraper, f"dates: {error}", "write them as 2025-01-03, 2025-01-07..2025-01-09") from error


def _bad(scraper: Scraper, what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"{what}. Nothing was done", source=scraper.source, stage="plan", hint=hint)


def make_plan(
    scraper: Scraper,
    partitions: Sequence[Partition],
    ledger: Mapping[str, LedgerEntry],
    *,
    retry_failed: bool = False,
) -> Plan:
    """Chooses the cheapest path per partition.

    Good verdicts are skipped, landed ones are loaded without a call, everything else is fetched. With
    ``retry_failed`` only partitions whose last verdict is a failure are in the plan at all.
    """
    items = []
    for partition in partitions:
        entry = ledger.get(partition.key)
        if retry_failed and not (entry and entry.verdict.is_failed):
            continue
        path, why = _path(scraper, partition, entry)
        items.append(PlannedPartition(partition, path, why))
    return Plan(
        scraper.source,
        min((partition.start for partition in partitions), default=dt.date.min),
        max((partition.end for partition in partitions), default=dt.date.min) - dt.timedelta(days=bool(partitions)),
        scraper.zone,
        tuple(items),
    )


def _path(scraper: Scraper, partition: Partition, entry: LedgerEntry | None) -> tuple[Path, str]:
    if partition.start < scraper.floor:
        return Path.SKIP, f"before the source's first date {scraper.floor}"
    if entry is None:
        return Path.FETCH, "never attempted"
    if entry.verdict.is_good:
        return Path.SKIP, entry.verdict.value
    if entry.verdict in (Verdict.LANDED, Verdict.LOADED):
        return Path.RELOAD, f"{entry.verdict.value} by {entry.backfill_id}, not verified"
    return Path.FETCH, f"{entry.verdict.value}: {entry.error_type}" if entry.error_type else entry.verdict.value
