"""Reads the files of a load job into a staging table, and refuses what BigQuery would refuse.

Mends in bqemulator 1.4.0: DuckDB's readers decide what a row may be. They take null for REQUIRED, drop unknown fields,
round fractions and cut times; the names of objects decide on gzip and on columns, and Parquet goes by position.
"""

# Table and column names come through bqemulator's whitelist of identifiers, paths through its own check.
# ruff: noqa: S608

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bqemulator.api.routes.tables as tables_api
import bqemulator.jobs.executor as executor
from bqemulator.api.dependencies import AppContext
from bqemulator.catalog.models import TableMeta
from bqemulator.storage.sql_identifiers import quoted_table_ref
from bqemulator.storage.type_map import bq_schema_to_duckdb_columns

STAGE = "temp._gapless_stage"
OBJECTS = "temp._gapless_objects"
TEXTS = "temp._gapless_texts"
Fields = list[dict[str, Any]]


class LoadProblem(Exception):
    """Ends a load job with ``errorResult``; ``reason`` as in https://docs.cloud.google.com/bigquery/docs/error-messages."""

    def __init__(self, message: str, reason: str = "invalid", location: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.location = location


@dataclass
class Load:
    """One load job on its way through the steps below."""

    project: str
    dataset: str
    table: str
    decorator: str
    config: dict[str, Any]
    ctx: AppContext

    @property
    def ref(self) -> str:
        """The destination as DuckDB writes it."""
        return quoted_table_ref(self.project, self.dataset, self.table)

    @property
    def label(self) -> str:
        """The destination as BigQuery's messages write it."""
        return f"{self.project}:{self.dataset}.{self.table}"

    def sql(self, text: str) -> Any:
        """Runs a statement on the connection of all jobs."""
        return self.ctx.engine.execute(text)

    def one(self, text: str) -> Any:
        """The first value of the first row; None without rows."""
        row = self.sql(text).fetchone()
        return row[0] if row else None


def columns_of(meta: TableMeta) -> list[tuple[str, str]]:
    """Name and DuckDB type of a table's columns, in order."""
    return list(bq_schema_to_duckdb_columns([tables_api._field_to_rest(column) for column in meta.schema_.fields]))


def drop_staging(load: Load) -> None:
    """Drops the tables of this module."""
    for table in (STAGE, OBJECTS, TEXTS):
        load.sql(f"DROP TABLE IF EXISTS {table}")


def ddl(columns: list[tuple[str, str]]) -> str:
    """The column list of a CREATE TABLE."""
    return ", ".join(f'"{name}" {kind}' for name, kind in columns)


def _files(load: Load) -> list[Path]:
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


def size_of(files: list[Path]) -> str:
    """Bytes of all files, as the text that job statistics use."""
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


def stage(load: Load, after: TableMeta) -> list[Path]:
    """Reads all files into the staging table of this connection and checks what BigQuery would check."""
    files = _files(load)
    columns = columns_of(after)
    load.sql(f"CREATE OR REPLACE TEMP TABLE {STAGE.partition('.')[2]} ({ddl(columns)})")
    if load.config["sourceFormat"].upper() == "PARQUET":
        names = ", ".join(f"'{file}'" for file in files)
        # hive_partitioning=false: DuckDB would turn a folder `dt=2025-01-01/` into one more column.
        source = f"read_parquet([{names}], union_by_name=true, hive_partitioning=false)"
        _read(load, f"INSERT INTO {STAGE} BY NAME SELECT * FROM {source}")
    else:
        _stage_json(load, after, files, columns)
    for column in after.schema_.fields:
        if column.mode == "REQUIRED" and load.one(f'SELECT 1 FROM {STAGE} WHERE "{column.name}" IS NULL LIMIT 1'):
            raise LoadProblem(
                "Error while reading data, error message: JSON table encountered too many errors, giving up. "
                f"Missing required fields: {column.name}."
            )
    return files


def _stage_json(load: Load, after: TableMeta, files: list[Path], columns: list[tuple[str, str]]) -> None:
    """Objects, then texts, then values: each step one pass, which is ten times faster than DuckDB's typed reader."""
    fields = [tables_api._field_to_rest(column) for column in after.schema_.fields]
    load.sql(f"CREATE OR REPLACE TEMP TABLE {OBJECTS.partition('.')[2]} (json JSON)")
    for names, compression in _readers(files):
        options = f"compression='{compression}', hive_partitioning=false, format='newline_delimited'"
        _read(load, f"INSERT INTO {OBJECTS} SELECT json FROM read_json_objects({names}, {options})")
    if load.one(f"SELECT 1 FROM {OBJECTS} WHERE json_type(json) <> 'OBJECT' LIMIT 1"):
        raise LoadProblem("Error while reading data, error message: JSON parsing error in row: not an object.")
    if not load.config.get("ignoreUnknownValues"):
        _refuse_unknown(load, f"SELECT json FROM {OBJECTS}", fields, "")
    spec = json.dumps(dict(bq_schema_to_duckdb_columns([_as_text(field) for field in fields]))).replace("'", "''")
    texts = f"SELECT json AS _gapless_json, unnest(json_transform(json, '{spec}')) FROM {OBJECTS}"
    load.sql(f"CREATE OR REPLACE TEMP TABLE {TEXTS.partition('.')[2]} AS {texts}")
    _refuse_shapes(load, fields)
    _refuse_fractions(load, columns)
    _refuse_spellings(load, fields)
    values = ", ".join(f'{_value(name, kind)} AS "{name}"' for name, kind in columns)
    _read(load, f"INSERT INTO {STAGE} BY NAME SELECT {values} FROM {TEXTS}")


def _as_text(field: dict[str, Any]) -> dict[str, Any]:
    """The same field with text leaves, which no value fails to become."""
    if field.get("fields"):
        return {**field, "fields": [_as_text(one) for one in field["fields"]]}
    return field if field["type"] == "JSON" else {**field, "type": "STRING"}


def _value(name: str, kind: str) -> str:
    """The column's value from its text, in SQL."""
    if kind == "BLOB":
        return f'from_base64("{name}")'
    if kind == "TIMESTAMPTZ":  # BigQuery takes seconds since 1970, too
        seconds = f'to_timestamp(TRY_CAST("{name}" AS DOUBLE))'
        return f'CASE WHEN TRY_CAST("{name}" AS DOUBLE) IS NULL THEN CAST("{name}" AS {kind}) ELSE {seconds} END'
    return f'CAST("{name}" AS {kind})'


def _refuse_shapes(load: Load, fields: Fields) -> None:
    """An object or a list where the schema has a single value, and the other way round."""
    for field in fields:
        name, kind = field["name"], f"""json_type(_gapless_json, '$."{field["name"]}"')"""
        if field.get("mode") == "REPEATED":
            wrong = f"{kind} NOT IN ('ARRAY', 'NULL')"
        elif field.get("fields"):
            wrong = f"{kind} NOT IN ('OBJECT', 'NULL')"
        elif field["type"] == "STRING":
            wrong = f"""regexp_matches("{name}", '^[{{\\[]') AND {kind} IN ('OBJECT', 'ARRAY')"""
        else:
            continue
        if load.one(f"SELECT 1 FROM {TEXTS} WHERE {wrong} LIMIT 1"):
            raise LoadProblem(
                "Error while reading data, error message: JSON parsing error in row: "
                f"value of the wrong shape. Field: {name}; type {field['type']}, mode {field.get('mode', 'NULLABLE')}."
            )


def _refuse_unknown(load: Load, objects: str, fields: Fields, path: str) -> None:
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


def _refuse_fractions(load: Load, columns: list[tuple[str, str]]) -> None:
    """DuckDB rounds 1.5 to 2 where BigQuery refuses it for an INTEGER."""
    numbers = {name: f'TRY_CAST("{name}" AS DOUBLE)' for name, kind in columns if kind == "BIGINT"}
    if not numbers:
        return
    bad = ", ".join(f"any_value({number}) FILTER ({number} <> floor({number}))" for number in numbers.values())
    found = load.sql(f"SELECT {bad} FROM {TEXTS}").fetchone()
    for name, value in zip(numbers, found, strict=True):
        if value is not None:
            raise LoadProblem(
                "Error while reading data, error message: JSON parsing error in row: "
                f"Could not convert value {value} to integer. Field: {name}."
            )


_SPELLINGS = {
    "DATE": r"\d{4}-\d{1,2}-\d{1,2}",
    "TIMESTAMP": r"\d{4}-\d{1,2}-\d{1,2}([T ]\d{1,2}:\d{2}:\d{2}(\.\d{1,6})?)?( ?(Z|UTC|[+-]\d{1,2}(:\d{2})?))?"
    r"|-?\d+(\.\d+)?([eE][+-]?\d+)?",
    "NUMERIC": r"[+-]?\d{1,29}(\.\d{0,9})?([eE][+-]?\d{1,2})?",
}
"""What a load of NDJSON takes: https://docs.cloud.google.com/bigquery/docs/loading-data-cloud-storage-json#details_of_loading_json_data"""


def _refuse_spellings(load: Load, fields: Fields) -> None:
    """DuckDB reads ``2025/01/03`` as a date, cuts below microseconds, and rounds a NUMERIC to nine decimals."""
    for field in fields:
        spelling = _SPELLINGS.get(field["type"].upper())
        if spelling is None or field.get("mode") == "REPEATED":
            continue
        name = field["name"]
        found = load.one(f'SELECT "{name}" FROM {TEXTS} WHERE NOT regexp_full_match("{name}", \'{spelling}\') LIMIT 1')
        if found is not None:
            raise LoadProblem(
                "Error while reading data, error message: JSON parsing error in row: "
                f"Couldn't convert value to {field['type'].lower()}: Could not parse '{found}'. Field: {name}."
            )


def _read(load: Load, text: str) -> Any:
    try:
        return load.sql(text)
    except Exception as error:
        raise LoadProblem(f"Error while reading data, error message: {error}") from error
