"""What the Prefect UI has to do for the page of a run: API calls, bytes and time, short run against ten years."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from scrapers.partition import Partition, windows

if TYPE_CHECKING:
    from e2e_bench import Bench

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3000)]
PATIENCE_MS = 180_000
# Nothing asked of the server for so long is a page that is done.
QUIET_MS = 3_000


@task(name="scrape", task_run_name="scrape {partition}", cache_policy=NO_CACHE, persist_result=False)
async def empty_task(partition: str) -> None:
    """What a date leaves at the server: a task run and a line of log."""
    get_run_logger().info("%s landed", partition)


@flow(name="dates", persist_result=False, validate_parameters=False)
async def empty_window(partitions: list[str]) -> None:
    await asyncio.gather(*(empty_task(partition) for partition in partitions))


@flow(name="backfill", persist_result=False, validate_parameters=False)
async def empty_backfill(days: int) -> UUID:
    """The runs of a backfill without its work: windows as `flows.mapping` makes them."""
    first = dt.date(2014, 1, 1)
    partitions = [Partition.day(first + dt.timedelta(days=offset), "UTC") for offset in range(days)]
    for window in windows(partitions, 31):
        await empty_window([one.key for one in window])
    return UUID(str(flow_run.id))


def page_cost(browser: Any, sign_in_page: Path, url: str) -> dict[str, float]:
    """Opens a page in a browser that knows nothing but the password, until it asks for nothing more."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.goto(sign_in_page.as_uri())
    page.wait_for_function("localStorage.getItem('prefect-password')", timeout=PATIENCE_MS)
    page.goto("about:blank")
    page.route(re.compile(r"^https://"), lambda route: route.abort())
    answers: list[tuple[float, int]] = []
    took_ms: list[float] = []

    def note(answer: Any) -> None:
        if "/api/" in answer.url:
            answers.append((time.monotonic(), int(answer.headers.get("content-length") or 0)))

    def note_time(request: Any) -> None:
        if "/api/" in request.url:
            took_ms.append(request.timing["responseEnd"])

    page.on("response", note)
    page.on("requestfinished", note_time)
    began = time.monotonic()
    page.goto(url, wait_until="domcontentloaded", timeout=PATIENCE_MS)
    page.get_by_text("Completed").first.wait_for(timeout=PATIENCE_MS)
    shown_s = time.monotonic() - began
    while time.monotonic() - (answers[-1][0] if answers else began) < QUIET_MS / 1000:
        page.wait_for_timeout(200)
    # How long the page keeps a click waiting: the longest gap between two turns of its own clock.
    stall_ms = page.evaluate(
        """() => new Promise(done => { let last = performance.now(), worst = 0, turns = 0;
        const step = () => { const now = performance.now(); worst = Math.max(worst, now - last); last = now;
        ++turns < 60 ? setTimeout(step, 16) : done(worst) }; step() })"""
    )
    context.close()
    return {
        "calls": len(answers),
        "kilobytes": sum(size for _, size in answers) / 1000,
        "slowest_ms": max(took_ms),
        "shown_s": shown_s,
        "done_s": answers[-1][0] - began,
        "stall_ms": stall_ms,
    }


def test_the_page_of_a_run(bench: Bench, browser: Any) -> None:
    print(f"\n{os.cpu_count()} cores shared by server and browser, SQLite, Chromium without graphics hardware")
    print(f"  {'page':<34} {'calls':>6} {'kB':>7} {'slowest ms':>11} {'shown s':>8} {'done s':>7} {'stall ms':>9}")
    costs = {}
    for days in (31, 3653):
        # A process of its own: this one has the browser's event loop, and read Prefect's settings before the stack was.
        done = subprocess.run(
            [sys.executable, __file__, str(days)],
            env=bench.env,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        run_id = done.stdout.split()[-1]
        for ui in ("v2/", ""):
            cost = page_cost(
                browser, bench.stack.sign_in_page, f"{bench.env['PREFECT_UI_URL']}/{ui}runs/flow-run/{run_id}"
            )
            costs[days, ui] = cost
            name = f"{days:,} dates, {'V2' if ui else 'V1'}"
            print(
                f"  {name:<34} {cost['calls']:6.0f} {cost['kilobytes']:7.0f} {cost['slowest_ms']:11.0f} "
                f"{cost['shown_s']:8.1f} {cost['done_s']:7.1f} {cost['stall_ms']:9.0f}"
            )
    for ui in ("v2/", ""):
        assert costs[3653, ui]["calls"] <= 3 * costs[31, ui]["calls"], "calls do not grow with the dates"


if __name__ == "__main__":
    print(asyncio.run(empty_backfill(int(sys.argv[1]))))
