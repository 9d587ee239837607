"""A backfill of every source holds what it promises under faults, in memory, against its sample."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from run_mutants import ROOT

from deployments.local.simulate_samples import SAMPLES, samples


@pytest.mark.faults
@pytest.mark.parametrize("source", SAMPLES)
def test_nothing_breaks(source: str) -> None:
    command = [sys.executable, "-m", "deployments.local.simulate_samples", source, "--schedules", "12"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert f"| {source} | 12 |" in done.stdout


@pytest.mark.faults
def test_the_same_seeds_give_the_same_traces_in_every_process_and_however_many_there_are() -> None:
    """Two workers are begun for 200 schedules, and the order of sets is another in each of the two commands."""
    found = []
    with samples() as environment:
        for processes, hashes in (("1", "0"), ("2", "5")):
            options = ("--faults", "--json", "--processes", processes)
            command = [sys.executable, "-m", "gapless", "simulate", "bdl_teams", *SAMPLES["bdl_teams"], *options]
            done = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, **environment, "PYTHONHASHSEED": hashes},
                capture_output=True,
                text=True,
                check=False,
                timeout=280,
            )
            assert done.returncode == 0, f"{done.stdout}{done.stderr}"
            found.append(json.loads(done.stdout))
    one, two = found
    assert one["schedules"] == 200
    assert one == two
