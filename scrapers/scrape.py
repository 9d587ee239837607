"""Stage one without Prefect: one partition from the upstream to a manifest."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable
from typing import Protocol

from alerting.errors import NotSettled, PartitionUnavailable, PipelineError, SourceContractError, Truncated
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.landing import Landing, Manifest, PageRecord, content_hash
from scrapers.partition import Partition

MAX_PAGES = 10_000


class Fetcher(Protocol):
    """What ``scrape`` needs of the HTTP client."""

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        """One page; raises the taxonomy's errors."""


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
) -> Manifest:
    """Fetches every page of ``partition``, lands each as received, and writes the manifest last.

    A page that ``inspect`` refuses is landed all the same, as evidence, under an attempt without a manifest. What
    the source has not settled is landed with ``unsettled`` set: the caller must not load it.

    Raises any error of the taxonomy, located with source, partition and stage. ``PartitionUnavailable`` and
    ``NotSettled`` before any call, when the date lies before the source's floor or is not over yet.
    """
    refuse_unaskable(partition, scraper, now())
    attempt = new_attempt_id(now())
    try:
        records, found = _land_pages(partition, attempt, scraper, client, landing)
    except PipelineError as error:
        raise error.located(source=scraper.source, partition=partition.key, stage="scrape") from error.__cause__
    manifest = Manifest(
        source=scraper.source,
        partition=partition.key,
        start=partition.start,
        end=partition.end,
        zone=partition.zone,
        entity=partition.entity,
        attempt=attempt,
        backfill_id=backfill_id,
        code_version=code_version,
        landed_at=now(),
        pages=tuple(records),
        counts={table: sum(one.counts.get(table, 0) for one in found) for table in scraper.tables},
        source_total=next((one.source_total for one in reversed(found) if one.source_total is not None), None),
        empty_evidence=found[-1].empty_evidence if len(found) == 1 else "",
        unsettled=tuple(item for one in found for item in one.unsettled),
        content_hash=content_hash(records),
    )
    landing.put_manifest(manifest)
    return manifest


def refuse_unaskable(partition: Partition, scraper: Scraper, now: dt.datetime) -> None:
    """Raises ``PartitionUnavailable`` before the floor and ``NotSettled`` before the source is settled."""
    if partition.start < scraper.floor:
        raise PartitionUnavailable(
            f"the source begins at {scraper.floor}; no call was made",
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


def _land_pages(
    partition: Partition, attempt: str, scraper: Scraper, client: Fetcher, landing: Landing
) -> tuple[list[PageRecord], list[Findings]]:
    records: list[PageRecord] = []
    found: list[Findings] = []
    asked: set[Request] = set()
    request: Request | None = scraper.first_request(partition)
    while request is not None:
        if len(records) >= MAX_PAGES:
            raise Truncated(f"stopped at the cap of {MAX_PAGES} pages; landed pages are kept")
        if request in asked:
            raise SourceContractError(f"the source sends us back to a page already read, cursor {request.cursor!r}")
        asked.add(request)
        page = client.fetch(request, len(records) + 1)
        try:
            findings = scraper.inspect(partition, page)
        except PipelineError:
            landing.put_page(scraper.source, partition, attempt, page, None)
            raise
        records.append(landing.put_page(scraper.source, partition, attempt, page, findings))
        found.append(findings)
        request = findings.next_request
    return records, found
