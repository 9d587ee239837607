"""The deployed parent flow on a real server, worker, emulators and SMTP."""

from __future__ import annotations

import datetime as dt
import re
import shlex
import urllib.error
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420, func_only=True)]
TABLES = ("nba_bdl_games", "nba_bdl_player_stats")


def retry_command(text: str) -> list[str]:
    """The first deployment command of a mail's text part, as arguments after ``prefect``."""
    joined = re.sub(r"\\\n\s*", " ", text)
    command = next(line.strip() for line in joined.splitlines() if "prefect deployment run" in line)
    return shlex.split(command.lstrip("$ "))[1:]


@pytest.mark.smoke
def test_31_dates_of_which_3_fail_give_one_mail_with_2_causes_and_a_command_that_fetches_exactly_those_3(
    bench: Bench,
) -> None:
    failing = ["2025-03-05", "2025-03-06", "2025-03-20"]
    bench.trouble(
        {"kind": "500", "dates": failing[:2]},
        {"kind": "truncated_gzip", "dates": failing[2:]},
    )
    first = bench.run("2025-03-01", "2025-03-31")
    assert (first.state_type, first.message.split(":")[0]) == ("COMPLETED", "ACCEPTABLE")
    (mail,) = bench.mails(first.backfill_id)
    text = mail["text"]
    assert "C1" in text
    assert "C2" in text
    assert "C3" not in text
    assert "2025-03-05…2025-03-06" in text
    assert "2025-03-20" in text
    shown = bench.task_runs_of_children(first.id, "scrape 2025-03", 31)
    unwell = {run["name"]: run["state_name"] for run in shown if run["state_name"] != "Completed"}
    assert unwell == {f"scrape {date}": "Failed" for date in failing}
    assert all(run["start_time"] and run["total_run_time"] > 0 and run["run_count"] for run in shown)

    bench.trouble()
    bench.forget_calls()
    again = bench.cli(*retry_command(text), "--watch", timeout_s=200)
    assert again.returncode == 0, again.stdout + again.stderr
    asked = bench.calls()
    assert asked["total"] == len(asked["by_date"])
    commands = [line for line in text.replace("\\\n", " ").splitlines() if "prefect deployment run" in line]
    if len(commands) > 1:
        for command in commands[1:]:
            bench.cli(*shlex.split(command.strip().lstrip("$ "))[1:], "--watch", timeout_s=200)
    assert sorted(bench.calls()["by_date"]) == failing
    assert bench.calls()["total"] == 3
    assert set(bench.verdicts("2025-03-01", "2025-03-31").values()) <= {"verified", "empty_ok"}

    bench.forget_calls()
    third = bench.run("2025-03-01", "2025-03-31")
    assert third.message.startswith("COMPLETE")
    assert bench.calls()["total"] == 0
    assert len(bench.mails(third.backfill_id)) == 1


def test_429_with_retry_after_is_honoured_and_neither_it_nor_an_empty_or_cut_200_costs_a_date(bench: Bench) -> None:
    empty = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"
    bench.trouble(
        {"kind": "429", "dates": ["2025-02-03", "2025-02-04"], "times_per_date": 1, "retry_after_s": 2},
        {"kind": "raw", "raw": empty, "dates": ["2025-02-05"], "times_per_date": 1},
        {"kind": "bad_json", "dates": ["2025-02-06"], "times_per_date": 1},
    )
    ended = bench.run("2025-02-01", "2025-02-06")
    assert ended.message.startswith("COMPLETE"), ended.message
    calls = bench.calls()
    assert calls["by_date"] == {f"2025-02-{day:02d}": 1 if day < 3 else 2 for day in range(1, 7)}
    asked = [call["at"] for call in calls["requests"] if call["date"] == "2025-02-03"]
    first, second = sorted(map(dt.datetime.fromisoformat, asked))
    assert second - first >= dt.timedelta(seconds=2)


