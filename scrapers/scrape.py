"""Stage one without Prefect: one partition from the upstream to a manifest."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable

from alerting.errors import NotSettled, PartitionUnavailable
from scrapers.attempt import Attempt, Fetcher
from scrapers.base import Scraper
from scrapers.landing import Landing, Manifest
from scrapers.partition import Partition

__all__ = ["Fetcher", "new_attempt_id", "refuse_unaskable", "scrape", "swept", "utc_now"]

SWEEPS = 3
"""How often a partition of several calls is begun anew when the source changes it between two pages."""

RESUME_WITHIN = dt.timedelta(hours=24)


def utc_now() -> dt.datetime:
    """Aware UTC."""
    return dt.datetime.now(dt.UTC)


def new_attempt_id(now: dt.datetime) -> str:
    """Sorts by time; unique without coordination.

    >>> new_attempt_id(dt.datetime(2025, 1, 3, 4, 5, 6, tzinfo=dt.UTC))[:16]
    '20250103T040506Z'
    """
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def scrape(
    partition: Partition,
    *,
    scraper: Scraper,
    client: Fetcher,
    landing: Landing,
    backfill_id: str,
    code_version: str,
    now: Callable[[], dt.datetime] = utc_now,
    resume_within: dt.timedelta = RESUME_WITHIN,
) -> Manifest:
    """Fetches every page of ``partition``, lands each as received, and writes the manifest last.

    A page that ``inspect`` refuses is landed all the same, as evidence, under an attempt without a manifest. What
    the source has not settled is landed with ``unsettled`` set: the caller must not load it.

    A partition of several calls (pages, or parts of an answer at a cap) whose newest attempt has pages but no manifest
    goes on behind the last of them, whoever landed it, unless that attempt was begun longer ago than ``resume_within``
    or the source has changed since. One that changes while it is read is begun anew, `SWEEPS` times at most.

    Raises any error of the taxonomy, located with source, partition and stage. ``PartitionUnavailable`` and
    ``NotSettled`` before any call, when the date lies before the source's floor or is not over yet; ``NotSettled``
    also when the source changed the partition during every sweep.
    """
    refuse_unaskable(partition, scraper, now())

    def begin(attempt_id: str) -> Attempt:
        return Attempt(partition, attempt_id, scraper=scraper, client=client, landing=landing)

    attempt = swept(partition, begin, scraper=scraper, landing=landing, now=now, resume_within=resume_within)
    manifest = attempt.manifest(backfill_id, code_version, now())
    landing.put_manifest(manifest)
    return manifest


def swept(
    partition: Partition,
    begin: Callable[[str], Attempt],
    *,
    scraper: Scraper,
    landing: Landing,
    now: Callable[[], dt.datetime],
    resume_within: dt.timedelta,
) -> Attempt:
    """An attempt with all its pages: a resumable one, else new ones until one shows no change."""
    attempt = None
    if scraper.takes_several_calls:
        attempt = _resumed(begin, landing, scraper, partition, now() - resume_within)
    for sweep in range(1, SWEEPS + 1):
        attempt = attempt or begin(new_attempt_id(now()))
        try:
            attempt.run()
            break
        except NotSettled as error:
            if not scraper.takes_several_calls:
                raise
            if sweep == SWEEPS:
                raise _still_changing(error) from None
            attempt = None
    assert attempt is not None
    return attempt


def _resumed(
    begin: Callable[[str], Attempt], landing: Landing, scraper: Scraper, partition: Partition, since: dt.datetime
) -> Attempt | None:
    """The resumable attempt; None when there is none, or when its pages contradict each other."""
    checkpoint = landing.checkpoint(scraper.source, partition.key, since)
    if checkpoint is None:
        return None
    attempt = begin(checkpoint.attempt)
    return attempt if attempt.take_over(checkpoint.pages) else None


def _still_changing(error: NotSettled) -> NotSettled:
    error.message = f"the source changed this partition during each of {SWEEPS} sweeps; the last: {error.message}"
    error.hint = error.hint or "run it again when the source is quiet; loaded rows are as they were"
    return error


def refuse_unaskable(partition: Partition, scraper: Scraper, now: dt.datetime) -> None:
    """Raises ``PartitionUnavailable`` before the floor or horizon, ``NotSettled`` before the source is settled."""
    begins = max(scraper.floor, scraper.earliest(now))
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
