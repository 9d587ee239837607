"""Load jobs of the local BigQuery: NDJSON and Parquet, all or nothing, with BigQuery's own refusals.

One DuckDB transaction holds the table's creation or new columns, the rows, the catalog entry and the job record, so
that a kill at any moment leaves either all of them or none. Rows are staged and checked before the transaction begins.
"""

# Table and column names come through bqemulator's whitelist of identifiers, paths through its own check.
# ruff: noqa: S608

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bqemulator.api.routes.tables as tables_api
import bqemulator.jobs.executor as executor
from bqemulator.api.dependencies import AppContext
from bqemulator.catalog.models import JobMeta, TableMeta, TableSchema
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.storage.type_map import bq_schema_to_duckdb_columns

_JSON = ("NEWLINE_DELIMITED_JSON", "JSON")
_PARTITION_FORMAT = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}
_STAGE = "temp._gapless_stage"
Fields = list[dict[str, Any]]


class LoadProblem(Exception):
    """Ends a load job with ``errorResult``; ``reason`` as in https://docs.cloud.google.com/bigquery/docs/error-messages."""

    def __init__(self, message: str, reason: str = "invalid", location: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.location = location


@dataclass
class _Load:
    """One load job on its way through the steps below."""

    project: str
    dataset: str
    table: str
    decorator: str
    config: dict[str, Any]
    ctx: AppContext

    @property
    def ref(self) -> str:
        return quoted_table_ref(self.project, self.dataset, self.table)

    @property
    def label(self) -> str:
        return f"{self.project}:{self.dataset}.{self.table}"

    def sql(self, text: str) -> Any:
        return self.ctx.engine.execute(text)

    def one(self, text: str) -> Any:
        row = self.sql(text).fetchone()
        return row[0] if row else None


def is_emulated(config: dict[str, Any]) -> bool:
    """Whether this module loads the job's format; others go the emulator's own way."""
    return str(config.get("load", {}).get("sourceFormat", "CSV")).upper() in (*_JSON, "PARQUET")


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
    load = _Load(target.get("projectId", project), target["datasetId"], table, decorator, settings, ctx)
    async with ctx.engine.write_lock():  # no await inside: the event loop is the second lock
        before = _existing(load)
        after = _planned(load, before)
        try:
            files = _stage(load, after)
            rows = load.one(f"SELECT count(*) FROM {_STAGE}")
            where = _partition_filter(load, after, rows, max_partitions)
            job = JobMeta(
                project_id=project,
                job_id=job_id,
                job_type="LOAD",
                state="DONE",
                configuration=config,
                statistics={
                    "load": {"outputRows": str(rows), "inputFiles": str(len(files)), "inputFileBytes": _bytes(files)}
                },
                creation_time=started,
                start_time=started,
                end_time=ctx.clock.now(),
                etag=job_id,
            )
            _commit(load, before, after, where, job)
        finally:
            load.sql(f"DROP TABLE IF EXISTS {_STAGE}")
    ctx.snapshots.record_change(load.project, load.dataset, load.table)
    return job


def _existing(load: _Load) -> TableMeta | None:
    if load.ctx.catalog.get_dataset(load.project, load.dataset) is None:
        raise LoadProblem(f"Not found: Dataset {load.project}:{load.dataset}", "notFound")
    meta = load.ctx.catalog.get_table(load.project, load.dataset, load.table)
    if meta is None and load.config.get("createDisposition") == "CREATE_NEVER":
        raise LoadProblem(f"Not found: Table {load.label}", "notFound")
    return meta


def _planned(load: _Load, before: TableMeta | None) -> TableMeta:
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


def _same_types(load: _Load, fields: Fields, have: dict[str, Any]) -> None:
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


def _columns(meta: TableMeta) -> list[tuple[str, str]]:
    return list(bq_schema_to_duckdb_columns([tables_api._field_to_rest(column) for column in meta.schema_.fields]))


def _files(load: _Load) -> list[Path]:
    """The files behind the URIs; ``*`` crosses folders as in Cloud Storage."""
    found: list[Path] = []
    for uri in load.config.get("sourceUris") or []:
        path = executor._resolve_uri(uri, load.ctx)
        executor._validate_local_path(path)
        if "*" in path and uri.startswith("gs://"):
            folder = Path(path.partition("*")[0]).parent
            matches = sorted(
                file for file in folder.rglob("*") if file.is_file() and fnmatch.fnmatchcase(str(file), path)
            )
        else:
            matches = [Path(path)] if Path(path).is_file() else []
        if not matches:
            raise LoadProblem(f"Not found: URI {uri}", "notFound", uri)
        found += matches
    return found


def _bytes(files: list[Path]) -> str:
    return str(sum(file.stat().st_size for file in files))


def _readers(files: list[Path]) -> Iterator[tuple[str, str]]:
    """DuckDB list literals of the plain and of the gzip files, which are known by their first bytes."""
    zipped: dict[str, list[str]] = {"none": [], "gzip": []}
    for file in files:
        executor._validate_local_path(str(file))
        with file.open("rb") as opened:
            zipped["gzip" if opened.read(2) == b"\x1f\x8b" else "none"].append(f"'{file}'")
    for compression, quoted in zipped.items():
        if quoted:
            yield f"[{', '.join(quoted)}]", compression


def _stage(load: _Load, after: TableMeta) -> list[Path]:
    """Reads all files into the staging table of this connection and checks what BigQuery would check."""
    files = _files(load)
    columns = _columns(after)
    load.sql(f"DROP TABLE IF EXISTS {_STAGE}")
    load.sql(f"CREATE TEMP TABLE {_STAGE.partition('.')[2]} ({_ddl(columns)})")
    if load.config["sourceFormat"].upper() == "PARQUET":
        names = ", ".join(f"'{file}'" for file in files)
        # hive_partitioning=false: DuckDB would turn a folder `dt=2025-01-01/` into one more column.
        source = f"read_parquet([{names}], union_by_name=true, hive_partitioning=false)"
        _read(load, f"INSERT INTO {_STAGE} BY NAME SELECT * FROM {source}")
    else:
        _stage_json(load, after, files, columns)
    for column in after.schema_.fields:
        if column.mode == "REQUIRED" and load.one(f'SELECT 1 FROM {_STAGE} WHERE "{column.name}" IS NULL LIMIT 1'):
            raise LoadProblem(
                "Error while reading data, error message: JSON table encountered too many errors, giving up. "
                f"Missing required fields: {column.name}."
            )
    return files


def _stage_json(load: _Load, after: TableMeta, files: list[Path], columns: list[tuple[str, str]]) -> None:
    # BLOB would take the base64 text for the bytes themselves.
    texts = {name: "VARCHAR" if kind == "BLOB" else kind for name, kind in columns}
    kinds = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in texts.items()) + "}"
    picked = ", ".join(
        f'from_base64("{name}") AS "{name}"' if kind == "BLOB" else f'"{name}"' for name, kind in columns
    )
    for names, compression in _readers(files):
        options = f"compression='{compression}', hive_partitioning=false, format='newline_delimited'"
        if not load.config.get("ignoreUnknownValues"):
            objects = f"SELECT json FROM read_json_objects({names}, {options})"
            fields = [tables_api._field_to_rest(column) for column in after.schema_.fields]
            _refuse_unknown(load, objects, fields, "")
        _refuse_fractions(load, f"SELECT json FROM read_json_objects({names}, {options})", columns)
        _read(load, f"INSERT INTO {_STAGE} BY NAME SELECT {picked} FROM read_json({names}, columns={kinds}, {options})")


