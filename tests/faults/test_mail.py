"""The one mail under fire: 500 failing dates, and a mail server or a process that dies at the worst moment."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alerting.ranges import expand_dates
from deployments.local.upstreams.season import games_on

if TYPE_CHECKING:
    from e2e_bench import Bench, Ended

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]
SOURCE = "bdl_box_scores"
INJECT = Path(__file__).parent / "inject"
PATIENT = 900.0


def causes_of(text: str) -> dict[str, set[str]]:
    """Cause id -> the dates that the text part names for it."""
    body = text.partition("\nCAUSES")[2]
    found = re.findall(r"^(C\d+)  .*?^    when: +(.*?)^    \w+: ", body, re.DOTALL | re.MULTILINE)
    return {cause: set(expand_dates(ranges)) for cause, ranges in found}


def commands_of(text: str) -> Iterator[tuple[str, str]]:
    """Cause id and command, as a person would copy them: from the first line until the shell would be content."""
    lines = iter(text.splitlines())
    for line in lines:
        command = line
        if not command.startswith(("prefect ", "gapless ")):
            continue
        while command.endswith("\\") or command.count("'") % 2:
            command += f"\n{next(lines)}"
        cause = re.search(r"(?:retry |--cause )(C\d+|all-retryable|the rest)", command)
        assert cause, command
        yield cause[1], command


def shell(bench: Bench, command: str) -> subprocess.CompletedProcess[str]:
    """Pastes a command into a shell and waits for the end of the run that it starts."""
    watched = f"{command} --watch" if command.startswith("prefect") else command
    path = os.pathsep.join([str(Path(sys.executable).parent), bench.env.get("PATH", "")])
    return subprocess.run(
        ["bash", "-c", watched],
        env={**bench.env, "PATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENT,
        check=False,
    )


def test_500_failing_dates_of_3_causes_are_one_mail_whose_commands_retry_exactly_their_dates(bench: Bench) -> None:
    from e2e_bench import days

    span = days("2018-01-01", 660)
    with_games = [day for day in span if games_on(_date(day))]
    wrong = set(with_games[4::5][:60])
    rest = [day for day in span if day not in wrong]
    # Every other date, so that the ranges are too long to paste; then one block.
    scattered, block = set(rest[:300:2]), set(rest[-290:])
    assert len(wrong | scattered | block) == 500
    bench.trouble(
        {
            "kind": "status",
            "dates": sorted(scattered),
            "text": "request {request_id} for {date} failed at {url}&trace={request_id}",
        },
        {"kind": "500", "dates": sorted(block), "text": "shard 17-{request_id} lost its leader on {date}"},
        {"kind": "drop_players", "dates": sorted(wrong)},
    )
    quick = {"GAPLESS_SOURCE_RATE_PER_MINUTE": '{"balldontlie": 12000}', "GAPLESS_RETRY_DELAYS_S": "[0.05]"}
    ended = bench.wait(bench.start(span[0], span[-1], env=quick, breaker=False, canary=-1), PATIENT)
    assert ended.message.startswith("FAILED: 660 partitions"), ended.message

    (mail,) = bench.mails(ended.backfill_id)
    assert "[FAILED, 500 of 660 missing]" in mail["subject"]
    assert "CAUSES (3)" in mail["text"]
    named = causes_of(mail["text"])
    assert sorted(map(sorted, named.values())) == sorted(map(sorted, (scattered, block, wrong)))
    assert len(mail["html"].encode()) < 80_000
    commands = dict(commands_of(mail["text"]))
    assert set(commands) >= set(named), commands
    by_list = next(cause for cause, dates in named.items() if dates == scattered)
    assert commands[by_list].startswith("gapless retry-failed"), "its ranges are too long to paste"

    bench.trouble()
    for cause, dates in named.items():
        bench.forget_calls()
        done = shell(bench, commands[cause])
        assert done.returncode == 0, commands[cause] + done.stdout + done.stderr
        assert bench.calls()["by_date"] == dict.fromkeys(dates, 1), cause
    bench.forget_calls()
    again = bench.run(span[0], span[-1])
    assert again.message.startswith("COMPLETE"), again.message
    assert bench.calls()["total"] == 0


def test_a_mail_server_down_at_the_end_keeps_the_mail_and_the_next_start_sends_it(bench: Bench) -> None:
    bench.inbox_trouble("451")
    ended = bench.run("2016-03-01", "2016-03-02")
    assert ended.state_type == "FAILED"
    assert "451" in ended.message
    assert bench.mails(ended.backfill_id) == []
    owed = _outbox_entry(ended.backfill_id)
    assert owed.state == "open"
    bench.inbox_trouble("none")
    bench.run("2016-03-01", "2016-03-02")
    (mail,) = bench.mails(ended.backfill_id)
    assert mail["message_id"] == owed.message_id
    assert "[OK 2/2]" in mail["subject"]


def test_a_lost_answer_repeats_the_same_mail_under_the_same_message_id(bench: Bench) -> None:
    bench.inbox_trouble("lost_answer", times=1)
    ended = bench.run("2016-03-03", "2016-03-04")
    copies = bench.mails(ended.backfill_id)
    assert len(copies) == 2
    assert len({mail["message_id"] for mail in copies}) == 1
    assert len({mail["text"] for mail in copies}) == 1
    assert ended.state_type == "COMPLETED", ended.message


def test_a_refused_recipient_is_recorded_on_the_run_and_the_others_have_the_mail(bench: Bench) -> None:
    bench.inbox_trouble("refuse_recipient", recipients=["gone@example.org"])
    ended = bench.run("2016-03-05", "2016-03-06", env={"GAPLESS_MAIL_TO": "you@example.org,gone@example.org"})
    (mail,) = bench.mails(ended.backfill_id)
    assert "you@example.org" in mail["headers"]["To"]
    assert ended.state_type == "COMPLETED", ended.message
    assert "gone@example.org" in ended.message
    assert "550" in ended.message


POINTS = {
    "before sending, with the mail rendered and claimed": "alerting.notices:deliver:before:1",
    "while sending, between recipient and data": "smtplib:SMTP.data:before:1",
    "after sending and marking as sent": "alerting.delivery:send_claimed:after:1",
}


@pytest.mark.parametrize(("month", "point"), list(enumerate(POINTS.values(), start=4)), ids=POINTS.keys())
def test_a_killed_sender_leaves_one_mail_that_somebody_else_sends(
    bench: Bench, month: int, point: str, tmp_path: Path
) -> None:
    first, failing, last = (f"2016-{month:02d}-{day:02d}" for day in (1, 2, 3))
    bench.trouble({"kind": "500", "dates": [failing]})
    killed = bench.wait(bench.start(first, last, env=_injected(point, tmp_path)))
    assert (tmp_path / "killed").exists(), f"the flow never reached {point}: {killed.message}"
    assert killed.state_type == "CRASHED", killed.message
    closed = bench.wait(bench.start_deployment("watchdog/watchdog"))
    assert closed.state_type == "COMPLETED", closed.message
    mails = bench.mails_of_a_dead_run(killed.backfill_id, 1)
    assert len({mail["message_id"] for mail in mails}) == 1, [mail["subject"] for mail in mails]
    assert failing in mails[0]["text"]
    # The mail is there a moment before its sender, a hook or the watchdog, writes that it is.
    deadline = time.monotonic() + 60
    while _outbox_entry(killed.backfill_id).state != "sent":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    bench.trouble()
    assert bench.run(first, last).message.startswith("COMPLETE")
    assert len(bench.mails(killed.backfill_id)) == len(mails)


def test_without_a_transport_a_run_ends_before_any_effect_with_one_clear_message(bench: Bench) -> None:
    closed_port = {"GAPLESS_SMTP_HOST": "127.0.0.1", "GAPLESS_SMTP_PORT": "9"}
    for env, said in (({"GAPLESS_SMTP_HOST": ""}, "would receive the summary"), (closed_port, "smtp 127.0.0.1:9")):
        ended = bench.run("2015-05-01", "2015-05-02", env=env)
        assert ended.state_type == "FAILED"
        assert said in ended.message
        assert bench.calls()["total"] == 0
        assert bench.verdicts("2015-05-01", "2015-05-02") == {}
        assert _outbox_entry(ended.backfill_id) is None
    # Neither left a lease behind; told to use the console alone, it runs and the log has the summary.
    console = {"GAPLESS_SMTP_HOST": "", "GAPLESS_CONSOLE_ONLY": "true"}
    ended = bench.run("2015-05-01", "2015-05-02", env=console)
    assert ended.message.startswith("COMPLETE"), ended.message
    assert bench.mails(ended.backfill_id) == []
    deadline = time.monotonic() + 60
    while not any("2 of 2 days" in line for line in _log_of(bench, ended)):
        assert time.monotonic() < deadline, _log_of(bench, ended)
        time.sleep(0.5)


def _injected(point: str, folder: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(INJECT), os.environ.get("PYTHONPATH", "")])),
        "GAPLESS_TEST_KILL_AT": point,
        "GAPLESS_TEST_KILL_ONCE": str(folder / "killed"),
    }


def _outbox_entry(backfill_id: str) -> Any:
    from alerting.outbox import Outbox
    from flows.wiring import build_services

    return Outbox(build_services().store).read(backfill_id)


def _log_of(bench: Bench, ended: Ended) -> list[str]:
    found = bench.api("/logs/filter", {"logs": {"flow_run_id": {"any_": [ended.id]}}, "limit": 200})
    return [line["message"] for line in found]


def _date(day: str) -> dt.date:
    return dt.date.fromisoformat(day)
