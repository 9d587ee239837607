"""The local BigQuery takes the statements that Google takes, with Google's words for those it refuses."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from bqemulator.catalog.models import TableFieldSchema, TableMeta, TableSchema
from google.api_core.exceptions import BadRequest, InternalServerError
from google.cloud import bigquery

from deployments.local.bigquery_emulator import analysis
from deployments.local.bigquery_emulator.googlesql import GoogleSql, GoogleSqlError

DAYS = 3


@pytest.fixture
def table(client: bigquery.Client, dataset: str) -> str:
    """``day`` is the partition column; every day has one row of 8 + 8 + (2 + 3) bytes."""
    made = bigquery.Table(
        f"{client.project}.{dataset}.t",
        schema=[
            bigquery.SchemaField("day", "DATE", "REQUIRED"),
            bigquery.SchemaField("n", "INTEGER"),
            bigquery.SchemaField("word", "STRING"),
        ],
    )
    made.time_partitioning = bigquery.TimePartitioning(field="day")
    client.create_table(made)
    rows = [{"day": f"2025-01-{day:02}", "n": day, "word": "abc"} for day in range(1, DAYS + 1)]
    client.load_table_from_json(rows, made.reference, job_config=bigquery.LoadJobConfig(schema=made.schema)).result(
        timeout=20
    )
    return f"`{client.project}.{dataset}.t`"


def _run(client: bigquery.Client, sql: str, **options: Any) -> bigquery.QueryJob:
    job = client.query(sql, job_config=bigquery.QueryJobConfig(**options), job_retry=None)
    if not options.get("dry_run"):
        job.result(timeout=20)
    return job


def _days(*days: int) -> list[bigquery.ArrayQueryParameter]:
    return [bigquery.ArrayQueryParameter("days", "DATE", [dt.date(2025, 1, day) for day in days])]


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_reserved_word_as_a_name_is_refused_in_googles_words(client: bigquery.Client, dry_run: bool) -> None:
    with pytest.raises(BadRequest, match=r"Syntax error: Unexpected keyword NULLS at \[1:13\]") as refused:
        _run(client, "SELECT 1 AS nulls", dry_run=dry_run)

    assert refused.value.errors[0]["reason"] == "invalidQuery"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT nothing FROM {table}", r"Unrecognized name: nothing at \[1:8\]"),
        (
            "SELECT day FROM {table} WHERE day = 1",
            "No matching signature for operator = for argument types: DATE, INT64",
        ),
        ("SELECT @days", r"Query parameter 'days' not found at \[1:8\]"),
        ("SELECT word FROM {table} GROUP BY day", "references column word which is neither grouped nor aggregated"),
        ("INSERT INTO {table} (day, none) VALUES ('2025-01-01', 1)", "Column none is not present in table"),
        ("SELECT 1;\nSELECT none", r"Unrecognized name: none at \[2:8\]"),
        ("SELECT COUNT(*) FILTER (WHERE TRUE) FROM {table}", "Syntax error"),
    ],
)
def test_what_the_analyzer_refuses_does_not_run(client: bigquery.Client, table: str, sql: str, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        _run(client, sql.format(table=table))


def test_a_refusal_names_the_place_in_the_text_as_sent(client: bigquery.Client, table: str) -> None:
    sql = f"SELECT n FROM {table} WHERE nothing = 1"

    with pytest.raises(BadRequest, match=rf"Unrecognized name: nothing at \[1:{sql.index('nothing') + 1}\]"):
        _run(client, sql)


def test_a_statement_over_other_tables_is_analysed_with_their_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "_KEPT_CATALOGS", 2)
    check = analysis.StatementCheck(GoogleSql())

    for columns in (1, 2, 3, 1, 2, 3):
        table = TableMeta.model_construct(
            schema_=TableSchema(fields=tuple(TableFieldSchema(name=f"c{n}", type="STRING") for n in range(columns)))
        )
        statement = f"SELECT c{columns - 1} FROM `p.d.table{columns}`"
        assert len(check.check(statement, (), lambda _, table=table: table)) == 1
        with pytest.raises(GoogleSqlError, match="Unrecognized name: none"):
            check.check(f"SELECT none FROM `p.d.table{columns}`", (), lambda _, table=table: table)


def test_parameters_are_analysed_by_their_types(client: bigquery.Client, table: str) -> None:
    _run(client, f"SELECT n FROM {table} WHERE day IN UNNEST(@days)", query_parameters=_days(1))

    with pytest.raises(BadRequest, match="No matching signature for operator IN UNNEST"):
        _run(client, f"SELECT n FROM {table} WHERE n IN UNNEST(@days)", query_parameters=_days(1))


def test_a_changed_table_is_analysed_as_it_is(client: bigquery.Client, table: str) -> None:
    asked = f"SELECT later FROM {table}"
    with pytest.raises(BadRequest, match="Unrecognized name: later"):
        _run(client, asked)
    _run(client, f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS later INT64")
    found = client.get_table(table.strip("`"))
    found.schema = [*found.schema, bigquery.SchemaField("later", "INTEGER")]
    client.update_table(found, ["schema"])

    _run(client, asked)


@pytest.mark.parametrize(
    ("sql", "size_bytes"),
    [
        ("SELECT n FROM {table}", 8 * DAYS),
        ("SELECT * FROM {table}", 21 * DAYS),
        ("SELECT COUNT(*) FROM {table}", 0),
        ("SELECT n FROM {table} WHERE day = '2025-01-02'", 16),
        ("SELECT n FROM {table} WHERE day >= '2025-01-02' AND n > 0", 16 * 2),
        ("SELECT n FROM {table} WHERE day BETWEEN '2024-01-01' AND '2025-01-01'", 16),
        ("SELECT n FROM {table} WHERE n = 1 OR day = '2025-01-01'", 16 * DAYS),
        ("SELECT T.n FROM {table} T JOIN {table} S ON T.word = S.word WHERE T.day IN UNNEST(@days)", 21 + 5 * DAYS),
        ("SELECT T.n FROM {table} T LEFT JOIN {table} S USING (n) WHERE S.day IN UNNEST(@days)", 8 * DAYS + 16 * DAYS),
        ("DELETE FROM {table} WHERE day IN UNNEST(@days)", 21),
        ("DELETE FROM {table} WHERE n = 1", 21 * DAYS),
        (
            "MERGE {table} T USING {table} S ON FALSE "
            "WHEN NOT MATCHED BY SOURCE AND T.day IN UNNEST(@days) THEN DELETE "
            "WHEN NOT MATCHED BY TARGET THEN INSERT (day, n) VALUES (day, n)",
            21 + 16 * DAYS,
        ),
        (
            "MERGE {table} T USING {table} S ON T.n = S.n WHEN MATCHED THEN UPDATE SET word = S.word",
            21 * DAYS + 13 * DAYS,
        ),
    ],
)
def test_bytes_are_those_of_the_columns_and_partitions_that_are_read(
    client: bigquery.Client, table: str, sql: str, size_bytes: int
) -> None:
    text, parameters = sql.format(table=table), _days(2) if "@days" in sql else []

    assert _run(client, text, dry_run=True, query_parameters=parameters).total_bytes_processed == size_bytes
    done = _run(client, text, query_parameters=parameters)
    assert done.total_bytes_processed == size_bytes
    assert done.total_bytes_billed == 10 * 2**20


def test_bytes_are_counted_anew_after_every_change(client: bigquery.Client, table: str) -> None:
    def read() -> int:
        return int(_run(client, f"SELECT n FROM {table}", dry_run=True).total_bytes_processed)

    counted = [read()]
    for change in (
        f"INSERT INTO {table} (day, n) VALUES ('2025-01-09', 9)",
        f"UPDATE {table} SET n = NULL WHERE n = 9",
        f"DELETE FROM {table} WHERE n IS NULL",
    ):
        _run(client, change)
        counted.append(read())
    more = [{"day": "2025-01-08", "n": 8}]
    config = bigquery.LoadJobConfig(schema=client.get_table(table.strip("`")).schema)
    client.load_table_from_json(more, table.strip("`"), job_config=config).result(timeout=20)

    assert [*counted, read()] == [8 * DAYS, 8 * (DAYS + 1), 8 * DAYS, 8 * DAYS, 8 * (DAYS + 1)]


def test_a_query_over_its_limit_of_billed_bytes_does_not_run(client: bigquery.Client, table: str) -> None:
    # Google's client knows no class for this reason.
    with pytest.raises(
        InternalServerError, match=r"limit for bytes billed: 1000000\. 10485760 or higher required"
    ) as refused:
        _run(client, f"DELETE FROM {table} WHERE TRUE", maximum_bytes_billed=1_000_000)

    assert refused.value.errors[0]["reason"] == "bytesBilledLimitExceeded"
    assert len(list(client.list_rows(table.strip("`")))) == DAYS


def test_a_dry_run_changes_nothing(client: bigquery.Client, table: str) -> None:
    _run(client, f"DELETE FROM {table} WHERE TRUE", dry_run=True)

    assert len(list(client.list_rows(table.strip("`")))) == DAYS
