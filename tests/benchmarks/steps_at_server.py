"""CPU that steps and subflows cost a Prefect server and the process that takes them, whose work is to wait 20 ms.

    .venv/bin/python tests/benchmarks/steps_at_server.py 310 [--lines 2] [--engine]

Windows of 31 steps, two at once, 8 steps in flight, as a backfill has them; the server is the embedded one on SQLite.
``--lines`` logs that many lines a step; ``--engine`` gives every step to Prefect's engine, as one that fails is.
A second table has windows without steps.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from deployments.local import prefect_children
from deployments.local.processes import free_port, wait_ready
from flows.log import partition_logger
from flows.run import quick_steps
from flows.run.prefect_orchestrator import PrefectOrchestrator, handed_over

WINDOW = 31
SERVER = "STEPS_SERVER_PID"
WRITTEN_AFTER_S = 8.0
"""Then the server has written what it was told."""


def cpu_s(pid: int) -> float:
    """Of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@flow(name="dates", persist_result=False, validate_parameters=False)
async def window(name: str) -> State[Any]:
    part = handed_over()
    assert part is not None
    return await part()


@flow(name="backfill", persist_result=False)
async def parent(windows: int, steps: int, lines: int) -> State[Any]:
    """So many windows of so many steps."""
    orchestrator, places, slots = PrefectOrchestrator(), asyncio.Semaphore(2), asyncio.Semaphore(8)

    async def work() -> str:
        async with slots:
            await asyncio.sleep(0.02)
        return "landed"

    async def step(number: int) -> None:
        await orchestrator.step("scrape", f"scrape {number:05}", work, [1.0, 2.0])
        for _ in range(lines):
            partition_logger().info("✓ %05d verified nba_bdl_games=9 nba_bdl_player_stats=236 attempts=1", number)

    async def one(number: int) -> None:
        async def part() -> State[Any]:
            await asyncio.gather(*(step(number * WINDOW + place) for place in range(steps)))
            return Completed(message="done")

        async with places:
            await orchestrator.subflow(window, {"name": str(number)}, part)

    await asyncio.gather(*(one(number) for number in range(windows)))
    return Completed(message="done")


def measure(windows: int, steps: int, lines: int) -> None:
    """One line: CPU a step, or a window where there are no steps."""
    server, of = int(os.environ[SERVER]), windows * steps or windows
    began, began_s = cpu_s(server), time.process_time()
    asyncio.run(parent(windows, steps, lines))
    used_s = time.process_time() - began_s
    time.sleep(WRITTEN_AFTER_S)
    what = "steps" if steps else "empty windows"
    at_server_ms = (cpu_s(server) - began) / of * 1000
    print(
        f"  {of:6,} {what:14} flow {used_s / of * 1000:6.1f} ms of CPU, server {at_server_ms:6.1f} ms each", flush=True
    )


def main() -> None:
    """Starts a server, and itself as its client."""
    parser = argparse.ArgumentParser()
    parser.add_argument("steps", type=int)
    parser.add_argument("--lines", type=int, default=0)
    parser.add_argument("--engine", action="store_true")
    given = parser.parse_args()
    if SERVER in os.environ:
        if given.engine:
            quick_steps.SHOWN_AFTER_S = 0.0
        asyncio.run(parent(1, WINDOW, given.lines))
        print(f"load {os.getloadavg()[0]:.1f}")
        measure(given.steps // WINDOW, WINDOW, given.lines)
        measure(max(1, given.steps // WINDOW), 0, 0)
        return
    with tempfile.TemporaryDirectory() as folder:
        home, port = Path(folder), free_port()
        server = prefect_children.start_server(home, home / "log", port=port, auth="a:b", environment={})
        try:
            wait_ready([server], timeout_s=prefect_children.FIRST_START_TIMEOUT_S)
            time.sleep(WRITTEN_AFTER_S)
            settings = {**prefect_children.client_settings(home, port, "a:b"), SERVER: str(server.process.pid)}
            subprocess.run([sys.executable, *sys.argv], env={**os.environ, **settings}, check=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
