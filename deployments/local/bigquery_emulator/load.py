"""Load jobs of the local BigQuery: NDJSON and Parquet, all or nothing, with BigQuery's own refusals.

Mends in bqemulator 1.4.0: a load is a row of steps, each of which stays done when a later one fails (the new table, the
deleted rows, the rows of the first objects); new columns, ``$YYYYMMDD`` and the limit on partitions are not known.

One DuckDB transaction holds the table's creation or new columns, the rows, the catalog entry and the job record, so
that a kill at any moment leaves either all of them or none. Rows are staged and checked before the transaction begins.
"""

# Table and column names come through bqemulator's whitelist of identifiers, paths through its own check.
# ruff: noqa: S608

from __future__ import annotations

from typing import Any

import bqemulator.api.routes.tables as tables_api
from bqemulator.api.dependencies import AppContext
from bqemulator.catalog.models import JobMeta, TableMeta, TableSchema
from bqemulator.storage.type_map import bq_schema_to_duckdb_columns

from deployments.local.bigquery_emulator.staging import (
    STAGE,
    Fields,
    Load,
    LoadProblem,
    columns_of,
    ddl,
    drop_staging,
    size_of,
    stage,
)

_FIRST_YEAR, _LAST_YEAR = 1960, 2159
"""What lies outside is taken, and shares one partition.
https://docs.cloud.google.com/bigquery/docs/partitioned-tables#date_timestamp_partitioned_tables"""
_PARTITION_FORMAT = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}


def is_emulated(config: dict[str, Any]) -> bool:
    """Whether this module loads the job's format; others go the emulator's own way."""
    return str(config.get("load", {}).get("sourceFormat", "CSV")).upper() in (
        "NEWLINE_DELIMITED_JSON",
        "JSON",
        "PARQUET",
    )


async def execute_load(
    project: str, job_id: str, config: dict[str, Any], ctx: AppContext, max_partitions: int
) -> JobMeta:
    """Runs one NDJSON or Parquet load and records the finished job in the same transaction.

    Raises:
        LoadProblem: The load is refused; table and catalog are as they were.
    """
    started = ctx.clock.now()
    settings = config["load"]
    target = settings["destinationTable"]
    table, _, decorator = target["tableId"].partition("$")
    load = Load(target.get("projectId", project), target["datasetId"], table, decorator, settings, ctx)
    async with ctx.engine.write_lock():  # no await inside: the event loop is the second lock
        before = _existing(load)
        after = _planned(load, before)
        try:
            files = stage(load, after)
            rows = load.one(f"SELECT count(*) FROM {STAGE}")
            where = _partition_filter(load, after, rows, max_partitions)
            job = JobMeta(
                project_id=project,
                job_id=job_id,
                job_type="LOAD",
                state="DONE",
                configuration=config,
                statistics={
                    "load": {"outputRows": str(rows), "inputFiles": str(len(files)), "inputFileBytes": size_of(files)}
                },
                creation_time=started,
                start_time=started,
                end_time=ctx.clock.now(),
                etag=job_id,
            )
            _commit(load, before, after, where, job)
        finally:
            drop_staging(load)
    ctx.snapshots.record_change(load.project, load.dataset, load.table)
    return job


def _existing(load: Load) -> TableMeta | None:
    if load.ctx.catalog.get_dataset(load.project, load.dataset) is None:
        raise LoadProblem(f"Not found: Dataset {load.project}:{load.dataset}", "notFound")
    meta = load.ctx.catalog.get_table(load.project, load.dataset, load.table)
    if meta is None and load.config.get("createDisposition") == "CREATE_NEVER":
        raise LoadProblem(f"Not found: Table {load.label}", "notFound")
    return meta


