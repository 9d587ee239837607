"""Modes, budgets, breaker, canary and the way live work goes first, on the deployed flow."""

from __future__ import annotations

import datetime as dt
import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900, func_only=True)]
SOURCE, ACCOUNT = "bdl_box_scores", "balldontlie"
TABLES = ("nba_bdl_games", "nba_bdl_player_stats")
NO_SOURCE = {"GAPLESS_SOURCE_URLS": json.dumps({SOURCE: "http://127.0.0.1:9"})}


def record_of(backfill_id: str, name: str) -> str:
    from flows.wiring import build_services

    return build_services().store.read(f"runs/backfill={backfill_id}/{name}")[0].decode()


def hashes(bench: Bench, start: str, end: str) -> dict[str, tuple[int, str]]:
    return {table: bench.table_hash(table, start, end) for table in TABLES}


def commands_of(text: str) -> list[str]:
    """The retry commands of a summary."""
    return re.findall(r"^prefect deployment run .*?(?=\n\n|\Z)", text, re.DOTALL | re.MULTILINE)


def retried(bench: Bench, text: str) -> list[Any]:
    """Pastes every retry command of a summary, one after the other; how each run ended."""
    ended = []
    for command in commands_of(text):
        done = bench.shell(command)
        found = re.search(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", done.stdout)
        assert found, done.stdout + done.stderr
        ended.append(bench.wait(found[0]))
    return ended


def test_modes_reprocess_validate_and_full(bench: Bench) -> None:
    days = ("2024-12-03", "2024-12-05")
    first = bench.run(*days, note="first time")
    assert first.message.startswith("COMPLETE"), first.message
    before = hashes(bench, *days)
    assert before[TABLES[0]][0] > 0

    # Nothing listens where the source is said to be: one call would fail the run.
    bench.forget_calls()
    reprocessed = bench.run(*days, mode="reprocess", reason="schema_change", env=NO_SOURCE)
    assert reprocessed.message.startswith("COMPLETE"), reprocessed.message
    assert bench.calls()["total"] == 0
    assert hashes(bench, *days) == before

    _lose_a_row(days[1])
    found = bench.run(*days, mode="validate", env=NO_SOURCE)
    assert found.state_type == "FAILED", found.message
    assert bench.verdicts(*days)[days[1]] == "partial"
    healed = bench.run(*days, reason="corrupted")
    assert healed.message.startswith("COMPLETE"), healed.message
    assert sorted(bench.calls()["by_date"]) == [days[1]]
    assert hashes(bench, *days) == before

    # Old rows stay until new ones are verified: a source that fails takes nothing away.
    bench.trouble({"kind": "500"})
    failed = bench.run(*days, mode="full")
    assert failed.state_type == "FAILED", failed.message
    assert hashes(bench, *days) == before

    record = record_of(first.backfill_id, "record.md")
    for part in ("2024-12-03 to 2024-12-05 inclusive", "first time", "COMPLETE", "## Failed dates", "## Lessons"):
        assert part in record
    summary = json.loads(record_of(first.backfill_id, "summary.json"))
    assert sum(summary["verdict_counts"].values()) == 3
    assert {table["name"]: table["loaded"] for table in summary["tables"]} == {t: n for t, (n, _) in before.items()}
    (mail,) = bench.mails(first.backfill_id)
    assert record_of(first.backfill_id, "mail.txt").split() == mail["text"].split()
    causes = [json.loads(line) for line in record_of(failed.backfill_id, "errors.jsonl").splitlines()]
    assert {cause["error_type"] for cause in causes} == {"SourceUnavailable"}


def _lose_a_row(day: str) -> None:
    from flows.wiring import build_services

    warehouse = build_services().warehouse
    name = warehouse.name_of(TABLES[1])
    warehouse.query(
        f"DELETE FROM {name} WHERE game_date = DATE '{day}' AND player_id = "
        f"(SELECT MIN(player_id) FROM {name} WHERE game_date = DATE '{day}')"
    )


def test_one_error_on_every_date_stops_the_run_and_names_the_red_flag(bench: Bench) -> None:
    bench.trouble({"kind": "500"})
    ended = bench.run("2023-11-01", "2023-12-31", canary=-1)
    assert ended.message.startswith("ABORTED(red_flag)"), ended.message
    assert len(bench.calls()["by_date"]) < 40
    (mail,) = bench.mails(ended.backfill_id)
    assert "red flag, same error:" in mail["text"]


def test_a_source_that_is_down_for_a_while_is_waited_for_and_tried_one_date_at_a_time(bench: Bench) -> None:
    days, strikes = ("2021-11-01", "2021-12-31"), 13
    bench.trouble({"kind": "500", "times": strikes})
    # Without retries a strike is a failed date: ten that open the breaker, one or two under way then, the rest probes.
    waits = {"GAPLESS_RETRY_DELAYS_S": "[]", "GAPLESS_BREAKER_PROBES": "6", "GAPLESS_BREAKER_PROBE_PAUSE_S": "1"}
    ended = bench.run(*days, canary=-1, max_concurrency=2, env=waits)
    assert not ended.message.startswith("ABORTED"), ended.message
    (mail,) = bench.mails(ended.backfill_id)
    text = " ".join(mail["text"].split())
    assert "red flag, same error: the last 10 dates failed for one cause" in text
    assert "the source answers again; dates begin again" in text
    verdicts = bench.verdicts(*days)
    assert len(verdicts) == 61
    assert sum(verdict == "failed_retryable" for verdict in verdicts.values()) == strikes
    assert set(verdicts.values()) <= {"failed_retryable", "verified", "empty_ok"}
    assert bench.calls()["by_status"]["500"] == strikes
    assert bench.calls()["total"] == 61


def test_a_canary_stops_a_broken_source_after_its_own_calls_with_one_mail(bench: Bench) -> None:
    bench.trouble({"kind": "renamed_field"})
    ended = bench.run("2023-11-01", "2023-12-31", canary=3)
    assert ended.message.startswith("ABORTED("), ended.message
    assert bench.calls()["total"] <= 3
    (mail,) = bench.mails(ended.backfill_id)
    assert "red flag, canary:" in mail["text"]


def test_a_daily_wall_pauses_the_run_which_goes_on_by_itself_after_the_reset(bench: Bench) -> None:
    from flows.wiring import build_services

    store = build_services().store
    store.delete(f"budgets/{ACCOUNT}.json")
    days = ("2024-01-01", "2024-01-12")
    limited = {"GAPLESS_SOURCE_CALLS_PER_DAY": json.dumps({ACCOUNT: 10})}
    ended = bench.run(*days, env=limited)
    assert ended.message.startswith("ABORTED(budget)"), ended.message
    assert "resumes at" in ended.message
    assert bench.calls()["total"] == 7
    assert "paused" in bench.verdicts(*days).values()
    (mail,) = bench.mails(ended.backfill_id)
    assert "resumes at" in " ".join(mail["text"].split())

    (scheduled,) = bench.api("/flow_runs/filter", {"flow_runs": {"tags": {"all_": [ended.backfill_id]}}})
    assert scheduled["state_type"] == "SCHEDULED"
    assert scheduled["parameters"]["advanced"]["resume_of"] == ended.backfill_id
    due = dt.datetime.fromisoformat(scheduled["state"]["state_details"]["scheduled_time"])
    assert due > dt.datetime.now(dt.UTC)

    # The next day, without waiting for it: yesterday's counts are gone, and the run is due.
    store.delete(f"budgets/{ACCOUNT}.json")
    now = dt.datetime.now(dt.UTC).isoformat()
    bench.api(
        f"/flow_runs/{scheduled['id']}/set_state",
        {"state": {"type": "SCHEDULED", "name": "Scheduled", "state_details": {"scheduled_time": now}}, "force": True},
    )
    resumed = bench.wait(scheduled["id"])
    assert resumed.message.startswith("COMPLETE"), resumed.message
    assert bench.calls()["total"] == 12
    store.delete(f"budgets/{ACCOUNT}.json")


def test_a_run_stops_at_its_cost_budget_and_the_command_of_its_mail_goes_on_without_a_second_call(
    bench: Bench,
) -> None:
    days = ("2020-03-01", "2020-03-10")
    prices = {"GAPLESS_SOURCE_USD_PER_CALL": json.dumps({SOURCE: 0.1})}
    # Storage and BigQuery cost less than a cent here: the fifth call is the first one that is too much.
    ended = bench.run(*days, max_concurrency=1, max_cost_usd=0.45, env=prices)
    assert ended.message.startswith("ABORTED(budget)"), ended.message
    assert bench.calls()["total"] == 5
    verdicts = bench.verdicts(*days)
    assert list(verdicts.values()).count("planned") == 5
    assert set(verdicts.values()) <= {"planned", "verified", "empty_ok"}, "what was fetched is loaded"
    (mail,) = bench.mails(ended.backfill_id)
    text = " ".join(mail["text"].split())
    assert "budget, cost: 0.5" in text
    assert "Its budget is used up" in text

    (again,) = retried(bench, mail["text"])
    assert again.message.startswith("COMPLETE"), again.message
    assert bench.calls()["total"] == 10
    assert set(bench.calls()["by_date"].values()) == {1}
    assert set(bench.verdicts(*days).values()) <= {"verified", "empty_ok"}


def test_h18_after_a_block_runs_are_refused_until_the_instant_of_the_mail_or_its_command_frees_the_source(
    bench: Bench,
) -> None:
    from flows.wiring import build_services

    days = ("2020-01-01", "2020-01-06")
    bench.trouble({"kind": "html403"})
    try:
        ended = bench.run(*days, max_concurrency=1)
        assert ended.message.startswith("ABORTED(critical)"), ended.message
        assert bench.calls()["total"] == 1
        mails = {"[BLOCKED]" in mail["subject"]: mail["text"] for mail in bench.mails(ended.backfill_id)}
        assert sorted(mails) == [False, True]
        summary = mails[False]
        (until,) = set(re.findall(r"Works from (\d{4}-\d\d-\d\d \d\d:\d\d UTC)", " ".join(summary.split())))
        assert f"is refused until {until}" in mails[True]
        assert f"gapless lift-cooldown {SOURCE} --reason WHY" in mails[True]

        bench.trouble()
        refused = bench.run("2020-02-01", "2020-02-02")
        assert refused.state_type == "FAILED"
        assert f"in cooldown until {until}" in refused.message
        (told,) = bench.mails(refused.backfill_id)
        assert "REFUSED" in told["subject"]
        assert until in " ".join(told["text"].split())
        assert bench.calls()["total"] == 1

        frees = {line.strip() for line in summary.splitlines() if line.strip().startswith("gapless lift-cooldown ")}
        assert frees == {f"gapless lift-cooldown {SOURCE} --reason WHY"}
        lifted = bench.shell(frees.pop().replace("WHY", "'the vendor unblocked us'"))
        assert lifted.returncode == 0, lifted.stdout + lifted.stderr
        again = f"lift-cooldown {SOURCE} --reason again"
        operated = bench.wait(bench.start_deployment("operate/gapless", command=again))
        assert operated.state_type == "FAILED"
        assert "there is no cooldown: the last one was lifted" in operated.message

        # The first command does the date that was blocked and those that were not begun; others find nothing to do.
        assert {one.message.partition(":")[0] for one in retried(bench, summary)} == {"COMPLETE"}
        assert set(bench.verdicts(*days).values()) <= {"verified", "empty_ok"}
        assert bench.calls()["total"] == 1 + 6
    finally:
        build_services().store.delete(f"cooldowns/{ACCOUNT}.json")
    (scheduled,) = bench.api("/flow_runs/filter", {"flow_runs": {"tags": {"all_": [ended.backfill_id]}}})
    assert scheduled["state_type"] == "CANCELLED", "it was to go on by itself, and nothing is left for it"


def test_a_daily_run_goes_first_and_the_backfill_goes_on_after_it(bench: Bench) -> None:
    bench.trouble({"kind": "slow", "delay_s": 8.0, "from": "2023-01-01", "to": "2023-02-28"})
    backfill = bench.start("2023-01-01", "2023-02-28", max_concurrency=2, canary=-1)
    _until_landed(bench, "2023-01-01", "2023-02-28")
    daily = bench.start_deployment(f"daily/{SOURCE}", days_back=2, wait_for_lease_s=200)
    first = bench.wait(daily)
    assert first.state_type == "COMPLETED", first.message
    assert _state(bench, backfill)["state_type"] == "RUNNING"
    bench.trouble()
    ended = bench.wait(backfill)
    assert ended.message.startswith("COMPLETE"), ended.message
    (mail,) = bench.mails(ended.backfill_id)
    assert "for live run daily-" in mail["text"]


def _until_landed(bench: Bench, start: str, end: str) -> None:
    deadline = time.monotonic() + 120
    while not bench.verdicts(start, end):
        assert time.monotonic() < deadline
        time.sleep(0.3)


def _state(bench: Bench, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = bench.api(f"/flow_runs/{run_id}")
    return found
