"""Limits and lost answers, ordered from the local BigQuery and met by Google's own client."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bigquery_loading import ids_in, load_config, load_rows, ndjson, numbered_rows, put_object
from google.api_core.exceptions import BadRequest, Forbidden, ServiceUnavailable
from google.cloud import bigquery


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


@pytest.mark.parametrize("reason", ["quotaExceeded", "rateLimitExceeded"])
def test_an_ordered_limit_answers_403_with_its_reason_and_burns_no_id(
    client: bigquery.Client, dataset: str, quota: Callable[..., dict[str, Any]], reason: str
) -> None:
    table, job_id = f"{dataset}.t", uuid.uuid4().hex
    quota("POST", table=table, reason=reason, kind="load", after_jobs=1, times=1)
    load_rows(client, table, numbered_rows(1))

    with pytest.raises(Forbidden) as refused:
        client.load_table_from_uri("gs://b/x", table, job_id=job_id, job_config=load_config(), retry=None)
    load_rows(client, table, numbered_rows(2), job_id=job_id)

    assert refused.value.errors[0]["reason"] == reason
    assert ids_in(client, table) == [1, 2]


def test_a_limit_on_queries_strikes_the_table_named_in_the_statement(
    client: bigquery.Client, dataset: str, quota: Callable[..., dict[str, Any]]
) -> None:
    load_rows(client, f"{dataset}.t", numbered_rows(1))
    quota("POST", table="t", kind="query", reason="rateLimitExceeded", times=1)
    delete = f"DELETE FROM {dataset}.t WHERE TRUE"

    with pytest.raises(Forbidden):
        client.query(delete, retry=None, job_retry=None)

    assert ids_in(client, f"{dataset}.t") == [1]


def test_a_lost_answer_leaves_a_done_job_behind_a_503(
    client: bigquery.Client, dataset: str, gcs_root: Path, quota: Callable[..., dict[str, Any]]
) -> None:
    table, job_id = f"{dataset}.t", uuid.uuid4().hex
    uri = put_object(gcs_root, dataset, "a.ndjson", ndjson(numbered_rows(1)))
    quota("POST", table=table, reason="backendError", when="after", times=1)

    with pytest.raises(ServiceUnavailable):
        client.load_table_from_uri(uri, table, job_id=job_id, job_config=load_config(), retry=None)

    assert client.get_job(job_id).output_rows == 1
    assert ids_in(client, table) == [1]


def test_loads_per_table_and_day_are_counted_failures_too(
    client: bigquery.Client, dataset: str, quota: Callable[..., dict[str, Any]]
) -> None:
    quota("POST", loads_per_table_per_day=2)
    load_rows(client, f"{dataset}.t", numbered_rows(1))
    with pytest.raises(BadRequest):
        load_rows(client, f"{dataset}.t", [{"id": 2}])

    with pytest.raises(Forbidden) as refused:
        client.load_table_from_uri("gs://b/x", f"{dataset}.t", job_config=load_config(), retry=None)
    load_rows(client, f"{dataset}.other", numbered_rows(1))

    assert refused.value.errors[0]["reason"] == "quotaExceeded"


def test_a_load_into_too_many_partitions_is_refused(
    client: bigquery.Client, dataset: str, quota: Callable[..., dict[str, Any]]
) -> None:
    assert quota()["limits"] == {"loads_per_table_per_day": 1500, "partitions_per_job": 4000}
    quota("POST", partitions_per_job=2)
    rows = [{"day": f"2025-01-0{number}", "id": number} for number in (1, 2, 3)]

    with pytest.raises(BadRequest, match="Too many partitions"):
        load_rows(client, f"{dataset}.t", rows)
    load_rows(client, f"{dataset}.t", rows[:2])

    assert ids_in(client, f"{dataset}.t") == [1, 2]


def test_dates_before_1960_and_after_2159_are_taken_and_share_one_partition(
    client: bigquery.Client, dataset: str, quota: Callable[..., dict[str, Any]]
) -> None:
    quota("POST", partitions_per_job=3)
    days = ["1900-01-01", "1959-12-31", "1960-01-01", "2159-12-31", "2160-01-01", "9998-12-31"]
    load_rows(client, f"{dataset}.t", [{"day": day, "id": number} for number, day in enumerate(days)])

    assert ids_in(client, f"{dataset}.t") == [0, 1, 2, 3, 4, 5]
