from __future__ import annotations

import datetime as dt
import itertools
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.ranges import compress_dates, expand_dates, unit_name
from alerting.wording import command_lines

days = st.dates(dt.date(1990, 1, 1), dt.date(2035, 12, 31)).map(str)
near_days = st.dates(dt.date(2024, 2, 20), dt.date(2024, 3, 10)).map(str)
months = st.builds("{:04d}-{:02d}".format, st.integers(1, 9999), st.integers(1, 12))
entities = st.text(min_size=1, max_size=8)
keys = st.one_of(
    near_days, days, months, st.builds("{}@{}".format, entities, near_days), st.text(min_size=1, max_size=12)
)


@given(st.sets(keys, max_size=60), st.booleans(), st.sampled_from(["…", ".."]))
def test_expanding_compressed_keys_gives_back_exactly_the_same_keys(given_keys, counts, join):
    expanded = expand_dates(compress_dates(given_keys, join=join, counts=counts))
    assert len(expanded) == len(set(expanded))
    assert set(expanded) == given_keys


@given(st.sets(st.one_of(near_days, days), min_size=1, max_size=200))
def test_a_range_survives_the_line_breaks_of_a_shell_command_in_the_mail(given_days):
    ranges = compress_dates(given_days, join="..").replace(" ", "")
    command = f"prefect deployment run 'backfill/nba' -p source=nba -p 'dates={ranges}' -p reason='retry C1'"
    shown = command_lines(command, 78)
    assert all(len(line) <= 78 for line in shown.splitlines())
    words = shlex.split(shown.replace("\\\n", ""))
    dates = next(word for word in words if word.startswith("dates="))
    assert "\n" not in dates, "Prefect refuses a parameter that holds a line break"
    assert set(expand_dates(dates.removeprefix("dates="))) == given_days
    assert words[-1] == "reason=retry C1"


@given(
    st.lists(st.text("abcdefg-", min_size=1, max_size=20), min_size=1, max_size=12),
    st.lists(st.text("abcdefg-", min_size=1, max_size=12), min_size=1, max_size=6),
    st.integers(37, 78),
)
def test_a_command_with_a_long_note_fits_the_screen_and_pastes_as_it_was(words, after, width):
    command = f"gapless run nba -p note='{' '.join(words)}' {' '.join(after)} -p dates='2021-03-04,2021-03-06'"
    shown = command_lines(command, width)
    assert all(len(line) <= width for line in shown.splitlines()), shown
    assert shlex.split(shown.replace("\\\n", "")) == shlex.split(command)


@given(st.sets(near_days, min_size=1))
def test_days_in_a_row_become_one_item(given_days):
    ordered = sorted(dt.date.fromisoformat(day) for day in given_days)
    breaks = sum(1 for a, b in itertools.pairwise(ordered) if (b - a).days > 1)
    assert compress_dates(given_days).count(",") == breaks


@pytest.mark.parametrize("text", ["2021-03-05..2021-03-04", "2021-02-30..2021-03-04", "2021-01..2021-01-04"])
def test_a_range_that_cannot_be_meant_is_refused(text):
    with pytest.raises(ValueError, match="not a range"):
        expand_dates(text)


def test_ranges_cross_leap_days_and_year_ends():
    assert compress_dates(["2024-02-28", "2024-02-29", "2024-03-01"], counts=True) == "2024-02-28…2024-03-01 (3 days)"
    assert compress_dates(["2024-12", "2025-01", "2025-03"]) == "2024-12…2025-01, 2025-03"


def test_keys_of_two_kinds_are_called_partitions():
    assert unit_name(["2024-02-28", "2024-02"], 2) == "partitions"
