"""A plan is read as it was written; an older one too, and one that nobody can read stops whoever asks."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from alerting.errors import StateUnreadable
from alerting.memory_store import MemoryObjectStore
from flows.parameters import Mode
from flows.planning.plan import Path, Plan, PlannedPartition
from flows.planning.stored_plan import plan_name, read_plan
from scrapers.partition import Partition

DAYS = [Partition.day(dt.date(2025, 1, day), "UTC") for day in (1, 2, 3)]
SINCE = dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)
PATHS = (Path.FETCH, Path.SKIP, Path.UNAVAILABLE)


def stored(data: bytes) -> MemoryObjectStore:
    store = MemoryObjectStore()
    store.write(plan_name("bf-1"), data)
    return store


def test_a_plan_comes_back_as_it_was_written() -> None:
    items = tuple(PlannedPartition(day, path, path.value) for day, path in zip(DAYS, PATHS, strict=True))
    plan = Plan("s", DAYS[0].start, DAYS[-1].start, "UTC", items, mode=Mode.FULL, since=SINCE)
    found = read_plan(stored(plan.to_json()), "bf-1")
    assert found.keys == plan.keys
    assert found.work == {"2025-01-01": True, "2025-01-02": False, "2025-01-03": False}
    assert found.unavailable == {"2025-01-03": "unavailable"}
    assert (found.source, found.mode, found.since, found.hash) == ("s", Mode.FULL, SINCE, plan.hash)
    assert (found.start_date, found.end_date) == (plan.start_date, plan.end_date)


def test_a_plan_of_a_release_that_wrote_less_is_read_with_defaults() -> None:
    older = {"start_date": "2025-01-01", "end_date": "2025-01-01", "items": [{"key": "2025-01-01", "path": "fetch"}]}
    found = read_plan(stored(json.dumps(older).encode()), "bf-1")
    assert (found.keys, found.mode, found.since, found.source) == (["2025-01-01"], Mode.INCREMENTAL, None, "")
    assert read_plan(stored(json.dumps({**older, "since": "", "zone": "UTC"}).encode()), "bf-1").since is None


@pytest.mark.parametrize("data", [b"{}", b"no json", b'{"items": [{"key": "2025-01-01", "path": "levitate"}]}'])
def test_a_plan_that_nobody_can_read_is_no_empty_plan(data: bytes) -> None:
    with pytest.raises(StateUnreadable, match=r"state unreadable at .*bf-1/plan.json; nothing was changed"):
        read_plan(stored(data), "bf-1")
