"""Partitions tile the range that was asked for: no hour twice, none left out, whatever the clocks do."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrapers.partition import partitions_between
from scrapers.registry import scraper, sources

HOUR = dt.timedelta(hours=1)
# With clocks that go forward and back by an hour, by half an hour, at midnight, and never.
ZONES = ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Tokyo", "UTC"]


@given(
    first=st.dates(dt.date(1995, 1, 1), dt.date(2026, 1, 1)),
    days=st.integers(1, 800),
    zone=st.sampled_from(ZONES),
    step=st.sampled_from(["day", "month"]),
)
def test_partitions_follow_each_other_without_overlap_or_hole_in_any_zone(
    first: dt.date, days: int, zone: str, step: str
) -> None:
    last = first + dt.timedelta(days=days - 1)
    found = partitions_between(first, last, zone, step)
    assert found[0].start <= first
    assert found[-1].end > last
    assert all(one.ends_at == after.begins_at for one, after in pairwise(found))
    assert len({one.key for one in found}) == len(found)
    if step == "day":
        assert [one.start for one in found] == [first + dt.timedelta(days=number) for number in range(days)]


@pytest.mark.parametrize(
    ("date", "zone", "hours"),
    [
        ("2025-03-09", "America/New_York", 23.0),
        ("2025-11-02", "America/New_York", 25.0),
        ("2025-03-30", "Europe/Berlin", 23.0),
        ("2025-10-26", "Europe/Berlin", 25.0),
        ("2025-04-06", "Australia/Lord_Howe", 24.5),
        ("2024-02-29", "UTC", 24.0),
    ],
)
def test_a_day_has_as_many_hours_as_its_zone_gives_it(date: str, zone: str, hours: float) -> None:
    (day,) = partitions_between(dt.date.fromisoformat(date), dt.date.fromisoformat(date), zone)
    assert (day.ends_at - day.begins_at) / HOUR == hours
    steps = day.steps(HOUR)
    covered = [day.instants_of(range(step, step + 1), HOUR) for step in steps]
    assert covered[0][0] == day.begins_at
    assert covered[-1][1] == day.ends_at
    assert all(one[1] == after[0] for one, after in pairwise(covered))


@given(
    minutes=st.integers(0, 500 * 1_440),
    name=st.sampled_from([one for one in sources() if scraper(one).step != "whole"]),
)
def test_the_last_settled_date_can_be_asked_for_and_the_day_after_it_cannot(minutes: int, name: str) -> None:
    source, now = scraper(name), dt.datetime(2023, 12, 1, tzinfo=dt.UTC) + dt.timedelta(minutes=minutes)
    last = source.last_settled(now)
    (asked,) = partitions_between(last, last, source.zone, source.step)
    (after,) = partitions_between(last + dt.timedelta(days=1), last + dt.timedelta(days=1), source.zone, source.step)
    assert source.settled_at(asked) <= now < source.settled_at(after)
