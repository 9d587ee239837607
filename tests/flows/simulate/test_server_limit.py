"""Windows share a rate by the simulated server as by a real one: its own client code, one bucket for all of them."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest

from alerting.errors import RateLimited
from alerting.memory_store import MemoryObjectStore
from flows.child_runs.window import WorkerKit
from flows.settings import Settings
from flows.simulate.faults import Process, Trace
from flows.simulate.server_limit import ServerLimits, SimulatedLimit
from scrapers.pace.budget import Clock
from scrapers.rate import Rate


def test_two_windows_together_get_no_more_calls_than_the_rate_and_nearly_as_many() -> None:
    clock: Any = SimpleNamespace(now_s=0.0)
    around: Any = SimpleNamespace(is_away=lambda _: False, operates=lambda: None)
    limits, trace = ServerLimits(clock), Trace()
    windows = [SimulatedLimit("civic_band", Rate(per_minute=15), limits, Process(trace, around)) for _ in range(2)]
    taken = []
    for second in range(600):
        clock.now_s = float(second)
        for window in windows:
            if window.look().free >= 1:
                assert window.take(1)
                taken.append(second)
    assert max(sum(begin <= second < begin + 60 for second in taken) for begin in taken) <= 15
    assert len(taken) > 110
    assert trace.operations[:2] == ["look at limit gapless-civic_band", "take of limit gapless-civic_band"]


def test_a_pause_that_the_source_asks_one_window_for_is_kept_by_the_other() -> None:
    now = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    clock, store = Clock(monotonic=lambda: 0.0, now=lambda: now), MemoryObjectStore("gs://b")
    services: Any = SimpleNamespace(clock=clock, store=store, settings=Settings(google_project="p", console_only=True))
    one, other = (WorkerKit(services, "civic_band", "backfill").build_budget(None) for _ in range(2))
    one.pause_for(7)
    with pytest.raises(RateLimited, match=r"allowed in 7\.0 s"):
        other.acquire(5)
