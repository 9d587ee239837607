"""Status, progress artifact and mail say the same of a run: while it runs, while it is paused, and however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600, func_only=True)]
SOURCE = "bdl_box_scores"
DATES = ("2022-02-01", "2022-02-12")
PATIENCE_S = 120.0


def artifacts(bench: Bench, run_id: str) -> list[dict[str, Any]]:
    """All that the page of a flow run shows."""
    found: list[dict[str, Any]] = bench.api(
        "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}}, "sort": "CREATED_DESC"}
    )
    return found


def progress(bench: Bench, run_id: str) -> list[dict[str, Any]]:
    """The progress artifacts of a flow run."""
    return [one for one in artifacts(bench, run_id) if one["type"] == "progress"]


def lease() -> Any:
    from flows.coordination.lease import read_lease
    from flows.wiring import build_services

    return read_lease(build_services().store, SOURCE)


def until(true: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")


def cancelled(bench: Bench, run_id: str) -> None:
    state = {"type": "CANCELLING", "name": "Cancelling"}
    bench.api(f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})


def killed(_: Bench, __: str) -> None:
    os.kill(lease().pid, signal.SIGKILL)


def suspended_and_resumed(bench: Bench, run_id: str) -> None:
    details = {"pause_timeout": "2031-01-01T00:00:00Z", "pause_reschedule": True}
    state = {"type": "PAUSED", "name": "Suspended", "state_details": details}
    bench.api(f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})
    until(lambda: lease().state == "paused", "the run has let go")
    (shown,) = until(
        lambda: [one for one in progress(bench, run_id) if "suspended" in one["description"]], "it says so"
    )
    assert float(shown["data"]) < 100
    bench.trouble()
    bench.api(f"/flow_runs/{run_id}/resume", {})


SLOW = {"kind": "slow", "delay_s": 1}
ENDINGS: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any], Callable[[Bench, str], None] | None]] = {
    "complete": ("COMPLETE", [], {}, None),
    "gaps": ("ACCEPTABLE", [{"kind": "500", "dates": ["2022-02-03"]}], {}, None),
    "failed": ("FAILED", [{"kind": "500", "dates": ["2022-02-03", "2022-02-04"]}], {}, None),
    "dead key": ("ABORTED(critical)", [{"kind": "401"}], {}, None),
    "red flag": ("ABORTED(red_flag)", [{"kind": "500"}], {"on_failure": "stop"}, None),
    "budget": ("ABORTED(budget)", [], {"max_calls": 3, "max_concurrency": 1}, None),
    "deadline": ("ABORTED(deadline)", [SLOW], {"deadline_h": 0.001, "max_concurrency": 1}, None),
    "cancelled": ("ABORTED(user)", [SLOW], {"max_concurrency": 1}, cancelled),
    "killed": ("ABORTED(crashed)", [SLOW], {"max_concurrency": 1}, killed),
    "suspended": ("COMPLETE", [SLOW], {"max_concurrency": 1}, suspended_and_resumed),
    "distributed": ("COMPLETE", [], {"engine": "distributed", "parallel": 2}, None),
}


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_a_run_that_has_ended_shows_100_percent_and_the_counts_of_its_verdict(bench: Bench, ending: str) -> None:
    from alerting.outbox import Outbox
    from flows.ledger.verdicts import describe_counts
    from flows.pages import artifact_key
    from flows.wiring import build_services

    verdict, trouble, parameters, meanwhile = ENDINGS[ending]
    bench.forget(*DATES)
    bench.trouble(*trouble)
    run_id = bench.start(*DATES, **parameters)
    if meanwhile:
        until(lambda: "landed" in bench.verdicts(*DATES).values(), "a date is landed")
        meanwhile(bench, run_id)
    ended = bench.wait(run_id)
    # A hook in another process may have to close it.
    entry = until(
        lambda: (found := Outbox(build_services().store).read(ended.backfill_id)) and found.closed and found, ""
    )
    facts = entry.run_facts
    assert facts.verdict == verdict
    told = f"{verdict}: {describe_counts(facts.verdict_counts)}"
    for shown in until(lambda: [one for one in progress(bench, run_id) if float(one["data"]) == 100.0], "100 %"):
        assert shown["description"].startswith(told), shown
    assert {float(one["data"]) for one in progress(bench, run_id)} == {100.0}
    page = until(
        lambda: {one["key"]: one for one in artifacts(bench, run_id) if one["type"] != "progress"}, "a calendar"
    )
    assert page[artifact_key("coverage", SOURCE)]["description"] == f"{verdict}: coverage calendar"
    summary, _ = build_services().store.read(f"runs/backfill={ended.backfill_id}/summary.json")
    assert json.loads(summary)["verdict_counts"] == facts.verdict_counts
    if ended.state_type in ("COMPLETED", "FAILED"):
        assert ended.message.startswith(told)


def test_the_daily_run_that_has_ended_shows_100_percent_and_what_it_read(bench: Bench) -> None:
    run_id = bench.start_deployment(f"daily/{SOURCE}", source=SOURCE, days_back=2)
    ended = bench.wait(run_id)
    (shown,) = progress(bench, run_id)
    assert (float(shown["data"]), shown["description"]) == (100.0, ended.message)


MONTH = ("2022-03-01", "2022-03-31")
INSTANT = "%Y-%m-%d %H:%M UTC"


def as_if_nothing_had_been(bench: Bench) -> None:
    """No date, no cooldown and no scheduled run of the source is left of other tests."""
    from flows.wiring import build_services

    bench.forget("1900-01-01", "2099-12-31")
    for name in ("cooldowns/balldontlie.json", f"resumes/source={SOURCE}.json"):
        build_services().store.delete(name)


def answers(status: dict[str, Any]) -> dict[int, str]:
    said = {one["number"]: one["answer"] for one in status["answers"]}
    assert len(said) == 15
    assert said[1].startswith(status["headline"])
    return said


def one_mail(bench: Bench, run: Any) -> tuple[str, str]:
    """Subject and text, in one line, of the summary."""
    (mail,) = [mail for mail in bench.mails(run.backfill_id) if not re.search(r"HUMAN|\[BLOCKED\]", mail["subject"])]
    return mail["subject"], " ".join(mail["text"].split())


def test_status_artifact_and_mail_say_the_same_while_a_run_works_is_blocked_is_freed_and_completed_by_hand(
    bench: Bench,
) -> None:
    as_if_nothing_had_been(bench)
    assert bench.status()["partitions"] == 0
    bench.trouble({"kind": "slow", "delay_s": 1})
    run_id = bench.start(*MONTH, max_concurrency=1)
    until(lambda: "landed" in bench.verdicts(*MONTH).values(), "a date is landed")
    bench.trouble({"kind": "slow", "delay_s": 10})

    def counted_alike() -> dict[str, Any] | None:
        status, shown = bench.status(), progress(bench, run_id)
        counts = answers(status)[12].partition(";")[0]
        return status if shown and shown[0]["description"].startswith(counts) else None

    running = until(counted_alike, "status and artifact have the same counts")
    said = answers(running)
    assert (running["state"], running["paused_for"]) == ("running", "")
    assert re.match(r"\d+/31 dates, ", said[12]), said[12]
    assert "refused while" in said[5]
    assert not [number for number, text in said.items() if "nothing runs" in text]

    waiting = bench.start("2022-05-01", "2022-05-02", wait_for_lease_s=300)
    waits = f"bf-{waiting.replace('-', '')[:12]} (2022-05-01..2022-05-02) waits for its turn until"
    until(lambda: waits in answers(bench.status())[1], "the one that waits is named")
    refused = bench.shell(f"gapless run {SOURCE} 2022-05-03 2022-05-03 --reason test")
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "Failed: " in refused.stdout
    assert "record:" not in refused.stdout
    assert bench.status()["headline"] == running["headline"], "nothing has changed for the one that runs"

    bench.trouble({"kind": "html403"})
    blocked = bench.wait(run_id)
    assert blocked.message.startswith("ABORTED(critical)"), blocked.message
    turned_away = bench.wait(waiting)
    assert "in cooldown until" in turned_away.message, "its turn comes while the source is in cooldown"
    paused = bench.status()
    said = answers(paused)
    assert (paused["state"], paused["paused_for"]) == ("paused", "block")
    assert said[5].startswith("nothing runs; a rerun is refused until ")
    assert said[6].startswith("none is needed: ")
    at, (subject, text) = f"{paused['until']:{INSTANT}}", one_mail(bench, blocked)
    (shown,) = progress(bench, run_id)
    assert f"resumes at {at} automatically" in text
    for told in (said[1], said[6], said[12], said[15], shown["description"], blocked.message):
        assert at in told
    good = paused["verdicts"].get("verified", 0) + paused["verdicts"].get("empty_ok", 0)
    assert f"[PAUSED, {good} of 31 done]" in subject
    assert shown["description"].startswith("ABORTED(critical): 31 partitions: ")
    assert blocked.backfill_id in said[1]
    (scheduled,) = bench.api("/flow_runs/filter", {"flow_runs": {"tags": {"all_": [blocked.backfill_id]}}})
    for told in (said[1], said[12], shown["description"], text):
        assert scheduled["name"] in told

    # The next step names both commands, in the order in which they work.
    lift, again = re.findall(r"gapless .+?(?=, then |$)", paused["next_step"])
    assert f"else: {lift}" in said[8]
    lifted = bench.shell(lift.replace("WHY", "'they unblocked us'"))
    assert lifted.returncode == 0, lifted.stdout + lifted.stderr
    freed = bench.status()
    said = answers(freed)
    assert freed["headline"] == paused["headline"], "what is scheduled goes on all the same"
    assert said[8] == "nobody"
    assert "a rerun works now" in said[5]
    assert not [number for number, text in said.items() if "refused" in text]
    assert freed["next_step"] == f"nothing to do; to resume sooner: {again}"

    bench.trouble()
    done = bench.shell(again)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "record: gapless record bf-" in done.stdout
    # It would only look at what is done.
    taken_back = bench.api(f"/flow_runs/{scheduled['id']}")
    assert (taken_back["state_type"], taken_back["state"]["message"]) == (
        "CANCELLED",
        f"everything that {blocked.backfill_id} left is done by now",
    )
    whole = bench.status()
    said = answers(whole)
    assert (whole["state"], whole["next_step"], said[6], said[12]) == (
        "idle", "nothing to do", "nothing failed", "nothing runs",
    )  # fmt: skip
    assert not [number for number, text in said.items() if at in text or scheduled["name"] in text]
    assert f"{whole['run']['backfill_id']} ended COMPLETE" in said[1]
    (mail,) = bench.mails(whole["run"]["backfill_id"])
    assert "[OK " in mail["subject"]
