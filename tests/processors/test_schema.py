"""Row models as tables, and drift between the two."""

from __future__ import annotations

import datetime as dt

import pytest

from alerting.errors import ConfigurationError, LoadRejected
from processors.base import Row, Table
from processors.schema import Column, check_table, columns_of, schema_hash, widened


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
