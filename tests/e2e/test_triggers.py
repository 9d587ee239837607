"""The same run asked for twice, at once: one works, the other refuses with the reason, or waits and finds it done."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from e2e_bench import Bench

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600, func_only=True)]
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
        assert run.message.startswith(f"COMPLETE: {DATES} partitions"), run.message
        (mail,) = bench.mails(run.backfill_id)
        assert f"[OK {DATES}/{DATES}]" in mail["subject"]
    assert bench.calls()["by_date"] == dict.fromkeys(bench.verdicts(*RANGE), 1), "no date is asked for twice"


BROKEN = '{"games":[]}'
CONTRACT_BREAK = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(BROKEN)}\r\n\r\n{BROKEN}"


def commands_of(mail: dict[str, Any]) -> list[str]:
    """What a reader can paste out of the text, in its order."""
    return re.findall(r"^prefect deployment run .*?(?=\n\n|\Z)", mail["text"], re.DOTALL | re.MULTILINE)


def pasted(bench: Bench, command: str) -> str:
    """The command as a shell runs it; the id of the flow run that it starts."""
    shell = command.replace("prefect ", f"{sys.executable} -m prefect ", 1)
    done = subprocess.run(
        ["bash", "-c", shell], env=bench.env, capture_output=True, text=True, timeout=120, check=False
    )
    found = re.search(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", done.stdout)
    assert found, done.stdout + done.stderr
    return found.group(0)


@pytest.mark.parametrize(("month", "order"), [("2022-12", 1), ("2023-01", -1)], ids=["downwards", "upwards"])
def test_all_commands_of_a_mail_pasted_at_once_in_any_order_do_every_date_once(
    bench: Bench, month: str, order: int
) -> None:
    first, last = f"{month}-05", f"{month}-09"
    down, cut, broken = f"{month}-05", f"{month}-06", f"{month}-08"
    bench.trouble(
        {"kind": "500", "dates": [down]},
        {"kind": "truncated_gzip", "dates": [cut]},
        {"kind": "raw", "raw": CONTRACT_BREAK, "dates": [broken]},
    )
    (mail,) = bench.mails(bench.run(first, last).backfill_id)
    commands = commands_of(mail)
    assert "CAUSES (3)" in mail["text"]
    assert len(commands) == 4, "one for all that heals, one beside every cause"
    bench.trouble()
    bench.forget_calls()
    with ThreadPoolExecutor(len(commands)) as pool:
        ids = list(pool.map(lambda command: pasted(bench, command), commands[::order]))
        ended = list(pool.map(bench.wait, ids))
    for run in ended:
        assert run.state_type == "COMPLETED", run.message
        (told,) = bench.mails(run.backfill_id)
        assert "[backfill][OK " in told["subject"], told["subject"]
    assert bench.verdicts(first, last) == {f"{month}-{day:02d}": "verified" for day in range(5, 10)}
    assert bench.calls()["by_date"] == dict.fromkeys((down, cut, broken), 1)
