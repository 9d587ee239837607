"""Consecutive dates by one call, for sources that can be asked from a date to another (``Scraper.days_per_call``).

The answer is landed once, as received, under the span's own name; then every date gets a manifest of its own that
refers to the same objects and counts only its own rows. Everything behind the landing (ledger, plan, load,
verification) knows dates and no spans.

An answer that reaches a cap is kept as evidence, and the dates before the one at which it ended are asked for alone;
the others go into the next call (``SpanQueue``). A single date at the cap is cut into parts (:mod:`scrapers.parts`).
Where rows come in order of time, the calls are at most twice the fewest that can be (newest first: and two more); else
a span is cut in the middle.

Layout, beside that of :mod:`scrapers.landing`::

    landing/source=<s>/run=<first>..<last>/attempt=<id>/page-0001.json.gz    write-once
    landing/source=<s>/run=<first>..<last>/attempt=<id>/manifest.json        written before the first date's manifest
    landing/source=<s>/partition=<p>/attempt=<id>/manifest.json              per date, of the same attempt
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from alerting.errors import (
    CoverageLow,
    NothingPublished,
    NotSettled,
    PipelineError,
    SourceContractError,
    Truncated,
)
from alerting.wording import plural
from scrapers.attempt import Attempt
from scrapers.base import Dated, Findings, Scraper
from scrapers.manifest import Manifest, PageRecord, open_or_blocking
from scrapers.partition import Partition, spans
from scrapers.scrape import ScrapeContext, refuse_unaskable, swept


@dataclass(frozen=True, slots=True)
class SpanResult:
    """What one call for several dates came to: a manifest or an error per date, or shorter spans to ask for instead.

    The first of ``shorter`` is to be asked for next: it is known or hoped to stay below the cap. ``is_newest_first`` is
    the order of the answer's rows, None where it is not known.
    """

    manifests: dict[str, Manifest] = field(default_factory=dict)
    failures: dict[str, PipelineError] = field(default_factory=dict)
    shorter: tuple[tuple[Partition, ...], ...] = ()
    is_newest_first: bool | None = None


def scrape_span(partitions: Sequence[Partition], context: ScrapeContext) -> SpanResult:
    """Fetches consecutive dates (at least two, oldest first) by one call and its next pages; see the module.

    An answer at a cap, or with a date that is not as it should be, gives ``shorter`` spans, so that no date fails for
    the sake of another. A date without rows for which the answer has no ``empty_evidence`` is ``NothingPublished``.

    Raises as :func:`scrapers.scrape.scrape` does, for all of the dates; a killed or repeated call goes on likewise.
    """
    scraper = context.scraper
    for partition in partitions:
        refuse_unaskable(partition, scraper, context.now())
    span, tried = Partition.spanning(partitions), list[Attempt]()

    def begin(attempt_id: str) -> Attempt:
        tried.append(context.attempt(span, attempt_id))
        return tried[-1]

    try:
        attempt = swept(span, begin, context)
        _check_total(attempt, scraper)
    except (Truncated, CoverageLow, SourceContractError) as error:
        if error.facts.get("of_scraper"):
            raise
        return cut(partitions, tried[-1].dates_seen() if isinstance(error, Truncated) else ())
    # Before any date's: pages of a span without it are named by nobody.
    whole = context.land(attempt)
    answer = SpanResult()
    for partition in partitions:
        manifest = _manifest_of(partition, whole, attempt.kept(), len(partitions), attempt.total, scraper)
        if any(manifest.counts.values()) or manifest.empty_evidence:
            context.landing.put_manifest(manifest)
            answer.manifests[partition.key] = manifest
        else:
            answer.failures[partition.key] = NothingPublished(
                f"no rows among those of {span.key}, and nothing proves that there are none",
                source=scraper.source,
                partition=partition.key,
                stage="scrape",
            )
    return answer


def cut(partitions: Sequence[Partition], seen: Sequence[dt.date] = ()) -> SpanResult:
    """What to ask for in place of a span at a cap.

    Args:
        partitions: The span, oldest first, at least two.
        seen: The dates of the capped answer in the order in which they came. All but the last are complete.
    """
    at, is_newest_first = len(partitions) // 2, None
    if seen:
        last = next((at for at, one in enumerate(partitions) if one.contains(seen[-1])), at)
        if len(set(seen)) == 1:
            # Too large by itself, and in which order its neighbours would have come is not known.
            parts = partitions[last : last + 1], partitions[:last], partitions[last + 1 :]
            return SpanResult(shorter=tuple(tuple(part) for part in parts if part))
        if all(left <= right for left, right in itertools.pairwise(seen)):
            at, is_newest_first = last, False
        elif all(left >= right for left, right in itertools.pairwise(seen)):
            at, is_newest_first = last + 1, True
    at = min(max(at, 1), len(partitions) - 1)
    first, second = tuple(partitions[:at]), tuple(partitions[at:])
    shorter = (second, first) if is_newest_first else (first, second)
    return SpanResult(shorter=shorter, is_newest_first=is_newest_first)


class SpanQueue:
    """Which dates to ask for next, one call after the other.

    What a capped answer did not reach is asked for together with the dates beyond it: a span that is cut ends at the
    cap and not where somebody else's span begins. That needs to know which dates come next, so it is done from one end.

    Args:
        partitions: Oldest or newest first.
        days: ``Scraper.days_per_call``.
    """

    def __init__(self, partitions: Sequence[Partition], days: int) -> None:
        self._left = sorted(partitions, key=_by_time)
        self._days = days
        self._next: tuple[Partition, ...] = ()
        self._is_from_end = len(partitions) > 1 and partitions[0] > partitions[-1]

    def take(self) -> tuple[Partition, ...]:
        """The next span, oldest first; empty when nothing is left."""
        if self._next:
            taken, self._next = self._next, ()
            return taken
        if not self._left:
            return ()
        if self._is_from_end:
            taken = spans(self._left[: -self._days - 1 : -1], self._days)[0]
            del self._left[-len(taken) :]
        else:
            taken = spans(self._left[: self._days], self._days)[0]
            del self._left[: len(taken)]
        return taken

    def put_back(self, answer: SpanResult) -> None:
        """Takes back what has to be asked for again."""
        if not answer.shorter:
            return
        self._next, *rest = answer.shorter
        self._left = sorted([*self._left, *(one for span in rest for one in span)], key=_by_time)
        if answer.is_newest_first is not None:
            # Towards the dates that are still to be asked for.
            self._is_from_end = answer.is_newest_first


def _by_time(partition: Partition) -> tuple[str, dt.date]:
    return partition.entity, partition.start


def dates_of(rows: Iterable[tuple[dt.date, str, Any]]) -> dict[dt.date, Dated]:
    """``Findings.dates`` of rows given as (date, table, raw row as parsed from JSON), in the order of the answer."""
    counts: dict[dt.date, Counter[str]] = {}
    hashes: dict[dt.date, list[str]] = {}
    for date, table, raw in rows:
        counts.setdefault(date, Counter())[table] += 1
        text = json.dumps([table, raw], sort_keys=True)
        hashes.setdefault(date, []).append(hashlib.sha256(text.encode()).hexdigest())
    return {
        date: Dated(counted, digest=hashlib.sha256("".join(sorted(hashes[date])).encode()).hexdigest())
        for date, counted in counts.items()
    }


def _check_total(attempt: Attempt, scraper: Scraper) -> None:
    rows = sum(found.counts.get(scraper.tables[0], 0) for _, found in attempt.kept())
    if attempt.total is not None and attempt.total != rows:
        raise NotSettled(
            f"the source announced {plural(attempt.total, 'row')} for {attempt.partition.key} and gave {rows}",
            source=scraper.source,
            stage="scrape",
            hint="run it again when the source is quiet",
        )


def _manifest_of(
    partition: Partition,
    whole: Manifest,
    kept: Sequence[tuple[PageRecord, Findings]],
    sharers: int,
    total: int | None,
    scraper: Scraper,
) -> Manifest:
    """The manifest of one date: pages with its rows, or one that shows that it has none."""
    covers = (whole.start, whole.end)
    pages, digests, unsettled = list[PageRecord](), list[str](), list[str]()
    for record, found in kept:
        mine = [dated for date, dated in found.dates.items() if partition.contains(date)]
        counts = sum((Counter(dated.counts) for dated in mine), Counter[str]())
        if any(counts.values()):
            share = {"counts": dict(counts), "covers": covers, "elapsed_s": round(record.elapsed_s / sharers, 4)}
            pages.append(record.model_copy(update=share))
        digests += [dated.digest for dated in mine]
        unsettled += [*found.unsettled, *(item for dated in mine for item in dated.unsettled)]
    evidence = ""
    if not pages:
        record, found = kept[-1]
        proven = [one.empty_evidence for _, one in kept]
        evidence = f"{found.empty_evidence} (asked for {whole.partition})" if all(proven) else ""
        share = {"counts": {}, "covers": covers, "elapsed_s": round(record.elapsed_s / sharers, 4)}
        pages = [record.model_copy(update=share)]
    totals = {table: sum(page.counts.get(table, 0) for page in pages) for table in whole.counts}
    told = digests
    if not (digests and all(digests)):
        # Without hashes of its rows a date is never taken for unchanged, nor for a duplicate of another.
        told = [partition.key, *(page.sha256 for page in pages if page.counts)]
    return whole.model_copy(
        update={
            "partition": partition.key,
            "start": partition.start,
            "end": partition.end,
            "pages": tuple(pages),
            "counts": totals,
            "source_total": None if total is None else next(iter(totals.values()), 0),
            "empty_evidence": evidence,
            "open_items": (),
            **open_or_blocking(
                unsettled, blocks=scraper.blocks_at(partition, whole.landed_at), has_rows=any(totals.values())
            ),
            "content_hash": hashlib.sha256("".join(told).encode()).hexdigest(),
        }
    )
