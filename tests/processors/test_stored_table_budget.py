"""BigQuery's daily limits, counted together by all runs."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest

from alerting.errors import BudgetExhausted, StateUnreadable
from alerting.local_store import MemoryObjectStore
from processors.stored_table_budget import PREFIX, StoredTableBudget

NOON = dt.datetime(2025, 2, 1, 20, tzinfo=dt.UTC)


def test_what_one_run_spent_counts_for_the_next_until_midnight_in_california() -> None:
    store = MemoryObjectStore()
    for _ in range(19):
        StoredTableBudget(store, modifications_per_day=20).spend("games", 1, NOON)
    with pytest.raises(BudgetExhausted, match="19 of 19"):
        StoredTableBudget(store, modifications_per_day=20).spend("games", 1, NOON)
    StoredTableBudget(store, modifications_per_day=20).spend("players", 1, NOON)
    StoredTableBudget(store, modifications_per_day=20).spend("games", 1, NOON + dt.timedelta(hours=12))


def test_it_stops_at_95_percent_of_the_partition_modifications() -> None:
    budget = StoredTableBudget(MemoryObjectStore())
    budget.spend("games", 28_500, NOON)
    with pytest.raises(BudgetExhausted, match="28500 of 28500"):
        budget.spend("games", 1, NOON)


def test_no_modification_of_many_threads_is_lost() -> None:
    store = MemoryObjectStore()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: StoredTableBudget(store).spend("games", 2, NOON), range(40)))
    assert StoredTableBudget(store).spent(NOON)["games"].partition_modifications == 80


def test_tables_are_counted_in_objects_of_their_own() -> None:
    store = MemoryObjectStore()
    budget = StoredTableBudget(store)
    budget.spend("games", 1, NOON)
    budget.spend("players", 3, NOON)
    assert [stored.name for stored in store.list("budgets/")] == [f"{PREFIX}games.json", f"{PREFIX}players.json"]
    assert {table: one.partition_modifications for table, one in budget.spent(NOON).items()} == {
        "games": 1,
        "players": 3,
    }


def test_unreadable_counts_stop_the_load() -> None:
    store = MemoryObjectStore()
    store.write(f"{PREFIX}games.json", b"{}")
    with pytest.raises(StateUnreadable, match="state unreadable"):
        StoredTableBudget(store).spend("games", 1, NOON)
