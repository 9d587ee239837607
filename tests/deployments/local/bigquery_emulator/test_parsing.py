"""A statement is read once, and nobody sees what another one did to its tree."""

from __future__ import annotations

from typing import Any

import pytest
import sqlglot
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.dialects.dialect import Dialect

from deployments.local.bigquery_emulator.parsing import of_ddl, remembering

MERGE = (
    "MERGE `p.d.t` T USING `p.d.s` S ON FALSE WHEN NOT MATCHED BY SOURCE AND T.day IN UNNEST(@days) THEN DELETE "
    "WHEN NOT MATCHED THEN INSERT (a, day) VALUES (a, day)"
)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that sqlglot really reads, in order."""
    texts: list[str] = []
    released = Dialect.parse

    def counting(self: Dialect, sql: str, **options: Any) -> list[Any]:
        texts.append(sql)
        return released(self, sql, **options)

    monkeypatch.setattr(Dialect, "parse", remembering(counting))
    return texts


def test_a_statement_is_read_once_and_its_copies_are_the_same_as_what_was_read(read: list[str]) -> None:
    trees = [sqlglot.parse_one(MERGE, dialect="bigquery") for _ in range(5)]
    assert read == [MERGE]
    assert all(tree == trees[0] for tree in trees)
    (released,) = BigQuery().parser().parse(BigQuery().tokenize(MERGE), MERGE)
    assert released is not None
    assert trees[-1].sql("duckdb") == released.sql("duckdb")


def test_who_changes_a_tree_changes_it_for_nobody_else(read: list[str]) -> None:
    first = sqlglot.parse_one("SELECT a FROM t", dialect="bigquery")
    first.args["expressions"].clear()
    assert sqlglot.parse_one("SELECT a FROM t", dialect="bigquery").sql() == "SELECT a FROM t"
    assert len(read) == 1


def test_another_dialect_setting_or_option_reads_for_itself(read: list[str]) -> None:
    text = "SELECT 'a' || b FROM t"
    for dialect in ("bigquery", "duckdb", "bigquery, version = 1.0", "bigquery"):
        sqlglot.parse_one(text, dialect=dialect)
    sqlglot.parse_one(text, dialect="bigquery", error_level=sqlglot.ErrorLevel.RAISE)
    # A dialect that is used for the first time reads texts of its own.
    assert read.count(text) == 4
    assert sqlglot.parse("SELECT 1; SELECT 2", dialect="bigquery")[1].sql() == "SELECT 2"  # type: ignore[union-attr]


def test_what_cannot_be_read_is_an_error_every_time(read: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(sqlglot.ParseError):
            sqlglot.parse_one("SELECT FROM WHERE (", dialect="bigquery")
    assert len(read) == 2


@pytest.mark.parametrize("begins", ["", "\n  ", "-- DROP TABLE t\n"])
def test_ddl_is_looked_for_in_a_statement_that_may_be_some_and_in_no_query(begins: str) -> None:
    seen: list[tuple[str, str]] = []
    look = of_ddl(lambda sql, project: seen.append((sql, project)) or "found", lambda sql: f"none in {sql}")

    assert look(f"{begins}DROP TABLE t", "p") == "found"
    assert look(f"{begins}CREATE TABLE t AS SELECT 1 AS a", "p") == "found"
    assert seen == [(f"{begins}DROP TABLE t", "p"), (f"{begins}CREATE TABLE t AS SELECT 1 AS a", "p")]
    for query in ("SELECT 'CREATE TABLE t'", "with a AS (SELECT 1) SELECT * FROM a", "MERGE t USING s ON FALSE"):
        if not begins.startswith("--"):
            assert look(f"{begins}{query}", "p") == f"none in {begins}{query}"
    assert len(seen) == 2
