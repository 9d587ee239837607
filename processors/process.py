"""Stage two without Prefect: landed partitions of one source become rows in the warehouse."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import re
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alerting.errors import CoverageLow, LoadRejected, PipelineError, Shrunk
from alerting.object_store import ObjectStore
from alerting.wording import plural
from processors.base import Processor, Table
from processors.batch_reading import BatchRows, missing_rightly, read_batch
from processors.bisecting import pinned
from processors.changes import changes_per_partition, twins_per_partition
from processors.items import Expectation
from processors.load_plan import (
    TableBatch,
    TableLoad,
    Warehouse,
    batch_hash,
    check_batch,
    replace_scope,
    table_digest,
)
from processors.lost_items import Lost, lost_items
from processors.receipt import PartitionFailure, Receipt, TableReceipt
from processors.registry import views_filled_by
from processors.schema import check_table, schema_hash
from processors.shrinkage import Loss, losses
from processors.staging import TableSpool
from processors.uniqueness import Shared, shared_values
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.scrape import utc_now
from scrapers.threads import threads

__all__ = ["LoadContext", "Receipt", "process"]

_KEPT_WARNINGS = 5
_IS_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TABLES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class LoadContext:
    """What a load is given besides its manifests.

    Args:
        processor: Of the manifests' source.
        landing: Where their pages are. Its store also takes staged rows, which the warehouse reads from the store's
            ``root_uri``, rejects and the receipt.
        warehouse: Where the rows go.
        backfill_id: Part of the job ids.
        now: Aware UTC.
    """

    processor: Processor
    landing: Landing
    warehouse: Warehouse
    backfill_id: str
    now: Callable[[], dt.datetime] = utc_now

    @property
    def store(self) -> ObjectStore:
        """That of the landing."""
        return self.landing.store


def process(
    manifests: Sequence[Manifest],
    context: LoadContext,
    *,
    verified: Mapping[str, Mapping[str, int]] | None = None,
    expected: Mapping[str, Sequence[Expectation]] | None = None,
    accept_shrink: bool = False,
) -> Receipt:
    """Loads the batch: one load job and one atomic replace per table, side by side.

    A partition that is unsettled, unproven empty, short of what its manifest counted or its source announced, has rows
    without parent, too few or too many rows a parent, keys that would then also stand in another partition, more than
    ``Processor.tolerated_rejects`` rejects, or would lose more of its old rows than is usual is left out, and its old
    rows stay; the others are loaded. So is one whose rows BigQuery refuses: it is found by halving the batch. A proven
    empty partition is emptied. No table is touched before all are staged. Repeating the call after any crash gives the
    same tables.

    Args:
        manifests: At most `processors.load_plan.MAX_DAYS_PER_BATCH` dates; use ``pack`` to cut longer lists.
        context: What it works with.
        verified: Per partition and table, the rows that were last verified: what the table has beyond them may go.
        expected: Per partition, what the source's oracles say. One that expects exactly what came lets the rest go.
        accept_shrink: Somebody has looked at the fewer rows of these partitions and takes them.

    Raises ``TransientError`` (try the whole call again), ``CriticalError`` from the warehouse, ``ConfigurationError``
    for an impossible batch. What is wrong with a single partition is never raised, but stands in the receipt.
    """
    processor, warehouse = context.processor, context.warehouse
    check_batch(processor.source, manifests)
    ordered = sorted(manifests, key=lambda manifest: (manifest.entity, manifest.start, manifest.partition))
    work = _Work(context)
    refused: dict[str, PipelineError] = {}
    settled: dict[str, str] = {}
    while True:
        try:
            batch, good, staged = work.stage(ordered, refused)
        except LoadRejected as error:
            suspects = [manifest for manifest in ordered if manifest.partition not in refused]
            refused |= pinned(suspects, error, work.stage_and_forget)
            continue
        apart = _twins(staged, good, warehouse)
        if not accept_shrink:
            shrunk, settled = _shrunk(staged, good, verified or {}, expected or {}, warehouse)
            apart = shrunk | apart
        if not apart:
            break
        # Without them, from the beginning: what is staged holds their rows.
        work.forget(staged)
        refused |= apart
    for view in views_filled_by(processor.tables) if good else ():
        warehouse.ensure_view(view)
    receipt = _receipt(batch, good, work.replace(staged, batch, good), context)
    receipt = receipt.model_copy(update={"settled": settled})
    receipt.put(context.store)
    return receipt


@dataclass(frozen=True, slots=True)
class _Staged:
    """One table's rows beside it, and the objects they came from."""

    batch: TableBatch
    load: TableLoad
    schema: str
    objects: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Work:
    """The steps of one call: all tables are staged and compared before the first one is touched."""

    context: LoadContext

    def stage(
        self, ordered: Sequence[Manifest], refused: Mapping[str, PipelineError]
    ) -> tuple[BatchRows, list[Manifest], list[_Staged]]:
        """Reads and stages the partitions that are not refused; also returns those whose rows may be loaded."""
        processor, warehouse = self.context.processor, self.context.warehouse
        tables = processor.tables
        with tempfile.TemporaryDirectory(prefix="gapless-") as folder:
            spools = {table.name: TableSpool(Path(folder), table.name) for table in tables}
            digest = batch_hash(processor.source, processor.version, ordered)
            batch = BatchRows(digest, spools, failures=dict(refused))
            try:
                wanted = [manifest for manifest in ordered if manifest.partition not in refused]
                read_batch(batch, wanted, processor, self.context.landing)
                good = [manifest for manifest in ordered if manifest.partition in batch.admitted]
                for table in tables if good else ():
                    warehouse.ensure_table(table)
                return batch, good, self._stage_tables(batch, good)
            finally:
                for spool in spools.values():
                    spool.close()

    def stage_and_forget(self, some: Sequence[Manifest]) -> None:
        """Whether BigQuery takes these partitions: raises ``LoadRejected`` when it does not. No table has changed."""
        _, _, staged = self.stage(some, {})
        self.forget(staged)

    def _stage_tables(self, batch: BatchRows, good: Sequence[Manifest]) -> list[_Staged]:
        """All tables at once, as a job takes seconds; what is staged beside a refused table is forgotten."""
        if not good:
            return []
        with threads(_TABLES_AT_ONCE, "stage") as pool:
            asked = [pool.submit(self._stage_table, table, batch, good) for table in self.context.processor.tables]
        failed = [error for one in asked if (error := one.exception())]
        if not failed:
            return [one.result() for one in asked]
        if all(isinstance(error, LoadRejected) for error in failed):
            self.forget([one.result() for one in asked if not one.exception()])
        raise next((error for error in failed if not isinstance(error, LoadRejected)), failed[0])

    def _stage_table(self, table: Table, batch: BatchRows, good: Sequence[Manifest]) -> _Staged:
        context, spool = self.context, batch.spools[table.name]
        schema = schema_hash(check_table(table))
        scope = replace_scope(table, good)
        digest = table_digest(table.name, schema, scope, spool.sha256(), context.backfill_id)
        prefix = f"staging/source={context.processor.source}/batch={batch.hash}/"
        names = spool.upload(context.store, prefix, digest)
        uris = tuple(f"{context.store.root_uri}/{name}" for name in names)
        seen_at = max(manifest.landed_at for manifest in good)
        keys = tuple(batch.keys[table.name])
        part = TableBatch(table, scope, digest, context.backfill_id, uris, spool.rows, seen_at, keys)
        try:
            return _Staged(part, context.warehouse.stage(part), schema, names)
        except LoadRejected:
            context.warehouse.drop_staging(part)
            self._delete(names)
            raise

    def replace(self, staged: Sequence[_Staged], batch: BatchRows, good: Sequence[Manifest]) -> dict[str, TableReceipt]:
        """Puts the staged rows in place, all tables at once: the sooner the last one follows the first, the better."""
        if not staged:
            return {}
        with threads(_TABLES_AT_ONCE, "replace") as replacing:
            replaced = list(replacing.map(lambda one: self.context.warehouse.replace(one.batch, one.load), staged))
        receipts: dict[str, TableReceipt] = {}
        for one, done in zip(staged, replaced, strict=True):
            table = one.batch.table
            receipts[table.name] = TableReceipt(
                load_job_id=done.load_job_id,
                replace_job_id=done.replace_job_id,
                rows=done.rows,
                size_bytes=done.size_bytes,
                rows_per_partition={key: admission.rows[table.name] for key, admission in batch.admitted.items()},
                changes=changes_per_partition(done.cells, table, good),
                schema_hash=one.schema,
                digest=one.batch.digest,
            )
        self._delete_objects(staged)
        return receipts

    def forget(self, staged: Sequence[_Staged]) -> None:
        """Removes what was staged; no table has changed."""
        for one in staged:
            self.context.warehouse.drop_staging(one.batch)
        self._delete_objects(staged)

    def _delete_objects(self, staged: Sequence[_Staged]) -> None:
        for one in staged:
            self._delete(one.objects)

    def _delete(self, names: Sequence[str]) -> None:
        for name in names:
            self.context.store.delete(name)


