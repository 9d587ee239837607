"""Receipt: the proof of one batch's load, kept in object storage beside the ledger."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

import alerting.errors
from alerting.errors import CriticalError, PipelineError
from alerting.object_store import ObjectMissing, ObjectStore
from alerting.versioned_record import unreadable
from processors.changes import RowChanges


class PartitionFailure(BaseModel):
    """Why one partition of the batch was not loaded; its old rows are as they were."""

    model_config = ConfigDict(frozen=True)

    error_type: str
    message: str
    hint: str = ""
    facts: dict[str, str] = {}

    @classmethod
    def of(cls, error: PipelineError) -> PartitionFailure:
        """Keeps what ``as_error`` needs."""
        facts = {name: str(value) for name, value in error.facts.items() if value not in (None, "")}
        return cls(error_type=type(error).__name__, message=error.message, hint=error.hint, facts=facts)

    def as_error(self, source: str, partition: str) -> PipelineError:
        """The taxonomy's error again; a name it no longer has becomes ``CriticalError``."""
        kind = getattr(alerting.errors, self.error_type, CriticalError)
        if not (isinstance(kind, type) and issubclass(kind, PipelineError)):
            kind = CriticalError
        return kind(self.message, source=source, partition=partition, stage="load", hint=self.hint, **self.facts)


class TableReceipt(BaseModel):
    """One table of the batch: job ids, the load job's own row count, and rows per partition as they were staged.

    ``changes`` per partition is against the rows that were there right before.
    """

    model_config = ConfigDict(frozen=True)

    load_job_id: str
    replace_job_id: str
    rows: int
    size_bytes: int
    rows_per_partition: dict[str, int]
    changes: dict[str, RowChanges] = {}
    schema_hash: str
    digest: str


class Receipt(BaseModel):
    """What one call of ``process`` did.

    ``partitions`` were replaced, with rows or without, by those of ``attempts`` (older receipts name none);
    ``failures`` were left as they were. ``dropped`` is what the
    scraper counted and must not be in the warehouse, per partition and table: identical repeats, and rejects within the
    tolerance. ``unknown_fields`` and ``absent_fields`` are drift facts, ``table.field`` ->
    rows. ``finished_at`` is aware UTC. ``unbalanced`` are sums that do not hold, per partition that was loaded.
    ``settled`` says why partitions could lose more rows than is usual: an oracle expects just those that came.
    ``first_keys`` has values of each table's first key column, all of them or too many to be asked for; it is not kept.
    """

    model_config = ConfigDict(frozen=True)

    receipt_id: str
    source: str
    backfill_id: str
    batch_hash: str
    processor_version: int
    partitions: tuple[str, ...]
    attempts: dict[str, str] = {}
    tables: dict[str, TableReceipt]
    rejects: dict[str, int]
    rejects_object: str = ""
    dropped: dict[str, dict[str, int]]
    failures: dict[str, PartitionFailure]
    unbalanced: dict[str, tuple[str, ...]] = {}
    settled: dict[str, str] = {}
    first_keys: dict[str, tuple[Any, ...]] = Field({}, exclude=True, repr=False)
    unknown_fields: dict[str, int]
    absent_fields: dict[str, int]
    finished_at: dt.datetime

    @property
    def object_name(self) -> str:
        """Where this receipt lies in the store."""
        return receipt_name(self.source, self.receipt_id)

    @property
    def job_count(self) -> int:
        """BigQuery jobs whose effect stands; a retried one counts once."""
        return sum(bool(table.load_job_id) + bool(table.replace_job_id) for table in self.tables.values())

    def refused(self) -> dict[str, PipelineError]:
        """The partitions that were not loaded, with the error of each."""
        return {key: failure.as_error(self.source, key) for key, failure in self.failures.items()}

    def changes_of(self, partition: str) -> dict[str, dict[str, int]]:
        """Table -> created, updated, unchanged, removed rows of one partition; without those that are 0."""
        found = {name: table.changes.get(partition) for name, table in self.tables.items()}
        return {name: _nonzero(one) for name, one in found.items() if one is not None}

    def put(self, store: ObjectStore) -> None:
        """Writes the receipt; its id is unique, so nothing is ever overwritten."""
        store.write(
            self.object_name,
            self.model_dump_json(indent=1).encode(),
            content_type="application/json",
            metadata={
                "backfill_id": self.backfill_id,
                "batch_hash": self.batch_hash,
                "rows": json.dumps({name: table.rows for name, table in self.tables.items()}),
            },
        )


def _nonzero(changes: RowChanges) -> dict[str, int]:
    return {name: count for name, count in changes.model_dump().items() if count}


def _prefix(source: str) -> str:
    return f"receipts/source={source}/"


def receipt_name(source: str, receipt_id: str) -> str:
    """Object name of a receipt."""
    return f"{_prefix(source)}{receipt_id}.json"


def read_receipt(store: ObjectStore, source: str, receipt_id: str) -> Receipt:
    """Raises ``StateUnreadable`` when it is missing or broken."""
    return _read(store, source, receipt_name(source, receipt_id))


def dropped_rightly(receipt_of: Mapping[str, str], receipts: Mapping[str, Receipt]) -> dict[str, Mapping[str, int]]:
    """Per partition and table, the rows that its own load left out: an earlier one of the partition may have left out
    others, and its receipt is that of other partitions still.

    Args:
        receipt_of: By partition key, the id of the receipt that it rests on; "" for none.
        receipts: By id.
    """
    return {
        key: receipts[receipt_id].dropped[key]
        for key, receipt_id in receipt_of.items()
        if receipt_id in receipts and key in receipts[receipt_id].dropped
    }


def receipts_of(store: ObjectStore, source: str) -> list[Receipt]:
    """All receipts of a source. Raises ``StateUnreadable`` for a broken one."""
    return [_read(store, source, stored.name) for stored in store.list(_prefix(source))]


def _read(store: ObjectStore, source: str, name: str) -> Receipt:
    try:
        return Receipt.model_validate_json(store.read(name)[0])
    except (ObjectMissing, ValueError) as error:
        raise unreadable(store, name, error, source=source, stage="load") from error
