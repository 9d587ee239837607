"""One attempt at one partition: its pages, landed before or fetched now, and whether they agree with each other."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from alerting.errors import (
    NonCriticalError,
    PipelineError,
    SourceContractError,
    StateUnreadable,
    Truncated,
    writable,
)
from alerting.redaction import redact
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.landing import Landing, Manifest, PageRecord, content_hash
from scrapers.manifest import open_or_blocking
from scrapers.partition import Partition
from scrapers.parts import Reading, agreed_total, halves, shown

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
        self._asked: set[Request] = set()
        self._resumed_pages = 0
        # A span is cut into shorter ones, by the one who asked for it.
        self._whole = range(1) if partition.is_span else scraper.parts(partition)
        self._readings = [Reading(self._whole)]
        self._to_ask: list[range] = []
        self._total: int | None = None
        self._next: Request | None = scraper.first_request(partition)

    def take_over(self, pages: Sequence[PageRecord]) -> bool:
        """Takes pages that an earlier run landed under this attempt id. False when this attempt is not resumable.

        That is when a page cannot be read back or is none of this partition, and when the pages contradict each other
        or stopped at a cap, so that the attempt ended because of the source. Reads storage, never the source.
        """
        try:
            for number, record in enumerate(pages, start=1):
                page = record.as_page(number, self._landing.read_page(record))
                if not self._was_asked_next(page.request):
                    return False
                self._add(record, self._inspected(page), page.request)
        except (NonCriticalError, SourceContractError, StateUnreadable):
            return False
        self._resumed_pages = len(pages)
        return True

    def run(self) -> None:
        """Fetches and lands what is missing. Raises the taxonomy's errors, located, with what was kept."""
        try:
            while self._next is not None:
                self._fetch(self._next)
        except PipelineError as error:
            if self._scraper.takes_several_calls:
                error.facts.setdefault("rows_kept", self._rows())
                error.facts.setdefault("last_cursor", self._records[-1].cursor if self._records else "")
            where = {"source": self._scraper.source, "partition": self.partition.key, "stage": "scrape"}
            raise error.located(**where) from error.__cause__

    @property
    def total(self) -> int | None:
        """What the source announced, None when it did not; only after ``run``."""
        return self._total

    def kept(self) -> list[tuple[PageRecord, Findings]]:
        """The pages with rows, in order; where there are none, those that show it."""
        found = [(reading.is_cut, one) for reading in self._readings for one in reading.found]
        pages = [(record, one) for record, (is_cut, one) in zip(self._records, found, strict=True) if not is_cut]
        return [(record, one) for record, one in pages if not one.confirms] or pages

    def dates_seen(self) -> list[dt.date]:
        """Of a span, the dates with rows so far, in the order in which they came."""
        return list(dict.fromkeys(date for reading in self._readings for one in reading.found for date in one.dates))

    def manifest(self, backfill_id: str, code_version: str, landed_at: dt.datetime) -> Manifest:
        """The proof that all pages are landed; only after ``run``."""
        partition = self.partition
        found = [one for reading in self._readings if not reading.is_cut for one in reading.found]
        counts = {table: sum(one.counts.get(table, 0) for one in found) for table in self._scraper.tables}
        cut = [reading.is_cut for reading in self._readings for _ in reading.found]
        pages = tuple(
            record.model_copy(update={"is_cut": True}) if of_cut else record
            for record, of_cut in zip(self._records, cut, strict=True)
        )
        unfinished = tuple(item for one in found for item in one.unsettled)
        blocks, has_rows = self._scraper.blocks_at(partition, landed_at), any(counts.values())
        told = {"empty_evidence": "" if has_rows else _evidence_of(found)}
        told |= open_or_blocking(unfinished, blocks=blocks, has_rows=has_rows)
        return Manifest(
            **told,
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
            pages=pages,
            counts=counts,
            absent=tuple(item for one in found for item in one.absent),
            source_total=self._total,
            resumed_pages=self._resumed_pages,
            content_hash=content_hash(pages),
        )

    def _fetch(self, request: Request) -> None:
        if len(self._records) >= MAX_PAGES:
            raise Truncated(f"stopped at the cap of {MAX_PAGES} pages; landed pages are kept")
        if request in self._asked:
            raise SourceContractError(f"the source sends us back to a page already read, cursor {request.cursor!r}")
        page = self._client.fetch(request, len(self._records) + 1)
        source, landing = self._scraper.source, self._landing
        try:
            findings = self._inspected(page)
        except PipelineError as error:
            error.facts.setdefault("status", page.status)
            landing.put_page(source, self.partition, self.attempt_id, page, None)
            raise
        self._add(landing.put_page(source, self.partition, self.attempt_id, page, findings), findings, request)

    def _inspected(self, page: Page) -> Findings:
        if page.status not in self._scraper.accepted_statuses and not page.is_absent:
            raise Truncated(f"status {page.status} is no complete answer of this source; its page is kept as evidence")
        try:
            findings = self._scraper.inspect(self.partition, page)
        except PipelineError:
            raise
        except Exception as error:
            # A payload that nobody has thought of: it is about this partition until others are read alike.
            what = redact(f"{type(error).__name__}: {error}")[:200]
            raise SourceContractError(f"the scraper cannot read page {page.number}: {what}") from None
        findings = _with_status(findings, page.status)
        return _checked(self.partition, findings) if self.partition.is_span else findings

    def _add(self, record: PageRecord, findings: Findings, request: Request) -> None:
        reading = self._readings[-1]
        self._asked.add(request)
        self._records.append(record)
        reading.add(findings, self._scraper.tables[0])
        self._next = findings.next_request
        if reading.is_short(self._scraper.result_cap, can_split=len(self._whole) > 1):
            self._cut(reading)
        elif self._next is None:
            reading.conclude(is_whole=reading.part == self._whole)
        else:
            return
        self._begin_part()

    def _cut(self, reading: Reading) -> None:
        """Two smaller parts take the place of one at the cap; ``Truncated`` when it cannot be smaller."""
        if len(reading.part) < 2:
            cap = self._scraper.result_cap
            what = f"steps {shown(reading.part)} of {len(self._whole)}" if len(self._whole) > 1 else "the partition"
            raise Truncated(
                f"{what} came with {reading.rows} rows, the source gives at most {cap or reading.rows}: what lies "
                "beyond is missing; landed pages are kept as evidence, nothing of them is loaded",
                hint="let parts() of this scraper have finer steps, or ask by another filter",
                announced=reading.total,
            )
        reading.is_cut = True
        first, second = halves(reading.part, reading.where)
        self._to_ask += [second, first]

    def _begin_part(self) -> None:
        self._next = None
        if self._to_ask:
            part = self._to_ask.pop()
            self._readings.append(Reading(part))
            self._next = self._scraper.part_request(self.partition, part)
        else:
            self._total = agreed_total(self._readings)

    def _was_asked_next(self, request: Request) -> bool:
        """Whether a landed page answers what would be asked now; pages of the whole may be of another size."""
        if self._next is None or len(self._readings) == 1:
            return self._next is not None
        return request.asks_as(self._next)

    def _rows(self) -> int:
        kept = (reading for reading in self._readings if not reading.is_cut)
        return sum(count for reading in kept for one in reading.found for count in one.counts.values())