def _refuse_unknown(load: _Load, objects: str, fields: Fields, path: str) -> None:
    keys = _read(load, f"SELECT DISTINCT unnest(json_keys(json)) FROM ({objects}) WHERE json_type(json) = 'OBJECT'")
    known = {column["name"].lower() for column in fields}
    for key in sorted(row[0] for row in keys.fetchall()):
        if key.lower() not in known:
            raise LoadProblem(
                "Error while reading data, error message: JSON parsing error in row starting at position 0: "
                f"No such field: {path}{key}."
            )
    for column in fields:
        if column.get("fields"):
            name = column["name"]
            inner = (
                f"""unnest(json_extract(json, '$."{name}"[*]'))"""
                if column.get("mode") == "REPEATED"
                else f"""json_extract(json, '$."{name}"')"""
            )
            _refuse_unknown(load, f"SELECT {inner} AS json FROM ({objects})", column["fields"], f"{path}{name}.")


def _refuse_fractions(load: _Load, objects: str, columns: list[tuple[str, str]]) -> None:
    """DuckDB rounds 1.5 to 2 where BigQuery refuses it for an INTEGER."""
    for name in (name for name, kind in columns if kind == "BIGINT"):
        number = f"""TRY_CAST(json_extract_string(json, '$."{name}"') AS DOUBLE)"""
        bad = _read(load, f"SELECT {number} FROM ({objects}) WHERE {number} <> floor({number}) LIMIT 1").fetchone()
        if bad:
            raise LoadProblem(
                "Error while reading data, error message: JSON parsing error in row: "
                f"Could not convert value {bad[0]} to integer. Field: {name}."
            )


