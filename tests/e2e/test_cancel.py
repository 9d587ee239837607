"""Cancel, pause, crash: whatever ends a run, its children end, the ledger is clean, one mail leaves, no lease stays."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deployments.local.prefect_children import start_server
from deployments.local.process_id import TOKEN_VARIABLE
from deployments.local.processes import wait_ready
from deployments.local.stack_state import load_state, save_state

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420, func_only=True)]
SOURCE = "bdl_box_scores"
RANGE = ("2025-03-01", "2025-03-12")
DATES = 12
PATIENCE_S = 180.0
# Verdicts that a stopped run may leave: what was not begun has none.
CLEAN = {"landed", "verified", "empty_ok"}


def until(true: Callable[[], Any], what: str) -> Any:
    """Polls until ``true`` gives something."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")


def lease() -> Any:
    from flows.coordination.lease import read_lease
    from flows.wiring import build_services

    return read_lease(build_services().store, SOURCE)


def children(bench: Bench, run_id: str) -> Counter[str]:
    found = bench.api("/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}})
    return Counter(child["state_type"] for child in found)


@pytest.fixture
def at_work(bench: Bench) -> Iterator[str]:
    """A run in the middle of 12 slow dates: some are landed, some are in flight, most are not begun."""
    bench.forget(*RANGE)
    bench.trouble({"kind": "slow", "delay_s": 2})
    run_id = bench.start(*RANGE, max_concurrency=4)
    until(lambda: "landed" in bench.verdicts(*RANGE).values(), "a date is landed")
    yield run_id
    bench.trouble()
    with contextlib.suppress(Exception):
        bench.cli("flow-run", "cancel", run_id)


def set_state(bench: Bench, run_id: str, kind: str, name: str, **details: Any) -> None:
    """What the buttons of the UI send."""
    state = {"type": kind, "name": name, "state_details": details}
    assert bench.api(f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})["status"] == "ACCEPT"


def assert_ended_cleanly(bench: Bench, run_id: str, outcome: str) -> None:
    backfill_id = f"bf-{run_id.replace('-', '')[:12]}"
    until(lambda: bench.mails(backfill_id), "the mail")
    until(lambda: lease().state == "released", "the lease is free")
    until(lambda: not set(children(bench, run_id)) & {"RUNNING", "PENDING", "CANCELLING"}, "the children ended")
    asked = bench.calls()["total"]
    assert asked < DATES
    found = bench.verdicts(*RANGE)
    assert len(found) == DATES, "every planned date has a verdict"
    assert set(found.values()) <= CLEAN | {"planned"}
    (mail,) = bench.mails(backfill_id)
    assert re.search(rf"\[{outcome}, \d+ of {DATES} done\]", mail["subject"])
    bench.trouble()
    again = bench.run(*RANGE)
    assert again.message.startswith("COMPLETE"), again.message
    assert len(bench.mails(backfill_id)) == 1
    # Dates in flight at the end may be asked for once more; landed ones are not.
    assert bench.calls()["total"] <= DATES + asked
    assert set(bench.verdicts(*RANGE).values()) <= {"verified", "empty_ok"}


def test_cancel_from_the_ui_stops_the_children_sends_the_mail_and_frees_the_lease(bench: Bench, at_work: str) -> None:
    set_state(bench, at_work, "CANCELLING", "Cancelling")
    assert bench.wait(at_work).state_type == "CANCELLED"
    assert_ended_cleanly(bench, at_work, "CANCELLED")


def test_after_kill_9_of_the_flow_the_crash_hook_sends_the_mail_from_the_journal(bench: Bench, at_work: str) -> None:
    os.kill(lease().pid, signal.SIGKILL)
    assert bench.wait(at_work).state_type == "CRASHED"
    assert_ended_cleanly(bench, at_work, "STOPPED")


