"""What earlier runs of a source cost: one small object per source, the base of estimates and of drift checks."""

from __future__ import annotations

import datetime as dt
from statistics import mean, median

from pydantic import BaseModel, ConfigDict, TypeAdapter

from alerting.object_store import ObjectStore
from alerting.versioned_record import VersionedRecord
from flows.ledger.month_rows import MonthRows
from flows.planning.duration import Sample, Work, turns

KEPT_RUNS = 30
# Per date of a small JSON source: page, manifest, and its ledger entry three times; its page again for the load.
GUESSED_WRITES, GUESSED_READS = 5.0, 1.0
MINIMUM_BILLED_BYTES = 10 * 2**20
"""BigQuery bills at least 10 MB for each table that a query names: https://cloud.google.com/bigquery/pricing."""


class RunCost(BaseModel):
    """One ended run. ``fetched`` is partitions landed by it, ``busy_s`` its wall time without waiting for limits.

    ``months`` are its ``rows`` by calendar month; empty of runs that did not count them so.

    ``failed_calls`` are those of its ``calls`` at which a try failed.

    ``sweep_pages`` are those of a sweep that became whole in it, whichever runs had made its calls.
    """

    model_config = ConfigDict(frozen=True)

    backfill_id: str
    ended_at: dt.datetime
    fetched: int
    calls: int
    failed_calls: int = 0
    bytes_landed: int
    rows: int
    months: dict[int, MonthRows] = {}
    bigquery_jobs: int
    busy_s: float
    concurrency: int
    answer_s: float = 0.0
    storage_writes: int = 0
    storage_reads: int = 0
    billed_bytes: int = 0
    units: int = 0
    sweep_pages: int = 0

    @property
    def needed_calls(self) -> int:
        """Those without which a run that meets no trouble is done as well."""
        return max(self.calls - self.failed_calls, 0)

    def as_sample(self) -> Sample:
        """What it teaches about durations."""
        return Sample(Work(turns(self.fetched, self.concurrency), self.bigquery_jobs), self.busy_s)


class SourceHistory(BaseModel):
    """The last runs of one source, oldest first, and the unknown fields that it is known to send."""

    model_config = ConfigDict(frozen=True)

    runs: tuple[RunCost, ...] = ()
    known_unknown_fields: frozenset[str] = frozenset()

    @property
    def _with_calls(self) -> list[RunCost]:
        return [run for run in self.runs if run.fetched]

    @property
    def calls_per_partition(self) -> float:
        """Mean over the last runs; 1 when nothing is known."""
        fetched = sum(run.fetched for run in self.runs)
        return sum(run.needed_calls for run in self._with_calls) / fetched if fetched else 1.0

    @property
    def units_per_call(self) -> float:
        """What a call cost in the units that the source counts; 0 when nothing is known."""
        known = [run for run in self._with_calls if run.units]
        return sum(run.units for run in known) / max(sum(run.calls for run in known), 1)

    @property
    def sweep_calls(self) -> int:
        """Calls of the last sweep; 0 when none became whole yet."""
        return next((run.sweep_pages for run in reversed(self.runs) if run.sweep_pages), 0)

    @property
    def calls_per_row(self) -> float:
        """Calls beyond the first of each partition, by row, over the last runs; 0 when nothing is known."""
        rows = sum(run.rows for run in self._with_calls)
        return sum(max(run.needed_calls - run.fetched, 0) for run in self._with_calls) / rows if rows else 0.0

    @property
    def rows_per_partition(self) -> float:
        """Mean over the last runs; 0 when nothing is known."""
        return mean([run.rows / run.fetched for run in self._with_calls]) if self._with_calls else 0.0

    def usual_in(self, month: int) -> MonthRows:
        """What dates with rows had in that calendar month; seasons differ by it."""
        return sum((run.months.get(month, MonthRows()) for run in self.runs), MonthRows())

    @property
    def usual(self) -> MonthRows:
        """What dates with rows had in the months that are known."""
        return sum((one for run in self.runs for one in run.months.values()), MonthRows())

    @property
    def bytes_per_partition(self) -> float:
        """Bytes over the wire; 0 when nothing is known."""
        return mean([run.bytes_landed / run.fetched for run in self._with_calls]) if self._with_calls else 0.0

    @property
    def storage_writes_per_partition(self) -> float:
        """Writes and listings of object storage; the guess of a small source when nothing is known."""
        return self._mean_of([run.storage_writes / run.fetched for run in self._with_storage], GUESSED_WRITES)

    @property
    def storage_reads_per_partition(self) -> float:
        """Reads of object storage, as ``storage_writes_per_partition``."""
        return self._mean_of([run.storage_reads / run.fetched for run in self._with_storage], GUESSED_READS)

    @property
    def billed_bytes_per_job(self) -> float:
        """What BigQuery bills for each load or replace, its recounts included; its minimum when nothing is known."""
        known = [run.billed_bytes / run.bigquery_jobs for run in self._with_storage if run.bigquery_jobs]
        return self._mean_of(known, MINIMUM_BILLED_BYTES)

    @property
    def _with_storage(self) -> list[RunCost]:
        return [run for run in self._with_calls if run.storage_writes]

    @staticmethod
    def _mean_of(known: list[float], guess: float) -> float:
        return mean(known) if known else guess

    @property
    def answer_s(self) -> float:
        """Median time that the source takes for one partition; 0 when nothing is known."""
        known = [run.answer_s for run in self.runs if run.answer_s]
        return median(known) if known else 0.0

    def with_run(self, cost: RunCost, unknown_fields: frozenset[str] = frozenset()) -> SourceHistory:
        """With one run more, the last 30 in all; the same run again replaces itself."""
        others = [run for run in self.runs if run.backfill_id != cost.backfill_id]
        return SourceHistory(
            runs=(*others, cost)[-KEPT_RUNS:], known_unknown_fields=self.known_unknown_fields | unknown_fields
        )


_SHAPE = TypeAdapter(SourceHistory)


def history_name(source: str) -> str:
    """Where the history of a source lies."""
    return f"runs/history/{source}.json"


def read_history(store: ObjectStore, source: str) -> SourceHistory:
    """Empty for a source that never ran. Raises ``StateUnreadable``."""
    return _record(store, source).read() or SourceHistory()


def add_to_history(
    store: ObjectStore, source: str, cost: RunCost | None, unknown_fields: frozenset[str] = frozenset()
) -> None:
    """Adds one run (None: only fields) by compare-and-swap, as :meth:`SourceHistory.with_run` does."""

    def added(found: SourceHistory | None) -> SourceHistory:
        before = found or SourceHistory()
        if cost is not None:
            return before.with_run(cost, unknown_fields)
        return before.model_copy(update={"known_unknown_fields": before.known_unknown_fields | unknown_fields})

    _record(store, source).update(added)


def _record(store: ObjectStore, source: str) -> VersionedRecord[SourceHistory]:
    hint = "look at that object; deleting it only forgets what earlier runs cost"
    return VersionedRecord(store, history_name(source), _SHAPE, source=source, stage="plan", hint=hint)