def _planned(load: Load, before: TableMeta | None) -> TableMeta:
    """The table as it is to be after the load: created, widened or unchanged."""
    fields: Fields = (load.config.get("schema") or {}).get("fields") or []
    if before is None:
        if not fields:
            raise LoadProblem(f"No schema specified on job or table {load.label}; the local BigQuery detects none.")
        body = {
            "tableReference": {"tableId": load.table},
            "schema": {"fields": fields},
            "timePartitioning": load.config.get("timePartitioning"),
            "clustering": load.config.get("clustering"),
            "labels": (load.config.get("destinationTableProperties") or {}).get("labels") or {},
        }
        return tables_api._rest_to_table_meta(load.project, load.dataset, body, load.ctx.clock)
    have = {column.name.lower(): column for column in before.schema_.fields}
    added = [column for column in fields if column["name"].lower() not in have]
    if added and "ALLOW_FIELD_ADDITION" not in (load.config.get("schemaUpdateOptions") or []):
        raise LoadProblem(
            f"Provided Schema does not match Table {load.label}. Cannot add fields (field: {added[0]['name']})"
        )
    _same_types(load, fields, have)
    if any(column.get("mode") == "REQUIRED" for column in added):
        raise LoadProblem(
            f"Provided Schema does not match Table {load.label}. Cannot add required fields to an existing schema."
        )
    schema = TableSchema(fields=before.schema_.fields + tables_api._parse_schema_fields(added))
    return before.model_copy(update={"schema_": schema})


def _same_types(load: Load, fields: Fields, have: dict[str, Any]) -> None:
    for wanted in fields:
        column = have.get(wanted["name"].lower())
        if column is None or wanted.get("fields"):
            continue
        types = [
            bq_schema_to_duckdb_columns([{"name": "x", "type": kind}])[0][1] for kind in (column.type, wanted["type"])
        ]
        if types[0] != types[1]:
            raise LoadProblem(
                f"Provided Schema does not match Table {load.label}. Field {column.name} has changed type "
                f"from {column.type} to {wanted['type']}"
            )


def _partition_filter(load: Load, after: TableMeta, rows: int, max_partitions: int) -> str:
    """The WHERE clause of a ``$`` decorator; empty for a whole-table load."""
    partitioning = after.time_partitioning
    column = partitioning.field if partitioning else None
    if load.decorator and not (partitioning and column):
        raise LoadProblem(f"Cannot use a partition decorator: table {load.label} is not partitioned by a column.")
    if not (partitioning and column):
        return ""
    named = f"strftime(\"{column}\", '{_PARTITION_FORMAT[partitioning.type]}')"
    day = (
        f"CASE WHEN year(\"{column}\") BETWEEN {_FIRST_YEAR} AND {_LAST_YEAR} THEN {named} ELSE '__UNPARTITIONED__' END"
    )
    count = load.one(f"SELECT count(DISTINCT {day}) FROM {STAGE}") or 0
    if count > max_partitions:
        raise LoadProblem(
            f"Too many partitions produced by load, allowed {max_partitions}, load produces at least {count} partitions"
        )
    if not load.decorator:
        return ""
    if not load.decorator.isdigit():
        raise LoadProblem(f"Invalid partition decorator ${load.decorator}")
    where = f" WHERE {day} = '{load.decorator}'"
    if load.one(f"SELECT count(*) FROM {STAGE}{where}") != rows:
        raise LoadProblem(
            f"Some rows belong to different partitions rather than destination partition {load.table}${load.decorator}"
        )
    return where


def _commit(load: Load, before: TableMeta | None, after: TableMeta, where: str, job: JobMeta) -> None:
    disposition = load.config.get("writeDisposition", "WRITE_APPEND")
    catalog = load.ctx.catalog
    load.sql("BEGIN TRANSACTION")
    try:
        if before is None:
            load.sql(f"CREATE TABLE {load.ref} ({ddl(columns_of(after))})")
        else:
            known = len(before.schema_.fields)
            for name, kind in columns_of(after)[known:]:
                load.sql(f'ALTER TABLE {load.ref} ADD COLUMN "{name}" {kind}')
        if disposition == "WRITE_TRUNCATE":
            load.sql(f"DELETE FROM {load.ref}{where}")
        elif disposition == "WRITE_EMPTY" and load.one(f"SELECT 1 FROM {load.ref}{where} LIMIT 1"):
            raise LoadProblem(f"Already Exists: Table {load.label}", "duplicate")
        load.sql(f"INSERT INTO {load.ref} BY NAME SELECT * FROM {STAGE}")
        total = load.one(f"SELECT count(*) FROM {load.ref}")
        seen = after.model_copy(update={"num_rows": total, "last_modified_time": job.end_time})
        if before is None:
            catalog.create_table(seen)
        else:
            catalog.update_table(seen)
        catalog.upsert_job(job)
        load.sql("COMMIT")
    except BaseException:
        load.sql("ROLLBACK")
        raise
