"""Searches for a source's first date by the rules of every other call: lease, cooldown, blackout, budget, retries."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    ConfigurationError,
    NothingPublished,
    PipelineError,
    TransientError,
)
from alerting.instant import utc_now
from flows.coordination.blackout import blackouts_of, paused_until
from flows.coordination.cooldown import Blocked, cool_down, refuse_while_cooling
from flows.coordination.kept_lease import held_by_hand
from flows.coordination.lease import Lease
from flows.ledger.ledger import Ledger, LedgerEntry, Verdict
from flows.planning.known_first_date import FirstDate, first_date_name, first_date_record
from flows.planning.named_settings import refuse_unknown_names
from flows.planning.plan import BEFORE_FIRST
from flows.planning.refused_tier import remember_refusal
from flows.planning.requested import Selection, requested_partitions
from flows.planning.tiers import refuse_closed
from flows.truth.inventory import first_date_of
from flows.wiring import Services
from scrapers.attempt import Fetcher
from scrapers.base import Scraper
from scrapers.first_date_search import REST_DAYS, FirstSearch, Look, look_at
from scrapers.partition import Partition

_WITH_ROWS = frozenset({Verdict.LANDED, Verdict.LOADED, Verdict.VERIFIED})


def find_first_date(
    services: Services,
    source: str,
    selected: Selection,
    *,
    who: str,
    rest_days: int = 0,
    sleep: Callable[[float], None] = time.sleep,
) -> FirstDate:
    """The first date with rows among those ``selected``; recorded, unless it is the first of them.

    What the ledger knows costs no call. Nothing is landed. Dates before it that had failed become ``unavailable``.

    Raises ``ConfigurationError`` for a range that makes no sense, and during a cooldown or blackout; ``LeaseHeld``;
    ``NothingPublished`` when nothing near the last one has rows; what the source's answers raise, after retries.
    Nothing is recorded then.
    """
    kit, now = services.source_kit(source), utc_now()
    scraper = kit.scraper
    refuse_unknown_names(services.settings)
    refuse_without_first_date(scraper)
    partitions = requested_partitions(scraper, selected, now)
    refuse_closed(kit, partitions)
    _refuse_at_this_time(services, source, now)
    with (
        held_by_hand(services, source, "first-date", f"{partitions[0].key}..{partitions[-1].key}") as lease,
        contextlib.closing(kit),
    ):
        known = _known(kit.ledger.refresh(partitions[0].key, partitions[-1].key), partitions)
        looking = _Looking(services, lease, scraper, kit.client, partitions, sleep)
        rest_days = rest_days or _longest_rest_days(scraper)
        search = FirstSearch(len(partitions), looking.has_rows, step=scraper.step, rest_days=rest_days, known=known)
        try:
            at = search.first()
        except AuthenticationError as error:
            remember_refusal(kit, error, lease.record.backfill_id, utc_now())
            raise
        if at is None:
            raise NothingPublished(
                f"neither {partitions[-1].key} nor its neighbours have rows; nothing was recorded",
                source=source,
                stage="plan",
                hint="name an END at which the source has rows",
            )
        lease.check()
        looks = [*looking.looks, *(_from_ledger(partitions[one].key, is_there) for one, is_there in known.items())]
        found = FirstDate(
            source=source,
            first_date=partitions[at].start,
            start_date=partitions[0].start,
            end_date=selected.end_date,
            found_at=utc_now(),
            found_by=who,
            calls=kit.client.calls,
            looks=tuple(sorted(looks, key=lambda look: look.partition)),
        )
        if at:
            _record(services, kit.ledger, found, lease.record.backfill_id)
    return found


def _longest_rest_days(scraper: Scraper) -> int:
    """The off-season is the longest rest of a source that has one, and its length is not declared."""
    rests = scraper.rests
    return rests.longest_days if rests and rests.season is None else REST_DAYS


def forget_first_date(services: Services, source: str) -> bool:
    """Removes the record, so that plans ask for everything again; False when there was none. Raises ``LeaseHeld``."""
    ledger = services.source_kit(source).ledger
    with held_by_hand(services, source, "first-date", "forget the first date") as lease:
        there = next(services.store.list(first_date_name(source)), None) is not None
        services.store.delete(first_date_name(source))
        for key, entry in ledger.refresh().items():
            if entry.verdict is Verdict.UNAVAILABLE and entry.evidence.startswith(BEFORE_FIRST):
                ledger.advance(key, Verdict.PLANNED, lease.record.backfill_id, utc_now(), evidence="")
    return there


def _record(services: Services, ledger: Ledger, found: FirstDate, by: str) -> None:
    first_date_record(services.store, found.source).put(found)
    why = f"{BEFORE_FIRST} {found.first_date} {found.evidence}"
    for key, entry in ledger.entries().items():
        began = first_date_of(key)
        if entry.verdict.is_failed and began and began < found.first_date:
            ledger.advance(key, Verdict.UNAVAILABLE, by, utc_now(), evidence=why)


def _known(entries: Mapping[str, LedgerEntry], partitions: Sequence[Partition]) -> dict[int, bool]:
    known = {}
    for at, partition in enumerate(partitions):
        entry = entries.get(partition.key)
        if entry is not None and entry.verdict is Verdict.EMPTY_OK:
            known[at] = False
        elif entry is not None and entry.verdict in _WITH_ROWS and any(entry.landed.values()):
            known[at] = True
    return known


def _from_ledger(key: str, is_there: bool) -> Look:
    return Look(key, is_there, "in the ledger, with rows" if is_there else "in the ledger, proven empty")


class _Looking:
    """One look after the other, each with the lease alive, retried as a date of a backfill is."""

    def __init__(
        self,
        services: Services,
        lease: Lease,
        scraper: Scraper,
        client: Fetcher,
        partitions: Sequence[Partition],
        sleep: Callable[[float], None],
    ) -> None:
        self.looks: list[Look] = []
        self._settings = services.settings
        self._store = services.store
        self._lease = lease
        self._scraper = scraper
        self._client = client
        self._partitions = partitions
        self._sleep = sleep

    def has_rows(self, at: int) -> bool:
        partition = self._partitions[at]
        for delay_s in (*self._settings.retry_delays_s, None):
            self._lease.check()
            try:
                self.looks.append(look_at(partition, self._scraper, self._client))
                break
            except TransientError as error:
                if delay_s is None:
                    raise error.located(partition=partition.key) from error.__cause__
                self._sleep(delay_s)
            except BlockedBySource as error:
                hours, by = self._settings.block_cooldown_h, self._lease.record.backfill_id
                blocked = Blocked(self._scraper.source)
                cool_down(self._store, error, blocked=blocked, backfill_id=by, now=utc_now(), hours=hours)
                raise error.located(partition=partition.key) from error.__cause__
            except PipelineError as error:
                raise error.located(partition=partition.key) from error.__cause__
        return self.looks[-1].is_there


def _refuse_at_this_time(services: Services, source: str, now: dt.datetime) -> None:
    refuse_while_cooling(services.store, source, now)
    until = paused_until(blackouts_of(services.settings.blackouts, source), now)
    if until:
        raise ConfigurationError(
            f"a blackout window lasts until {until:%Y-%m-%d %H:%M} UTC. Nothing was done", source=source, stage="start"
        )


def refuse_without_first_date(scraper: Scraper) -> None:
    """Raises ``ConfigurationError`` for a source that has no first date to be searched for."""
    source = scraper.source
    if scraper.step == "whole":
        raise ConfigurationError(
            f"{source} is fetched by entity and has no dates. Nothing was done", source=source, stage="plan"
        )
    if scraper.has_series:
        raise ConfigurationError(
            f"{source} has a first date for each of its entities. Nothing was done", source=source, stage="plan"
        )
    if scraper.sweeps or scraper.feeds_on:
        # An answer says nothing of the date in question, so that every date but those in the ledger would look empty.
        asked = f"follows {scraper.feeds_on}" if scraper.feeds_on else "is read as a whole"
        raise ConfigurationError(
            f"{source} {asked} and cannot be asked for one date. Nothing was done", source=source, stage="plan"
        )
    if not scraper.keeps_history:
        told = f"{source} keeps no history: its first date is the one on which somebody first looked. Nothing was done"
        raise ConfigurationError(told, source=source, stage="plan", hint=f"gapless gaps {source}")
