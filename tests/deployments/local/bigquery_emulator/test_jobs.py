"""Ids of jobs, as the warehouse relies on them, asked of the local BigQuery by Google's own client."""

from __future__ import annotations

import io
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from bigquery_loading import ids_in, load_config, load_rows, ndjson, numbered_rows
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud import bigquery


def test_a_repeated_upload_under_one_job_id_is_409_and_loads_once(client: bigquery.Client, dataset: str) -> None:
    table, job_id = f"{dataset}.t", uuid.uuid4().hex
    load_rows(client, table, numbered_rows(1), job_id=job_id)

    with pytest.raises(Conflict):
        load_rows(client, table, numbered_rows(1), job_id=job_id)

    assert ids_in(client, table) == [1]
    assert client.get_job(job_id).output_rows == 1


def test_a_resumable_upload_keeps_its_job_id_too(client: bigquery.Client, dataset: str) -> None:
    job_id = uuid.uuid4().hex

    def upload() -> None:
        file = io.BytesIO(ndjson(numbered_rows(1, 2)))
        client.load_table_from_file(file, f"{dataset}.t", job_id=job_id, job_config=load_config()).result(timeout=20)

    upload()
    with pytest.raises(Conflict):
        upload()

    assert client.get_job(job_id).output_rows == 2


def test_eight_threads_under_one_job_id_load_once(client: bigquery.Client, dataset: str) -> None:
    job_id, start = uuid.uuid4().hex, threading.Barrier(8)

    def load(_: int) -> str:
        start.wait()
        try:
            load_rows(client, f"{dataset}.t", numbered_rows(1), job_id=job_id)
        except Conflict:
            return "409"
        return "done"

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(load, range(8)))

    assert answers == ["409"] * 7 + ["done"]
    assert ids_in(client, f"{dataset}.t") == [1]


def test_a_failed_job_is_recorded_and_its_id_is_burnt(client: bigquery.Client, dataset: str) -> None:
    job_id = uuid.uuid4().hex
    with pytest.raises(BadRequest):
        load_rows(client, f"{dataset}.t", [{"day": "2025-01-01", "id": "x"}], job_id=job_id)

    recorded = client.get_job(job_id)
    with pytest.raises(Conflict):
        load_rows(client, f"{dataset}.t", numbered_rows(1), job_id=job_id)

    assert recorded.state == "DONE"
    assert recorded.error_result["reason"] == "invalid"


def test_query_and_copy_jobs_refuse_a_repeated_id(client: bigquery.Client, dataset: str) -> None:
    query_id, copy_id = uuid.uuid4().hex, uuid.uuid4().hex
    load_rows(client, f"{dataset}.t", numbered_rows(1))
    insert = f"INSERT INTO {dataset}.t (day, id) VALUES (DATE '2025-01-01', 2)"
    client.query(insert, job_id=query_id, job_retry=None).result(timeout=20)
    client.copy_table(f"{dataset}.t", f"{dataset}.u", job_id=copy_id).result(timeout=20)

    with pytest.raises(Conflict):
        client.query(insert, job_id=query_id, job_retry=None)
    with pytest.raises(Conflict):
        client.copy_table(f"{dataset}.t", f"{dataset}.u", job_id=copy_id)

    assert ids_in(client, f"{dataset}.t") == [1, 2]
    assert ids_in(client, f"{dataset}.u") == [1, 2]


def test_a_failed_query_burns_its_id(client: bigquery.Client, dataset: str) -> None:
    job_id = uuid.uuid4().hex
    with pytest.raises((NotFound, BadRequest)):
        client.query(f"SELECT * FROM {dataset}.nothing", job_id=job_id, job_retry=None).result(timeout=20)

    with pytest.raises(Conflict):
        client.query("SELECT 1", job_id=job_id, job_retry=None)