def test_a_401_stops_the_source_with_one_needs_a_human_mail_and_one_summary(bench: Bench) -> None:
    bench.trouble({"kind": "401"})
    ended = bench.run("2025-04-01", "2025-04-30", max_concurrency=4)
    assert ended.state_type == "FAILED"
    assert ended.message.startswith("ABORTED(critical)")
    assert bench.calls()["total"] <= 4
    mails = bench.mails(ended.backfill_id)
    assert len(mails) == 2, [mail["subject"] for mail in mails]
    assert sum("STOPPED" in mail["subject"] for mail in mails) == 1
    assert "sample-key" not in "".join(mail["text"] + (mail["html"] or "") for mail in mails)
    # What the runbook says of a dead key: no date is blamed, all are planned, and the key comes before the range.
    assert set(bench.verdicts("2025-04-01", "2025-04-30").values()) == {"planned"}
    (summary,) = (" ".join(mail["text"].split()) for mail in mails if "HUMAN" not in mail["subject"])
    assert "[STOPPED, 0 of 30 done]" in next(mail["subject"] for mail in mails if "HUMAN" not in mail["subject"])
    assert "30 missing, not attempted." in summary
    assert "Renew or unlock the key first, then this." in summary
    assert "Check the secret bdl_api_key and what its account may read" in summary
    assert ended.message == "ABORTED(critical): 30 partitions: 30 planned"
    status = bench.status()
    said = {one["number"]: one["answer"] for one in status["answers"]}
    assert status["next_step"].startswith("renew the key; then gapless preflight bdl_box_scores --canary, and gapless ")
    assert "AuthenticationError" not in said[2]
    assert "AuthenticationError: " in said[3]
    bench.forget("2025-04-01", "2025-04-30")


def test_bad_parameters_end_before_any_effect_with_one_clear_message(bench: Bench) -> None:
    for start_date, end_date, rest, said in (
        ("2025-03-09", "2025-03-01", {}, "is after end_date"),
        ("2031-01-01", "2031-01-02", {}, "not over and settled"),
        ("2025-03-01", "2025-03-02", {"dates": "2025-05-05"}, "lies outside"),
    ):
        ended = bench.run(start_date, end_date, **rest)
        assert ended.state_type == "FAILED"
        assert said in ended.message
        (mail,) = bench.mails(ended.backfill_id)
        assert mail["subject"].startswith("[backfill][REFUSED] ")
        assert said in " ".join(mail["text"].split())
        assert "prefect deployment run" not in mail["text"], "the same again would be refused again"
    assert bench.calls()["total"] == 0


def test_parameters_outside_the_schema_are_refused_by_the_deployment(bench: Bench) -> None:
    for parameters in (
        ["max_concurrency=0"],
        ['advanced={"max_calls": -1}'],
        ["source=unknown"],
        ["start_date=yesterday"],
        ["reason=because"],
    ):
        given = {"start_date": "2025-03-01", "end_date": "2025-03-02", "reason": "test"}
        given.update(part.split("=", 1) for part in parameters)
        arguments = [part for name, value in given.items() for part in ("-p", f"{name}={value}")]
        done = bench.cli("deployment", "run", "backfill/bdl_box_scores", *arguments, "--watch")
        assert done.returncode != 0, done.stdout
    assert bench.calls()["total"] == 0


@pytest.mark.parametrize(
    ("deployment", "given", "said"),
    [
        ("watchdog/watchdog", {"hours": 3}, "provided with parameters ['hours']"),
        ("backfill/bdl_box_scores", {"reason": "test"}, "missing a required argument: 'start_date'"),
        ("backfill/bdl_box_scores", {"start_date": [], "end_date": 5, "reason": "test"}, "'5' is not a date"),
    ],
)
def test_a_run_whose_parameters_nobody_checked_ends_with_a_reason_before_any_effect(
    bench: Bench, deployment: str, given: dict[str, Any], said: str
) -> None:
    known = bench.api(f"/deployments/name/{deployment}")
    made = bench.api(
        f"/deployments/{known['id']}/create_flow_run",
        {"parameters": given, "enforce_parameter_schema": False, "state": {"type": "SCHEDULED"}},
    )
    ended = bench.wait(made["id"])
    assert (ended.state_type, said in ended.message) == ("FAILED", True), ended.message
    assert bench.calls()["total"] == 0


def test_a_parameter_that_a_flow_does_not_have_is_refused_before_its_run_begins(bench: Bench) -> None:
    known = bench.api("/deployments/name/watchdog/watchdog")
    with pytest.raises(urllib.error.HTTPError, match="409") as refused:
        bench.api(f"/deployments/{known['id']}/create_flow_run", {"parameters": {"hours": 3}})
    assert "'hours' was unexpected" in refused.value.read().decode()


