"""The `gapless` command against a real server and worker: starts, follows, cancels, repairs, and ends as it should."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from flows.settings import code_version

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420, func_only=True)]
SOURCE = "bdl_box_scores"


def gapless(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments],
        env=bench.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def asked_json(bench: Bench, *arguments: str) -> Any:
    done = gapless(bench, *arguments, "--json")
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def log_at_the_server(bench: Bench, run_id: str, last: str) -> str:
    """Everything that a run logged, as its page shows it; complete when ``last`` is there."""
    wanted = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
    deadline = time.monotonic() + 60
    while last not in (log := "\n".join(line["message"] for line in bench.api("/logs/filter", wanted))):
        assert time.monotonic() < deadline, log
        time.sleep(0.3)
    return log


def on_a_terminal(bench: Bench, *arguments: str) -> tuple[int, str]:
    """Exit code of ``gapless`` on a terminal of 200 columns, and everything that it wrote there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 200))
    with subprocess.Popen(
        [sys.executable, "-m", "flows", *arguments],
        env=bench.env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = b""
        # EIO is how Linux says that nobody writes to the terminal any more.
        with contextlib.suppress(OSError):
            while data := os.read(ours, 65536):
                shown += data
        os.close(ours)
        return process.wait(timeout=60), shown.decode(errors="replace")


def subjects(bench: Bench) -> list[str]:
    """Of every mail in the inbox."""
    with urllib.request.urlopen(f"{bench.stack.urls()['inbox']}/api/messages", timeout=30) as answer:
        return [message["subject"] for message in json.load(answer)]


def wait_for_first_call(bench: Bench) -> None:
    deadline = time.monotonic() + 60
    while not bench.calls()["by_date"]:
        assert time.monotonic() < deadline, "no call within a minute"
        time.sleep(0.1)


def test_n14_n31_run_follows_to_the_end_in_plain_lines_and_the_end_date_is_included(bench: Bench) -> None:
    done = gapless(bench, "run", SOURCE, "2024-11-01", "2024-11-02", "--reason", "first try")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2024-11-01 to 2024-11-02 inclusive" in done.stdout
    assert "2/2 dates" in done.stdout
    assert "COMPLETE" in done.stdout
    assert "\r" not in done.stdout + done.stderr
    assert sorted(bench.verdicts("2024-11-01", "2024-11-02")) == ["2024-11-01", "2024-11-02"]
    (newest,) = asked_json(bench, "runs", "--last", "1")
    assert "first try" in newest["reason"]
    assert newest["mail"].startswith("sent")
    assert f"record: gapless record {newest['backfill_id']}" in done.stdout
    record = gapless(bench, "record", newest["backfill_id"])
    assert record.returncode == 0
    assert "2024-11-01" in record.stdout
    started = re.search(r"as flow run \S+ \(([0-9a-f-]{36})\)", done.stdout)
    assert started
    log = log_at_the_server(bench, started[1], "verdict  COMPLETE")
    assert re.search(rf"backfill {newest['backfill_id']} closed: COMPLETE: 2 partitions: .*; mail sent", log), log
    assert "SendResult(" not in log


def test_on_a_terminal_a_bar_shows_the_pace_of_this_run_alone_and_ends_at_100_percent(bench: Bench) -> None:
    assert bench.run("2025-02-03", "2025-02-06").message.startswith("COMPLETE")
    # One date at a time, 2 s each: 30 a minute at most, however fast the machine is.
    bench.trouble({"kind": "slow", "delay_s": 2})
    code, shown = on_a_terminal(
        bench, "run", SOURCE, "2025-02-03", "2025-02-08", "--reason", "test", "--max-concurrency", "1"
    )
    assert code == 0, shown
    bars = [line for line in re.split(r"[\r\n]+", shown) if "%|" in line]
    paces = {int(pace.replace(",", "")) for line in bars for pace in re.findall(r"([\d,]+) a minute", line)}
    assert paces, shown
    assert max(paces) <= 30, sorted(paces)
    assert any("(4 before)" in line for line in bars), bars
    assert "100%|" in bars[-1], bars
    assert "Completed: 6/6 dates" in bars[-1], bars


def test_wrong_usage_of_the_installed_command_is_exit_code_2_with_what_there_is_instead(bench: Bench) -> None:
    for command, said in (
        (f"gapless run {SOURCE} 2025-03-09 2025-03-01 --reason test", ["2025-03-09 is after END 2025-03-01", "swap"]),
        ("gapless run nosuch 2025-03-01 2025-03-02 --reason test", [SOURCE]),
        ("gapless status nosuch", [SOURCE]),
        (
            f"gapless run {SOURCE} 2025-03-01 2025-03-02 --reason test -p nosuch=1",
            ["nosuch", "max_calls", "wait_for_lease_s"],
        ),
    ):
        done = bench.shell(command)
        assert done.returncode == 2, (command, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        told = " ".join(re.sub(r"[^\w\s.,:-]", " ", done.stdout + done.stderr).split())
        for word in said:
            assert word in told, (command, told)
    assert bench.calls()["total"] == 0


def test_h23_trap_26_preflight_is_ready_on_a_provisioned_stack_and_knows_the_deployed_version(bench: Bench) -> None:
    found = asked_json(bench, "preflight", SOURCE, "--canary")
    results = {one["name"]: one["result"] for one in found["checks"]}
    assert found["passed"], found
    assert {results[name] for name in ("prefect api", "deployment", "work pool", "source")} == {"pass"}
    (version,) = [one["detail"] for one in found["checks"] if one["name"] == "code version"]
    assert "without a version" not in version
    assert code_version().partition("+")[0] in version


def test_h19_retry_failed_runs_exactly_the_failed_dates_of_one_run(bench: Bench) -> None:
    bench.trouble({"kind": "500", "dates": ["2024-11-05", "2024-11-08"]})
    first = asked_json(bench, "run", SOURCE, "2024-11-04", "2024-11-08", "--reason", "test")
    assert first["exit_code"] == 1
    bench.trouble()
    bench.forget_calls()
    again = asked_json(bench, "retry-failed", SOURCE, "--run", first["backfill_id"])
    assert (again["exit_code"], again["state"]) == (0, "COMPLETED"), again
    assert bench.calls()["by_date"] == {"2024-11-05": 1, "2024-11-08": 1}
    nothing = gapless(bench, "retry-failed", SOURCE, "--run", first["backfill_id"])
    assert (nothing.returncode, "nothing to do" in nothing.stdout) == (0, True)


def test_v19_the_audit_deployment_finds_deficits_and_repair_runs_only_those_without_a_needless_call(
    bench: Bench,
) -> None:
    assert gapless(bench, "run", SOURCE, "2024-12-01", "2024-12-03", "--reason", "test").returncode == 0
    _sql("DELETE FROM {nba_bdl_player_stats} WHERE game_date = DATE '2024-12-02'")
    audited = bench.wait(bench.start_deployment("audit/audit", sources=[SOURCE], first_date="2024-12-01"))
    assert audited.state_type == "FAILED"
    assert "1 short" in audited.message
    assert "never_attempted" in audited.message, "two kinds of deficits, and one mail for both"
    assert [subject for subject in subjects(bench) if "Audit" in subject] == [
        f"[gapless] ERROR {SOURCE}: AuditDeficits"
    ]
    findings = asked_json(bench, "repair", SOURCE, "2024-12-01", "2024-12-03", "--dry-run")["deficits"]
    assert [(one["deficit"], one["ranges"]) for one in findings] == [("short", "2024-12-02")]
    bench.forget_calls()
    repaired = asked_json(bench, "repair", SOURCE, "2024-12-01", "2024-12-03")
    assert repaired["exit_code"] == 0, repaired
    assert repaired["parameters"]["dates"] == "2024-12-02"
    assert bench.calls()["total"] == 0
    assert gapless(bench, "verify", SOURCE, "2024-12-01", "2024-12-03").returncode == 0


def test_d08_trap_45_ctrl_c_cancels_the_run_and_its_children_and_keeps_what_is_done(bench: Bench) -> None:
    bench.forget_calls()
    bench.trouble({"kind": "slow", "delay_s": 4})
    with subprocess.Popen(
        [sys.executable, "-m", "flows", "run", SOURCE, "2023-11-01", "2023-11-20", "--reason", "test"],
        env=bench.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        said = []
        for line in child.stdout:
            said.append(line)
            if line.startswith("Running"):
                break
        wait_for_first_call(bench)
        child.send_signal(signal.SIGINT)
        rest, err = child.communicate(timeout=200)
    assert child.returncode == 130, "".join(said) + rest + err
    assert "Traceback" not in err
    assert "Cancelled" in rest
    bench.trouble()
    (run,) = asked_json(bench, "runs", "--last", "1")
    unfinished = bench.api(
        "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "CANCELLING", "PENDING"]}}}}
    )
    assert [one["name"] for one in unfinished if SOURCE in one["name"]] == []
    assert "ABORTED(user)" in str(run["verdict"])
    assert gapless(bench, "run", SOURCE, "2023-11-01", "2023-11-20", "--reason", "test").returncode == 0


def test_any_verb_runs_as_a_deployment_and_fails_when_its_exit_code_is_not_0(bench: Bench) -> None:
    good = bench.wait(bench.start_deployment("operate/gapless", command="runs --last 1"))
    assert good.state_type == "COMPLETED", good.message
    bad = bench.wait(bench.start_deployment("operate/gapless", command="gapless status nosuch"))
    assert (bad.state_type, "exit code 2" in bad.message) == ("FAILED", True)


def _sql(statement: str) -> None:
    from flows.wiring import build_services

    services = build_services()
    names = {
        table.name: services.warehouse.name_of(table.name) for table in services.source_kit(SOURCE).processor.tables
    }
    services.warehouse.query(statement.format(**names))
