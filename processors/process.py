"""Stage two without Prefect: landed partitions of one source become rows in the warehouse."""

from __future__ import annotations

import dataclasses
import gzip
import json
import secrets
from collections.abc import Mapping, Sequence

from alerting.errors import LoadRejected, PipelineError
from alerting.object_store import ObjectStore
from processors.batch_reading import BatchRows, missing_rightly
from processors.batch_work import BatchWork, LoadContext, StagedBatch
from processors.bisecting import pinned
from processors.items import Expectation
from processors.kept_out import shrunk, twins
from processors.load_plan import check_batch
from processors.receipt import PartitionFailure, Receipt, TableReceipt
from processors.registry import views_filled_by
from scrapers.manifest import Manifest

__all__ = ["LoadContext", "Prepared", "Receipt", "prepare", "process"]

REJECTS = "rejects.ndjson.gz"
"""Of a batch: the rows that broke the contract, as the source sent them."""
_KEPT_WARNINGS = 5


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

    `prepare` and `Prepared.publish` are its two halves. Raises ``TransientError`` (try the whole call again),
    ``CriticalError`` from the warehouse, ``ConfigurationError`` for an impossible batch. What is wrong with a single
    partition is never raised, but stands in the receipt.
    """
    prepared = prepare(manifests, context, verified=verified)
    receipt = prepared.publish(expected=expected, accept_shrink=accept_shrink)
    prepared.forget()
    return receipt


def prepare(
    manifests: Sequence[Manifest], context: LoadContext, *, verified: Mapping[str, Mapping[str, int]] | None = None
) -> Prepared:
    """The first half: rows staged beside all tables, none of which is touched. Arguments and errors as of `process`."""
    check_batch(context.processor.source, manifests)
    ordered = sorted(manifests, key=lambda manifest: (manifest.entity, manifest.start, manifest.partition))
    known = verified or {}
    is_filling = not any(sum(known.get(manifest.partition, {}).values()) for manifest in manifests)
    prepared = Prepared(BatchWork(context, is_filling), ordered, known)
    prepared.stage()
    return prepared


class Prepared:
    """A batch whose rows are staged. The next one may be prepared meanwhile; they are published one after the other."""

    def __init__(self, work: BatchWork, ordered: Sequence[Manifest], verified: Mapping[str, Mapping[str, int]]) -> None:
        self._work = work
        self._ordered = ordered
        self._verified = verified
        self._refused: dict[str, PipelineError] = {}
        self._staged: StagedBatch | None = None

    def stage(self) -> StagedBatch:
        """What is staged; stages it first, without what is refused."""
        while self._staged is None:
            try:
                self._staged = self._work.stage(self._ordered, self._refused)
            except LoadRejected as error:
                suspects = [manifest for manifest in self._ordered if manifest.partition not in self._refused]
                self._refused |= pinned(suspects, error, self._work.stage_and_forget)
        return self._staged

    def publish(
        self, *, expected: Mapping[str, Sequence[Expectation]] | None = None, accept_shrink: bool = False
    ) -> Receipt:
        """The second half: compared with the tables and put in place. Nothing else may write them meanwhile.

        What was staged stays until `forget`.
        """
        context, settled = self._work.context, dict[str, str]()
        while True:
            staged = self._staged = self._work.compare(self.stage())
            apart = twins(staged.tables, staged.good, context.warehouse)
            if not accept_shrink:
                less, settled = shrunk(staged.tables, staged.good, self._verified, expected or {}, context.warehouse)
                apart = less | apart
            if not apart:
                break
            # Without them, from the beginning: what is staged holds their rows.
            self.forget()
            self._refused |= apart
        for view in views_filled_by(context.processor.tables) if staged.good else ():
            context.warehouse.ensure_view(view)
        receipt = _receipt(staged, self._work.replace(staged), settled, context)
        receipt.put(context.store)
        return receipt

    def forget(self) -> None:
        """Removes what was staged, published or not."""
        if self._staged is not None:
            self._work.forget(self._staged)
            self._staged = None


def rejects_prefix(source: str) -> str:
    """All rejects of one source."""
    return f"rejects/source={source}/"


def _receipt(
    staged: StagedBatch, tables: dict[str, TableReceipt], settled: dict[str, str], context: LoadContext
) -> Receipt:
    batch, good, processor, now = staged.rows, staged.good, context.processor, context.now()
    return Receipt(
        receipt_id=f"{now:%Y%m%dT%H%M%SZ}-{batch.hash[:12]}-{secrets.token_hex(3)}",
        source=processor.source,
        backfill_id=context.backfill_id,
        batch_hash=batch.hash,
        processor_version=processor.version,
        partitions=tuple(manifest.partition for manifest in good),
        attempts={manifest.partition: manifest.attempt for manifest in good},
        tables=tables,
        rejects=batch.reject_counts,
        rejects_object=_keep_rejects(batch, processor.source, context.store),
        dropped={manifest.partition: left for manifest in good if (left := _dropped(batch, manifest))},
        failures={key: PartitionFailure.of(error) for key, error in batch.failures.items()},
        settled=settled,
        first_keys={
            table.name: tuple(batch.identities[table.name].values.get(table.key[0], ())) for table in processor.tables
        },
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
    name = f"{rejects_prefix(source)}batch={batch.hash}/{REJECTS}"
    lines = [
        json.dumps({"partition": key, **dataclasses.asdict(reject)})
        for key, rejects in batch.rejects.items()
        for reject in rejects
    ]
    data = gzip.compress("\n".join([*lines, ""]).encode(), mtime=0)
    store.write(name, data, content_type="application/gzip", metadata={"rows": str(len(lines))})
    return name