def test_a_dry_run_shows_the_plan_and_does_nothing(bench: Bench) -> None:
    ended = bench.run("2025-05-01", "2025-05-31", dry_run=True)
    assert ended.state_type == "COMPLETED"
    assert "31 to fetch" in ended.message
    # The window in which an id may stand once reaches into months that other tests have filled.
    assert "dry run    0 B read to replace and " in ended.message
    assert "to recount 31 partitions" in ended.message
    assert bench.calls()["total"] == 0
    assert bench.mails(ended.backfill_id) == []
    assert bench.verdicts("2025-05-01", "2025-05-31") == {}


def test_a_game_that_is_not_final_is_never_called_loaded(bench: Bench) -> None:
    bench.trouble({"kind": "not_final", "dates": ["2025-01-15"]})
    ended = bench.run("2025-01-14", "2025-01-16")
    assert bench.verdicts("2025-01-14", "2025-01-16")["2025-01-15"] == "verified"
    assert ended.state_type == "COMPLETED"
    found = bench.table_hash("nba_bdl_games", "2025-01-15", "2025-01-15")[0]
    bench.trouble()
    bench.run("2025-01-15", "2025-01-15", mode="full")
    assert bench.table_hash("nba_bdl_games", "2025-01-15", "2025-01-15")[0] == found + 1
    (mail,) = bench.mails(ended.backfill_id)
    assert "loaded without items that are not final" in " ".join(mail["text"].split())


def test_a_mail_server_that_is_down_keeps_the_mail_and_the_watchdog_sends_it(bench: Bench) -> None:
    bench.inbox_trouble("451")
    ended = bench.run("2025-02-10", "2025-02-11")
    assert bench.mails(ended.backfill_id) == []
    bench.inbox_trouble("none")
    closed = bench.wait(_deployment_run(bench, "watchdog/watchdog"))
    assert closed.state_type == "COMPLETED", closed.message
    (mail,) = bench.mails(ended.backfill_id)
    assert "[OK 2/2]" in mail["subject"]


def test_a_mail_server_that_is_down_at_the_start_refuses_the_run_which_writes_nothing(bench: Bench) -> None:
    from flows.wiring import build_services

    def objects() -> dict[str, int]:
        listed = build_services().store.list("")
        # How often a refusal was told, and what time it was at the store.
        of_mails = ("alert-state/limiter/", "clock.json")
        return {found.name: found.generation for found in listed if not found.name.startswith(of_mails)}

    before = objects()
    # Port 9 is discard: nothing listens there.
    ended = bench.run("2025-02-12", "2025-02-13", env={"GAPLESS_SMTP_PORT": "9"})
    assert ended.state_type == "FAILED"
    assert "no channel could report how the run ends" in ended.message
    assert "Nothing was done" in ended.message
    assert "gapless test-alert" in ended.message
    assert objects() == before
    assert bench.calls()["total"] == 0
    assert bench.verdicts("2025-02-12", "2025-02-13") == {}


def test_windows_begin_oldest_first_though_two_are_at_work_at_once(bench: Bench) -> None:
    dates = "2019-09-29..2019-10-02, 2019-11-30..2019-12-01"
    # More dates than that: each month is a window of its own.
    monthly = {"GAPLESS_SINGLE_WINDOW_UP_TO": "1"}
    ended = bench.run("2019-09-01", "2019-12-31", dates=dates, env=monthly)
    assert ended.message.startswith("COMPLETE"), ended.message
    asked = [call["date"][:7] for call in bench.calls()["requests"]]
    assert list(dict.fromkeys(asked)) == ["2019-09", "2019-10", "2019-11", "2019-12"]
    shown = bench.task_runs_of_children(ended.id, "scrape 2019-", 6)
    assert len(shown) == 6
    assert {(run["state_name"], run["run_count"]) for run in shown} == {("Completed", 1)}
    assert all(run["start_time"] < run["end_time"] and run["total_run_time"] > 0 for run in shown)


def test_an_active_cron_yields_scheduled_runs(bench: Bench) -> None:
    deployment = bench.api("/deployments/name/watchdog/watchdog")
    found = bench.api(
        "/flow_runs/filter",
        {
            "deployments": {"id": {"any_": [deployment["id"]]}},
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        },
    )
    assert found


def _deployment_run(bench: Bench, name: str) -> str:
    done = bench.cli("deployment", "run", name)
    return re.search(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", done.stdout).group(0)  # type: ignore[union-attr]
