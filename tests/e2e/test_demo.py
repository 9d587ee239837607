"""``make run`` as a user sees it: what it prints, twice, and that nothing of it is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.local.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420, func_only=True)]


def command(state_dir: Path) -> list[str]:
    """What ``make run`` runs, over five dates."""
    return [sys.executable, "-m", "deployments.local.demo", "--state-dir", str(state_dir), "--end-date", "2025-01-05"]


def environment() -> dict[str, str]:
    """A user's shell: nothing that names another stack."""
    ours = ("PREFECT_", "GAPLESS_", "STORAGE_EMULATOR", "BIGQUERY_EMULATOR", "GOOGLE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def alive(stack: Stack) -> list[str]:
    return [child.name for child in stack.children() if child.alive()]


def test_the_second_make_run_says_what_is_done_and_fetches_nothing(tmp_path: Path) -> None:
    first = subprocess.run(
        command(tmp_path), env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert first.returncode == 0, first.stdout + first.stderr
    for said in (
        "2025-01-01 to 2025-01-05 inclusive, America/New_York, 5 days",
        "5 to fetch",
        "prefect deployment run backfill/bdl_box_scores",
        "COMPLETE: 5 partitions",
        "in gapless.nba_bdl_games",
        "in gapless.nba_bdl_player_stats",
        "Calls     5 to the upstream",
        "[backfill][OK 5/5] bdl_box_scores",
        "/runs/flow-run/",
        "/v2/artifacts/artifact/",
        (tmp_path / "sign-in.html").as_uri(),
    ):
        assert said in first.stdout, first.stdout
    second = subprocess.run(
        command(tmp_path), env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert second.returncode == 0, second.stdout + second.stderr
    assert "0 to fetch" in second.stdout
    assert "5 done already" in second.stdout
    assert "Calls     0 to the upstream" in second.stdout
    assert alive(Stack(tmp_path)) == []


def test_ctrl_c_stops_every_child_and_ends_with_130(tmp_path: Path) -> None:
    running = subprocess.Popen(
        command(tmp_path),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    stack = Stack(tmp_path)
    deadline = time.monotonic() + 120
    while "prefect" not in alive(stack) and time.monotonic() < deadline:
        time.sleep(0.2)
    children = [child.identity for child in stack.children()]
    assert children
    os.killpg(running.pid, signal.SIGINT)
    output, _ = running.communicate(timeout=120)
    assert running.returncode == 130, output
    assert "everything this command started is stopped" in output
    assert not [child for child in children if child.alive()]


def test_a_worker_that_ends_meanwhile_ends_the_command_with_its_log(tmp_path: Path) -> None:
    running = subprocess.Popen(
        command(tmp_path), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert running.stdout is not None
    said = [next(line for line in running.stdout if "prefect deployment run" in line)]
    (worker,) = [child for child in Stack(tmp_path).children() if child.name == "worker"]
    os.kill(worker.identity.pid, signal.SIGKILL)
    said += running.communicate(timeout=120)[0]
    assert running.returncode == 1, said
    assert f"error: worker ended. Log {worker.log_path}: " in "".join(said)
    assert alive(Stack(tmp_path)) == []
