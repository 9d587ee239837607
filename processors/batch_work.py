"""The steps of one batch: its rows read and staged beside all tables, compared, and put in place.

No table is touched before the rows of all are staged and compared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from alerting.errors import LoadRejected, PipelineError
from alerting.instant import utc_now
from alerting.object_store import ObjectStore
from processors.base import Processor, Table
from processors.batch_reading import BatchRows, read_batch
from processors.changes import all_created, changes_per_partition
from processors.load_plan import TableBatch, TableLoad, Warehouse, batch_hash, replace_scope, table_digest
from processors.receipt import TableReceipt
from processors.schema import check_table, schema_hash
from processors.staging import TableSpool, staging_folder
from processors.vacancy import Identities, WrittenLately, vacancy_question
from scrapers.landing import Landing
from scrapers.manifest import Manifest
from scrapers.scrape import nothing
from scrapers.threads import threads

_TABLES_AT_ONCE = 4
T = TypeVar("T")
R = TypeVar("R")


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
        written: By the batches of the run, when they are staged one beside the other.
        refuse_to_write: Called right before each job that touches a table, from any thread; raises where none may.
        read: Told of the rows when they are read and their tables are there, before the first job.
    """

    processor: Processor
    landing: Landing
    warehouse: Warehouse
    backfill_id: str
    now: Callable[[], dt.datetime] = utc_now
    written: WrittenLately = field(default_factory=WrittenLately)
    refuse_to_write: Callable[[], None] = nothing
    read: Callable[[BatchRows], None] = nothing

    @property
    def store(self) -> ObjectStore:
        """That of the landing."""
        return self.landing.store


@dataclass(frozen=True, slots=True)
class StagedTable:
    """One table's rows beside it, and the objects they came from.

    ``seen`` says how much was written when the table was found to hold no row that they could meet; None where it was
    not asked or holds some.
    """

    batch: TableBatch
    load: TableLoad
    schema: str
    objects: Sequence[str]
    identities: Identities
    seen: int | None


@dataclass(frozen=True, slots=True)
class StagedBatch:
    """``good`` are the partitions whose rows are staged; ``rows`` says what became of the others."""

    rows: BatchRows
    good: list[Manifest]
    tables: list[StagedTable]


