"""What the warehouse relies on, asked of the local BigQuery by Google's own client."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, NotFound, ServiceUnavailable
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage

PROJECT = "contract"
SCHEMA = [
    bigquery.SchemaField("day", "DATE", mode="REQUIRED"),
    bigquery.SchemaField("id", "INTEGER", mode="REQUIRED"),
    bigquery.SchemaField("name", "STRING"),
]
Rows = list[dict[str, Any]]


@pytest.fixture
def client(bigquery_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[bigquery.Client]:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_endpoint)
    with bigquery.Client(project=PROJECT, credentials=AnonymousCredentials()) as made:
        yield made


@pytest.fixture
def dataset(client: bigquery.Client) -> str:
    name = f"d{uuid.uuid4().hex[:10]}"
    client.create_dataset(name)
    return name


@pytest.fixture
def quota(bigquery_endpoint: str) -> Iterator[Callable[..., dict[str, Any]]]:
    def call(method: str = "GET", **wish: Any) -> dict[str, Any]:
        data = json.dumps(wish).encode() if wish else None
        request = urllib.request.Request(f"{bigquery_endpoint}/gapless/quota", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            state: dict[str, Any] = json.loads(answer.read())
            return state

    yield call
    call("DELETE")


def _config(**options: Any) -> bigquery.LoadJobConfig:
    given = {
        "schema": SCHEMA,
        "source_format": "NEWLINE_DELIMITED_JSON",
        "time_partitioning": bigquery.TimePartitioning(field="day"),
        **options,
    }
    return bigquery.LoadJobConfig(**given)


def _rows(*ids: int, day: str = "2025-01-01") -> Rows:
    return [{"day": day, "id": number, "name": f"row {number}"} for number in ids]


def _ndjson(rows: Rows) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _load(client: bigquery.Client, table: str, rows: Rows, *, job_id: str | None = None, **options: Any) -> Any:
    job = client.load_table_from_json(rows, table, job_id=job_id, job_config=_config(**options), timeout=20)
    return job.result(timeout=20)


def _ids(client: bigquery.Client, table: str) -> list[int]:
    rows = client.query(f"SELECT id FROM {table} ORDER BY id", job_retry=None).result(timeout=20)
    return [row.id for row in rows]


def _put(root: Path, bucket: str, name: str, data: bytes) -> str:
    path = root / bucket / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return f"gs://{bucket}/{name}"


def test_a_repeated_upload_under_one_job_id_is_409_and_loads_once(client: bigquery.Client, dataset: str) -> None:
    table, job_id = f"{dataset}.t", uuid.uuid4().hex
    _load(client, table, _rows(1), job_id=job_id)

    with pytest.raises(Conflict):
        _load(client, table, _rows(1), job_id=job_id)

    assert _ids(client, table) == [1]
    assert client.get_job(job_id).output_rows == 1


def test_a_resumable_upload_keeps_its_job_id_too(client: bigquery.Client, dataset: str) -> None:
    job_id = uuid.uuid4().hex

    def upload() -> None:
        file = io.BytesIO(_ndjson(_rows(1, 2)))
        client.load_table_from_file(file, f"{dataset}.t", job_id=job_id, job_config=_config()).result(timeout=20)

    upload()
    with pytest.raises(Conflict):
        upload()

    assert client.get_job(job_id).output_rows == 2


def test_eight_threads_under_one_job_id_load_once(client: bigquery.Client, dataset: str) -> None:
    job_id, start = uuid.uuid4().hex, threading.Barrier(8)

    def load(_: int) -> str:
        start.wait()
        try:
            _load(client, f"{dataset}.t", _rows(1), job_id=job_id)
        except Conflict:
            return "409"
        return "done"

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(load, range(8)))

    assert answers == ["409"] * 7 + ["done"]
    assert _ids(client, f"{dataset}.t") == [1]


def test_a_failed_job_is_recorded_and_its_id_is_burnt(client: bigquery.Client, dataset: str) -> None:
    job_id = uuid.uuid4().hex
    with pytest.raises(BadRequest):
        _load(client, f"{dataset}.t", [{"day": "2025-01-01", "id": "x"}], job_id=job_id)

    recorded = client.get_job(job_id)
    with pytest.raises(Conflict):
        _load(client, f"{dataset}.t", _rows(1), job_id=job_id)

    assert recorded.state == "DONE"
    assert recorded.error_result["reason"] == "invalid"


def test_query_and_copy_jobs_refuse_a_repeated_id(client: bigquery.Client, dataset: str) -> None:
    query_id, copy_id = uuid.uuid4().hex, uuid.uuid4().hex
    _load(client, f"{dataset}.t", _rows(1))
    insert = f"INSERT INTO {dataset}.t (day, id) VALUES (DATE '2025-01-01', 2)"
    client.query(insert, job_id=query_id, job_retry=None).result(timeout=20)
    client.copy_table(f"{dataset}.t", f"{dataset}.u", job_id=copy_id).result(timeout=20)

    with pytest.raises(Conflict):
        client.query(insert, job_id=query_id, job_retry=None)
    with pytest.raises(Conflict):
        client.copy_table(f"{dataset}.t", f"{dataset}.u", job_id=copy_id)

    assert _ids(client, f"{dataset}.t") == [1, 2]
    assert _ids(client, f"{dataset}.u") == [1, 2]


def test_a_failed_query_burns_its_id(client: bigquery.Client, dataset: str) -> None:
    job_id = uuid.uuid4().hex
    with pytest.raises((NotFound, BadRequest)):
        client.query(f"SELECT * FROM {dataset}.nothing", job_id=job_id, job_retry=None).result(timeout=20)

    with pytest.raises(Conflict):
        client.query("SELECT 1", job_id=job_id, job_retry=None)


def test_a_load_that_fails_keeps_the_old_rows(client: bigquery.Client, dataset: str) -> None:
    table = f"{dataset}.t"
    _load(client, table, _rows(1, 2))

    with pytest.raises(BadRequest):
        _load(client, table, [*_rows(3), {"day": "soon", "id": 4}], write_disposition="WRITE_TRUNCATE")

    assert _ids(client, table) == [1, 2]


def test_a_load_that_fails_creates_no_table(client: bigquery.Client, dataset: str) -> None:
    with pytest.raises(BadRequest):
        _load(client, f"{dataset}.t", [{"day": "soon", "id": 4}])

    with pytest.raises(NotFound):
        client.get_table(f"{dataset}.t")


@pytest.mark.parametrize("missing_at", [0, 1])
def test_one_missing_object_fails_the_whole_load(
    client: bigquery.Client, dataset: str, gcs_root: Path, missing_at: int
) -> None:
    uris = [_put(gcs_root, dataset, "a.ndjson", _ndjson(_rows(1)))]
    uris.insert(missing_at, f"gs://{dataset}/missing.ndjson")
    _load(client, f"{dataset}.t", _rows(9))

    with pytest.raises(NotFound):
        client.load_table_from_uri(uris, f"{dataset}.t", job_config=_config()).result(timeout=20)

    assert _ids(client, f"{dataset}.t") == [9]


def test_objects_load_plain_or_gzip_whatever_they_are_called(
    client: bigquery.Client, dataset: str, gcs_root: Path
) -> None:
    uris = [
        _put(gcs_root, dataset, "day=2025-01-01/a.ndjson.gz", gzip.compress(_ndjson(_rows(1)))),
        _put(gcs_root, dataset, "day=2025-01-02/b.ndjson", gzip.compress(_ndjson(_rows(2))) + gzip.compress(b"")),
        _put(gcs_root, dataset, "dt=2025-01-03/c.ndjson", _ndjson(_rows(3))),
        _put(gcs_root, dataset, "empty.ndjson", b""),
    ]

    job = client.load_table_from_uri(uris, f"{dataset}.t", job_config=_config()).result(timeout=20)

    assert job.output_rows == 3
    assert _ids(client, f"{dataset}.t") == [1, 2, 3]


def test_a_cut_off_gzip_object_fails_the_load(client: bigquery.Client, dataset: str, gcs_root: Path) -> None:
    whole = gzip.compress(_ndjson(_rows(*range(500))))
    uri = _put(gcs_root, dataset, "cut.ndjson.gz", whole[: len(whole) // 2])

    with pytest.raises(BadRequest):
        client.load_table_from_uri(uri, f"{dataset}.t", job_config=_config()).result(timeout=20)


def test_a_star_in_a_uri_crosses_folders(client: bigquery.Client, dataset: str, gcs_root: Path) -> None:
    for number in (1, 2):
        _put(gcs_root, dataset, f"raw/p={number}/page.ndjson", _ndjson(_rows(number)))
    _put(gcs_root, dataset, "raw/p=1/manifest.json", b"not rows")

    client.load_table_from_uri(f"gs://{dataset}/raw/*.ndjson", f"{dataset}.t", job_config=_config()).result(timeout=20)

    assert _ids(client, f"{dataset}.t") == [1, 2]


def test_objects_written_by_the_storage_client_load_at_once(
    client: bigquery.Client, dataset: str, gcs_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_endpoint)
    bucket = storage.Client(project=PROJECT, credentials=AnonymousCredentials()).create_bucket(dataset)
    blob = bucket.blob("a/page-0001.ndjson.gz")
    blob.upload_from_string(gzip.compress(_ndjson(_rows(7))), content_type="application/gzip", if_generation_match=0)

    job = client.load_table_from_uri(f"gs://{dataset}/{blob.name}", f"{dataset}.t", job_config=_config())

    assert job.result(timeout=20).output_rows == 1


def test_parquet_columns_go_by_name(client: bigquery.Client, dataset: str, gcs_root: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({"name": ["x"], "id": [5], "day": [dt.date(2025, 1, 1)]}), buffer)
    uri = _put(gcs_root, dataset, "dt=1/a.parquet", buffer.getvalue())

    client.load_table_from_uri(uri, f"{dataset}.t", job_config=_config(source_format="PARQUET")).result(timeout=20)

    assert _ids(client, f"{dataset}.t") == [5]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"day": "2025-01-01", "id": 1, "nick": "x"}, "No such field: nick"),
        ({"day": "2025-01-01"}, "Missing required fields: id"),
        ({"day": "2025-01-01", "id": None}, "Missing required fields: id"),
        ({"day": "2025-01-01", "id": 1.5}, "Could not convert value 1.5"),
        ({"day": "2025-01-01", "id": "one"}, "Error while reading data"),
        ({"day": "2025-01-01", "id": 1, "name": {"first": "x"}}, "wrong shape. Field: name"),
        ({"day": "2025-01-01", "id": 1, "name": ["x"]}, "wrong shape. Field: name"),
        ({"day": "2025-13-01", "id": 1}, "Error while reading data"),
    ],
)
def test_a_row_that_breaks_the_schema_is_refused(
    client: bigquery.Client, dataset: str, row: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadRequest, match=complaint):
        _load(client, f"{dataset}.t", [row])


def test_values_of_every_type_come_back_as_they_went_in(client: bigquery.Client, dataset: str) -> None:
    schema = [
        bigquery.SchemaField("flag", "BOOLEAN"),
        bigquery.SchemaField("share", "FLOAT"),
        bigquery.SchemaField("price", "NUMERIC"),
        bigquery.SchemaField("text", "STRING"),
        bigquery.SchemaField("raw", "BYTES"),
        bigquery.SchemaField("at", "TIMESTAMP"),
        bigquery.SchemaField("since", "TIMESTAMP"),
        bigquery.SchemaField("extra", "JSON"),
        bigquery.SchemaField("quarters", "INTEGER", mode="REPEATED"),
        bigquery.SchemaField("home", "RECORD", fields=[bigquery.SchemaField("points", "INTEGER")]),
    ]
    row = {
        "flag": True,
        "share": 0.25,
        "price": "12.345678901",
        "text": '[it\'s "quoted"]',
        "raw": "AAEC",
        "at": "2025-01-01T19:00:00-05:00",
        "since": 1735776000,
        "extra": {"a": [1, None]},
        "quarters": [30, 28],
        "home": {"points": 58},
    }

    _load(client, f"{dataset}.t", [row, {}], schema=schema, time_partitioning=None)

    read, empty = client.list_rows(f"{dataset}.t")
    midnight = dt.datetime(2025, 1, 2, tzinfo=dt.UTC)
    expected = {**row, "price": Decimal("12.345678901"), "raw": b"\x00\x01\x02", "at": midnight, "since": midnight}
    assert dict(read.items()) == expected
    assert {name: value for name, value in empty.items() if value is not None} in ({}, {"quarters": []})


def test_unknown_fields_inside_records_are_refused_unless_ignored(client: bigquery.Client, dataset: str) -> None:
    inner = bigquery.SchemaField("name", "STRING")
    schema = [*SCHEMA, bigquery.SchemaField("teams", "RECORD", mode="REPEATED", fields=[inner])]
    row = {**_rows(1)[0], "teams": [{"name": "a"}, {"name": "b", "rank": 1}]}

    with pytest.raises(BadRequest, match=r"No such field: teams\.rank"):
        _load(client, f"{dataset}.t", [row], schema=schema)
    _load(client, f"{dataset}.t", [row], schema=schema, ignore_unknown_values=True)

    (read,) = client.list_rows(f"{dataset}.t")
    assert read["teams"] == [{"name": "a"}, {"name": "b"}]


def test_a_load_creates_its_table_with_partitioning_clustering_and_labels(
    client: bigquery.Client, dataset: str
) -> None:
    config = _config(clustering_fields=["id"], destination_table_description="x")
    config._properties["load"]["destinationTableProperties"] = {"labels": {"source": "bdl"}}
    client.load_table_from_json(_rows(1), f"{dataset}.t", job_config=config).result(timeout=20)

    table = client.get_table(f"{dataset}.t")

    assert table.time_partitioning.field == "day"
    assert table.clustering_fields == ["id"]
    assert table.labels == {"source": "bdl"}
    assert [field.mode for field in table.schema] == ["REQUIRED", "REQUIRED", "NULLABLE"]
    assert table.num_rows == 1


def test_a_new_column_needs_permission_and_is_then_nullable(client: bigquery.Client, dataset: str) -> None:
    table, wider = f"{dataset}.t", [*SCHEMA, bigquery.SchemaField("score", "FLOAT")]
    _load(client, table, _rows(1))
    row = {**_rows(2)[0], "score": 0.5}

    with pytest.raises(BadRequest, match="Cannot add fields"):
        _load(client, table, [row], schema=wider)
    _load(client, table, [row], schema=wider, schema_update_options=["ALLOW_FIELD_ADDITION"])

    assert [field.name for field in client.get_table(table).schema] == ["day", "id", "name", "score"]
    assert {row["id"]: row["score"] for row in client.list_rows(table)} == {1: None, 2: 0.5}


def test_a_changed_type_is_refused(client: bigquery.Client, dataset: str) -> None:
    _load(client, f"{dataset}.t", _rows(1))
    changed = [*SCHEMA[:2], bigquery.SchemaField("name", "FLOAT")]

    with pytest.raises(BadRequest, match="has changed type"):
        _load(client, f"{dataset}.t", [{"day": "2025-01-01", "id": 2}], schema=changed)


def test_a_decorator_replaces_one_partition(client: bigquery.Client, dataset: str) -> None:
    table = f"{dataset}.t"
    _load(client, table, _rows(1, 2) + _rows(3, day="2025-01-02"))

    _load(client, f"{table}$20250101", _rows(9), write_disposition="WRITE_TRUNCATE")
    with pytest.raises(BadRequest, match="different partitions"):
        _load(client, f"{table}$20250101", _rows(8, day="2025-01-02"), write_disposition="WRITE_TRUNCATE")

    assert _ids(client, table) == [3, 9]


def test_write_empty_refuses_a_table_with_rows(client: bigquery.Client, dataset: str) -> None:
    _load(client, f"{dataset}.t", _rows(1))

    with pytest.raises(Conflict):
        _load(client, f"{dataset}.t", _rows(2), write_disposition="WRITE_EMPTY")

    assert _ids(client, f"{dataset}.t") == [1]


def test_output_rows_are_those_of_the_load_and_not_of_the_table(client: bigquery.Client, dataset: str) -> None:
    _load(client, f"{dataset}.t", _rows(1, 2, 3))

    assert _load(client, f"{dataset}.t", _rows(4)).output_rows == 1


def test_merge_on_false_replaces_the_days_in_an_array_parameter(client: bigquery.Client, dataset: str) -> None:
    table, staging = f"{dataset}.t", f"{dataset}.stage"
    _load(client, table, _rows(1, 2) + _rows(3, day="2025-01-02"))
    _load(client, staging, _rows(7), time_partitioning=None)
    merge = (
        f"MERGE {table} T USING {staging} S ON FALSE "
        "WHEN NOT MATCHED BY SOURCE AND T.day IN UNNEST(@days) THEN DELETE "
        "WHEN NOT MATCHED BY TARGET THEN INSERT (day, id, name) VALUES (S.day, S.id, S.name)"
    )
    days = bigquery.ArrayQueryParameter("days", "DATE", ["2025-01-01"])

    client.query(merge, job_config=bigquery.QueryJobConfig(query_parameters=[days]), job_retry=None).result(timeout=20)

    assert _ids(client, table) == [3, 7]


@pytest.mark.parametrize("reason", ["quotaExceeded", "rateLimitExceeded"])
def test_an_ordered_limit_answers_403_with_its_reason_and_burns_no_id(
    client: bigquery.Client, dataset: str, quota: Callable[..., dict[str, Any]], reason: str
) -> None:
    table, job_id = f"{dataset}.t", uuid.uuid4().hex
    quota("POST", table=table, reason=reason, kind="load", after_jobs=1, times=1)
    _load(client, table, _rows(1))

    with pytest.raises(Forbidden) as refused:
        client.load_table_from_uri("gs://b/x", table, job_id=job_id, job_config=_config(), retry=None)
    _load(client, table, _rows(2), job_id=job_id)

    assert refused.value.errors[0]["reason"] == reason
    assert _ids(client, table) == [1, 2]


def test_a_limit_on_queries_strikes_the_table_named_in_the_statement(
    client: bigquery.Client, dataset: str, quota: Callable[..., dict[str, Any]]
) -> None:
    _load(client, f"{dataset}.t", _rows(1))
    quota("POST", table="t", kind="query", reason="rateLimitExceeded", times=1)
    delete = f"DELETE FROM {dataset}.t WHERE TRUE"

    with pytest.raises(Forbidden):
        client.query(delete, retry=None, job_retry=None)

    assert _ids(client, f"{dataset}.t") == [1]


def test_a_lost_answer_leaves_a_done_job_behind_a_503(
    client: bigquery.Client, dataset: str, gcs_root: Path, quota: Callable[..., dict[str, Any]]
) -> None:
    table, job_id = f"{dataset}.t", uuid.uuid4().hex
    uri = _put(gcs_root, dataset, "a.ndjson", _ndjson(_rows(1)))
    quota("POST", table=table, reason="backendError", when="after", times=1)

    with pytest.raises(ServiceUnavailable):
        client.load_table_from_uri(uri, table, job_id=job_id, job_config=_config(), retry=None)

    assert client.get_job(job_id).output_rows == 1
    assert _ids(client, table) == [1]


def test_loads_per_table_and_day_are_counted_failures_too(
    client: bigquery.Client, dataset: str, quota: Callable[..., dict[str, Any]]
) -> None:
    quota("POST", loads_per_table_per_day=2)
    _load(client, f"{dataset}.t", _rows(1))
    with pytest.raises(BadRequest):
        _load(client, f"{dataset}.t", [{"id": 2}])

    with pytest.raises(Forbidden) as refused:
        client.load_table_from_uri("gs://b/x", f"{dataset}.t", job_config=_config(), retry=None)
    _load(client, f"{dataset}.other", _rows(1))

    assert refused.value.errors[0]["reason"] == "quotaExceeded"


def test_a_load_into_too_many_partitions_is_refused(
    client: bigquery.Client, dataset: str, quota: Callable[..., dict[str, Any]]
) -> None:
    assert quota()["limits"] == {"loads_per_table_per_day": 1500, "partitions_per_job": 4000}
    quota("POST", partitions_per_job=2)
    rows = [{"day": f"2025-01-0{number}", "id": number} for number in (1, 2, 3)]

    with pytest.raises(BadRequest, match="Too many partitions"):
        _load(client, f"{dataset}.t", rows)
    _load(client, f"{dataset}.t", rows[:2])

    assert _ids(client, f"{dataset}.t") == [1, 2]
