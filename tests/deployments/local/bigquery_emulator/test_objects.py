"""Loads from objects, whole or not at all, asked of the local BigQuery by Google's own client."""

from __future__ import annotations

import datetime as dt
import gzip
import io
from pathlib import Path

import pytest
from bigquery_loading import ids_in, load_config, load_rows, ndjson, numbered_rows, put_object
from google.api_core.exceptions import BadRequest, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage

PROJECT = "contract"


def test_a_load_that_fails_keeps_the_old_rows(client: bigquery.Client, dataset: str) -> None:
    table = f"{dataset}.t"
    load_rows(client, table, numbered_rows(1, 2))

    with pytest.raises(BadRequest):
        load_rows(client, table, [*numbered_rows(3), {"day": "soon", "id": 4}], write_disposition="WRITE_TRUNCATE")

    assert ids_in(client, table) == [1, 2]


def test_a_load_that_fails_creates_no_table(client: bigquery.Client, dataset: str) -> None:
    with pytest.raises(BadRequest):
        load_rows(client, f"{dataset}.t", [{"day": "soon", "id": 4}])

    with pytest.raises(NotFound):
        client.get_table(f"{dataset}.t")


@pytest.mark.parametrize("missing_at", [0, 1])
def test_one_missing_object_fails_the_whole_load(
    client: bigquery.Client, dataset: str, gcs_root: Path, missing_at: int
) -> None:
    uris = [put_object(gcs_root, dataset, "a.ndjson", ndjson(numbered_rows(1)))]
    uris.insert(missing_at, f"gs://{dataset}/missing.ndjson")
    load_rows(client, f"{dataset}.t", numbered_rows(9))

    with pytest.raises(NotFound):
        client.load_table_from_uri(uris, f"{dataset}.t", job_config=load_config()).result(timeout=20)

    assert ids_in(client, f"{dataset}.t") == [9]


def test_objects_load_plain_or_gzip_whatever_they_are_called(
    client: bigquery.Client, dataset: str, gcs_root: Path
) -> None:
    uris = [
        put_object(gcs_root, dataset, "day=2025-01-01/a.ndjson.gz", gzip.compress(ndjson(numbered_rows(1)))),
        put_object(
            gcs_root, dataset, "day=2025-01-02/b.ndjson", gzip.compress(ndjson(numbered_rows(2))) + gzip.compress(b"")
        ),
        put_object(gcs_root, dataset, "dt=2025-01-03/c.ndjson", ndjson(numbered_rows(3))),
        put_object(gcs_root, dataset, "empty.ndjson", b""),
    ]

    job = client.load_table_from_uri(uris, f"{dataset}.t", job_config=load_config()).result(timeout=20)

    assert job.output_rows == 3
    assert ids_in(client, f"{dataset}.t") == [1, 2, 3]


def test_a_cut_off_gzip_object_fails_the_load(client: bigquery.Client, dataset: str, gcs_root: Path) -> None:
    whole = gzip.compress(ndjson(numbered_rows(*range(500))))
    uri = put_object(gcs_root, dataset, "cut.ndjson.gz", whole[: len(whole) // 2])

    with pytest.raises(BadRequest):
        client.load_table_from_uri(uri, f"{dataset}.t", job_config=load_config()).result(timeout=20)


def test_a_star_in_a_uri_crosses_folders(client: bigquery.Client, dataset: str, gcs_root: Path) -> None:
    for number in (1, 2):
        put_object(gcs_root, dataset, f"raw/p={number}/page.ndjson", ndjson(numbered_rows(number)))
    put_object(gcs_root, dataset, "raw/p=1/manifest.json", b"not rows")

    client.load_table_from_uri(f"gs://{dataset}/raw/*.ndjson", f"{dataset}.t", job_config=load_config()).result(
        timeout=20
    )

    assert ids_in(client, f"{dataset}.t") == [1, 2]


def test_objects_written_by_the_storage_client_load_at_once(
    client: bigquery.Client, dataset: str, gcs_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_endpoint)
    bucket = storage.Client(project=PROJECT, credentials=AnonymousCredentials()).create_bucket(dataset)
    blob = bucket.blob("a/page-0001.ndjson.gz")
    blob.upload_from_string(
        gzip.compress(ndjson(numbered_rows(7))), content_type="application/gzip", if_generation_match=0
    )

    job = client.load_table_from_uri(f"gs://{dataset}/{blob.name}", f"{dataset}.t", job_config=load_config())

    assert job.result(timeout=20).output_rows == 1


def test_parquet_columns_go_by_name(client: bigquery.Client, dataset: str, gcs_root: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({"name": ["x"], "id": [5], "day": [dt.date(2025, 1, 1)]}), buffer)
    uri = put_object(gcs_root, dataset, "dt=1/a.parquet", buffer.getvalue())

    client.load_table_from_uri(uri, f"{dataset}.t", job_config=load_config(source_format="PARQUET")).result(timeout=20)

    assert ids_in(client, f"{dataset}.t") == [5]
