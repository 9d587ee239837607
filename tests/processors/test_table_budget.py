"""The daily limits of a table: of one process, and counted together by all runs."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.errors import BudgetExhausted, StateUnreadable
from alerting.memory_store import MemoryObjectStore
from processors.table_budget import PREFIX, StoredTableBudget, TableBudget, next_reset, quota_day

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


WINTER_NOON = dt.datetime(2025, 2, 1, 20, tzinfo=dt.UTC)


def test_what_one_run_spent_counts_for_the_next_until_midnight_in_california() -> None:
    store = MemoryObjectStore()
    for _ in range(19):
        StoredTableBudget(store, modifications_per_day=20).spend("games", 1, WINTER_NOON)
    with pytest.raises(BudgetExhausted, match="19 of 19"):
        StoredTableBudget(store, modifications_per_day=20).spend("games", 1, WINTER_NOON)
    StoredTableBudget(store, modifications_per_day=20).spend("players", 1, WINTER_NOON)
    StoredTableBudget(store, modifications_per_day=20).spend("games", 1, WINTER_NOON + dt.timedelta(hours=12))


def test_it_stops_at_95_percent_of_the_partition_modifications() -> None:
    budget = StoredTableBudget(MemoryObjectStore())
    budget.spend("games", 28_500, WINTER_NOON)
    with pytest.raises(BudgetExhausted, match="28,500 of 28,500"):
        budget.spend("games", 1, WINTER_NOON)


def test_no_modification_of_many_threads_is_lost() -> None:
    store = MemoryObjectStore()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: StoredTableBudget(store).spend("games", 2, WINTER_NOON), range(40)))
    assert StoredTableBudget(store).spent(WINTER_NOON)["games"].partition_modifications == 80


def test_tables_are_counted_in_objects_of_their_own() -> None:
    store = MemoryObjectStore()
    budget = StoredTableBudget(store)
    budget.spend("games", 1, WINTER_NOON)
    budget.spend("players", 3, WINTER_NOON)
    assert [stored.name for stored in store.list("budgets/")] == [f"{PREFIX}games.json", f"{PREFIX}players.json"]
    assert {table: one.partition_modifications for table, one in budget.spent(WINTER_NOON).items()} == {
        "games": 1,
        "players": 3,
    }


def test_unreadable_counts_stop_the_load() -> None:
    store = MemoryObjectStore()
    store.write(f"{PREFIX}games.json", b"{}")
    with pytest.raises(StateUnreadable, match="state unreadable"):
        StoredTableBudget(store).spend("games", 1, WINTER_NOON)