def _read(load: _Load, text: str) -> Any:
    try:
        return load.sql(text)
    except Exception as error:
        raise LoadProblem(f"Error while reading data, error message: {error}") from error


def _partition_filter(load: _Load, after: TableMeta, rows: int, max_partitions: int) -> str:
    """The WHERE clause of a ``$`` decorator; empty for a whole-table load."""
    partitioning = after.time_partitioning
    column = partitioning.field if partitioning else None
    if load.decorator and not (partitioning and column):
        raise LoadProblem(f"Cannot use a partition decorator: table {load.label} is not partitioned by a column.")
    if not (partitioning and column):
        return ""
    day = f"strftime(\"{column}\", '{_PARTITION_FORMAT[partitioning.type]}')"
    count = load.one(f"SELECT count(DISTINCT {day}) FROM {_STAGE}") or 0
    if count > max_partitions:
        raise LoadProblem(
            f"Too many partitions produced by load, allowed {max_partitions}, load produces at least {count} partitions"
        )
    if not load.decorator:
        return ""
    if not load.decorator.isdigit():
        raise LoadProblem(f"Invalid partition decorator ${load.decorator}")
    where = f" WHERE {day} = '{load.decorator}'"
    if load.one(f"SELECT count(*) FROM {_STAGE}{where}") != rows:
        raise LoadProblem(
            f"Some rows belong to different partitions rather than destination partition {load.table}${load.decorator}"
        )
    return where


def _ddl(columns: list[tuple[str, str]]) -> str:
    return ", ".join(f'"{name}" {kind}' for name, kind in columns)


def _commit(load: _Load, before: TableMeta | None, after: TableMeta, where: str, job: JobMeta) -> None:
    disposition = load.config.get("writeDisposition", "WRITE_APPEND")
    catalog = load.ctx.catalog
    load.sql("BEGIN TRANSACTION")
    try:
        if before is None:
            load.sql(f"CREATE TABLE {load.ref} ({_ddl(_columns(after))})")
        else:
            known = len(before.schema_.fields)
            for name, kind in _columns(after)[known:]:
                load.sql(f'ALTER TABLE {load.ref} ADD COLUMN "{name}" {kind}')
        if disposition == "WRITE_TRUNCATE":
            load.sql(f"DELETE FROM {load.ref}{where}")
        elif disposition == "WRITE_EMPTY" and load.one(f"SELECT 1 FROM {load.ref}{where} LIMIT 1"):
            raise LoadProblem(f"Already Exists: Table {load.label}", "duplicate")
        load.sql(f"INSERT INTO {load.ref} BY NAME SELECT * FROM {_STAGE}")
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