@dataclass(frozen=True, slots=True)
class BatchWork:
    """See the module. ``is_filling``: none of the partitions is known to have rows, so that the tables are asked."""

    context: LoadContext
    is_filling: bool

    def stage(self, ordered: Sequence[Manifest], refused: Mapping[str, PipelineError]) -> StagedBatch:
        """Reads and stages the partitions that are not refused. Raises ``LoadRejected`` when BigQuery refuses rows."""
        processor, warehouse = self.context.processor, self.context.warehouse
        tables = processor.tables
        with contextlib.ExitStack() as held:
            folder = held.enter_context(staging_folder())
            spools = {table.name: TableSpool(folder, table.name) for table in tables}
            digest = batch_hash(processor.source, processor.version, ordered)
            batch = BatchRows(digest, spools, failures=dict(refused))
            try:
                wanted = [manifest for manifest in ordered if manifest.partition not in refused]
                # A round trip each, while the rows are read.
                with threads(_TABLES_AT_ONCE, "ensure") as beside:
                    ensuring = [beside.submit(warehouse.ensure_table, table) for table in tables if wanted]
                    read_batch(batch, wanted, processor, self.context.landing)
                good = [manifest for manifest in ordered if manifest.partition in batch.admitted]
                for ensured in ensuring if good else ():
                    ensured.result()
                self.context.read(batch)
                return StagedBatch(batch, good, self._stage_tables(batch, good))
            finally:
                for spool in spools.values():
                    spool.close()

    def stage_and_forget(self, some: Sequence[Manifest]) -> None:
        """Whether BigQuery takes these partitions: raises ``LoadRejected`` when it does not. No table has changed."""
        self.forget(self.stage(some, {}))

    def _stage_tables(self, batch: BatchRows, good: Sequence[Manifest]) -> list[StagedTable]:
        """All tables at once, as a job takes seconds; what is staged beside a refused table is forgotten."""
        if not good:
            return []
        with threads(_TABLES_AT_ONCE, "stage") as pool:
            asked = [pool.submit(self._stage_table, table, batch, good) for table in self.context.processor.tables]
        failed = [error for one in asked if (error := one.exception())]
        if not failed:
            return [one.result() for one in asked]
        if all(isinstance(error, LoadRejected) for error in failed):
            for one in asked:
                if not one.exception():
                    self._forget_table(one.result())
        raise next((error for error in failed if not isinstance(error, LoadRejected)), failed[0])

    def _stage_table(self, table: Table, batch: BatchRows, good: Sequence[Manifest]) -> StagedTable:
        context, spool = self.context, batch.spools[table.name]
        schema = schema_hash(check_table(table))
        scope = replace_scope(table, good)
        digest = table_digest(table.name, schema, scope, spool.sha256(), context.backfill_id)
        prefix = f"staging/source={context.processor.source}/batch={batch.hash}/"
        names = spool.upload(context.store, prefix, digest)
        uris = tuple(f"{context.store.root_uri}/{name}" for name in names)
        seen_at = max(manifest.landed_at for manifest in good)
        identities = batch.identities[table.name]
        keys = tuple(identities.values.get(table.key[0], ()))
        part = TableBatch(table, scope, digest, context.backfill_id, uris, spool.rows, seen_at, keys)
        try:
            # What the table holds is asked beside the load job: both take seconds.
            with threads(1, "look") as beside:
                looking = beside.submit(self._look, part, identities)
                load = context.warehouse.stage(part)
            return StagedTable(part, load, schema, names, identities, looking.result())
        except LoadRejected:
            context.warehouse.drop_staging(part)
            self._delete(names)
            raise

    def _look(self, batch: TableBatch, identities: Identities) -> int | None:
        """See `StagedTable.seen`."""
        warehouse = self.context.warehouse
        question = vacancy_question(batch, identities, warehouse.name_of(batch.table.name)) if self.is_filling else None
        if question is None:
            return None
        seen = self.context.written.mark()
        return None if warehouse.query(*question)[0]["met"] else seen

    def compare(self, staged: StagedBatch) -> StagedBatch:
        """The batch with what it would change; nothing else may write its tables from here until they are replaced."""
        rows, written = staged.rows, self.context.written

        def compared(one: StagedTable) -> StagedTable:
            table = one.batch.table
            if one.seen is not None and not written.meets(one.batch, one.identities, one.seen):
                created = {key: admission.rows[table.name] for key, admission in rows.admitted.items()}
                load = dataclasses.replace(one.load, cells=all_created(table, staged.good, created))
            else:
                load = self.context.warehouse.compare(one.batch, one.load)
            return dataclasses.replace(one, load=load)

        return dataclasses.replace(staged, tables=self._at_once("compare", compared, staged.tables))

    def replace(self, staged: StagedBatch) -> dict[str, TableReceipt]:
        """Puts the staged rows in place, all tables at once: the sooner the last one follows the first, the better."""
        receipts = dict[str, TableReceipt]()
        try:
            replaced = self._at_once("replace", self._replace_table, staged.tables)
        finally:
            self.context.written.add({one.batch.table.name: one.identities for one in staged.tables})
        for one, done in zip(staged.tables, replaced, strict=True):
            table = one.batch.table
            rows = {key: admission.rows[table.name] for key, admission in staged.rows.admitted.items()}
            receipts[table.name] = TableReceipt(
                load_job_id=done.load_job_id,
                replace_job_id=done.replace_job_id,
                rows=done.rows,
                size_bytes=done.size_bytes,
                rows_per_partition=rows,
                changes=changes_per_partition(done.cells, table, staged.good),
                schema_hash=one.schema,
                digest=one.batch.digest,
            )
        return receipts

    def _replace_table(self, one: StagedTable) -> TableLoad:
        return self.context.warehouse.replace(one.batch, one.load, self.context.refuse_to_write)

    def forget(self, staged: StagedBatch) -> None:
        """Removes what was staged, whether it was put in place or not."""
        self._at_once("forget", self._forget_table, staged.tables)

    def _forget_table(self, one: StagedTable) -> None:
        self.context.warehouse.drop_staging(one.batch)
        self._delete(one.objects)

    def _delete(self, names: Sequence[str]) -> None:
        for name in names:
            self.context.store.delete(name)

    def _at_once(self, name: str, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        with threads(_TABLES_AT_ONCE, name) as pool:
            return list(pool.map(work, items))