def _twins(staged: Sequence[_Staged], good: Sequence[Manifest], warehouse: Warehouse) -> dict[str, PipelineError]:
    """Partitions with keys or unique values that would then stand in two rows: nobody can say which one is right."""
    found: dict[str, PipelineError] = {}
    for one in staged:
        table = one.batch.table
        counts = twins_per_partition(one.load.cells, table, good).items()
        shared = {
            **shared_values(one.batch, one.load, warehouse, good),
            **{key: Shared(plural(count, "key")) for key, count in counts},
        }
        for key, what in shared.items():
            found[key] = CoverageLow(
                f"DUPLICATE: {table.name}: also outside the partition: {what.text}; old rows were kept",
                hint=_together(good[0].source, key, what.dates),
            )
    return found


def _together(source: str, key: str, others: Sequence[str]) -> str:
    """What settles a row that stands on two dates."""
    dates = sorted({key, *others})
    if not others or not all(_IS_DATE.fullmatch(date) for date in dates):
        return "fetch the dates that share them in one run, mode full"
    listed = ",".join(dates)
    return f"gapless run {source} {dates[0]} {dates[-1]} --mode full --dates {listed} --reason validation_failed"


def _shrunk(
    staged: Sequence[_Staged],
    good: Sequence[Manifest],
    verified: Mapping[str, Mapping[str, int]],
    expected: Mapping[str, Sequence[Expectation]],
    warehouse: Warehouse,
) -> tuple[dict[str, PipelineError], dict[str, str]]:
    """Partitions that would lose more rows than is usual: shrinking is evidence against the new answer.

    Those whose oracle expects just that come second, each with what it says.
    """
    lost: dict[str, list[Loss]] = {}
    for one in staged:
        changes = changes_per_partition(one.load.cells, one.batch.table, good)
        for key, loss in losses(one.batch.table, changes, verified).items():
            lost.setdefault(key, []).append(loss)
    said = lost_items([one.batch for one in staged], lost, good, expected, warehouse) if lost and expected else {}
    settled = {key: f"{one.by} expects what came{one.text}" for key, one in said.items() if one.by}
    kept = {key: found for key, found in lost.items() if key not in settled}
    return {key: _shrunk_error(found, said.get(key)) for key, found in kept.items()}, settled


