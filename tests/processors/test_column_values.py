"""What a column does not hold is a reject; what it holds arrives in it as it was sent."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from pydantic import AwareDatetime, Field, field_validator
from pydantic_core import from_json

from alerting.errors import RowRejected
from processors.admission import Admission
from processors.base import BigNumeric, LandedPage, Processor, Row, Table
from processors.row_lines import RowLines
from processors.schema import columns_of
from scrapers.answers import landed_json, parsed_json
from scrapers.partition import Partition

DAY, NEXT = "2025-01-03", "2025-01-04"


class Part(Row):
    """A RECORD."""

    n: int


class Fact(Row):
    """A row with a column of every type."""

    key: str
    day: dt.date
    n: int | None = Field(None, ge=-(10**30))
    f: float | None = None
    price: Decimal | None = None
    kickoff: dt.time | None = None
    seen_at: AwareDatetime | None = None
    extra: dict[str, Any] | None = None
    part: Part | None = None
    parts: list[Part] = Field(default_factory=list)
    numbers: list[int] = Field(default_factory=list)
    clock: int | None = None

    @field_validator("clock", mode="before")
    @classmethod
    def _minutes(cls, value: Any) -> Any:
        return int(value.partition(":")[0]) if isinstance(value, str) else value


class WideFact(Fact):
    """The local BigQuery has no BIGNUMERIC."""

    big: BigNumeric | None = None


FACTS = Table("facts", Fact, ("key",), "day")
WIDE_FACTS = Table("facts", WideFact, ("key",), "day")

REFUSED: list[tuple[str, Any, str]] = [
    ("n", 2**63, "n: Input should be less than or equal to 9223372036854775807, got 9223372036854775808"),
    ("n", -(2**63) - 1, "n: Input should be greater than or equal to -9223372036854775808"),
    ("n", 10**5000, "n: Input should be less than or equal to 9223372036854775807, got a int that is too long to show"),
    ("n", True, "n: true and false are not numbers, got True"),
    ("n", 1.5, "n: Input should be a valid integer, got a number with a fractional part, got 1.5"),
    ("n", 2.0**53, "n: a float beyond 2^52 is no exact integer"),
    ("n", 4503599627370497.5, "n: a float beyond 2^52 is no exact integer"),
    ("n", "1_000", "n: a text whose number is written in another way"),
    ("n", "007", "n: a text whose number is written in another way"),
    ("n", "9" * 20, "n: Input should be less than or equal to"),
    ("n", "1.000", "n: a text whose point may part thousands: let the processor read it, got '1.000'"),
    ("n", "many", "n: Input should be a valid integer, unable to parse string as an integer, got 'many'"),
    ("f", False, "f: true and false are not numbers"),
    ("f", 2**53 + 1, "f: an integer that FLOAT64 does not hold exactly, got 9007199254740993"),
    ("f", 10**400, "f: an integer that FLOAT64 does not hold exactly"),
    ("f", "9007199254740993.0", "f: a text whose number FLOAT64 does not hold"),
    ("f", Decimal("9007199254740993"), "f: a Decimal whose number FLOAT64 does not hold"),
    ("f", Decimal("1E-400"), "f: a Decimal whose number FLOAT64 does not hold"),
    ("f", float("inf"), "f: Input should be a finite number"),
    ("f", True, "f: true and false are not numbers"),
    ("f", "1_0.5", "f: a text whose number is written in another way"),
    ("f", "12345678901234567890", "f: a text whose number FLOAT64 does not hold"),
    ("f", "1e-400", "f: a text whose number FLOAT64 does not hold"),
    ("price", "0.0000000001", "price: NUMERIC holds 29 digits before the point and 9 behind it, got '0.0000000001'"),
    ("price", 10**29, "price: NUMERIC holds 29 digits"),
    ("price", 1234567890.1234567, "price: a float of more than 15 digits is not exact"),
    ("price", "\u0663", "price: a text whose number is written in another way"),
    ("price", "NaN", "price: Input should be a finite number"),
    ("big", "1e-39", "big: BIGNUMERIC holds 38 digits"),
    ("big", 2**255, "big: BIGNUMERIC holds 38 digits"),
    ("big", "1e1000000", "big: BIGNUMERIC holds 38 digits"),
    ("kickoff", "19:30:00+02:00", "kickoff: Input should not have timezone info"),
    ("kickoff", "19:30:00,1234567", "kickoff: BigQuery holds microseconds: what is finer would be cut off"),
    ("kickoff", "19:30:00Z", "kickoff: Input should not have timezone info"),
    ("kickoff", 3600, "kickoff: a number is no time of day"),
    ("seen_at", "9999-12-31T23:59:59-05:00", "seen_at: TIMESTAMP holds the years 1 to 9999 in UTC"),
    ("seen_at", "0001-01-01T00:00:00+05:00", "seen_at: TIMESTAMP holds the years 1 to 9999 in UTC"),
    ("seen_at", "10000-01-01T00:00:00Z", "seen_at: Input should be a valid datetime"),
    ("seen_at", "2025-01-03T19:30:00", "seen_at: Input should have timezone info"),
    ("seen_at", "20250103", "seen_at: true, false and a text of digits are no instant"),
    ("seen_at", 1735862400000, "seen_at: a number so large may be milliseconds"),
    ("seen_at", -62135596801.0, "seen_at: a number so large may be milliseconds"),
    ("seen_at", "2025-01-03T00:00:00.123456789Z", "seen_at: BigQuery holds microseconds"),
    ("seen_at", 1735862400.0000005, "seen_at: BigQuery holds microseconds"),
    ("day", "2025-01-03T00:00:00.0000001Z", "day: BigQuery holds microseconds"),
    ("day", 1735862400, "day: a number is no date"),
    ("day", "1735862400", "day: a number is no date"),
    ("day", "10000-01-01", "day: Input should be a valid date"),
    ("extra", {"x": float("nan")}, "extra: JSON has no NaN and no Infinity, and 'x' is nan"),
    ("extra", {"x": [1, {"y": float("-inf")}]}, "extra: JSON has no NaN and no Infinity, and 'x[1].y' is -inf"),
    ("extra", {"x": [Decimal("1.5")]}, "extra: JSON has no Decimal, and 'x[0]' is one"),
    ("extra", {"x": 2**64}, "extra: JSON holds integers from -2^63 to 2^64-1, and 'x' is beyond"),
    ("extra", {"x": "\ud800"}, "extra.'x': a text with a lone surrogate"),
    ("extra", {"\udfff": 1}, "extra: JSON has no lone surrogates"),
    ("key", "Dončić \ud83d", "key: a text with a lone surrogate"),
    ("part", {"n": 2**63}, "part.n: Input should be less than or equal to 9223372036854775807"),
    ("parts", [{"n": 1}, {"n": True}], "parts.1.n: true and false are not numbers"),
    ("numbers", [1, 2**63], "numbers.1: Input should be less than or equal to 9223372036854775807"),
]  # fmt: skip

HELD: list[tuple[str, Any, Any]] = [
    ("n", 2**63 - 1, str(2**63 - 1)),
    ("n", -(2**63), str(-(2**63))),
    ("n", 2**53 - 1, 2**53 - 1),
    ("n", 5.0, 5),
    ("n", 2.0**52 - 1, 2**52 - 1),
    ("n", "5", 5),
    ("n", "-5", -5),
    ("f", 2**54, float(2**54)),
    ("f", Decimal("0.1"), 0.1),
    ("f", "5.00", 5.0),
    ("f", 3, 3.0),
    ("f", "-0.0e5", -0.0),
    ("f", "18014398509481984", float(2**54)),
    ("f", "0.1234567890123456789", 0.12345678901234568),
    ("n", "1.0", 1),
    ("price", "1.0000000000", "1.0000000000"),
    ("price", 10**29 - 1, str(10**29 - 1)),
    ("price", 0.1, "0.1"),
    ("big", "1e-38", "1E-38"),
    ("big", 10**38, str(10**38)),
    ("big", "0e-100", "0E-100"),
    ("kickoff", "19:30:00.123456", "19:30:00.123456"),
    ("seen_at", "2025-01-03T00:00:00.123456000Z", "2025-01-03T00:00:00.123456Z"),
    ("seen_at", 1735862400, "2025-01-03T00:00:00Z"),
    ("seen_at", 1735862400.123456, "2025-01-03T00:00:00.123456Z"),
    ("extra", {"x": 2**64 - 1, "y": [None, "é\0"]}, {"x": 2**64 - 1, "y": [None, "é\0"]}),
    ("part", {"n": 2**60}, {"n": str(2**60)}),
    ("parts", [{"n": 2**60}, {"n": 1}], [{"n": str(2**60)}, {"n": 1}]),
    ("numbers", [2**60, 1], [str(2**60), 1]),
    ("clock", "07:12", 7),
]


def taken(column: str, value: Any) -> tuple[Admission, list[bytes]]:
    lines: list[bytes] = []
    admission = Admission(Partition.day(dt.date(2025, 1, 3), "UTC"), (WIDE_FACTS,), lambda _: lines.append)
    admission.take("facts", {"key": "k", "day": DAY, **{column: value}})
    return admission, lines


@pytest.mark.parametrize(("column", "value", "reason"), REFUSED, ids=map(str, range(len(REFUSED))))
def test_a_value_that_its_column_does_not_hold_unchanged_is_a_reject_that_names_both(column, value, reason):
    admission, lines = taken(column, value)
    assert [reject.table for reject in admission.rejects] == ["facts"]
    assert admission.rejects[0].reason.startswith(reason)
    assert admission.rejects[0].raw
    assert lines == []


@pytest.mark.parametrize(("column", "value", "written"), HELD, ids=map(str, range(len(HELD))))
def test_a_value_that_its_column_holds_is_written_as_bigquery_reads_it_exactly(column, value, written):
    admission, lines = taken(column, value)
    assert admission.rejects == []
    assert from_json(lines[0])[column] == written


@pytest.mark.parametrize(
    ("numbers", "written"),
    [
        ((2**53 - 1, 1 - 2**53, None), (2**53 - 1, 1 - 2**53, None)),
        ((2**60, -(2**60), 0), (str(2**60), str(-(2**60)), 0)),
        ((0, None, -(2**53)), (0, None, str(-(2**53)))),
    ],
)
def test_of_integers_beside_one_another_only_those_go_as_text_that_a_double_changes(numbers, written):
    class Scores(Row):
        a: int
        b: int | None
        c: int | None

    row = Scores(**dict(zip("abc", numbers, strict=True)))
    assert tuple(from_json(RowLines(Scores).line(row)).values()) == written


def test_a_decimal_is_numeric_and_a_marked_one_bignumeric():
    class Money(Row):
        a: BigNumeric
        b: BigNumeric | None = None
        c: list[BigNumeric]
        d: Decimal

    assert [column.kind for column in columns_of(Money)] == ["BIGNUMERIC", "BIGNUMERIC", "BIGNUMERIC", "NUMERIC"]


class Facts(Processor):
    source = "facts"
    tables: ClassVar[tuple[Table, ...]] = (FACTS,)

    def rows(self, partition: Partition, page: LandedPage) -> Iterator[tuple[str, dict[str, Any]]]:
        for row in landed_json(page.body):
            yield "facts", {"day": partition.key, **row}


def _landed(bench: Any, day: str, body: bytes) -> Any:
    partition = Partition.day(dt.date.fromisoformat(day), "UTC")
    return bench.land_body(partition, body, counts={"facts": len(parsed_json(body))}, source_total=None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'[{"key": "a"}, {"key": "b", "n": 9223372036854775808}]', "facts: n: "),
        (b'[{"key": "a"}, {"key": "b", "extra": {"x": NaN}}]', "facts: extra: JSON has no NaN"),
        (b'[{"key": "a"}, {"key": "b", "extra": {"x": 1e400}}]', "facts: extra: JSON has no NaN"),
        (b'[{"key": "a"}, {"key": "b", "extra": {"x": 1e-400}}]', "facts: extra: JSON would hold a text"),
        (b'[{"key": "a"}, {"key": "\\ud83d"}]', "facts: key: a text with a lone surrogate"),
        (b'[{"key": "a"}, {"key": "Don\xe8i\xe6"}]', "facts: key: a text with the byte 0xe8, which is no UTF-8"),
    ],
)
def test_a_bad_value_keeps_its_date_out_and_its_neighbours_load(bench, body, said):
    bench.processor = Facts()
    receipt = bench.process(_landed(bench, DAY, body), _landed(bench, NEXT, b'[{"key": "c"}]'))
    assert isinstance(receipt.refused()[DAY], RowRejected)
    assert said in str(receipt.refused()[DAY])
    assert bench.rows("facts", "key") == [("c",)]


def test_a_bad_value_that_is_tolerated_costs_its_row_alone(bench):
    bench.processor = Facts()
    body = b'[{"key": "a"}, {"key": "b", "n": 9223372036854775808}]'
    receipt = bench.process(_landed(bench, DAY, body), tolerated_rejects=1)
    assert receipt.partitions == (DAY,)
    assert bench.rows("facts", "key") == [("a",)]


def test_the_outermost_values_come_back_from_bigquery_as_they_were_sent(bench):
    bench.processor = Facts()
    body = (
        b'[{"key": "a\\u0000b", "n": 9223372036854775807, "price": "12345678901234567890123456789.123456789",'
        b' "seen_at": "9999-12-31T23:59:59.999999Z", "kickoff": "23:59:59.999999", "extra": {"x": 1e300},'
        b' "parts": [{"n": -9223372036854775808}]}]'
    )
    bench.process(_landed(bench, DAY, body))
    (row,) = bench.rows("facts", "key", "n", "price", "`seen_at`", "kickoff", "0 + parts[OFFSET(0)].n")
    assert row == (
        "a\0b",
        2**63 - 1,
        Decimal("12345678901234567890123456789.123456789"),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
        dt.time(23, 59, 59, 999999),
        -(2**63),
    )
