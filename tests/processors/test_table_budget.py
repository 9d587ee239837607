"""The daily limits of a table."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.errors import BudgetExhausted
from processors.table_budget import TableBudget, next_reset, quota_day

NOON = dt.datetime(2025, 7, 1, 19, 0, tzinfo=dt.UTC)


def test_the_stop_comes_at_95_percent_of_the_modifications():
    budget = TableBudget(modifications_per_day=100)
    for _ in range(95):
        budget.spend("t", 1, NOON)
    with pytest.raises(BudgetExhausted, match="used 95 of 95"):
        budget.spend("t", 1, NOON)
    budget.spend("u", 1, NOON)


def test_a_refused_load_is_not_counted():
    budget = TableBudget(partition_modifications_per_day=1_000)
    budget.spend("t", 900, NOON)
    with pytest.raises(BudgetExhausted):
        budget.spend("t", 100, NOON)
    budget.spend("t", 50, NOON)
    assert budget.spent(NOON)["t"].partition_modifications == 950


def test_midnight_pacific_gives_a_fresh_budget():
    budget = TableBudget(modifications_per_day=2)
    budget.spend("t", 1, dt.datetime(2025, 7, 2, 6, 59, tzinfo=dt.UTC))
    with pytest.raises(BudgetExhausted):
        budget.spend("t", 1, dt.datetime(2025, 7, 2, 6, 59, tzinfo=dt.UTC))
    budget.spend("t", 1, dt.datetime(2025, 7, 2, 7, 0, tzinfo=dt.UTC))


@given(st.integers(1_577_836_800, 2_051_222_400).map(lambda second: dt.datetime.fromtimestamp(second, dt.UTC)))
def test_the_reset_is_the_first_instant_of_the_next_quota_day(now):
    reset = next_reset(now)
    assert now < reset <= now + dt.timedelta(hours=25)
    assert quota_day(reset) == quota_day(now) + dt.timedelta(days=1)
    assert quota_day(reset - dt.timedelta(microseconds=1)) == quota_day(now)
