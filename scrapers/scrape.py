"""Stage one without Prefect: one partition from the upstream to a manifest."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from alerting.errors import NothingPublished, NotSettled, PartitionUnavailable
from alerting.instant import utc_now
from alerting.wording import plural
from scrapers.attempt import Asking, Attempt, Fetcher, nothing
from scrapers.base import Scraper
from scrapers.feeding import Listed
from scrapers.landing import Landing
from scrapers.manifest import Manifest, begun_at, content_hash, new_attempt_id
from scrapers.partition import Partition

__all__ = ["Fetcher", "begun_at", "new_attempt_id", "nothing", "refuse_unaskable", "scrape", "swept", "utc_now"]

SWEEPS = 3
"""How often a partition of several calls is begun anew when the source changes it between two pages."""

RESUME_WITHIN = dt.timedelta(hours=24)

NOBODY_LOOKED = "nobody looked that day"
"""Why a past date of a source that keeps no history is nowhere."""


@dataclass(frozen=True, slots=True)
class ScrapeContext:
    """What a scrape is given besides its partitions.

    Args:
        scraper: The source.
        client: Makes the calls.
        landing: Where answers are landed.
        backfill_id: The run, for the manifest.
        code_version: For the manifest.
        now: Aware UTC.
        resume_within: A checkpoint older than this is not gone on with.
        sweep_since: A sweep that was landed since then (aware) also fills other partitions; None: only one of this run.
        fetches_again: What is landed of listed items is fetched again, as is everything else in such a run.
        listed: Of a source that feeds on another: what that has of a partition; None where it is not done with it.
        behind: The attempt that was landed last of what is scraped, as the ledger has it; a new one sorts behind it.
        answered: Called as soon as the source has given all of a good answer, which has then still to be stored.
    """

    scraper: Scraper
    client: Fetcher
    landing: Landing
    backfill_id: str
    code_version: str
    now: Callable[[], dt.datetime] = utc_now
    resume_within: dt.timedelta = RESUME_WITHIN
    sweep_since: dt.datetime | None = None
    fetches_again: bool = False
    listed: Callable[[Partition], Listed | None] | None = None
    answered: Callable[[], None] = nothing
    behind: str = ""

    def new_attempt_id(self) -> str:
        """Of an attempt that begins now."""
        return new_attempt_id(self.now(), self.behind)

    def attempt(self, partition: Partition, attempt_id: str, items: Mapping[str, str] | None = None) -> Attempt:
        """A new one; ``items`` by version, of a source that feeds on another."""
        asking = Asking(self.client, self.answered)
        return Attempt(partition, attempt_id, scraper=self.scraper, asking=asking, landing=self.landing, items=items)

    def land(self, attempt: Attempt, fed_by: str = "") -> Manifest:
        """Writes the manifest of an attempt that has all its pages: from here on it is landed."""
        manifest = attempt.manifest(self.backfill_id, self.code_version, self.now())
        manifest = manifest.model_copy(update={"fed_by": fed_by})
        self.landing.put_manifest(manifest)
        return manifest


def scrape(partition: Partition, context: ScrapeContext) -> Manifest:
    """Fetches every page of ``partition``, lands each as received, and writes the manifest last.

    A page that ``inspect`` refuses is landed all the same, as evidence, under an attempt without a manifest. What
    the source has not settled is landed with ``unsettled`` set: the caller must not load it.

    A partition of several calls (pages, or parts of an answer at a cap) whose newest attempt has pages but no manifest
    goes on behind the last of them, whoever landed it, unless that attempt was begun longer ago than ``resume_within``
    or the source has changed since. One that changes while it is read is begun anew, `SWEEPS` times at most.

    Raises any error of the taxonomy, located with source, partition and stage. ``PartitionUnavailable`` and
    ``NotSettled`` before any call, when the date lies before the source's floor or is not over yet, or when it is over
    and the source keeps no history; ``NotSettled`` also when the source changed the partition during every sweep.
    """

    if context.scraper.feeds_on:
        return _scrape_fed(partition, context)

    def begin(attempt_id: str) -> Attempt:
        # Every time: a date may end between two sweeps.
        refuse_unaskable(partition, context.scraper, context.now())
        return context.attempt(partition, attempt_id)

    return context.land(swept(partition, begin, context))


def _scrape_fed(partition: Partition, context: ScrapeContext) -> Manifest:
    """One call for each item that the lister has and that is not landed yet, in the version in which it is listed."""
    scraper = context.scraper
    refuse_unaskable(partition, scraper, context.now())
    listed = context.listed(partition) if context.listed else None
    if listed is None:
        raise NothingPublished(
            f"{scraper.feeds_on} is not done with {partition.key}: nothing can be asked for, and no call was made",
            source=scraper.source,
            partition=partition.key,
            stage="scrape",
            hint=f"gapless run {scraper.feeds_on} {partition.start} {partition.end - dt.timedelta(days=1)}",
        )
    if not listed.items:
        evidence = f"{scraper.feeds_on} has none of {partition.key}"
        return land_as_empty(partition, context, evidence, fed_by=listed.content_hash)
    attempt = context.attempt(partition, context.new_attempt_id(), listed.items)
    since = context.now() - context.resume_within if context.fetches_again else None
    attempt.adopt(context.landing.landed_pages(scraper.source, partition.key, unfinished_since=since))
    attempt.run()
    return context.land(attempt, listed.content_hash)


def land_as_empty(partition: Partition, context: ScrapeContext, evidence: str, fed_by: str = "") -> Manifest:
    """A manifest without a page: ``evidence`` from elsewhere says that there is nothing, and no call is made."""
    manifest = Manifest(
        source=context.scraper.source,
        partition=partition.key,
        start=partition.start,
        end=partition.end,
        zone=partition.zone,
        entity=partition.entity,
        attempt=context.new_attempt_id(),
        backfill_id=context.backfill_id,
        code_version=context.code_version,
        landed_at=context.now(),
        pages=(),
        counts=dict.fromkeys(context.scraper.tables, 0),
        empty_evidence=evidence,
        fed_by=fed_by,
        only=context.scraper.only,
        content_hash=content_hash(()),
    )
    context.landing.put_manifest(manifest)
    return manifest


def swept(partition: Partition, begin: Callable[[str], Attempt], context: ScrapeContext) -> Attempt:
    """An attempt with all its pages: a resumable one, else new ones until one shows no change."""
    attempt, rows = None, 0
    if context.scraper.takes_several_calls:
        attempt = resumed(partition, begin, context)
    for sweep in range(1, SWEEPS + 1):
        attempt = attempt or begin(context.new_attempt_id())
        try:
            attempt.run()
            if rows and not attempt.rows:
                raise NotSettled(f"{plural(rows, 'row')} came in an earlier sweep, and none in this one")
            break
        except NotSettled as error:
            if not context.scraper.takes_several_calls:
                raise
            if sweep == SWEEPS:
                raise _still_changing(error) from None
            rows, attempt = max(rows, attempt.rows), None
    assert attempt is not None
    return attempt


def resumed(partition: Partition, begin: Callable[[str], Attempt], context: ScrapeContext) -> Attempt | None:
    """The resumable attempt; None when there is none, or when its pages contradict each other."""
    since = context.now() - context.resume_within
    checkpoint = context.landing.checkpoint(context.scraper.source, partition.key, since)
    if checkpoint is None:
        return None
    attempt = begin(checkpoint.attempt)
    return attempt if attempt.take_over(checkpoint.pages) else None


def _still_changing(error: NotSettled) -> NotSettled:
    error.message = f"the source changed this partition during each of {SWEEPS} sweeps; the last: {error.message}"
    error.hint = error.hint or "run it again when the source is quiet; loaded rows are unchanged"
    return error


def refuse_unaskable(partition: Partition, scraper: Scraper, now: dt.datetime) -> None:
    """Raises ``PartitionUnavailable`` before the floor or horizon, ``NotSettled`` before the source is settled."""
    begins = max(scraper.floor, scraper.earliest(now))
    if partition.start < begins and not partition.is_whole and not scraper.keeps_history:
        raise PartitionUnavailable(
            f"{NOBODY_LOOKED}: it was over before it could be asked for; no call was made",
            source=scraper.source,
            partition=partition.key,
            stage="plan",
        )
    if partition.start < begins and not partition.is_whole:
        what = "begins at" if begins == scraper.floor else "answers from"
        raise PartitionUnavailable(
            f"the source {what} {begins}{' on' if begins != scraper.floor else ''}; no call was made",
            source=scraper.source,
            partition=partition.key,
            stage="plan",
        )
    settled_at = scraper.settled_at(partition)
    if settled_at > now:
        raise NotSettled(
            f"the date is not settled before {settled_at:%Y-%m-%d %H:%M} UTC; no call was made",
            source=scraper.source,
            partition=partition.key,
            stage="plan",
            hint="run it again after that time",
        )
