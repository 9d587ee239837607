"""However a run ends, its progress artifact says so: 100 %, and the counts of the verdict that its mail has too."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
SOURCE = "bdl_box_scores"
DATES = ("2022-02-01", "2022-02-12")
PATIENCE_S = 120.0


def progress(bench: Bench, run_id: str) -> list[dict[str, Any]]:
    """The progress artifacts of a flow run."""
    wanted = {"flow_run_id": {"any_": [run_id]}, "type": {"any_": ["progress"]}}
    found: list[dict[str, Any]] = bench.api("/artifacts/filter", {"artifacts": wanted})
    return found


def lease() -> Any:
    from flows.control.lease import read_lease
    from flows.wiring import build_services

    return read_lease(build_services().store, SOURCE)[0]


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
    from flows.runs.outcome import describe_counts
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
    summary, _ = build_services().store.read(f"runs/backfill={ended.backfill_id}/summary.json")
    assert json.loads(summary)["verdict_counts"] == facts.verdict_counts
    if ended.state_type in ("COMPLETED", "FAILED"):
        assert ended.message.startswith(told)


def test_the_daily_run_that_has_ended_shows_100_percent_and_what_it_read(bench: Bench) -> None:
    run_id = bench.start_deployment(f"daily/{SOURCE}", source=SOURCE, days_back=2)
    ended = bench.wait(run_id)
    (shown,) = progress(bench, run_id)
    assert (float(shown["data"]), shown["description"]) == (100.0, ended.message)
