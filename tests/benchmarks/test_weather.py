"""The same dates with and without the distance to Google and to a remote server, as ratios of one run."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from timed_backfill import CONCURRENCY, LATENCY_MS, backfill_cost

from deployments.local.processes import free_port, wait_ready
from deployments.local.weather import start_weather

if TYPE_CHECKING:
    from e2e_bench import Bench

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(5000)]


@pytest.fixture
def far_away(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Variables of a client that meets cloud weather on its way to the running stack."""
    monkeypatch.setenv("GAPLESS_SOURCE_RATE_PER_MINUTE", '{"balldontlie": 1000000}')
    bench.upstream("/gapless/latency", {"latency_ms": LATENCY_MS})
    children = {child.name: child for child in bench.stack.children()}
    targets = {
        route: children[name].ports["http"]
        for route, name in {"storage": "gcs", "bigquery": "bigquery", "prefect": "prefect"}.items()
    }
    ports = {route: free_port() for route in targets}
    weather = start_weather("cloud", targets, tmp_path / "weather.log", ports=ports, environment=dict(os.environ))
    try:
        wait_ready([weather], timeout_s=30)
        url = {route: f"http://127.0.0.1:{port}" for route, port in ports.items()}
        yield {
            "STORAGE_EMULATOR_HOST": url["storage"],
            "BIGQUERY_EMULATOR_HOST": url["bigquery"],
            "PREFECT_API_URL": f"{url['prefect']}/api",
        }
    finally:
        weather.stop()
        bench.upstream("/gapless/latency", {"latency_ms": 0})


@pytest.mark.parametrize("count", [365, 3653])
def test_cloud_weather_against_none(bench: Bench, far_away: Mapping[str, str], count: int) -> None:
    first = dt.date(2014, 10, 1) if count > 1000 else dt.date(2012, 10, 1)
    dates = [first + dt.timedelta(days=offset) for offset in range(count)]
    found = {}
    for name, environment in {"no weather": {}, "cloud weather": dict(far_away)}.items():
        # The same dates, nothing known of them, and none of those before by which the process warms up.
        bench.forget(str(dates[0] - dt.timedelta(days=60)), str(dates[-1]))
        found[name] = backfill_cost(dates, environment)
    print_weather(count, found)


def print_weather(count: int, found: Mapping[str, Mapping[str, Any]]) -> None:
    """One column a weather."""
    near, far = found.values()
    print(f"\n{count} dates, {CONCURRENCY} calls at once, source {LATENCY_MS} ms; load {os.getloadavg()[0]:.1f}")
    print(f"  {'':34}" + "".join(f"{name:>16}" for name in found))

    def row(label: str, values: list[float], digits: int = 1) -> None:
        print(f"  {label:34}" + "".join(f"{value:16,.{digits}f}" for value in values))

    row("seconds", [one["wall_s"] for one in (near, far)])
    print(f"  {'ratio':34}{'':16}{far['wall_s'] / near['wall_s']:16.2f}")
    row("ms a date", [one["wall_s"] / count * 1000 for one in (near, far)])
    row("CPU ms a date, flow process", [one["cpu_s"] / count * 1000 for one in (near, far)])
    row("before the first call, s", [one["outside"]["before_calls_s"] for one in (near, far)])
    row("after the last call, s", [one["outside"]["after_calls_s"] for one in (near, far)])
    for what in near["outside"]["wall_s"]:
        row(f"wall clock: {what}", [one["outside"]["wall_s"][what] for one in (near, far)])
    kinds = sorted(set(near["outside"]["requests"]) | set(far["outside"]["requests"]))
    for kind in kinds:
        row(f"requests: {kind}", [one["outside"]["requests"].get(kind, 0) for one in (near, far)], 0)
        row("  waited, all threads, s", [one["outside"]["waited_s"].get(kind, 0.0) for one in (near, far)])