def test_after_kill_9_of_worker_and_flow_the_watchdog_ends_the_run_and_its_children(bench: Bench, at_work: str) -> None:
    pid = lease().pid
    worker = next(child for child in bench.stack.children() if child.name == "worker")
    os.kill(worker.identity.pid, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    try:
        until(lambda: not worker.alive(), "the worker is gone")
        assert bench.api(f"/flow_runs/{at_work}")["state_type"] == "RUNNING", "nobody is left who could say it"
        until(lambda: lease().expires_at < dt.datetime.now(dt.UTC), "the lease expires")
    finally:
        bench.stack.start_worker("gapless")
    assert bench.wait(bench.start_deployment("watchdog/watchdog")).state_type == "COMPLETED"
    assert bench.wait(at_work).state_type == "CRASHED"
    assert_ended_cleanly(bench, at_work, "STOPPED")


def test_a_suspended_run_lets_go_of_everything_and_resumes_where_it_was_with_one_mail_in_all(
    bench: Bench, at_work: str
) -> None:
    backfill_id = f"bf-{at_work.replace('-', '')[:12]}"
    set_state(bench, at_work, "PAUSED", "Suspended", pause_timeout="2031-01-01T00:00:00Z", pause_reschedule=True)
    until(lambda: lease().state == "paused", "the run has let go")
    until(lambda: is_gone(lease().pid), "its process is gone")
    assert bench.wait(bench.start_deployment("watchdog/watchdog")).state_type == "COMPLETED"
    assert lease().state == "paused"
    assert bench.mails(backfill_id) == []
    assert len(bench.verdicts(*RANGE)) == DATES
    assert set(bench.verdicts(*RANGE).values()) <= CLEAN | {"paused"}

    bench.trouble()
    bench.api(f"/flow_runs/{at_work}/resume", {})
    ended = bench.wait(at_work)
    assert ended.message.startswith("COMPLETE"), ended.message
    (mail,) = bench.mails(backfill_id)
    assert f"[OK {DATES}/{DATES}]" in mail["subject"]
    assert lease().state == "released"


def test_a_run_cancelled_while_suspended_is_mailed_by_the_watchdog_that_the_cancel_itself_starts(
    bench: Bench, at_work: str
) -> None:
    set_state(bench, at_work, "PAUSED", "Suspended", pause_timeout="2031-01-01T00:00:00Z", pause_reschedule=True)
    until(lambda: lease().state == "paused", "the run has let go")
    until(lambda: is_gone(lease().pid), "its process is gone")
    began = dt.datetime.now(dt.UTC)
    cancelled = bench.cli("flow-run", "cancel", at_work)
    assert cancelled.returncode == 0, cancelled.stdout + cancelled.stderr
    assert bench.wait(at_work).state_type == "CANCELLED"
    assert_ended_cleanly(bench, at_work, "CANCELLED")
    runs = bench.api("/flow_runs/filter", {"flows": {"name": {"any_": ["watchdog"]}}})
    by_automation = [run["created"] for run in runs if (run["created_by"] or {}).get("type") == "AUTOMATION"]
    assert any(dt.datetime.fromisoformat(created) > began for created in by_automation), "not only by its schedule"


def test_a_server_restart_in_mid_run_does_not_lose_the_run(bench: Bench, at_work: str) -> None:
    server = next(child for child in bench.stack.children() if child.name == "prefect")
    os.kill(server.identity.pid, signal.SIGKILL)
    until(lambda: not server.alive(), "the server is gone")
    state_file = bench.stack.state_dir / "stack.json"
    state = load_state(state_file)
    restarted = start_server(
        bench.stack.state_dir / "prefect",
        server.log_path,
        port=server.ports["http"],
        auth=state.auth,
        environment={TOKEN_VARIABLE: state.token},
    )
    state.remember(restarted)
    save_state(state_file, state)
    wait_ready([restarted], timeout_s=120)
    bench.trouble()
    ended = bench.wait(at_work)
    assert ended.message.startswith("COMPLETE"), (ended.state_type, ended.message)
    assert len(bench.mails(ended.backfill_id)) == 1
    assert lease().state == "released"


def is_gone(pid: int) -> bool:
    """No such process, or one that its parent has not buried yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
