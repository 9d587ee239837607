"""One attempt at one partition: its pages, landed before or fetched now, and whether they agree with each other."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Protocol

from alerting.errors import NotSettled, PipelineError, SourceContractError, StateUnreadable, Truncated
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.landing import Landing, Manifest, PageRecord, content_hash
from scrapers.partition import Partition

MAX_PAGES = 10_000


class Fetcher(Protocol):
    """What ``scrape`` needs of the HTTP client."""

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        """One page; raises the taxonomy's errors."""


class Attempt:
    """Pages of one partition under one attempt id. Not thread-safe: one thread works on a partition.

    Every landed page is a checkpoint: its object holds the cursor and the next one. What a resumed attempt knows of its
    earlier pages is read from their stored bytes by the same ``inspect``, so a resumed attempt and an uninterrupted one
    cannot differ.
    """

    def __init__(
        self, partition: Partition, attempt_id: str, *, scraper: Scraper, client: Fetcher, landing: Landing
    ) -> None:
        self.partition = partition
        self.attempt_id = attempt_id
        self._scraper = scraper
        self._client = client
        self._landing = landing
        self._records: list[PageRecord] = []
        self._found: list[Findings] = []
        self._asked: set[Request] = set()
        self._keys: set[str] = set()
        self._confirmed: set[str] = set()
        self._total: int | None = None
        self._resumed_pages = 0
        self._next: Request | None = scraper.first_request(partition)

    def take_over(self, pages: Sequence[PageRecord]) -> bool:
        """Takes pages that an earlier run landed under this attempt id. False when this attempt cannot be gone on with.

        That is when a page cannot be read back or is none of this partition, and when the pages contradict each other,
        so that the attempt ended because the source changed. Reads storage, never the source.
        """
        try:
            for number, record in enumerate(pages, start=1):
                page = record.as_page(number, self._landing.read_page(record))
                self._add(record, self._scraper.inspect(self.partition, page), page.request)
            if self._next is None:
                self._conclude()
        except (NotSettled, SourceContractError, StateUnreadable):
            return False
        self._resumed_pages = len(pages)
        return True

    def run(self) -> None:
        """Fetches and lands what is missing. Raises the taxonomy's errors, located, with what was kept."""
        try:
            while self._next is not None:
                self._fetch(self._next)
            self._conclude()
        except PipelineError as error:
            if self._scraper.is_paginated:
                error.facts.setdefault("rows_kept", self._rows())
                error.facts.setdefault("last_cursor", self._records[-1].cursor if self._records else "")
            where = {"source": self._scraper.source, "partition": self.partition.key, "stage": "scrape"}
            raise error.located(**where) from error.__cause__

    def manifest(self, backfill_id: str, code_version: str, landed_at: dt.datetime) -> Manifest:
        """The proof that all pages are landed; only after ``run``."""
        partition, found = self.partition, self._found
        total = self._total
        if total is None and self._confirmed:
            total = len(self._confirmed)
        return Manifest(
            source=self._scraper.source,
            partition=partition.key,
            start=partition.start,
            end=partition.end,
            zone=partition.zone,
            entity=partition.entity,
            attempt=self.attempt_id,
            backfill_id=backfill_id,
            code_version=code_version,
            landed_at=landed_at,
            pages=tuple(self._records),
            counts={table: sum(one.counts.get(table, 0) for one in found) for table in self._scraper.tables},
            source_total=total,
            empty_evidence=found[-1].empty_evidence if len(found) == 1 else "",
            unsettled=tuple(item for one in found for item in one.unsettled),
            resumed_pages=self._resumed_pages,
            content_hash=content_hash(self._records),
        )

    def _fetch(self, request: Request) -> None:
        if len(self._records) >= MAX_PAGES:
            raise Truncated(f"stopped at the cap of {MAX_PAGES} pages; landed pages are kept")
        if request in self._asked:
            raise SourceContractError(f"the source sends us back to a page already read, cursor {request.cursor!r}")
        page = self._client.fetch(request, len(self._records) + 1)
        source, landing = self._scraper.source, self._landing
        try:
            findings = self._scraper.inspect(self.partition, page)
        except PipelineError:
            landing.put_page(source, self.partition, self.attempt_id, page, None)
            raise
        self._add(landing.put_page(source, self.partition, self.attempt_id, page, findings), findings, request)

    def _add(self, record: PageRecord, findings: Findings, request: Request) -> None:
        self._asked.add(request)
        self._records.append(record)
        self._found.append(findings)
        self._next = findings.next_request
        if findings.source_total is not None:
            if self._total not in (None, findings.source_total):
                raise NotSettled(f"the source announced {self._total} rows, then {findings.source_total}")
            self._total = findings.source_total
        seen = self._confirmed if findings.confirms else self._keys
        before = len(seen)
        seen.update(findings.keys)
        if len(seen) != before + len(findings.keys):
            raise NotSettled("a row came on two pages: pages shifted while they were read")

    def _conclude(self) -> None:
        """Whether all pages together are one state of the source; ``NotSettled`` when they are not."""
        if any(one.confirms for one in self._found) and self._keys != self._confirmed:
            gone, added = len(self._keys - self._confirmed), len(self._confirmed - self._keys)
            raise NotSettled(f"{gone} of {len(self._keys)} rows were gone at the second reading, {added} were added")
        if self._keys and self._total is not None and len(self._keys) != self._total:
            raise NotSettled(f"the source announced {self._total} rows and gave {len(self._keys)}")

    def _rows(self) -> int:
        return sum(count for one in self._found for count in one.counts.values())
