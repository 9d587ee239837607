"""The same dates with and without the distance to Google and to a remote server, as ratios of one run."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aims import Aim, print_aims
from outside import ORDER
from timed_backfill import CONCURRENCY, LATENCY_MS, backfill_cost

from alerting.instant import utc_now
from deployments.local.processes import free_port, wait_ready
from deployments.local.weather import start_weather
from flows.asked import Asked
from flows.planning.planner import plan_asked
from flows.wiring import build_services

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
    print_aims([*weather_aims(count, found), *(plan_aims(dates) if count > 1000 else ())])


def weather_aims(count: int, found: Mapping[str, Mapping[str, Any]]) -> list[Aim]:
    """What a distance may cost, and what a date may ask of source, storage and BigQuery."""
    near, far = found.values()
    seen, aimed = far["outside"], 1.1 if count > 1000 else 1.3
    wall, of_source = seen["wall_s"], seen["waited_s"]["source"]
    more_s = far["wall_s"] - aimed * near["wall_s"]
    waits = ", ".join(f"{what} {wall[what]:.1f}" for what in ORDER[1:])
    why = "its dates land later than they could" if count > 1000 else "its MERGE waits for the canaries' recount"
    left = (
        f"{more_s:.1f} s. The wall clock waits for {waits} s. The last batch's load, MERGE and recount take "
        f"{seen['last_chain_s']:.1f} s in line, and {why}; {seen['before_calls_s']:.1f} s go before the first call"
    )
    asked = seen["requests"]
    reads, writes = (
        sum(asked.get(f"storage {kind}: {folder}", 0) for kind in kinds for folder in ("landing", "ledger")) / count
        for kinds in (("read", "stat"), ("write",))
    )
    more_ms = (far["slot_s"] - of_source) / count * 1000
    held = f"{more_ms:.0f} ms a date: the shared rate's next turn is written, answers are read, threads wait"
    aims = [
        Aim("time in cloud weather / without weather", aimed, far["wall_s"] / near["wall_s"], left),
        Aim("a place at the source is held / the call takes", 1.1, far["slot_s"] / of_source, held),
        Aim("storage writes a date", 4, writes, "dates were tried again"),
        Aim("storage reads a date", 0, reads, "dates were tried again"),
    ]
    if count < 1000:
        aims.append(Aim("load jobs", 8, asked.get("BigQuery job: load", 0), "landing took longer than a load job"))
    return aims


def plan_aims(dates: list[dt.date]) -> list[Aim]:
    """What a plan of dates that are all done asks of storage."""
    services = build_services()
    # The first object that is missing is told from a bucket that is missing by a listing, once for each process.
    next(services.store.list("ledger/"), None)
    before = services.store.calls["list"]
    plan_asked(services, Asked(source="bdl_box_scores", start_date=dates[0], end_date=dates[-1]), utc_now())
    listings = services.store.calls["list"] - before
    return [Aim("listings of a plan of ten years", 5, listings, "1,000 entries are a listing")]


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
