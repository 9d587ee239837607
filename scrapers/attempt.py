"""One attempt at one partition: its pages, landed before or fetched now, and whether they agree with each other."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from alerting.errors import (
    BlockedBySource,
    NonCriticalError,
    NotSettled,
    PipelineError,
    SourceContractError,
    SourceUnavailable,
    Truncated,
    wait_facts,
    writable,
)
from alerting.reading_faults import reading_fault
from alerting.redaction import one_line, redact
from alerting.wording import plural
from scrapers.answers import is_data_type, is_json_type, more_told
from scrapers.base import Findings, Page, Request, Scraper
from scrapers.emptiness import refuse_words_beside_nothing
from scrapers.feeding import Feed
from scrapers.landing import Landing
from scrapers.manifest import Manifest, PageRecord, content_hash, open_or_blocking
from scrapers.partition import Partition
from scrapers.parts import Parts
from scrapers.sweep_reading import Sweep
from scrapers.waits import age_s, retry_after_s, shown_wait

MAX_PAGES = 10_000
_STALE = re.compile(r"\s*11[0-3]\b")
_NAME_CHARS = 200


class Fetcher(Protocol):
    """What ``scrape`` needs of the HTTP client."""

    def fetch(self, request: Request, page_number: int = 1) -> Page:
        """One page; raises the taxonomy's errors."""


def nothing(*_: object) -> None:
    """What a caller does who need not know."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks the source, and who is told (``answered``) when an attempt has nothing more to ask."""

    client: Fetcher
    answered: Callable[[], None] = nothing


class Course(Protocol):
    """What is asked next, and what the answers come to: decided by the answers alone, see `Parts` and `Sweep`."""

    next: Request | None
    reading: int
    is_live: bool

    @property
    def rows(self) -> int:
        """So far."""

    @property
    def total(self) -> int | None:
        """What the source announced; only at the end."""

    def counts(self, tables: Sequence[str]) -> dict[str, int]:
        """Rows per table."""

    def kept(self) -> list[bool]:
        """Of each page, whether its rows count."""

    def found(self) -> list[Findings]:
        """Of each page."""

    def answers(self, request: Request) -> bool:
        """Whether a landed page answers what would be asked now."""

    def add(self, findings: Findings) -> None:
        """Takes the answer to ``next``."""


