"""BigQuery, as the pipeline writes and reads it. Its client is imported here and in the modules that this one uses.

A load never deletes before the new rows are complete beside the table::

    staged gzip NDJSON --one load job--> stg_<table>_<digest> --one MERGE--> table, then the staging table is dropped

The MERGE deletes the batch's old rows and inserts the staged ones in one atomic statement; a crash at any moment
leaves old or new rows, never both. Job ids and what a repeat may trust: `processors.load_plan`. Every call has a
timeout; what the client retries (rateLimitExceeded, backendError, internalError, broken connections) is bounded.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.api_core.exceptions import NotFound
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from alerting.errors import ConfigurationError, LoadRejected
from alerting.wording import plural
from processors.base import Table
from processors.bigquery_client import open_client, query_parameter
from processors.bigquery_tables import make_or_widen, schema_fields
from processors.billing import BilledBytes
from processors.changes import asks_elsewhere, changes_sql
from processors.job_runner import Job, JobRunner
from processors.load_plan import (
    MAX_KEYS,
    QueryValue,
    TableBatch,
    TableLoad,
    keys_parameter,
    replace_sql,
    scope_parameters,
)
from processors.schema import Column, check_table
from processors.state_views import StateView
from processors.table_budget import TableBudget
from processors.uniqueness import shared_questions
from processors.views import View, view_sql
from processors.warehouse_errors import translated
from scrapers.scrape import nothing
from scrapers.threads import threads

_STAGING_LIFE = dt.timedelta(days=1)
_ROWS_PER_ANSWER = 10_000

Cells = tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Dataset:
    """Where the tables are: the project that owns the dataset and pays for its jobs, its id, and its location."""

    project: str
    name: str
    location: str

    @property
    def full_name(self) -> str:
        """``project.name``."""
        return f"{self.project}.{self.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class JobPatience:
    """How long BigQuery is waited for.

    Args:
        request_s: For one HTTP request.
        retry_s: For one call with the client's own retries; None takes 120, against an emulator 20.
        job_s: For one job.
        job_retry_delays_s: Waits before a job that failed for a passing reason runs again under the next id.
    """

    request_s: float = 60.0
    retry_s: float | None = None
    job_s: float = 900.0
    job_retry_delays_s: tuple[float, ...] = (1.0, 4.0, 16.0)


PATIENT = JobPatience()


class BigQueryWarehouse:
    """One dataset. Opens nothing until first used; safe to call from many threads, one writer per table at a time.

    Args:
        dataset: Which one; see ``ensure_dataset``.
        patience: How long a call may take.
        endpoint: Emulator with scheme; None reads ``BIGQUERY_EMULATOR_HOST``, "" is the real service.
        budget: Counts modifications per table; None takes the limits of BigQuery, counted from zero.
        max_bytes_billed: A query that would read more fails instead of costing; None is no limit.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        patience: JobPatience = PATIENT,
        endpoint: str | None = None,
        budget: TableBudget | None = None,
        max_bytes_billed: int | None = None,
    ) -> None:
        self.dataset = dataset
        self._endpoint = os.environ.get("BIGQUERY_EMULATOR_HOST", "") if endpoint is None else endpoint
        total_s = patience.retry_s if patience.retry_s is not None else (20.0 if self._endpoint else 120.0)
        self._retry = DEFAULT_RETRY.with_delay(initial=0.25, maximum=16.0, multiplier=2.0).with_timeout(total_s)
        self._calling: dict[str, Any] = {"retry": self._retry, "timeout": patience.request_s}
        self._calling_once = {**self._calling, "retry": None}
        self._job_timeout_s = patience.job_s
        self._jobs = JobRunner(
            self._find_job,
            dataset.full_name,
            self._retry,
            timeout_s=patience.job_s,
            delays_s=patience.job_retry_delays_s,
        )
        self._budget = budget or TableBudget()
        self._max_bytes_billed = max_bytes_billed
        self._billed = BilledBytes()
        self._opening = threading.Lock()
        self._client: bigquery.Client | None = None
        self._ensured: set[tuple[str, type]] = set()
        self._views: dict[str, str] = {}
        self._writing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @property
    def billed_bytes(self) -> int:
        """What BigQuery bills for the queries of this object so far."""
        return self._billed.total

    def name_of(self, table: str) -> str:
        """See `Warehouse.name_of`."""
        return f"`{self.dataset.full_name}.{table}`"

    def ensure_dataset(self) -> None:
        """Creates the dataset in ``location``; an existing one is left as it is."""
        made = bigquery.Dataset(self.dataset.full_name)
        made.location = self.dataset.location
        self._call(
            "creation of the dataset", lambda: self._open().create_dataset(made, exists_ok=True, **self._calling)
        )

    def ensure_table(self, table: Table) -> None:
        """See `Warehouse.ensure_table`. Looks once per process and table."""
        if (table.name, table.model) in self._ensured:
            return
        columns = check_table(table)
        self._call(f"look at table {table.name}", lambda: self._make_or_widen(table, columns))
        self._ensured.add((table.name, table.model))

    def _make_or_widen(self, table: Table, columns: Sequence[Column]) -> None:
        added = make_or_widen(self._open(), self._reference(table.name), table, columns, self._calling)
        # The local BigQuery takes the new schema into its catalog only; in BigQuery this changes nothing.
        for column in added:
            self.query(
                f"ALTER TABLE {self.name_of(table.name)} ADD COLUMN IF NOT EXISTS `{column.name}` {column.sql_type}"
            )

    def ensure_view(self, view: View | StateView) -> None:
        """See `Warehouse.ensure_view`. Looks once per process and view."""
        sql = view_sql(view, self.name_of)
        if self._views.get(view.name) == sql:
            return
        for table in view.tables:
            self.ensure_table(table)
        if self._call(f"look at view {view.name}", lambda: self._view_query(view.name)) != sql:
            described = f"OPTIONS(description='{view.description}')"
            self.query(f"CREATE OR REPLACE VIEW {self.name_of(view.name)} {described} AS {sql}")
        self._views[view.name] = sql

    def _view_query(self, name: str) -> str:
        """The definition of a view as it is, "" where there is none."""
        try:
            found = self._open().get_table(self._reference(name), **self._calling)
        except NotFound:
            return ""
        if found.table_type != "VIEW":
            raise ConfigurationError(
                f"{name} is a {found.table_type}, and a view of that name is declared; it is as it was",
                stage="load",
                hint="copy what is needed from it and drop it by hand, then provision again",
            )
        return str(found.view_query or "")

    def stage(self, batch: TableBatch) -> TableLoad:
        """See `Warehouse.stage`. Raises ``BudgetExhausted`` before any effect."""
        self.ensure_table(batch.table)
        self._budget.spend(batch.table.name, _days_of(batch), dt.datetime.now(dt.UTC))
        loaded = self.stage_rows(batch) if batch.rows else None
        return TableLoad(
            load_job_id=str(loaded.job_id) if loaded else "",
            replace_job_id="",
            rows=int(loaded.output_rows) if loaded else 0,
            size_bytes=int(loaded.input_file_bytes or 0) if loaded else 0,
        )

    def compare(self, batch: TableBatch, staged: TableLoad) -> TableLoad:
        """See `Warehouse.compare`."""
        with self._writing[batch.table.name]:
            cells, shared = self._compared(batch)
        return dataclasses.replace(staged, cells=cells, shared=shared)

    def replace(self, batch: TableBatch, staged: TableLoad, may_write: Callable[[], None] = nothing) -> TableLoad:
        """See `Warehouse.replace`."""
        with self._writing[batch.table.name]:
            replaced = self.replace_rows(batch, may_write=may_write)
        return dataclasses.replace(staged, replace_job_id=str(replaced.job_id))

    def stage_rows(self, batch: TableBatch) -> Job:
        """Step one: all rows of the batch into its staging table, in one load job. The table itself is not touched."""
        columns = check_table(batch.table)
        staging = bigquery.Table(self._reference(batch.staging_table), schema=schema_fields(columns))
        staging.expires = dt.datetime.now(dt.UTC) + _STAGING_LIFE
        self._call(
            "creation of the staging table", lambda: self._open().create_table(staging, exists_ok=True, **self._calling)
        )

        def submit(job_id: str, job_labels: dict[str, str]) -> Job:
            config = bigquery.LoadJobConfig(
                source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
                schema=schema_fields(columns),
                write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
                ignore_unknown_values=False,
                max_bad_records=0,
                labels=job_labels,
            )
            return self._open().load_table_from_uri(
                list(batch.uris), staging.reference, job_id=job_id, location=self.dataset.location, job_config=config,
                **self._calling_once,
            )  # fmt: skip

        job = self._jobs.run(batch, "load", submit, reusable=lambda: self._count(batch.staging_table) == batch.rows)
        if job.output_rows != batch.rows:
            raise LoadRejected(
                f"table {batch.table.name}: {plural(batch.rows, 'row')} staged, the load job took {job.output_rows:,}; "
                "the table is as it was",
                stage="load",
                job_id=job.job_id,
            )
        return job

    def publish(self, batch: TableBatch, rows: str, may_write: Callable[[], None] = nothing) -> str:
        """See `processors.review.Publishing.publish`. Raises ``BudgetExhausted`` before any effect."""
        self.ensure_table(batch.table)
        with self._writing[batch.table.name]:
            self._budget.spend(batch.table.name, _days_of(batch), dt.datetime.now(dt.UTC))
            return str(self.replace_rows(batch, rows, may_write=may_write).job_id)

    def _compared(self, batch: TableBatch) -> tuple[Cells, tuple[tuple[tuple[str, ...], Cells], ...]]:
        """The staged rows with those of the table: what changes, and unique values that others have. Asked at once."""
        names = self.name_of(batch.table.name), self.name_of(batch.staging_table)
        questions = list(shared_questions(batch, *names))
        with threads(1 + len(questions), "compare") as asking:
            changing = asking.submit(self.changes, batch, names[1])
            sharing = [(columns, asking.submit(self.query, sql, given)) for columns, sql, given in questions]
            return tuple(changing.result()), tuple((columns, tuple(one.result())) for columns, one in sharing)

    def changes(self, batch: TableBatch, staging: str) -> list[dict[str, Any]]:
        """See `processors.review.Publishing.changes`."""
        keys = self._keys_in(batch, staging) if asks_elsewhere(batch) else {}
        sql = changes_sql(batch, self.name_of(batch.table.name), staging, by_keys=bool(keys))
        return self.query(sql, {**scope_parameters(batch), **keys})

    def _keys_in(self, batch: TableBatch, staging: str) -> dict[str, QueryValue]:
        if batch.keys:
            return keys_parameter(batch.keys)
        sql = f"SELECT DISTINCT `{batch.table.key[0]}` AS value FROM {staging} S LIMIT {MAX_KEYS + 1}"  # noqa: S608 - ours
        is_table = staging == self.name_of(batch.staging_table)
        rows = self.query(sql, {} if is_table else scope_parameters(batch))
        return keys_parameter([row["value"] for row in rows])

    def replace_rows(self, batch: TableBatch, rows: str = "", *, may_write: Callable[[], None] = nothing) -> Job:
        """Step two: the scope's old rows out and the staged ones in, in one atomic statement.

        ``rows`` is a SELECT in brackets that takes their place.
        """
        sql = replace_sql(batch, self.name_of(batch.table.name), rows or self.name_of(batch.staging_table))
        parameters = [query_parameter(name, values) for name, values in scope_parameters(batch).items()]
        if batch.table.deleted_field:
            parameters.append(bigquery.ScalarQueryParameter("snapshot_at", "TIMESTAMP", batch.snapshot_at))

        def submit(job_id: str, job_labels: dict[str, str]) -> Job:
            config = self._query_config(parameters, labels=job_labels)
            return self._open().query(
                sql,
                job_config=config,
                job_id=job_id,
                location=self.dataset.location,
                job_retry=None,
                **self._calling_once,
            )

        job = self._jobs.run(batch, "replace", submit, reusable=lambda: False, may_begin=may_write)
        self._billed.add(job.total_bytes_billed)
        return job

    def drop_staging(self, batch: TableBatch) -> None:
        """See `Warehouse.drop_staging`. A staging table that is never dropped expires after a day."""
        if batch.rows:
            reference = self._reference(batch.staging_table)
            self._call(
                "drop of the staging table",
                lambda: self._open().delete_table(reference, not_found_ok=True, **self._calling),
            )

    def query(self, sql: str, parameters: Mapping[str, QueryValue] | None = None) -> list[dict[str, Any]]:
        """See `Warehouse.query`. One request, and no job where BigQuery needs none (`processors.bigquery_client`)."""
        config = self._query_config([query_parameter(name, value) for name, value in (parameters or {}).items()])

        def run() -> list[dict[str, Any]]:
            found = self._open().query_and_wait(
                sql,
                job_config=config,
                location=self.dataset.location,
                api_timeout=self._calling["timeout"],
                wait_timeout=self._job_timeout_s,
                retry=self._retry,
                job_retry=None,  # type: ignore[arg-type] # its own word for none
                page_size=_ROWS_PER_ANSWER,
            )
            self._billed.add(self._billed_for(found))
            return [dict(row.items()) for row in found]

        rows: list[dict[str, Any]] = self._call("query", run)
        return rows

    def _billed_for(self, found: Any) -> int | str | None:
        """``totalBytesBilled``, as the answer to the question has it; the client hands on no more than its rows.

        A query that outlasts that answer is a job, and says it as one.
        https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query#body.QueryResponse.FIELDS.total_bytes_billed
        """
        told: int | str | None = (found._first_page_response or {}).get("totalBytesBilled")
        if told is None and found.job_id:
            told = self._find_job(found.job_id).total_bytes_billed
        return told

    def dry_run(self, sql: str, parameters: Mapping[str, QueryValue] | None = None) -> int:
        """The bytes that the statement would read, as BigQuery estimates them; nothing is read, changed or billed."""
        given = [query_parameter(name, value) for name, value in (parameters or {}).items()]
        config = bigquery.QueryJobConfig(query_parameters=given, dry_run=True, use_query_cache=False)

        def run() -> int:
            job = self._open().query(
                sql, job_config=config, location=self.dataset.location, job_retry=None, **self._calling
            )
            return int(job.total_bytes_processed or 0)

        found: int = self._call("dry run", run)
        return found

    def partitions(self, table: str) -> int | None:
        """How many the table has, as BigQuery knew some minutes ago; 0 without a table, None where it does not say.

        https://docs.cloud.google.com/bigquery/docs/reference/rest/v2/tables#Table.FIELDS.num_partitions
        """

        def look() -> int | None:
            try:
                found = self._open().get_table(self._reference(table), **self._calling)
            except NotFound:
                return 0
            # The library has no property for it.
            told = found.to_api_repr().get("numPartitions")
            return None if told is None else int(told)

        count: int | None = self._call(f"look at table {table}", look)
        return count

    def drop_dataset(self) -> None:
        """Removes the dataset with all its tables, if it is there. For scratch datasets only."""
        self._call(
            "removal of the dataset",
            lambda: self._open().delete_dataset(
                self.dataset.full_name, delete_contents=True, not_found_ok=True, **self._calling
            ),
        )

    def _query_config(self, parameters: Sequence[Any], **options: Any) -> bigquery.QueryJobConfig:
        config = bigquery.QueryJobConfig(query_parameters=parameters, **options)
        if self._max_bytes_billed:  # a None would be sent as the text "None", which Google refuses
            config.maximum_bytes_billed = self._max_bytes_billed
        return config

    def _count(self, table: str) -> int:
        return int(self.query(f"SELECT COUNT(*) AS n FROM {self.name_of(table)}")[0]["n"])  # noqa: S608 - our own name

    def _find_job(self, job_id: str) -> Job:
        return self._open().get_job(job_id, location=self.dataset.location, **self._calling)

    def _reference(self, table: str) -> bigquery.TableReference:
        return bigquery.TableReference.from_string(f"{self.dataset.full_name}.{table}")

    def _call(self, action: str, run: Callable[[], Any]) -> Any:
        try:
            return run()
        except Exception as error:
            raise translated(error, action, dataset=self.dataset.full_name) from error

    def _open(self) -> bigquery.Client:
        with self._opening:
            if self._client is None:
                self._client = open_client(self.dataset.project, self.dataset.location, self._endpoint)
            return self._client


def _days_of(batch: TableBatch) -> int:
    return next((len(limit.values) for limit in batch.scope if limit.kind == "DATE"), 1)
