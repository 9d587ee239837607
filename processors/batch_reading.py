"""From landed pages to the rows of a batch: which partitions may be loaded, and why the others may not."""

from __future__ import annotations

import datetime as dt
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from alerting.errors import (
    CoverageLow,
    NothingPublished,
    NotSettled,
    PipelineError,
    RowRejected,
    SourceContractError,
    TransientError,
)
from alerting.reading_faults import reading_fault
from alerting.wording import plural
from processors.admission import Admission
from processors.base import LandedPage, Processor, Reject
from processors.staging import TableSpool
from processors.vacancy import Identities
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.threads import threads

_READERS = 8
_READ_AHEAD_BYTES = 2 * 1024 * 1024


@dataclass
class BatchRows:
    """The batch once its partitions are read: rows in the spools, counts per partition, and what went wrong.

    ``identities`` are those of each table's admitted rows.
    """

    hash: str
    spools: dict[str, TableSpool]
    admitted: dict[str, Admission] = field(default_factory=dict)
    rejects: dict[str, list[Reject]] = field(default_factory=dict)
    reject_counts: dict[str, int] = field(default_factory=dict)
    failures: dict[str, PipelineError] = field(default_factory=dict)
    unbalanced: dict[str, list[str]] = field(default_factory=dict)
    unknown_fields: Counter[str] = field(default_factory=Counter)
    absent_fields: Counter[str] = field(default_factory=Counter)
    identities: defaultdict[str, Identities] = field(default_factory=lambda: defaultdict(Identities))


def read_batch(batch: BatchRows, manifests: Sequence[Manifest], processor: Processor, landing: Landing) -> None:
    """Fills the spools with the rows of the good partitions, and the failures with the others.

    Raises ``TransientError`` only: then nothing of the batch may be used.
    """
    askable = []
    for manifest in manifests:
        refusal = _refusal(manifest)
        if refusal:
            batch.failures[manifest.partition] = refusal
        else:
            askable.append(manifest)
    for manifest, bodies in _read_ahead(askable, landing):
        for spool in batch.spools.values():
            spool.mark()
        admission = Admission(
            manifest.as_partition(),
            processor.tables,
            lambda table: batch.spools[table].append,
            processor.balances,
        )
        try:
            _admit(admission, manifest, processor, bodies)
            _judge(admission, manifest, processor.tolerated_rejects)
            batch.admitted[manifest.partition] = admission
            for table in processor.tables:
                batch.identities[table.name].add(admission.identities(table.name))
            if warnings := admission.expectations.warnings():
                batch.unbalanced[manifest.partition] = warnings
        except TransientError:
            raise
        except PipelineError as error:
            batch.failures[manifest.partition] = error
            for spool in batch.spools.values():
                spool.roll_back()
        admission.close()
        batch.unknown_fields += admission.unknown_fields
        batch.absent_fields += admission.absent_fields
        if admission.rejects:
            batch.rejects[manifest.partition] = admission.rejects
            batch.reject_counts[manifest.partition] = admission.reject_counts.total()


def missing_rightly(admission: Admission, table: str, counted: int) -> int:
    """How many of the rows that the scraper counted are not to be in the warehouse: one rule for loader and recount.

    A scraper may count a row that came twice once or twice, so that a good number lies between 0 and all that was left
    out; the recount expects exactly ``counted`` less this.
    """
    return counted - admission.rows[table]


def _refusal(manifest: Manifest) -> PipelineError | None:
    if manifest.unsettled:
        shown = ", ".join(manifest.unsettled[:3])
        return NotSettled(
            f"{plural(len(manifest.unsettled), 'item')} will still change ({shown}); landed, not loaded",
            hint="run the date again when they are final",
        )
    if not any(manifest.counts.values()) and not manifest.empty_evidence:
        return NothingPublished("the manifest counts no rows and has no proof of emptiness; old rows were kept")
    return None


