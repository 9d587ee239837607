"""A backfill of every source holds what it promises under faults, in memory, against its sample."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from run_mutants import ROOT

from deployments.local.simulate_samples import SAMPLES, samples

SOURCES = list(SAMPLES)


def simulated(sources: list[str], *options: str) -> None:
    command = [sys.executable, "-m", "deployments.local.simulate_samples", *sources, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=560)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert all(f"| {source} | " in done.stdout for source in sources), done.stdout


@pytest.mark.faults
def test_nothing_breaks() -> None:
    simulated(SOURCES, "--total", "300")


@pytest.mark.faults
def test_nothing_breaks_where_parents_and_windows_die_one_by_one() -> None:
    simulated(["bdl_games", "coffee_shops", "hemnet_details", "civic_band"], "--distributed", "--schedules", "12")


@pytest.mark.faults
def test_the_same_seeds_give_the_same_traces_in_every_process_and_however_many_there_are() -> None:
    """Two workers are begun for 100 schedules, and the order of sets is another in each of the two commands."""
    found = []
    with samples() as environment:
        for processes, hashes in (("1", "0"), ("2", "5")):
            options = ("--faults", "--json", "--schedules", "100", "--processes", processes)
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
    assert one["schedules"] == 100
    assert one == two
