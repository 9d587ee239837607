"""Schemas, values and partitions of tables, asked of the local BigQuery by Google's own client."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from bigquery_loading import SCHEMA, ids_in, load_config, load_rows, numbered_rows
from google.api_core.exceptions import BadRequest, Conflict
from google.cloud import bigquery


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
        load_rows(client, f"{dataset}.t", [row])


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

    load_rows(client, f"{dataset}.t", [row, {}], schema=schema, time_partitioning=None)

    read, empty = client.list_rows(f"{dataset}.t")
    midnight = dt.datetime(2025, 1, 2, tzinfo=dt.UTC)
    expected = {**row, "price": Decimal("12.345678901"), "raw": b"\x00\x01\x02", "at": midnight, "since": midnight}
    assert dict(read.items()) == expected
    assert {name: value for name, value in empty.items() if value is not None} in ({}, {"quarters": []})


def test_unknown_fields_inside_records_are_refused_unless_ignored(client: bigquery.Client, dataset: str) -> None:
    inner = bigquery.SchemaField("name", "STRING")
    schema = [*SCHEMA, bigquery.SchemaField("teams", "RECORD", mode="REPEATED", fields=[inner])]
    row = {**numbered_rows(1)[0], "teams": [{"name": "a"}, {"name": "b", "rank": 1}]}

    with pytest.raises(BadRequest, match=r"No such field: teams\.rank"):
        load_rows(client, f"{dataset}.t", [row], schema=schema)
    load_rows(client, f"{dataset}.t", [row], schema=schema, ignore_unknown_values=True)

    (read,) = client.list_rows(f"{dataset}.t")
    assert read["teams"] == [{"name": "a"}, {"name": "b"}]


def test_a_load_creates_its_table_with_partitioning_clustering_and_labels(
    client: bigquery.Client, dataset: str
) -> None:
    config = load_config(clustering_fields=["id"], destination_table_description="x")
    config._properties["load"]["destinationTableProperties"] = {"labels": {"source": "bdl"}}
    client.load_table_from_json(numbered_rows(1), f"{dataset}.t", job_config=config).result(timeout=20)

    table = client.get_table(f"{dataset}.t")

    assert table.time_partitioning.field == "day"
    assert table.clustering_fields == ["id"]
    assert table.labels == {"source": "bdl"}
    assert [field.mode for field in table.schema] == ["REQUIRED", "REQUIRED", "NULLABLE"]
    assert table.num_rows == 1


def test_a_new_column_needs_permission_and_is_then_nullable(client: bigquery.Client, dataset: str) -> None:
    table, wider = f"{dataset}.t", [*SCHEMA, bigquery.SchemaField("score", "FLOAT")]
    load_rows(client, table, numbered_rows(1))
    row = {**numbered_rows(2)[0], "score": 0.5}

    with pytest.raises(BadRequest, match="Cannot add fields"):
        load_rows(client, table, [row], schema=wider)
    load_rows(client, table, [row], schema=wider, schema_update_options=["ALLOW_FIELD_ADDITION"])

    assert [field.name for field in client.get_table(table).schema] == ["day", "id", "name", "score"]
    assert {row["id"]: row["score"] for row in client.list_rows(table)} == {1: None, 2: 0.5}


def test_a_changed_type_is_refused(client: bigquery.Client, dataset: str) -> None:
    load_rows(client, f"{dataset}.t", numbered_rows(1))
    changed = [*SCHEMA[:2], bigquery.SchemaField("name", "FLOAT")]

    with pytest.raises(BadRequest, match="has changed type"):
        load_rows(client, f"{dataset}.t", [{"day": "2025-01-01", "id": 2}], schema=changed)


def test_a_decorator_replaces_one_partition(client: bigquery.Client, dataset: str) -> None:
    table = f"{dataset}.t"
    load_rows(client, table, numbered_rows(1, 2) + numbered_rows(3, day="2025-01-02"))

    load_rows(client, f"{table}$20250101", numbered_rows(9), write_disposition="WRITE_TRUNCATE")
    with pytest.raises(BadRequest, match="different partitions"):
        load_rows(client, f"{table}$20250101", numbered_rows(8, day="2025-01-02"), write_disposition="WRITE_TRUNCATE")

    assert ids_in(client, table) == [3, 9]


def test_write_empty_refuses_a_table_with_rows(client: bigquery.Client, dataset: str) -> None:
    load_rows(client, f"{dataset}.t", numbered_rows(1))

    with pytest.raises(Conflict):
        load_rows(client, f"{dataset}.t", numbered_rows(2), write_disposition="WRITE_EMPTY")

    assert ids_in(client, f"{dataset}.t") == [1]


def test_output_rows_are_those_of_the_load_and_not_of_the_table(client: bigquery.Client, dataset: str) -> None:
    load_rows(client, f"{dataset}.t", numbered_rows(1, 2, 3))

    assert load_rows(client, f"{dataset}.t", numbered_rows(4)).output_rows == 1


def test_merge_on_false_replaces_the_days_in_an_array_parameter(client: bigquery.Client, dataset: str) -> None:
    table, staging = f"{dataset}.t", f"{dataset}.stage"
    load_rows(client, table, numbered_rows(1, 2) + numbered_rows(3, day="2025-01-02"))
    load_rows(client, staging, numbered_rows(7), time_partitioning=None)
    merge = (
        f"MERGE {table} T USING {staging} S ON FALSE "
        "WHEN NOT MATCHED BY SOURCE AND T.day IN UNNEST(@days) THEN DELETE "
        "WHEN NOT MATCHED BY TARGET THEN INSERT (day, id, name) VALUES (S.day, S.id, S.name)"
    )
    days = bigquery.ArrayQueryParameter("days", "DATE", ["2025-01-01"])

    client.query(merge, job_config=bigquery.QueryJobConfig(query_parameters=[days]), job_retry=None).result(timeout=20)

    assert ids_in(client, table) == [3, 7]


@pytest.mark.parametrize(
    ("unit", "partitions"),
    [("DAY", 2 + 1 + 1), ("MONTH", 1 + 1 + 1), (None, None)],
    ids=["days", "months", "not partitioned"],
)
def test_a_table_says_how_many_partitions_it_has(
    client: bigquery.Client, dataset: str, unit: str | None, partitions: int | None
) -> None:
    table = f"{dataset}.t"
    schema = [bigquery.SchemaField("day", "DATE"), *SCHEMA[1:]]
    by = bigquery.TimePartitioning(unit, field="day") if unit else None
    rows = [
        row for day in ("2025-01-01", "2025-01-02", "1900-01-01", "2200-01-01") for row in numbered_rows(1, day=day)
    ]
    load_rows(client, table, [*rows, {"id": 2}], schema=schema, time_partitioning=by)

    told = client.get_table(table).to_api_repr().get("numPartitions")

    # Rows without a date share one partition, and so do those before 1960 and after 2159.
    assert told == (None if partitions is None else str(partitions))
