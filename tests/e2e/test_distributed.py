"""engine=distributed on a server on Postgres with three process workers: the same tables as inline, and one mail."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900, func_only=True)]
RANGE = ("2024-12-01", "2025-01-09")
DATES = 40
# GAPLESS_DISTRIBUTED_WINDOW_PARTITIONS of the fleet.
WINDOW = 14
TABLES = ("nba_bdl_games", "nba_bdl_player_stats")


def tables(bench: Bench) -> dict[str, tuple[int, str]]:
    return {table: bench.table_hash(table, *RANGE) for table in TABLES}


def children_of(bench: Bench, run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bench.api(
        "/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}}
    )
    return [child for child in found if child["deployment_id"]]


def test_distributed_gives_the_tables_of_inline_with_one_mail_and_keeps_the_rate(fleet: Bench) -> None:
    fleet.trouble()
    fleet.forget(*RANGE)
    inline = fleet.run(*RANGE, engine="auto")
    assert inline.message.startswith("COMPLETE"), inline.message
    assert children_of(fleet, inline.id) == [], "40 dates are minutes of one process"
    (mail,) = fleet.mails(inline.backfill_id)
    assert "engine=auto: inline, because one process needs" in " ".join(mail["text"].split())
    wanted = tables(fleet)
    assert all(count for count, _ in wanted.values())

    fleet.forget(*RANGE)
    fleet.forget_calls()
    spread = fleet.wait(fleet.start(*RANGE, engine="distributed", max_concurrency=6), timeout_s=600)
    assert spread.message.startswith("COMPLETE"), spread.message
    assert tables(fleet) == wanted
    (mail,) = fleet.mails(spread.backfill_id)
    assert f"[OK {DATES}/{DATES}]" in mail["subject"]
    assert re.search(rf"calls\s+{DATES}\b", mail["text"]), "calls of the workers are in the mail"

    windows = children_of(fleet, spread.id)
    assert len(windows) == -(-DATES // WINDOW)
    assert {window["state_type"] for window in windows} == {"COMPLETED"}
    assert len({window["infrastructure_pid"] for window in windows}) == len(windows), "every window in its own process"
    asked = fleet.calls()
    assert asked["total"] == DATES
    assert asked["peak_concurrency"] <= 6
    at = sorted(dt.datetime.fromisoformat(request["at"]).timestamp() for request in asked["requests"])
    for first, last in itertools.combinations(range(DATES), 2):
        # 600 a minute: 16 may come at once and 9.5 a second after them; the 6 in flight may have been held up.
        assert last - first < 16 + 9.5 * (at[last] - at[first]) + 6, at


def test_workers_are_counted_where_windows_would_run(fleet: Bench) -> None:
    asked = (
        "import asyncio; from flows.run.prefect_orchestrator import PrefectOrchestrator; "
        "[print(asyncio.run(PrefectOrchestrator().workers(f'dates/{one}'))) for one in ('bdl_box_scores', 'nothing')]"
    )
    assert fleet.shell(f'python -c "{asked}"').stdout.split() == ["3", "0"]


def test_one_command_splits_a_range_over_parallel_runs_and_names_them(fleet: Bench) -> None:
    days = ("2023-12-01", "2023-12-18")
    fleet.trouble()
    fleet.forget_calls()
    done = subprocess.run(
        [sys.executable, "-m", "flows", "run", "bdl_box_scores", *days, "--parallel", "3", "--reason", "test"],
        env=fleet.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run_id,) = re.findall(
        r"^started bf-\w+ as flow run .* \(([0-9a-f-]{36})\) http\S+/runs/flow-run/", done.stdout, re.M
    )
    shown = re.findall(r"^window .*\(6\): flow run ([0-9a-f-]{36}) http\S+", done.stdout, re.M)
    windows = children_of(fleet, run_id)
    assert sorted(shown) == sorted(window["id"] for window in windows)
    assert len(windows) == 3
    assert len({window["infrastructure_pid"] for window in windows}) == 3, "every part in its own process"
    assert fleet.calls()["total"] == 18
    (mail,) = fleet.mails(f"bf-{run_id.replace('-', '')[:12]}")
    assert "[OK 18/18]" in mail["subject"]


def test_a_401_ends_all_windows_with_one_mail_that_a_human_is_needed_and_one_summary(fleet: Bench) -> None:
    fleet.trouble({"kind": "401"})
    fleet.forget_calls()
    try:
        run_id = fleet.start("2025-04-01", "2025-04-30", engine="distributed", parallel=6, max_concurrency=3)
        ended = fleet.wait(run_id, timeout_s=600)
    finally:
        fleet.trouble()
    assert ended.message.startswith("ABORTED(critical)"), ended.message
    subjects = [mail["subject"] for mail in fleet.mails(ended.backfill_id)]
    assert sorted("NEEDS A HUMAN" in subject for subject in subjects) == [False, True], subjects
    assert sum("STOPPED" in subject for subject in subjects) == 1
    # One call of each of the three windows at work, and none of the three that had not begun.
    assert fleet.calls()["total"] <= 3
    assert len(children_of(fleet, run_id)) <= 3
    assert not {window["state_type"] for window in children_of(fleet, run_id)} - {"FAILED", "CANCELLED"}


def test_windows_wait_together_for_a_source_that_is_down_and_one_of_them_tries_one_date_at_a_time(fleet: Bench) -> None:
    from flows.child_runs.messages import Orders, read_orders
    from flows.run.gate import SOURCE_DOWN
    from flows.wiring import build_services

    days, store = ("2019-11-01", "2020-01-23"), build_services().store
    fleet.trouble({"kind": "500"})
    fleet.forget_calls()
    waits = {"GAPLESS_BREAKER_PROBES": "8", "GAPLESS_BREAKER_PROBE_PAUSE_S": "2"}
    run_id = fleet.start(*days, engine="distributed", max_concurrency=3, canary=-1, env=waits)
    backfill_id = f"bf-{run_id.replace('-', '')[:12]}"

    def until_the_third_probe() -> Orders:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            orders, _ = read_orders(store, backfill_id)
            if orders.probe >= 3 and orders.prober:
                return orders
            time.sleep(0.2)
        raise AssertionError(f"no third probe; {fleet.verdicts(*days)}")

    try:
        orders = until_the_third_probe()
        standing = fleet.calls()["total"]
    finally:
        fleet.trouble()
    assert orders.closed_by == {SOURCE_DOWN}
    ended = fleet.wait(run_id, timeout_s=600)
    (mail,) = fleet.mails(backfill_id)
    text = " ".join(mail["text"].split())
    assert not ended.message.startswith("ABORTED"), text
    assert "red flag, same error: the last 10 dates failed for one cause" in text
    assert "the source answers again; dates begin again" in text
    verdicts = fleet.verdicts(*days)
    failed = sum(verdict == "failed_retryable" for verdict in verdicts.values())
    assert len(verdicts) == 84
    assert set(verdicts.values()) <= {"failed_retryable", "verified", "empty_ok"}
    # Three tries each; two tries of the dates that were begun (two a window) and waited for their third.
    assert standing <= 3 * failed + 2 * 6
    # Three in a row of each of the three windows until the parent was heard, six more until the next time, and the two
    # dates under way.
    assert failed <= 3 * (3 + 6 + 2), "some dates of the first three windows, and all of the others, waited"
    windows = children_of(fleet, run_id)
    assert len(windows) == 6, [(one["name"], one["state"]["name"], one["state"]["message"]) for one in windows]


def test_a_window_that_is_killed_or_whose_flow_run_is_deleted_is_begun_again_with_what_is_missing(fleet: Bench) -> None:
    days = ("2025-05-01", "2025-05-20")
    fleet.trouble({"kind": "slow", "delay_s": 1})
    fleet.forget_calls()
    run_id = fleet.start(*days, engine="distributed", parallel=2, max_concurrency=2, canary=-1)
    deadline = time.monotonic() + 180
    while fleet.calls()["total"] < 4 or len(at_work(fleet, run_id)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    killed, deleted = at_work(fleet, run_id)
    os.kill(pid_of(killed), signal.SIGKILL)
    fleet.api(f"/flow_runs/{deleted['id']}", method="DELETE")
    fleet.trouble()
    ended = fleet.wait(run_id, timeout_s=400)
    assert ended.message.startswith("COMPLETE"), ended.message
    again = [window for window in children_of(fleet, run_id) if window["id"] not in (killed["id"], deleted["id"])]
    assert 1 <= len(again) <= 2, "the process of the deleted one may have come to its last date before"
    (mail,) = fleet.mails(ended.backfill_id)
    assert "[OK 20/20]" in mail["subject"]


@pytest.fixture
def without_watchdog(fleet: Bench) -> Iterator[None]:
    """What a lease of 20 s takes for dead is only frozen."""
    where = f"/deployments/{fleet.api('/deployments/name/watchdog/watchdog')['id']}"
    fleet.api(f"{where}/pause_deployment", {})
    yield
    fleet.api(f"{where}/resume_deployment", {})


@pytest.mark.usefixtures("without_watchdog")
def test_parent_and_window_frozen_for_longer_than_a_lease_lives_lose_and_double_nothing(fleet: Bench) -> None:
    days = ("2025-06-01", "2025-07-30")
    fleet.trouble({"kind": "slow", "delay_s": 1})
    fleet.forget_calls()
    run_id = fleet.start(*days, engine="distributed", parallel=2, max_concurrency=2, canary=-1)
    until_calls(fleet, 4)
    parent, windows = fleet.api(f"/flow_runs/{run_id}"), at_work(fleet, run_id)

    with frozen(parent):
        # 20 s of the lease, and a heartbeat of the windows; the heartbeat before may have just been written.
        time.sleep(20 + 2 + 5)
        standing = fleet.calls()["total"]
        time.sleep(5)
        assert fleet.calls()["total"] == standing, "nothing begins while the parent is silent"
    assert [window["id"] for window in at_work(fleet, run_id)] == [window["id"] for window in windows]
    until_calls(fleet, standing + 4)

    with frozen(windows[0]):
        deadline = time.monotonic() + 120
        while len(children_of(fleet, run_id)) == 2:
            assert time.monotonic() < deadline, "nothing is heard of it for longer than a lease lives"
            time.sleep(0.5)
        until_calls(fleet, fleet.calls()["total"] + 2)
    fleet.trouble()
    ended = fleet.wait(run_id, timeout_s=400)
    assert ended.message.startswith("COMPLETE"), ended.message
    (mail,) = fleet.mails(ended.backfill_id)
    assert "[OK 60/60]" in mail["subject"]
    assert len(children_of(fleet, run_id)) == 3
    assert fleet.calls()["total"] <= 60 + 1, "once each, but for what was under way in the frozen window"


def test_when_the_parent_is_killed_its_windows_end_and_the_next_run_does_the_rest(fleet: Bench) -> None:
    days = ("2025-08-01", "2025-08-30")
    fleet.trouble({"kind": "slow", "delay_s": 1})
    fleet.forget_calls()
    run_id = fleet.start(*days, engine="distributed", parallel=2, max_concurrency=2, canary=-1)
    until_calls(fleet, 4)
    os.kill(pid_of(fleet.api(f"/flow_runs/{run_id}")), signal.SIGKILL)
    assert fleet.wait(run_id).state_type == "CRASHED"
    deadline = time.monotonic() + 120
    while at_work(fleet, run_id):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    asked = fleet.calls()["total"]
    assert asked < 30
    fleet.trouble()
    again = fleet.run(*days)
    assert again.message.startswith("COMPLETE"), again.message
    assert fleet.calls()["total"] <= 30 + 2, "what was under way in the two windows may be asked for again"
    for backfill_id in (f"bf-{run_id.replace('-', '')[:12]}", again.backfill_id):
        assert len(fleet.mails(backfill_id)) == 1


def at_work(bench: Bench, run_id: str) -> list[dict[str, Any]]:
    return [window for window in children_of(bench, run_id) if window["state_type"] == "RUNNING"]


def pid_of(flow_run: dict[str, Any]) -> int:
    return int(flow_run["infrastructure_pid"].rpartition(":")[2])


@contextmanager
def frozen(flow_run: dict[str, Any]) -> Iterator[None]:
    os.kill(pid_of(flow_run), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid_of(flow_run), signal.SIGCONT)


def until_calls(bench: Bench, calls: int) -> None:
    deadline = time.monotonic() + 180
    while bench.calls()["total"] < calls:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_cancel_of_a_distributed_run_stops_its_windows(fleet: Bench) -> None:
    fleet.trouble({"kind": "slow", "delay_s": 3})
    fleet.forget_calls()
    run_id = fleet.start("2025-02-01", "2025-02-28", engine="distributed", max_concurrency=2)
    deadline = time.monotonic() + 180
    while not fleet.calls()["total"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    fleet.api(f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}, "force": True})
    assert fleet.wait(run_id).state_type == "CANCELLED"
    while {window["state_type"] for window in children_of(fleet, run_id)} - {"CANCELLED", "FAILED", "CRASHED"}:
        assert time.monotonic() < deadline + 180
        time.sleep(0.3)
    fleet.trouble()
    assert fleet.calls()["total"] < 28
    asked = fleet.calls()["total"]
    (mail,) = fleet.mails(f"bf-{run_id.replace('-', '')[:12]}")
    assert re.search(r"\[CANCELLED, \d+ of \d+ done\]", mail["subject"])
    again = fleet.run("2025-02-01", "2025-02-28")
    assert again.message.startswith("COMPLETE"), again.message
    assert fleet.calls()["total"] - asked <= 28, "the lease is free, and what was landed is not asked for again"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_that_is_told_to_end_stays_until_its_flow_run_is_over(fleet: Bench) -> None:
    days = ("2025-09-01", "2025-09-12")
    fleet.trouble({"kind": "slow", "delay_s": 1})
    fleet.forget_calls()
    run_id = fleet.start(*days, max_concurrency=1, canary=-1)
    until_calls(fleet, 2)
    # Its parent is the fork server, and that one's the worker.
    worker = parent_of(parent_of(pid_of(fleet.api(f"/flow_runs/{run_id}"))))
    assert "deployments.warm_worker" in Path(f"/proc/{worker}/cmdline").read_text()
    os.kill(worker, signal.SIGTERM)
    ended = fleet.wait(run_id)
    fleet.trouble()
    assert ended.message.startswith("COMPLETE"), ended.message
    deadline = time.monotonic() + 60
    while Path(f"/proc/{worker}/stat").exists() and state_of(worker)[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.3)


def parent_of(pid: int) -> int:
    return int(state_of(pid)[1])


def state_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
