"""A backfill of every source holds what it promises under faults, in memory, against its sample."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from run_mutants import ROOT

from deployments.local.simulate_samples import SAMPLES


@pytest.mark.faults
@pytest.mark.parametrize("source", SAMPLES)
def test_nothing_breaks(source: str) -> None:
    command = [sys.executable, "-m", "deployments.local.simulate_samples", source, "--schedules", "12"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=280
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert f"| {source} | 12 |" in done.stdout
