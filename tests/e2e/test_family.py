"""A family of sources on the whole stack: one form, one mail, and a kill in the middle."""

from __future__ import annotations

import datetime as dt
import json
import os
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from e2e_bench import Bench, Ended

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(700)]
INJECT = Path(__file__).parents[1] / "faults" / "inject"
# The source has results of the last 12 months.
LAST = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=4)
FIRST = LAST - dt.timedelta(days=2)
SOURCES = ("racing_reference", "racing_cards", "racing_results")


def started(bench: Bench, env: dict[str, str] | None = None, **given: Any) -> Ended:
    asked = {"start_date": FIRST.isoformat(), "end_date": LAST.isoformat(), "reason": "test", **given}
    return bench.wait(bench.start_deployment("backfill/racing", env=env, **asked), timeout_s=400)


def mail_of(bench: Bench, ended: Ended) -> list[dict[str, Any]]:
    """The hook that sends it begins when the server knows of the crash."""
    deadline = time.monotonic() + 240
    while not (found := bench.mails(ended.backfill_id)) and time.monotonic() < deadline:
        time.sleep(1)
    return found


def racing_calls(bench: Bench) -> int:
    with urllib.request.urlopen(f"{bench.stack.urls()['racing']}/gapless/calls", timeout=60) as answer:
        total: int = json.loads(answer.read())["total"]
        return total


def verdicts(source: str) -> set[str]:
    from flows.wiring import build_services

    return {entry.verdict.value for entry in build_services().source_kit(source).ledger.refresh().values()}


def test_a_killed_family_is_one_mail_with_its_three_sources_and_a_rerun_goes_on_where_it_was(
    bench: Bench, tmp_path: Path
) -> None:
    marker = tmp_path / "killed"
    inject = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(INJECT), os.environ.get("PYTHONPATH", "")])),
        # Two lists of the reference are landed before, and one date of cards.
        "GAPLESS_TEST_KILL_AT": "scrapers.landing:Landing.put_manifest:after:3",
        "GAPLESS_TEST_KILL_ONCE": str(marker),
    }
    killed = started(bench, inject)
    assert marker.exists(), killed.message
    assert killed.state_type == "CRASHED", killed.message
    (mail,) = mail_of(bench, killed)
    assert mail["subject"].startswith("[backfill][STOPPED, 2 of 8 done] racing ")
    text = " ".join(mail["text"].split())
    assert "RACING_CARDS - Crashed" in text
    assert "RACING_RESULTS - Not started, 3 days missing" in text
    unfinished = bench.api(
        "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}, "tags": {}}}
    )
    assert [run["name"] for run in unfinished if run["name"].startswith("racing")] == []

    again = started(bench)
    assert again.message == "COMPLETE: 3 of 3 sources complete", again.message
    (mail,) = bench.mails(again.backfill_id)
    assert mail["subject"].startswith("[backfill][OK 8/8] racing ")
    # Each has a form of its own to run it again, and its calendar.
    for source in SOURCES:
        deployment = bench.api(f"/deployments/name/backfill/{source}")
        assert verdicts(source) == {"verified"}
        assert f"/calendar/{source}" in mail["html"]
        assert deployment["name"] == source
    # Steps are runs of the ordinary flow, below the one that a person started.
    subflows = bench.api("/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [again.id]}}})
    assert {run["parameters"]["source"] for run in subflows} == set(SOURCES)
    assert {run["state_type"] for run in subflows} == {"COMPLETED"}

    asked = racing_calls(bench)
    assert asked > 0
    third = started(bench)
    assert third.message == "COMPLETE: 3 of 3 sources complete", third.message
    assert racing_calls(bench) == asked


def test_a_dry_run_of_a_family_says_the_plan_of_all_and_does_nothing(bench: Bench) -> None:
    asked = racing_calls(bench)
    ended = started(bench, dry_run=True, start_date="", end_date="", period=f"{LAST:%Y-%m}")
    assert ended.state_type == "COMPLETED", ended.message
    assert "1. racing_reference" in ended.message
    assert "3 sources, one after the other" in ended.message
    assert racing_calls(bench) == asked
    assert bench.mails(ended.backfill_id) == []
