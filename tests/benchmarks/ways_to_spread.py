"""The same dates inline and spread over child runs: seconds, ratios, and what the server was asked meanwhile."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from e2e_bench import Bench

RANGE = ("2019-12-01", "2020-04-02")
DATES = 124
CONCURRENCY = 8
TABLES = ("nba_bdl_games", "nba_bdl_player_stats")
WAYS: dict[str, dict[str, Any]] = {
    "inline": {"engine": "inline"},
    "2 child runs": {"engine": "distributed", "parallel": 2},
    "4 child runs": {"engine": "distributed", "parallel": 4},
    "8 child runs": {"engine": "distributed", "parallel": 8},
}


def api_calls(bench: Bench) -> int:
    """Calls that the Prefect server has answered so far."""
    return len(re.findall(r'" [1-5]\d\d\b', Path(bench.env["FLEET_SERVER_LOG"]).read_text(errors="replace")))


def wall_s(bench: Bench, **asked: Any) -> float:
    """Seconds from the begin of the parent's flow function to its end: one run of all dates, nothing known before."""
    bench.forget(*RANGE)
    bench.forget_calls()
    ended = bench.wait(bench.start(*RANGE, max_concurrency=CONCURRENCY, canary=-1, **asked), timeout_s=900)
    assert ended.message.startswith("COMPLETE"), ended.message
    assert bench.calls()["total"] == DATES
    return float(bench.api(f"/flow_runs/{ended.id}")["total_run_time"])


def compare(bench: Bench, latency_ms: int, ways: Mapping[str, dict[str, Any]], where: str = "") -> None:
    bench.trouble()
    bench.upstream("/gapless/latency", {"latency_ms": latency_ms})
    hashes, took_s, calls = [], {}, {}
    try:
        # The first run of a worker's life imports and connects; nobody's time.
        assert bench.run("2018-12-01", "2018-12-02", canary=-1).message.startswith("COMPLETE")
        for way, asked in ways.items():
            before = api_calls(bench)
            took_s[way] = wall_s(bench, **asked)
            calls[way] = api_calls(bench) - before
            hashes.append([bench.table_hash(table, *RANGE) for table in TABLES])
    finally:
        bench.upstream("/gapless/latency", {"latency_ms": 0})
    assert all(found == hashes[0] for found in hashes), "the same rows whichever way"
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(f"\n{DATES} dates, {CONCURRENCY} in flight, 600 calls a minute, {where}source {latency_ms} ms; {machine}")
    print(f"  {'way':<14} {'seconds':>8} {'ms a date':>10} {'ratio':>6} {'API calls':>10}")
    for way, seconds in took_s.items():
        ratio = seconds / took_s["inline"]
        print(f"  {way:<14} {seconds:8.1f} {seconds / DATES * 1000:10.0f} {ratio:6.2f} {calls[way]:10,}")
