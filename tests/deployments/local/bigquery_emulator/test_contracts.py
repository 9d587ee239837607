"""The local BigQuery keeps the published contracts that bqemulator leaves out."""

from __future__ import annotations

from typing import Any

import pytest
from bigquery_loading import SCHEMA, load_config, numbered_rows
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery


def _table(client: bigquery.Client, dataset: str, *more: bigquery.SchemaField, **facts: Any) -> bigquery.Table:
    made = bigquery.Table(f"{client.project}.{dataset}.t", schema=[*SCHEMA, *more])
    for name, value in facts.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize("job_id", ["a b", "a.b", "ü", "x" * 1_025])
def test_a_job_id_has_letters_digits_underscores_and_dashes_and_no_more_than_1024(
    client: bigquery.Client, dataset: str, job_id: str
) -> None:
    with pytest.raises(BadRequest, match="Invalid job ID"):
        client.load_table_from_json(numbered_rows(1), f"{dataset}.t", job_id=job_id, job_config=load_config())
    with pytest.raises(BadRequest, match="Invalid job ID"):
        client.query("SELECT 1", job_id=job_id, job_retry=None)


@pytest.mark.parametrize("labels", [{"Key": "x"}, {"1key": "x"}, {"key": "Value"}, {"key": "a.b"}, {"key": "x" * 64}])
def test_labels_are_lower_case_and_short(client: bigquery.Client, dataset: str, labels: dict[str, str]) -> None:
    with pytest.raises(BadRequest, match="Label"):
        client.query("SELECT 1", job_config=bigquery.QueryJobConfig(labels=labels), job_retry=None)
    with pytest.raises(BadRequest, match="Label"):
        client.create_table(_table(client, dataset, labels=labels))


@pytest.mark.parametrize(
    ("more", "facts", "message"),
    [
        ([bigquery.SchemaField("_partitiondate", "DATE")], {}, "Invalid field name"),
        ([bigquery.SchemaField("a.b", "DATE")], {}, "Invalid field name"),
        ([bigquery.SchemaField("ID", "STRING")], {}, "Duplicate field name: ID"),
        ([bigquery.SchemaField("x", "STRING", description="x" * 1_025)], {}, "at most 1024 characters"),
        ([], {"description": "x" * 16_385}, "at most 16384 characters"),
        ([], {"clustering_fields": ["nothing"]}, "cannot be found in the schema: nothing"),
        ([bigquery.SchemaField("x", "FLOAT")], {"clustering_fields": ["x"]}, "x of type FLOAT cannot be used"),
        ([bigquery.SchemaField("x", "JSON")], {"clustering_fields": ["x"]}, "x of type JSON cannot be used"),
        ([], {"clustering_fields": ["day", "id", "name", "day", "id"]}, "Too many clustering columns: 5"),
        ([], {"time_partitioning": bigquery.TimePartitioning(field="name")}, "name of type STRING cannot be used"),
    ],
)
def test_a_table_that_bigquery_would_not_make_is_not_made(
    client: bigquery.Client, dataset: str, more: list[bigquery.SchemaField], facts: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequest, match=message):
        client.create_table(_table(client, dataset, *more, **facts))

    assert list(client.list_tables(dataset)) == []


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ([*SCHEMA, bigquery.SchemaField("x", "STRING", "REQUIRED")], "Cannot add required fields"),
        (SCHEMA[:2], "Field name is missing in new schema"),
        ([*SCHEMA[:2], bigquery.SchemaField("name", "INTEGER")], "name has changed type from STRING to INT"),
        ([*SCHEMA[:2], bigquery.SchemaField("name", "STRING", "REQUIRED")], "name has changed mode"),
    ],
)
def test_a_schema_changes_only_as_bigquery_lets_it(
    client: bigquery.Client, dataset: str, schema: list[bigquery.SchemaField], message: str
) -> None:
    made = client.create_table(_table(client, dataset))
    made.schema = schema

    with pytest.raises(BadRequest, match=message):
        client.update_table(made, ["schema"])

    assert client.get_table(made).schema == SCHEMA


def test_a_required_field_is_added_with_a_new_record_and_not_to_one_that_exists(
    client: bigquery.Client, dataset: str
) -> None:
    inner = bigquery.SchemaField("a", "STRING", "REQUIRED")
    made = client.create_table(_table(client, dataset))
    made.schema = [*SCHEMA, bigquery.SchemaField("r", "RECORD", fields=[inner])]
    made = client.update_table(made, ["schema"])

    more = bigquery.SchemaField("b", "STRING", "REQUIRED")
    made.schema = [*SCHEMA, bigquery.SchemaField("r", "RECORD", fields=[inner, more])]
    with pytest.raises(BadRequest, match="Cannot add required fields"):
        client.update_table(made, ["schema"])


def test_a_required_column_may_become_nullable_and_a_nullable_one_be_added(
    client: bigquery.Client, dataset: str
) -> None:
    made = client.create_table(_table(client, dataset))
    made.schema = [SCHEMA[0], bigquery.SchemaField("id", "INTEGER"), SCHEMA[2], bigquery.SchemaField("x", "STRING")]

    assert len(client.update_table(made, ["schema"]).schema) == 4


@pytest.mark.parametrize(
    ("kind", "taken", "refused"),
    [
        ("DATE", "2025-01-03", "2025/01/03"),
        ("DATE", "2025-1-3", "03.01.2025"),
        ("DATE", "2024-02-29", "2025-01-03T00:00:00"),
        ("TIMESTAMP", "2025-01-03T12:34:56.789012Z", "2025-01-03T12:34:56.7890123Z"),
        ("TIMESTAMP", "2025-01-03 12:34:56+02:00", "Jan 3 2025"),
        ("NUMERIC", "99999999999999999999999999999.999999999", "0.1234567891"),
    ],
)
def test_values_are_spelt_as_bigquery_reads_them(
    client: bigquery.Client, dataset: str, kind: str, taken: str, refused: str
) -> None:
    config = bigquery.LoadJobConfig(schema=[bigquery.SchemaField("x", kind)])

    def load(value: str) -> None:
        client.load_table_from_json([{"x": value}], f"{dataset}.t", job_config=config).result(timeout=20)

    load(taken)
    with pytest.raises(BadRequest, match=f"Couldn't convert value to {kind.lower()}"):
        load(refused)
    assert len(list(client.list_rows(f"{dataset}.t"))) == 1
