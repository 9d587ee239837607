"""What is known of the rests of a source decides which empty dates are believed."""

from __future__ import annotations

import datetime as dt

import pytest

from scrapers.partition import Partition, partitions_between
from scrapers.rests import Rests
from scrapers.sources.bdl_box_scores import BdlBoxScores

RESTS = BdlBoxScores.rests
assert RESTS is not None


def days(first: str, last: str) -> list[Partition]:
    return partitions_between(dt.date.fromisoformat(first), dt.date.fromisoformat(last), "UTC")


def unbelieved(first: str, last: str, *, after_rows: bool = False) -> list[str]:
    assert RESTS is not None
    return [one.key for one in RESTS.unbelieved(days(first, last), after_rows=after_rows)]


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2025-02-14", "2025-02-19"),  # an All-Star break
        ("2025-06-23", "2025-10-20"),  # a summer
        ("1988-06-22", "1988-11-03"),  # a late begin
        ("1956-04-08", "1956-11-01"),  # finals in April
        ("2011-06-13", "2011-12-24"),
        ("2020-03-12", "2020-07-29"),
        ("2020-10-12", "2020-12-21"),
    ],
)
def test_the_nba_rested_like_that_and_every_date_of_it_is_believed(first, last):
    assert unbelieved(first, last, after_rows=True) == []


def test_seven_days_in_the_season_are_an_outage():
    assert unbelieved("2025-01-10", "2025-01-16") == [one.key for one in days("2025-01-10", "2025-01-16")]


def test_october_counts_once_the_season_has_opened():
    assert unbelieved("2025-10-23", "2025-10-30") == []
    assert len(unbelieved("2025-10-23", "2025-10-30", after_rows=True)) == 8


def test_the_end_of_a_season_and_the_begin_of_the_next_are_no_rest_together():
    assert unbelieved("2025-04-27", "2025-11-03") == []


def test_an_outage_over_the_begin_of_the_season_takes_the_dates_before_it_along():
    found = unbelieved("2025-08-01", "2025-11-20")
    assert (found[0], found[-1]) == ("2025-10-01", "2025-11-20")


def test_a_source_without_a_season_rests_alike_all_the_year():
    assert [one.key for one in Rests(1).unbelieved(days("2025-07-05", "2025-07-06"), after_rows=True)] == [
        "2025-07-05",
        "2025-07-06",
    ]
    assert Rests(1).unbelieved(days("2025-07-05", "2025-07-05"), after_rows=True) == []
