"""What Gapless costs beyond the fetches themselves, as ratios measured in one run."""

from __future__ import annotations

import datetime as dt
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aims import Aim, print_aims
from timed_backfill import CONCURRENCY, LATENCY_MS, backfill_cost

if TYPE_CHECKING:
    from e2e_bench import Bench

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3000)]


def bare_fetches_s(bench: Bench, dates: list[dt.date]) -> float:
    """The same calls by a thread pool and nothing else, on warm connections."""
    from flows.wiring import build_services
    from scrapers.partition import Partition

    services = build_services()
    scraper = services.source_kit("bdl_box_scores").scraper
    with services.source_kit("bdl_box_scores").client as client:

        def fetch(date: dt.date) -> int:
            return len(client.fetch(scraper.first_request(Partition.day(date, scraper.zone))).body)

        with ThreadPoolExecutor(CONCURRENCY) as pool:
            list(pool.map(fetch, dates[:CONCURRENCY]))
            began = time.monotonic()
            list(pool.map(fetch, dates))
            return time.monotonic() - began


def cpu_s_of_stack(bench: Bench) -> dict[str, float]:
    """CPU seconds so far of every process of the embedded stack, which shares the machine with the backfill."""
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    used = {}
    for child in bench.stack.children():
        fields = Path(f"/proc/{child.identity.pid}/stat").read_text().rpartition(")")[2].split()
        used[child.name] = (int(fields[11]) + int(fields[12])) / ticks_per_s
    return used


@pytest.fixture
def fast_upstream(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Latency as a real API has it; a rate that does not limit."""
    monkeypatch.setenv("GAPLESS_SOURCE_RATE_PER_MINUTE", '{"balldontlie": 1000000}')
    bench.upstream("/gapless/latency", {"latency_ms": LATENCY_MS})
    yield bench
    bench.upstream("/gapless/latency", {"latency_ms": 0})


@pytest.mark.parametrize("count", [365, 3653])
def test_cost_of_a_backfill_beyond_its_fetches(fast_upstream: Bench, count: int) -> None:
    first = dt.date(2014, 10, 1) if count > 1000 else dt.date(2012, 10, 1)
    dates = [first + dt.timedelta(days=offset) for offset in range(count)]
    bare_cpu_s = time.process_time()
    bare_s = bare_fetches_s(fast_upstream, dates)
    bare_cpu_s = time.process_time() - bare_cpu_s
    before = cpu_s_of_stack(fast_upstream)
    cost = backfill_cost(dates)
    after = cpu_s_of_stack(fast_upstream)
    beyond_ms = (cost["wall_s"] - bare_s) / count * 1000
    print(f"\n{count} dates, concurrency {CONCURRENCY}, upstream latency {LATENCY_MS} ms")
    print(f"  bare thread pool        {bare_s:8.1f} s   {bare_s / count * 1000:6.1f} ms a date")
    print(f"  backfill                {cost['wall_s']:8.1f} s   {cost['wall_s'] / count * 1000:6.1f} ms a date")
    print(f"  beyond the fetches                   {beyond_ms:6.1f} ms a date")
    print(f"  CPU of the flow process {cost['cpu_s']:8.1f} s   {cost['cpu_s'] / count * 1000:6.1f} ms a date")
    for name, cpu_s in after.items():
        # The warm-up of 32 dates is in it.
        per_date_ms = (cpu_s - before[name]) / (count + 32) * 1000
        print(f"    {name:20}  {cpu_s - before[name]:8.1f} s   {per_date_ms:6.1f} ms a date, beside it")
    grown_mib = cost["rss_peak_mib"] - cost["rss_before_mib"]
    print(f"  memory of that process  {cost['rss_before_mib']:8.0f} MiB, at the peak {grown_mib:.0f} MiB more")
    used_s = cost["cpu_by_thread_s"]
    used_s["threads that ended"] = cost["cpu_s"] - sum(used_s.values())
    by_thread = ", ".join(f"{kind} {cpu_s / count * 1000:.1f}" for kind, cpu_s in used_s.items())
    flow_ms, call_ms = cost["cpu_s"] / count * 1000, bare_cpu_s / count * 1000
    server_ms = (after["prefect"] - before["prefect"]) / (count + 32) * 1000
    print_aims(
        [
            Aim(
                "CPU ms a date, flow process",
                8,
                flow_ms,
                f"{flow_ms - 8:.1f} ms. By thread: {by_thread}. The bare call is {call_ms:.1f} of it; the rest is four "
                "requests to storage, the rows of two tables, and Prefect's task engine",
            ),
            Aim(
                "CPU ms a date, Prefect's server",
                5,
                server_ms,
                f"{server_ms - 5:.1f} ms. A run's own rows and events are spread over {count} dates only",
            ),
        ]
    )
    # 16 MiB are pages that wait to be loaded, 10 MiB compressors of dates that are stored at once.
    assert grown_mib < 90
