"""The bounds of pyproject.toml: what they keep out does not work, and the day it does is said.

A server that starts is not enough: one release did, and never scheduled a cron. `make pins` installs releases beyond
the bounds in environments of their own, from the package index.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Bench

PROJECT_DIR = Path(__file__).parents[2]
BOUNDS = {"prefect": "prefect>=3.9", "fastapi": "fastapi>=0.151", "sqlalchemy": "sqlalchemy[asyncio]>=2.1"}
# Starts the stack, provisions it and waits for a run of an active cron; everything in the environment of the pins.
TRIAL = """
import asyncio, json, os, sys, time
from pathlib import Path
from deployments.local.demo import start_work
from deployments.local.stack import Stack
stack = Stack(Path(sys.argv[1]))
stack.up()
try:
    start_work(stack)
    from prefect.client.orchestration import get_client
    async def scheduled():
        async with get_client() as client:
            runs = await client.read_flow_runs(limit=200)
            return sum(run.auto_scheduled for run in runs)
    deadline = time.monotonic() + 90
    while not (found := asyncio.run(scheduled())) and time.monotonic() < deadline:
        time.sleep(1)
    print(json.dumps({"scheduled": found}))
finally:
    stack.down()
"""


@pytest.mark.e2e
def test_with_the_pinned_releases_every_deployment_is_there_and_a_cron_is_scheduled(bench: Bench) -> None:
    deployments = bench.api("/deployments/filter", {"limit": 200})
    assert len(deployments) >= 10
    deadline = time.monotonic() + 90
    runs: list[dict[str, Any]] = []
    while not runs and time.monotonic() < deadline:
        runs = [run for run in bench.api("/flow_runs/filter", {"limit": 200}) if run["auto_scheduled"]]
        time.sleep(0.5)
    assert runs


@pytest.mark.pins
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", BOUNDS)
def test_a_release_beyond_the_bound_does_not_work_yet(name: str, tmp_path: Path) -> None:
    override = tmp_path / "override.txt"
    override.write_text(f"{BOUNDS[name]}\n")
    environment, uv = tmp_path / "venv", [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, environment], check=True, timeout=120)
    python = environment / "bin" / "python"
    install = [*uv, "pip", "install", "--quiet", "--python", python, "--override", override, f"{PROJECT_DIR}[local]"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        pytest.skip(f"{BOUNDS[name]} cannot be installed: {done.stderr[-500:]}")
    shown = subprocess.check_output([*uv, "pip", "freeze", "--python", python], text=True, timeout=60)
    version = next(line for line in shown.splitlines() if line.lower().startswith(f"{name}=="))
    clean = ("PREFECT_", "GAPLESS_", "GOOGLE_", "STORAGE_EMULATOR", "BIGQUERY_EMULATOR")
    trial = subprocess.run(
        [python, "-c", TRIAL, tmp_path / "state"],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if not key.startswith(clean)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    last = (trial.stdout.strip().splitlines() or [""])[-1]
    works = trial.returncode == 0 and last.startswith("{") and json.loads(last)["scheduled"] > 0
    print(f"\n{version}: {'works' if works else 'does not work: ' + (trial.stderr.strip().splitlines() or [last])[-1]}")
    assert not works, f"{version} works: raise the bound in pyproject.toml, then make lock and make test e2e faults"