def _read_ahead(
    manifests: Sequence[Manifest], landing: Landing
) -> Iterator[tuple[Manifest, Callable[[], Iterator[bytes]]]]:
    """Manifests in order with their pages, small ones fetched some places ahead: storage answers in 20-50 ms.

    What is in memory is unpacked by who reads it: to hand it to a thread and back costs as much again.
    """
    with threads(_READERS, "landing") as readers:
        ahead, looked_at = {}, 0
        for place, manifest in enumerate(manifests):
            for number in range(looked_at, min(place + 2 * _READERS, len(manifests))):
                looked_at, one = number + 1, manifests[number]
                if one.size_bytes <= _READ_AHEAD_BYTES and not landing.is_in_memory(one):
                    ahead[number] = readers.submit(lambda one: list(landing.read_pages(one)), one)
            pending = ahead.pop(place, None)
            if pending is None:
                yield manifest, lambda one=manifest: landing.read_pages(one)  # type: ignore[misc]
            else:
                yield manifest, lambda done=pending: iter(done.result())  # type: ignore[misc]


def _admit(
    admission: Admission, manifest: Manifest, processor: Processor, bodies: Callable[[], Iterator[bytes]]
) -> None:
    partition = manifest.as_partition()
    with_rows = [page for page in manifest.pages if page.holds_rows]
    for number, body in enumerate(bodies()):
        record = with_rows[number]
        admission.covers, admission.superseded = record.covers, frozenset(record.superseded)
        admission.object_name, admission.row = record.object_name, 0
        page = LandedPage(
            record.path,
            record.params,
            record.status,
            record.headers,
            record.fetched_at,
            body,
            json_body=record.json_body,
            item=record.item,
            object_name=record.object_name,
        )
        try:
            for table, raw in processor.rows(partition, page):
                admission.take(table, raw)
                admission.row += 1
        except PipelineError:
            raise
        except Exception as error:
            # "from None": the text of a foreign exception has the value in it.
            raise SourceContractError(
                f"the processor cannot read page {number + 1}, row {admission.row + 1}: {reading_fault(error)}; old "
                "rows were kept",
                hint=f"look at {record.object_name}, mend the processor and count up its version, then: "
                f"{_reprocess_command(manifest)}",
            ) from None


def _judge(admission: Admission, manifest: Manifest, tolerated_rejects: int) -> None:
    """Raises when the partition must not be loaded."""
    rejected = admission.reject_counts.total()
    if rejected > tolerated_rejects:
        first = admission.rejects[0]
        raise RowRejected(
            f"rows that broke the contract: {rejected}, tolerated: {tolerated_rejects}; first: {first.table}: "
            f"{first.reason} (page {_page_number(manifest, first)}, row {first.row}). Old rows were kept, rejects are "
            "kept with their reasons",
            hint=f"look at row {first.row} of {first.object_name}, mend the row model and count up the processor's "
            f"version, then: {_reprocess_command(manifest)}",
        )
    for table, counted in manifest.counts.items():
        rows = admission.rows[table]
        dropped = admission.duplicates[table] + admission.reject_counts[table]
        if not 0 <= missing_rightly(admission, table, counted) <= dropped:
            raise CoverageLow(
                f"{table}: the scraper counted {plural(counted, 'row')}, the processor found {rows}, dropped {dropped},"
                " in the same pages; old rows were kept",
            )
    if problem := admission.expectations.problem(manifest, admission.rows):
        raise CoverageLow(f"{problem}; old rows were kept", hint="fetch the date again")


def _page_number(manifest: Manifest, reject: Reject) -> int:
    return 1 + [page.object_name for page in manifest.pages if page.holds_rows].index(reject.object_name)


def _reprocess_command(manifest: Manifest) -> str:
    """What reads its landed pages again: by dates, by entity, or by both."""
    parts = ["gapless reprocess", manifest.source]
    if not manifest.as_partition().is_whole:
        parts += [str(manifest.start), str(manifest.end - dt.timedelta(days=1))]
    if manifest.entity:
        parts += ["--entities", shlex.quote(manifest.entity)]
    return " ".join([*parts, "--reason schema_change"])