class Attempt:
    """Pages of one partition under one attempt id. Not thread-safe: one thread works on a partition.

    Every landed page is a checkpoint: its object holds what was asked for. What a resumed attempt knows of its
    earlier pages is read from their stored bytes by the same ``inspect``, so a resumed attempt and an uninterrupted one
    cannot differ.
    """

    def __init__(
        self,
        partition: Partition,
        attempt_id: str,
        *,
        scraper: Scraper,
        asking: Asking,
        landing: Landing,
        items: Mapping[str, str] | None = None,
    ) -> None:
        self.partition = partition
        self.attempt_id = attempt_id
        self._scraper = scraper
        self._asking = asking
        self._landing = landing
        self._records: list[PageRecord] = []
        self._asked: set[tuple[int, Request]] = set()
        self._resumed_pages = 0
        self._course: Course
        if items is not None:
            self._course = Feed(scraper, partition, items)
        else:
            self._course = Sweep(scraper) if partition.is_sweep else Parts(partition, scraper)

    def take_over(self, pages: Sequence[PageRecord]) -> bool:
        """Takes pages that an earlier run landed under this attempt id. False when this attempt is not resumable.

        That is when a page cannot be read back or is none of this partition, and when the pages contradict each other
        or stopped at a cap, so that the attempt ended because of the source. Reads storage, never the source.
        """
        self._course.is_live = False
        try:
            for number, record in enumerate(pages, start=1):
                asked = self._course.next
                if asked is not None and not record.cursor and asked.asks_as(record.request):
                    record = record.model_copy(update={"cursor": asked.cursor})
                page = record.as_page(number, self._landing.read_page(record))
                if not self._course.answers(page.request):
                    return False
                findings = self._inspected(page)
                self._add(record.leading_to(findings.next_request), findings, page.request)
        except (NonCriticalError, SourceContractError):
            return False
        self._course.is_live = True
        self._resumed_pages = len(pages)
        return True

    def adopt(self, records: Sequence[PageRecord]) -> None:
        """Takes pages of listed items that earlier attempts landed; what cannot be read, or is of another version of
        its item, is fetched. Reads storage, never the source."""
        assert isinstance(self._course, Feed)
        for number, record in enumerate(self._course.in_order_of_items(records), start=1):
            try:
                page = record.as_page(number, self._landing.read_page(record))
                self._add(record, self._inspected(page), page.request)
            except (NonCriticalError, SourceContractError):
                continue
        self._resumed_pages = len(self._records)

    @property
    def pages(self) -> int:
        """Landed so far."""
        return len(self._records)

    @property
    def rows(self) -> int:
        """Counted so far."""
        return self._course.rows

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to be fetched."""
        return self._course.next is None

    def run(self, most_pages: int = MAX_PAGES) -> None:
        """Fetches and lands what is missing, ``most_pages`` at a time, until it ``is_whole``.

        Raises the taxonomy's errors, located, with what was kept.
        """
        try:
            for _ in range(most_pages):
                if self._course.next is None:
                    break
                self._fetch(self._course.next)
        except PipelineError as error:
            if self._scraper.takes_several_calls:
                error.facts.setdefault("rows_kept", self._course.rows)
                error.facts.setdefault("last_cursor", self._records[-1].cursor if self._records else "")
            where = {"source": self._scraper.source, "partition": self.partition.key, "stage": "scrape"}
            raise error.located(**where) from error.__cause__

    @property
    def total(self) -> int | None:
        """What the source announced, None when it did not; only after ``run``."""
        return self._course.total

    def kept(self) -> list[tuple[PageRecord, Findings]]:
        """The pages with rows, in order; where there are none, those that show it."""
        found = zip(self._records, self._course.found(), self._course.kept(), strict=True)
        pages = [(record, one) for record, one, is_kept in found if is_kept]
        return [(record, one) for record, one in pages if not one.confirms] or pages

    def dates_seen(self) -> list[dt.date]:
        """Of a span, the dates with rows so far, in the order in which they came."""
        return list(dict.fromkeys(date for one in self._course.found() for date in one.dates))

    def manifest(self, backfill_id: str, code_version: str, landed_at: dt.datetime) -> Manifest:
        """The proof that all pages are landed; only after ``run``."""
        partition = self.partition
        kept, counts = self._course.kept(), self._course.counts(self._scraper.tables)
        found = [one for one, is_kept in zip(self._course.found(), kept, strict=True) if is_kept]
        if isinstance(self._course, Feed):
            # The same items give the same hash, whichever of them were landed before.
            self._records = self._course.in_order_of_items(self._records)
        pages = tuple(
            record if is_kept else record.model_copy(update={"is_cut": True})
            for record, is_kept in zip(self._records, kept, strict=True)
        )
        # One whose rows lie on two pages is named by both.
        unfinished = tuple(dict.fromkeys(item for one in found for item in one.unsettled))
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
            only=self._scraper.only,
            pages=pages,
            counts=counts,
            absent=tuple(item for one in found for item in one.absent),
            versions={item: version for one in found for item, version in one.versions.items()},
            source_total=self._course.total,
            resumed_pages=self._resumed_pages,
            content_hash=content_hash(pages),
        )

    def _fetch(self, request: Request) -> None:
        if len(self._records) >= MAX_PAGES:
            raise Truncated(f"stopped at the cap of {MAX_PAGES} pages; landed pages are kept")
        if (self._course.reading, request) in self._asked:
            raise SourceContractError(f"the source sends us back to a page already read, cursor {request.cursor!r}")
        page = self._asking.client.fetch(request, len(self._records) + 1)
        source, landing = self._scraper.source, self._landing
        try:
            findings = self._inspected(page)
        except PipelineError as error:
            error.facts.setdefault("status", page.status)
            if self._scraper.raw_days and not isinstance(error, BlockedBySource):
                # What names people is deleted with its page; an error is kept for good.
                error.facts.pop("body", None)
            landing.put_page(source, self.partition, self.attempt_id, page, None)
            raise
        asked = (self._course.reading, request)
        refusal = self._taken(findings)
        try:
            record = landing.put_page(source, self.partition, self.attempt_id, page, findings)
        except PipelineError as error:
            if self._scraper.takes_several_calls:
                error.facts.setdefault("rows_kept", self._course.rows - sum(findings.counts.values()))
            raise
        self._asked.add(asked)
        self._records.append(record)
        if refusal is not None:
            raise refusal

    def _taken(self, findings: Findings) -> PipelineError | None:
        """What the course says against the answer, which is stored all the same; else whether it was the last."""
        try:
            self._course.add(findings)
        except PipelineError as error:
            return error
        if self._course.next is None:
            # While it is stored, the next partition may ask.
            self._asking.answered()
        return None

    def _inspected(self, page: Page) -> Findings:
        if page.status not in self._scraper.accepted_statuses and not page.is_absent:
            raise Truncated(f"status {page.status} is not a complete response here; its page is kept as evidence")
        try:
            findings = self._scraper.inspect(self.partition, page)
        except PipelineError:
            raise
        except Exception as error:
            # A payload that nobody has thought of: it is about this partition until others are read alike.
            raise SourceContractError(f"the scraper cannot read page {page.number}: {reading_fault(error)}") from None
        _refuse_strange(findings, self._scraper.tables)
        if not _goes_on(page.request, findings.next_request) and is_data_type(self._scraper.accept):
            is_first = not page.request.cursor and not self._scraper.result_cap
            beside = len(findings.unsettled) + len(findings.absent) + len(findings.lists or ())
            rows = sum(findings.counts.values()) + beside
            if told := more_told(page.headers, rows=rows if is_first else None):
                raise Truncated(f"a header says that there is more, {redact(told)[:80]!r}, which is not requested")
        self._refuse_cached(page)
        self._refuse_awaited(page, findings)
        self._refuse_told(page, findings)
        findings = _with_status(findings, page.status)
        if self.partition.is_sweep:
            return _checked_sweep(self._scraper.tables[0], findings)
        return _checked(self.partition, findings) if self.partition.is_span else findings

    def _refuse_cached(self, page: Page) -> None:
        """An answer that a cache took before the date was settled is of that time, and proves nothing by now."""
        kept_s = age_s(page.headers.get("age"))
        if not kept_s or self.partition.is_whole or not self._scraper.keeps_history:
            return
        made_at, settled_at = page.fetched_at - dt.timedelta(seconds=kept_s), self._scraper.settled_at(self.partition)
        if made_at < settled_at:
            raise NotSettled(
                f"a cache returned a response of {made_at:%Y-%m-%d %H:%M} UTC, and the date was settled at "
                f"{settled_at:%Y-%m-%d %H:%M} UTC; its page is kept as evidence",
                hint="ask again when the cache has let go of it",
            )

    def _refuse_told(self, page: Page, findings: Findings) -> None:
        """An answer that has nothing and leads to nothing has nothing else to say either."""
        is_nothing = bool(findings.empty_evidence or findings.absent) and not any(findings.counts.values())
        if is_nothing and findings.next_request is None and not page.is_absent and is_json_type(self._scraper.accept):
            refuse_words_beside_nothing(page.body, self._scraper.envelope)

    @staticmethod
    def _refuse_awaited(page: Page, findings: Findings) -> None:
        """No rows and a wish to come back later are the answer of a source that is still at it; an answer that a cache
        calls stale is of nobody knows when."""
        if findings.empty_evidence and _STALE.match(page.headers.get("warning", "")):
            told = one_line(page.headers["warning"])[:60]
            raise SourceUnavailable(f"a cache returned no rows and calls them stale, {told!r}; that is no proof")
        wish_s = retry_after_s(page.headers.get("retry-after"), page.fetched_at)
        if wish_s is not None and findings.empty_evidence and not any(findings.counts.values()):
            raise SourceUnavailable(
                f"the response has no rows and wants to be asked again {shown_wait(wish_s, page.fetched_at)}: that is "
                "no proof of emptiness; its page is kept as evidence",
                **wait_facts(wish_s, page.fetched_at),
            )

    def _add(self, record: PageRecord, findings: Findings, request: Request) -> None:
        self._asked.add((self._course.reading, request))
        self._records.append(record)
        self._course.add(findings)


def _goes_on(asked: Request, following: Request | None) -> bool:
    """Whether a list is read on; a list of items leads to the first of these, and leaves its own next page behind."""
    return following is not None and (following.site, following.path) == (asked.site, asked.path)


def _refuse_strange(findings: object, tables: Sequence[str]) -> None:
    """Raises for what is no ``Findings``, and for rows of a table that nobody would compare."""
    if not isinstance(findings, Findings):
        told = f"returned {type(findings).__name__}, expected Findings"
    elif stray := sorted(set(findings.counts) - set(tables)):
        told = f"counts rows of {', '.join(map(repr, stray))[:80]}; its tables are {', '.join(tables)}"
    else:
        return
    raise SourceContractError(
        f"inspect() of the scraper {told}; nothing was counted", hint="mend the scraper", of_scraper=True
    )


def _with_status(findings: Findings, status: int) -> Findings:
    """Evidence of emptiness always says which status it came with; names for people are short and of one line."""
    evidence = findings.empty_evidence
    if evidence and not evidence.startswith(str(status)):
        evidence = f"{status}, {evidence}"
    unsettled = tuple(one_line(writable(name), _NAME_CHARS) for name in findings.unsettled)
    return replace(findings, empty_evidence=writable(redact(evidence)), unsettled=unsettled)


def _evidence_of(found: Sequence[Findings]) -> str:
    """The proof that there are no rows: every page that could have some has one; "" when one of them has none."""
    proofs = [one.empty_evidence for one in [one for one in found if not one.confirms] or found]
    if not proofs or not all(proofs):
        return ""
    return proofs[0] if len(proofs) == 1 else f"{len(proofs)} pages, each proven empty; the last: {proofs[-1]}"


def _checked_sweep(table: str, findings: Findings) -> Findings:
    """What a page of a sweep has, every row of it named."""
    if findings.counts.get(table, 0) != len(findings.swept):
        counted = plural(findings.counts.get(table, 0), "row")
        raise SourceContractError(
            f"the scraper counts {counted} of {table} and names {len(findings.swept):,}",
            hint="let inspect() of this scraper name every row in Findings.swept",
            of_scraper=True,
        )
    return findings


def _checked(span: Partition, findings: Findings) -> Findings:
    """What a page of a span has, all of it accounted for by date."""
    stray = next((date for date in findings.dates if not span.contains(date)), None)
    if stray is not None:
        raise SourceContractError(f"asked for {span.key}, got rows of {stray}")
    for table, count in findings.counts.items():
        by_date = sum(one.counts.get(table, 0) for one in findings.dates.values())
        if by_date != count:
            raise SourceContractError(
                f"the scraper counts {plural(count, 'row')} of {table} on a page of {span.key}, "
                f"and {by_date:,} of them by date",
                hint="let inspect() of this scraper name the date of every row in Findings.dates",
                of_scraper=True,
            )
    # Steps are those of a single partition.
    return replace(findings, where=())
