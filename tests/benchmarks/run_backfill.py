"""Runs one backfill in this process and prints what it cost, as one line of JSON.

Arguments: start date, end date, max_concurrency. The process is warm (imports, connections) before the clock starts.
"""

import asyncio
import contextlib
import datetime as dt
import importlib
import json
import os
import resource
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from outside import Outside
from prefect.client.schemas.objects import State

from flows.backfill import backfill
from flows.parameters import Reason
from flows.run.slots import Slot, Slots
from flows.wiring import build_services

HELD_S: defaultdict[int, float] = defaultdict(float)
"""Seconds that places were held, in all, by how many places there are."""


class TimedSlots(Slots):
    """Counts them."""

    def __init__(self, count: int, **how: Any) -> None:
        super().__init__(count, **how)
        self._count = count

    @contextlib.contextmanager
    def taken(self) -> Iterator[Slot]:
        with super().taken() as slot:
            began_s, give_back = time.monotonic(), slot.give_back

            def timed() -> None:
                HELD_S[self._count] += time.monotonic() - began_s if slot._is_held else 0.0
                give_back()

            slot.give_back = timed  # type: ignore[method-assign]
            yield slot


def cpu_by_thread() -> dict[str, float]:
    """CPU seconds so far of this process: event loop, threads of the run, other threads that live."""
    ticks_per_s, found = os.sysconf("SC_CLK_TCK"), defaultdict[str, float](float)
    for thread in threading.enumerate():
        with contextlib.suppress(OSError):  # it has ended
            fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2].split()
            of_run = "threads of the run" if thread.name.startswith("gapless") else "Prefect's threads"
            kind = "event loop" if thread is threading.main_thread() else of_run
            found[kind] += (int(fields[11]) + int(fields[12])) / ticks_per_s
    return dict(found)


def rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def run(first: dt.date, last: dt.date, concurrency: int) -> State[Any]:
    state: State[Any] = await backfill(
        "bdl_box_scores",
        start_date=first,
        end_date=last,
        reason=Reason.TEST,
        max_concurrency=concurrency,
        return_state=True,
    )
    return state


def wait_for_turn() -> None:
    """Until the account has no turn of the warm-up left: what that called in a burst is not for the run to wait for."""
    account = build_services().source_kit("bdl_box_scores").scraper.account
    known, _ = build_services().store.read(f"budgets/pace/{account}.json")
    until = dt.datetime.fromisoformat(json.loads(known)["until"])
    time.sleep(max(0.0, (until - dt.datetime.now(dt.UTC)).total_seconds()))


def main() -> None:
    first, last, concurrency = dt.date.fromisoformat(sys.argv[1]), dt.date.fromisoformat(sys.argv[2]), int(sys.argv[3])
    outside = Outside()
    vars(importlib.import_module("flows.run.run"))["Slots"] = TimedSlots
    warm = first - dt.timedelta(days=40)
    asyncio.run(run(warm, warm + dt.timedelta(days=31), concurrency))
    wait_for_turn()
    samples: list[float] = []
    by_thread: dict[str, float] = {}
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.25):
            samples.append(rss_mib())
            if len(samples) % 4 == 0 and "threads of the run" in (found := cpu_by_thread()):
                by_thread.update({kind: cpu_s - used_before.get(kind, 0.0) for kind, cpu_s in found.items()})

    before = rss_mib()
    HELD_S.clear()
    used_before = cpu_by_thread()
    threading.Thread(target=sample, daemon=True).start()
    outside.begin()
    began, cpu = time.monotonic(), time.process_time()
    state = asyncio.run(run(first, last, concurrency))
    wall_s = time.monotonic() - began
    asked = outside.report()
    done.set()
    print(
        "RESULT "
        + json.dumps(
            {
                "wall_s": wall_s,
                "cpu_s": time.process_time() - cpu,
                "rss_before_mib": before,
                "rss_peak_mib": max(samples, default=before),
                "outside": asked,
                "slot_s": HELD_S[concurrency],
                "cpu_by_thread_s": by_thread,
                "state": state.name,
                "message": state.message,
            }
        )
    )


if __name__ == "__main__":
    main()
