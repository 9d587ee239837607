"""The same run asked for twice, at once: one works, the other refuses with the reason, or waits and finds it done."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from e2e_bench import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
RANGE = ("2022-11-01", "2022-11-06")
DATES = 6


def both(bench: Bench, **parameters: Any) -> list[Any]:
    """Two ``prefect deployment run`` at the same moment, to their ends; the one that began first comes first."""
    bench.forget(*RANGE)
    # So slow that the first is at work when the second begins, whichever that is.
    bench.trouble({"kind": "slow", "delay_s": 6})
    with ThreadPoolExecutor(2) as pool:
        ids = list(pool.map(lambda _: bench.start(*RANGE, max_concurrency=2, **parameters), range(2)))
    ended = [bench.wait(run_id) for run_id in ids]
    begun = {run.id: bench.api(f"/flow_runs/{run.id}")["start_time"] for run in ended}
    return sorted(ended, key=lambda run: (run.state_type != "COMPLETED", begun[run.id]))


def test_of_two_triggers_at_once_one_runs_and_the_other_names_the_holder_and_does_nothing(bench: Bench) -> None:
    winner, loser = both(bench)
    assert winner.message.startswith("COMPLETE"), winner.message
    assert loser.state_type == "FAILED"
    for said in (
        f"backfill {winner.backfill_id}",
        f"({RANGE[0]}..{RANGE[1]})",
        "since 20",
        "last heartbeat",
        f"flow run {winner.id}",
        "nothing was done",
    ):
        assert said in loser.message, loser.message
    assert bench.calls()["total"] == DATES
    assert len(bench.mails(winner.backfill_id)) == 1
    (refused,) = bench.mails(loser.backfill_id)
    assert "[REFUSED]" in refused["subject"]


def test_a_trigger_that_may_wait_goes_second_and_has_nothing_left_to_fetch(bench: Bench) -> None:
    first, second = both(bench, wait_for_lease_s=200)
    for run in (first, second):
        assert run.message.startswith(f"COMPLETE: {DATES} planned"), run.message
        (mail,) = bench.mails(run.backfill_id)
        assert f"[OK {DATES}/{DATES}]" in mail["subject"]
    assert bench.calls()["by_date"] == dict.fromkeys(bench.verdicts(*RANGE), 1), "no date is asked for twice"