def _shrunk_error(found: Sequence[Loss], said: Lost | None) -> Shrunk:
    gone = said.text if said else ""
    return Shrunk(f"{'; '.join(str(loss) for loss in found)}{gone}; old rows were kept")


def _receipt(
    batch: BatchRows, good: Sequence[Manifest], tables: dict[str, TableReceipt], context: LoadContext
) -> Receipt:
    processor, now = context.processor, context.now()
    return Receipt(
        receipt_id=f"{now:%Y%m%dT%H%M%SZ}-{batch.hash[:12]}-{secrets.token_hex(3)}",
        source=processor.source,
        backfill_id=context.backfill_id,
        batch_hash=batch.hash,
        processor_version=processor.version,
        partitions=tuple(manifest.partition for manifest in good),
        tables=tables,
        rejects=batch.reject_counts,
        rejects_object=_keep_rejects(batch, processor.source, context.store),
        dropped={manifest.partition: left for manifest in good if (left := _dropped(batch, manifest))},
        failures={key: PartitionFailure.of(error) for key, error in batch.failures.items()},
        first_keys={table: tuple(values) for table, values in batch.keys.items()},
        unbalanced={key: tuple(texts[:_KEPT_WARNINGS]) for key, texts in batch.unbalanced.items()},
        unknown_fields=dict(batch.unknown_fields),
        absent_fields=dict(batch.absent_fields),
        finished_at=now,
    )


def _dropped(batch: BatchRows, manifest: Manifest) -> dict[str, int]:
    admission = batch.admitted[manifest.partition]
    found = {table: missing_rightly(admission, table, counted) for table, counted in manifest.counts.items()}
    return {table: count for table, count in found.items() if count}


def _keep_rejects(batch: BatchRows, source: str, store: ObjectStore) -> str:
    if not batch.rejects:
        return ""
    name = f"rejects/source={source}/batch={batch.hash}/rejects.ndjson.gz"
    lines = [
        json.dumps({"partition": key, "table": reject.table, "reason": reject.reason, "raw": reject.raw})
        for key, rejects in batch.rejects.items()
        for reject in rejects
    ]
    data = gzip.compress("\n".join([*lines, ""]).encode(), mtime=0)
    store.write(name, data, content_type="application/gzip", metadata={"rows": str(len(lines))})
    return name
