"""Rows, and their way into a table of the local BigQuery."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from google.cloud import bigquery

SCHEMA = [
    bigquery.SchemaField("day", "DATE", mode="REQUIRED"),
    bigquery.SchemaField("id", "INTEGER", mode="REQUIRED"),
    bigquery.SchemaField("name", "STRING"),
]
Rows = list[dict[str, Any]]


def load_config(**options: Any) -> bigquery.LoadJobConfig:
    given = {
        "schema": SCHEMA,
        "source_format": "NEWLINE_DELIMITED_JSON",
        "time_partitioning": bigquery.TimePartitioning(field="day"),
        **options,
    }
    return bigquery.LoadJobConfig(**given)


def numbered_rows(*ids: int, day: str = "2025-01-01") -> Rows:
    return [{"day": day, "id": number, "name": f"row {number}"} for number in ids]


def ndjson(rows: Rows) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def load_rows(client: bigquery.Client, table: str, rows: Rows, *, job_id: str | None = None, **options: Any) -> Any:
    job = client.load_table_from_json(rows, table, job_id=job_id, job_config=load_config(**options), timeout=20)
    return job.result(timeout=20)


def ids_in(client: bigquery.Client, table: str) -> list[int]:
    rows = client.query(f"SELECT id FROM {table} ORDER BY id", job_retry=None).result(timeout=20)
    return [row.id for row in rows]


def put_object(root: Path, bucket: str, name: str, data: bytes) -> str:
    path = root / bucket / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return f"gs://{bucket}/{name}"
