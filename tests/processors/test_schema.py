"""Row models as tables, and drift between the two."""

from __future__ import annotations

import datetime as dt

import pytest
from pydantic import Field, create_model

from alerting.errors import ConfigurationError, LoadRejected
from processors.base import Row, Table
from processors.schema import RESERVED_WORDS, Column, check_table, columns_of, schema_hash, widened


class Game(Row):
    key: str
    day: dt.date
    score: int | None = None


A, B = Column("a", "STRING", "REQUIRED", "text"), Column("b", "INTEGER", "NULLABLE")


def test_a_naive_datetime_has_no_column():
    class Naive(Row):
        when: dt.datetime

    with pytest.raises(ConfigurationError, match=r"Naive\.when"):
        columns_of(Naive)


def test_a_list_that_may_be_null_has_no_column():
    class Listed(Row):
        tags: list[str] | None = None

    with pytest.raises(ConfigurationError, match=r"Listed\.tags.*let \[\] be its default"):
        columns_of(Listed)


def test_two_types_in_one_field_have_no_column():
    class Mixed(Row):
        value: int | str

    with pytest.raises(ConfigurationError, match=r"Mixed\.value"):
        columns_of(Mixed)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (Table("t", Game, ("nope",), "day"), "no column nope"),
        (Table("t", Game, ("score",), "day"), "key column score may be null"),
        (Table("t", Game, ("key",), "key"), "partition column key is STRING"),
        (Table("t" * 901, Game, ("key",), "day"), "the name is not"),
        (Table("t.u", Game, ("key",), "day"), "the name is not"),
        (Table("t", Game, ("key",), "day", whole_entity=True), "whole_entity without entity_field"),
    ],
)
def test_a_table_that_cannot_keep_its_promises_is_refused(table, problem):
    with pytest.raises(ConfigurationError, match=problem):
        check_table(table)


def test_an_equal_table_needs_nothing():
    assert widened("t", (A, B), (A, B)) is None


def test_another_description_is_no_drift():
    assert widened("t", (A,), (Column("a", "STRING", "REQUIRED", "other"),)) is None
    assert schema_hash((A,)) == schema_hash((Column("a", "STRING", "REQUIRED"),))


def test_a_new_required_column_is_added_as_nullable_at_the_end():
    assert widened("t", (A, B), (B,)) == (B, Column("a", "STRING", "NULLABLE", "text"))


def test_a_column_of_the_table_alone_stays_unless_it_is_required():
    assert widened("t", (A,), (A, B)) is None
    with pytest.raises(LoadRejected, match="column a: it is REQUIRED in the table"):
        widened("t", (B,), (A, B))


def test_a_relaxed_column_is_relaxed_and_never_tightened():
    loose = Column("a", "STRING", "NULLABLE", "text")
    assert widened("t", (loose,), (A,)) == (loose,)
    assert widened("t", (A,), (loose,)) is None


@pytest.mark.parametrize("found", [Column("a", "INTEGER", "REQUIRED"), Column("a", "STRING", "REPEATED")])
def test_a_changed_type_is_refused(found):
    with pytest.raises(LoadRejected, match="column a"):
        widened("t", (A,), (found,))


def test_a_field_added_inside_a_record_is_found():
    declared = Column("r", "RECORD", "NULLABLE", fields=(A, B))
    found = Column("r", "RECORD", "NULLABLE", fields=(B,))
    merged = widened("t", (declared,), (found,))
    assert merged is not None
    assert [field.name for field in merged[0].fields] == ["b", "a"]


def test_the_api_form_comes_back_unchanged():
    column = Column("r", "RECORD", "REPEATED", "d", (A, B))
    assert Column.from_api(column.to_api()) == column
    assert Column.from_api({"name": "x", "type": "INT64"}) == Column("x", "INTEGER", "NULLABLE")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nulls", "nulls is a reserved word of GoogleSQL"),
        ("Order", "Order is a reserved word of GoogleSQL"),
        ("größe", "größe is no name for a BigQuery column"),
        ("x" * 301, "x{300}... has a name of 301 characters, BigQuery takes 300"),
        ("DAY", "DAY differs from another only in case"),
    ],
)
def test_a_column_name_that_bigquery_does_not_take_is_refused_before_anything_runs(name: str, problem: str) -> None:
    odd = create_model("Odd", __base__=Row, day=(dt.date, ...), id=(str, ...), **{name: (str | None, None)})
    outer = create_model("Outer", __base__=Row, day=(dt.date, ...), id=(str, ...), inside=(odd, ...))

    with pytest.raises(ConfigurationError, match=f"column {problem}"):
        check_table(Table("t", odd, ("id",), "day"))
    with pytest.raises(ConfigurationError, match=rf"column inside\.{problem}"):
        check_table(Table("t", outer, ("id",), "day"))


@pytest.mark.parametrize("name", ["t", "S", "cell_day", "Twin_Day"])
def test_a_column_that_our_own_queries_would_take_for_something_else_is_refused(name: str) -> None:
    odd = create_model("Odd", __base__=Row, day=(dt.date, ...), id=(str, ...), **{name: (str | None, None)})
    with pytest.raises(ConfigurationError, match=f"column {name} is a name of our own SQL"):
        check_table(Table("games", odd, ("id",), "day"))


def test_a_column_name_of_300_characters_is_taken() -> None:
    longest = create_model(
        "Longest", __base__=Row, day=(dt.date, ...), id=(str, ...), **{"x" * 300: (str | None, None)}
    )

    assert [len(column.name) for column in check_table(Table("t", longest, ("id",), "day"))] == [3, 2, 300]


def test_a_description_of_more_than_1024_characters_is_refused() -> None:
    model = create_model("Long", __base__=Row, day=(dt.date, ...), id=(str, Field(description="x" * 1_025)))

    with pytest.raises(ConfigurationError, match=r"column id has a description of 1,025 characters"):
        check_table(Table("t", model, ("id",), "day"))


def test_every_word_that_google_reserves_is_refused_and_no_other() -> None:
    """The analyzer takes a reserved word as a name only in backquotes."""
    googlesql = pytest.importorskip("deployments.local.bigquery_emulator.googlesql")
    analyzer = googlesql.GoogleSql()
    request = googlesql.service.ExtractTableNamesFromStatementRequest(options=analyzer.language)

    def is_taken(word: str) -> bool:
        request.sql_statement = f"SELECT 1 AS {word}"
        try:
            analyzer.call(
                "ExtractTableNamesFromStatement", request, googlesql.service.ExtractTableNamesFromStatementResponse
            )
        except googlesql.GoogleSqlError:
            return False
        return True

    assert [word for word in sorted(RESERVED_WORDS) if is_taken(word)] == []
    assert [
        word for word in ("game_date", "value", "date", "timestamp", "key", "name", "n") if not is_taken(word)
    ] == []
