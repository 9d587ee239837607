"""The same dates inline and spread over child runs, on a server on Postgres with three process workers."""

from __future__ import annotations

import datetime as dt
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ways_to_spread import WAYS, api_calls, compare

if TYPE_CHECKING:
    from e2e_bench import Bench

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3000)]


@pytest.mark.parametrize("latency_ms", [50, 2000])
def test_inline_against_child_runs(fleet: Bench, latency_ms: int) -> None:
    compare(fleet, latency_ms, WAYS)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and only Linux forks")
def test_what_a_child_run_costs_until_its_first_call(fleet: Bench) -> None:
    # What asks for an interpreter of its own is started as Prefect's process worker starts everything.
    ways = {"started": {"PYTHONHASHSEED": "0"}, "forked": {}}
    print(f"\nA window from its creation to its first call, best of 3; load {os.getloadavg()[0]:.1f}")
    for way, environment in ways.items():
        cpu_s, spent_s = (
            min(values) for values in zip(*(first_call(fleet, environment) for _ in range(3)), strict=True)
        )
        print(f"  {way:<10} {cpu_s:5.2f} s of CPU in its process {spent_s:5.1f} s of time")


def first_call(bench: Bench, environment: Mapping[str, str]) -> tuple[float, float]:
    """CPU seconds of a window's process and seconds of time until it made its first call."""
    window = bench.api("/deployments/name/dates/bdl_box_scores")["id"]
    bench.api(f"/deployments/{window}", {"job_variables": {"env": dict(environment)}}, method="PATCH")
    bench.forget("2018-11-01", "2018-11-02")
    bench.trouble({"kind": "slow", "delay_s": 3})
    bench.forget_calls()
    run_id = bench.start("2018-11-01", "2018-11-02", engine="distributed", parallel=1, max_concurrency=1, canary=-1)
    deadline = time.monotonic() + 180
    while not (calls := bench.calls()["requests"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (child,) = bench.api("/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}})
    pid = int(child["infrastructure_pid"].rpartition(":")[2])
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    bench.trouble()
    assert bench.wait(run_id).message.startswith("COMPLETE")
    spent = dt.datetime.fromisoformat(calls[0]["at"]) - dt.datetime.fromisoformat(child["created"])
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), spent.total_seconds()


def test_calls_of_idle_workers(fleet: Bench) -> None:
    before, began = api_calls(fleet), time.monotonic()
    time.sleep(60)
    a_minute = (api_calls(fleet) - before) / (time.monotonic() - began) * 60
    print(f"\n3 idle workers that look for work every 2 s: {a_minute:.0f} API calls a minute")
    assert a_minute > 0
