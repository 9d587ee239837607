"""Runs one backfill in this process and prints what it cost, as one line of JSON.

Arguments: start date, end date, max_concurrency. The process is warm (imports, connections) before the clock starts.
"""

import asyncio
import datetime as dt
import json
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

from outside import Outside
from prefect.client.schemas.objects import State

from flows.backfill import backfill
from flows.parameters import Reason


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


def main() -> None:
    first, last, concurrency = dt.date.fromisoformat(sys.argv[1]), dt.date.fromisoformat(sys.argv[2]), int(sys.argv[3])
    outside = Outside()
    warm = first - dt.timedelta(days=40)
    asyncio.run(run(warm, warm + dt.timedelta(days=31), concurrency))
    samples: list[float] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.25):
            samples.append(rss_mib())

    before = rss_mib()
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
                "state": state.name,
                "message": state.message,
            }
        )
    )


if __name__ == "__main__":
    main()
