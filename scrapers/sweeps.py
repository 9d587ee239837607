"""One reading of all that a source has, for sources that cannot be asked for a date (``Scraper.sweeps``).

The pages are landed once, as received, under the name of the sweep; then every partition that was asked for gets a
manifest of its own, which refers to the pages with its rows and counts each of them once. Rows of other partitions are
left alone, until those are asked for: a sweep that is still fresh fills them without a call. Everything behind the
landing knows partitions and no sweeps. How it is asked: :mod:`scrapers.sweep_reading`.

A row that came in two forms, because it was corrected between two pages, counts in the later one. A partition whose
rows are what they were has the hash that it had, however the pages lie: a later sweep reloads what has changed.

Layout, beside that of :mod:`scrapers.landing`::

    landing/source=<s>/run=sweep/attempt=<id>/page-0001.<ext>.gz           write-once
    landing/source=<s>/run=sweep/attempt=<id>/manifest.json                written before the first partition's manifest
    landing/source=<s>/partition=<p>/attempt=<id>/manifest.json            per partition, of the same attempt
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence

from alerting.errors import LandingDamaged
from alerting.wording import plural
from scrapers.attempt import Attempt
from scrapers.base import Findings, Swept
from scrapers.manifest import Manifest, PageRecord
from scrapers.partition import Partition
from scrapers.scrape import ScrapeContext, refuse_unaskable, resumed
from scrapers.spans import SpanResult

PAGES_AT_ONCE = 25
"""Pages after which a sweep of hours looks up: whether it may go on, and whether others are waiting."""


class SweepScrape:
    """A sweep under way, for ``partitions`` (at least one, in any order). Not thread-safe.

    A killed one is taken up at its next page, as every attempt is; one that has all its pages is not asked for again by
    the same run.
    """

    def __init__(self, partitions: Sequence[Partition], context: ScrapeContext) -> None:
        self._partitions = sorted(partitions)
        self._context = context
        self._attempt: Attempt | None = None
        self._landed: Manifest | None = None
        # Whether the next call begins a try: the first one, and one after a failure.
        self.is_new_try = True

    @property
    def pages(self) -> int:
        """So far."""
        return 0 if self._attempt is None else self._attempt.pages

    def go_on(self, most_pages: int = PAGES_AT_ONCE) -> SpanResult | None:
        """A manifest per partition when it is whole; None when there is more to read.

        Raises as :func:`scrapers.scrape.scrape` does, for all partitions; calling it again goes on where it stopped.
        """
        context, self.is_new_try = self._context, True
        for partition in self._partitions:
            refuse_unaskable(partition, context.scraper, context.now())
        if self._attempt is None:
            self._attempt = self._taken_up() or self._begun()
        self._attempt.run(most_pages)
        self.is_new_try = False
        if not self._attempt.is_whole:
            return None
        # Before any partition's: pages of a sweep without it are named by nobody.
        self._landed = self._landed or context.land(self._attempt)
        return self._divided(self._attempt, self._landed)

    def _taken_up(self) -> Attempt | None:
        """A landed sweep that is this run's own, or fresh enough."""
        context, scraper = self._context, self._context.scraper
        try:
            manifest = context.landing.newest_manifest(scraper.source, Partition.sweep(scraper.zone).key)
        except LandingDamaged:
            return None
        if manifest is None:
            return None
        is_fresh = context.sweep_since is not None and manifest.landed_at >= context.sweep_since
        if not is_fresh and manifest.backfill_id != context.backfill_id:
            return None
        attempt = context.attempt(Partition.sweep(scraper.zone), manifest.attempt)
        if not attempt.take_over(manifest.pages) or not attempt.is_whole:
            return None
        self._landed = manifest
        return attempt

    def _begun(self) -> Attempt:
        context, sweep = self._context, Partition.sweep(self._context.scraper.zone)

        def begin(attempt_id: str) -> Attempt:
            return context.attempt(sweep, attempt_id)

        return resumed(sweep, begin, context) or begin(context.new_attempt_id())

    def _divided(self, attempt: Attempt, whole: Manifest) -> SpanResult:
        kept, result = attempt.kept(), SpanResult()
        newest: dict[str, tuple[int, Swept]] = {}
        for number, (_, found) in enumerate(kept):
            newest.update((row.key, (number, row)) for row in found.swept)
        for partition in self._partitions:
            manifest = _manifest_of(partition, whole, kept, newest, len(self._partitions))
            self._context.landing.put_manifest(manifest)
            result.manifests[partition.key] = manifest
        return result


def digest_of(text: str) -> str:
    """For ``Swept.digest``: the same for the same text.

    >>> digest_of("3 600 000 kr")[:8]
    'f308b2c8'
    """
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _manifest_of(
    partition: Partition,
    whole: Manifest,
    kept: Sequence[tuple[PageRecord, Findings]],
    newest: dict[str, tuple[int, Swept]],
    sharers: int,
) -> Manifest:
    """The manifest of one partition: the pages with its rows, or one that shows that it has none."""
    covers = (whole.start, whole.end)
    table = next(iter(whole.counts))
    pages, rows = list[PageRecord](), list[str]()
    for number, (record, found) in enumerate(kept):
        mine = [row for row in found.swept if partition.contains(row.date)]
        counted = [row for row in mine if newest[row.key] == (number, row)]
        if not counted:
            continue
        superseded = [row.key for row in mine if newest[row.key][1] != row]
        rows += [f"{row.key} {row.digest}" for row in counted]
        pages.append(_share(record, covers, sharers, {table: len(counted)}, superseded))
    evidence = ""
    if not pages:
        evidence = f"200, none of {plural(len(newest), 'row')} of the sweep {whole.attempt} is of {partition.key}"
        pages = [_share(kept[-1][0], covers, sharers, {}, [])]
    content = "".join(sorted(rows)) if rows else f"{partition.key} {whole.content_hash}"
    return whole.model_copy(
        update={
            "partition": partition.key,
            "start": partition.start,
            "end": partition.end,
            "pages": tuple(pages),
            "counts": {name: len(rows) if name == table else 0 for name in whole.counts},
            "source_total": len(rows),
            "empty_evidence": evidence,
            "content_hash": hashlib.sha256(content.encode()).hexdigest(),
        }
    )


def _share(
    record: PageRecord,
    covers: tuple[dt.date, dt.date],
    sharers: int,
    counts: dict[str, int],
    superseded: Sequence[str],
) -> PageRecord:
    return record.model_copy(
        update={
            "counts": counts,
            "covers": covers,
            "superseded": tuple(superseded),
            "elapsed_s": round(record.elapsed_s / sharers, 4),
        }
    )
