"""Every row given is admitted, dropped as a repeat, or rejected: none is lost."""

from __future__ import annotations

import datetime as dt
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processors.admission import KEPT_REJECTS, Admission
from processors.base import Row, Table
from scrapers.partition import Partition


class Inner(Row):
    x: int


class Fact(Row):
    key: int
    day: dt.date
    value: int | None = None
    inner: list[Inner] = []  # noqa: RUF012


TABLE = Table("facts", Fact, ("key",), "day", ignored=frozenset({"known"}))
DAY = Partition.day(dt.date(2025, 1, 3), "UTC")

raws = st.fixed_dictionaries(
    {"key": st.integers(0, 3) | st.none(), "day": st.sampled_from(["2025-01-03", "2025-01-04", None, "x"])},
    optional={"value": st.integers(0, 1) | st.just("?"), "new": st.just(1), "known": st.just(1)},
)


def admitted(given_rows: list[dict[str, Any]]) -> tuple[Admission, list[bytes]]:
    lines: list[bytes] = []
    admission = Admission(DAY, (TABLE,), lambda _: lines.append)
    for raw in given_rows:
        admission.take("facts", raw)
    return admission, lines


@given(st.lists(raws, max_size=30))
def test_no_row_is_lost_and_no_key_enters_twice(given_rows):
    admission, lines = admitted(given_rows)
    total = admission.rows["facts"] + admission.duplicates["facts"] + admission.reject_counts["facts"]
    assert total == len(given_rows)
    assert len(lines) == admission.rows["facts"] == len({line.split(b",")[0] for line in lines})
    assert len(admission.rejects) == admission.reject_counts["facts"]


def test_an_unknown_field_deep_inside_is_told_with_its_path():
    row = {"key": 1, "day": "2025-01-03", "inner": [{"x": 1}, {"x": 2, "y": 3}], "known": 1}
    admission, lines = admitted([row])
    assert dict(admission.unknown_fields) == {"facts.inner.y": 1}
    assert b'"inner":[{"x":1},{"x":2}]' in lines[0]
    assert row["inner"][1] == {"x": 2, "y": 3}


def test_a_row_for_a_table_that_does_not_exist_is_a_reject():
    admission, _ = admitted([])
    admission.take("nope", {"a": 1})
    assert admission.rejects[0].reason == "the processor has no table nope"


def test_all_rejects_are_counted_and_some_are_kept():
    admission, _ = admitted([{"key": None}] * (KEPT_REJECTS + 5))
    assert admission.reject_counts["facts"] == KEPT_REJECTS + 5
    assert len(admission.rejects) == KEPT_REJECTS
