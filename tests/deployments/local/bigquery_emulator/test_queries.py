"""Queries that need no job, asked of the local BigQuery by Google's own client."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from bigquery_loading import ids_in, load_rows, numbered_rows
from google.api_core.exceptions import BadRequest, NotFound, ServiceUnavailable
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery.enums import JobCreationMode

OPTIONAL, REQUIRED = JobCreationMode.JOB_CREATION_OPTIONAL, JobCreationMode.JOB_CREATION_REQUIRED


@pytest.fixture
def quick(client: bigquery.Client) -> Iterator[bigquery.Client]:
    """A client that wants no job where none is needed, with a project of its own for what it leaves."""
    with bigquery.Client(
        project=client.project, credentials=AnonymousCredentials(), default_job_creation_mode=OPTIONAL
    ) as made:
        yield made


def jobs_of(client: bigquery.Client) -> set[str]:
    return {job.job_id for job in client.list_jobs(max_results=100_000)}


def table_of_three(client: bigquery.Client, dataset: str) -> str:
    load_rows(client, f"{dataset}.t", numbered_rows(1, 2, 3))
    return f"{dataset}.t"


def test_a_select_whose_rows_fit_into_the_answer_leaves_no_job(quick: bigquery.Client, dataset: str) -> None:
    table = table_of_three(quick, dataset)
    before = jobs_of(quick)

    found = quick.query_and_wait(f"SELECT id, name FROM {table} ORDER BY id")

    assert (found.job_id, bool(found.query_id), found.total_rows) == (None, True, 3)
    assert [tuple(row) for row in found] == [(1, "row 1"), (2, "row 2"), (3, "row 3")]
    assert found.total_bytes_processed == 3 * (8 + 2 + len("row 1"))
    assert jobs_of(quick) == before


def test_rows_that_do_not_fit_into_one_answer_make_a_job_and_all_come(quick: bigquery.Client, dataset: str) -> None:
    table = table_of_three(quick, dataset)

    found = quick.query_and_wait(f"SELECT id FROM {table} ORDER BY id", page_size=2)

    assert found.job_id in jobs_of(quick)
    assert [row.id for row in found] == [1, 2, 3]


@pytest.mark.parametrize(
    ("mode", "sql", "reason"),
    [
        (REQUIRED, "SELECT id FROM {table}", "REQUESTED"),
        (None, "SELECT id FROM {table}", "REQUESTED"),
        (OPTIONAL, "DELETE FROM {table} WHERE id = 1", "OTHER"),
        (OPTIONAL, "CREATE OR REPLACE VIEW {table}_view AS SELECT id FROM {table}", "OTHER"),
        (OPTIONAL, "SELECT 1; SELECT 2", "OTHER"),
    ],
)
def test_what_is_no_single_select_or_wants_a_job_has_one(
    quick: bigquery.Client, dataset: str, mode: str | None, sql: str, reason: str
) -> None:
    body = {"query": sql.format(table=table_of_three(quick, dataset)), "useLegacySql": False, "jobCreationMode": mode}

    answer = quick._connection.api_request("POST", f"/projects/{quick.project}/queries", data=body)

    assert answer["jobReference"]["jobId"] in jobs_of(quick)
    assert answer["jobCreationReason"] == {"code": reason}


def test_a_failed_query_is_told_by_its_status(quick: bigquery.Client, dataset: str) -> None:
    table = table_of_three(quick, dataset)
    with pytest.raises(NotFound):
        quick.query_and_wait(f"SELECT id FROM {dataset}.nothing")
    with pytest.raises(BadRequest) as refused:
        quick.query_and_wait(f"SELECT nothing FROM {table}")
    assert refused.value.errors[0]["reason"] == "invalidQuery"
    limited = bigquery.QueryJobConfig(maximum_bytes_billed=1_000_000)
    with pytest.raises(BadRequest, match="limit for bytes billed") as refused:
        quick.query_and_wait(f"SELECT id FROM {table}", job_config=limited)
    assert refused.value.errors[0]["reason"] == "bytesBilledLimitExceeded"


@pytest.mark.parametrize(
    ("sql", "left"), [("INSERT INTO {table} (day, id) VALUES (DATE '2025-01-01', 9)", [1, 2, 3, 9])]
)
def test_a_statement_whose_answer_was_lost_does_not_run_again(
    quick: bigquery.Client, dataset: str, bigquery_endpoint: str, sql: str, left: list[int]
) -> None:
    table = table_of_three(quick, dataset)
    order(bigquery_endpoint, "POST", table=dataset, kind="query", when="after", reason="backendError")
    try:
        with pytest.raises(ServiceUnavailable):
            quick.query_and_wait(sql.format(table=table), retry=None, job_retry=None)
        assert ids_in(quick, table) == left
        order(bigquery_endpoint, "DELETE")
        order(bigquery_endpoint, "POST", table=dataset, kind="query", when="after", reason="backendError")
        quick.query_and_wait(sql.format(table=table).replace("9)", "10)"))
        assert ids_in(quick, table) == [*left, 10]
    finally:
        order(bigquery_endpoint, "DELETE")


def order(endpoint: str, method: str, **rule: Any) -> None:
    request = urllib.request.Request(f"{endpoint}/gapless/quota", json.dumps(rule).encode(), method=method)
    urllib.request.urlopen(request, timeout=10).close()


def test_every_kind_of_parameter_and_value_comes_through(quick: bigquery.Client) -> None:
    given = [
        bigquery.ArrayQueryParameter("days", "DATE", ["2025-01-01", "2025-01-02"]),
        bigquery.ScalarQueryParameter("at", "TIMESTAMP", "2025-01-01 12:00:00.123456+00"),
        bigquery.ScalarQueryParameter("word", "STRING", "x"),
    ]
    sql = "SELECT ARRAY_LENGTH(@days) AS n, @at AS at_, @word AS word, NULL AS nothing"
    row = next(iter(quick.query_and_wait(sql, job_config=bigquery.QueryJobConfig(query_parameters=given))))
    assert (row.n, row.at_.isoformat(), row.word, row.nothing) == (2, "2025-01-01T12:00:00.123456+00:00", "x", None)