def _with_status(findings: Findings, status: int) -> Findings:
    """Evidence of emptiness always says which status it came with."""
    evidence = findings.empty_evidence
    if evidence and not evidence.startswith(str(status)):
        evidence = f"{status}, {evidence}"
    return replace(findings, empty_evidence=writable(redact(evidence)))


def _evidence_of(found: Sequence[Findings]) -> str:
    """The proof that there are no rows: every page that could have some has one; "" when one of them has none."""
    proofs = [one.empty_evidence for one in [one for one in found if not one.confirms] or found]
    if not proofs or not all(proofs):
        return ""
    return proofs[0] if len(proofs) == 1 else f"{len(proofs)} pages, each proven empty; the last: {proofs[-1]}"


def _checked(span: Partition, findings: Findings) -> Findings:
    """What a page of a span has, all of it accounted for by date."""
    stray = next((date for date in findings.dates if not span.contains(date)), None)
    if stray is not None:
        raise SourceContractError(f"asked for {span.key}, got rows of {stray}")
    for table, count in findings.counts.items():
        by_date = sum(one.counts.get(table, 0) for one in findings.dates.values())
        if by_date != count:
            raise SourceContractError(
                f"the scraper counts {count} rows of {table} on a page of {span.key}, and {by_date} of them by date",
                hint="let inspect() of this scraper name the date of every row in Findings.dates",
                of_scraper=True,
            )
    # Steps are those of a single partition.
    return replace(findings, where=())
