"""A source that limits the rate: how near a run comes to the least time that its calls can take."""

from __future__ import annotations

import datetime as dt
import os
from typing import TYPE_CHECKING

import pytest
from aims import Aim, print_aims
from timed_backfill import LATENCY_MS, backfill_cost

if TYPE_CHECKING:
    from e2e_bench import Bench

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3000)]
# What goes before the first call and after the last one is as long in both: 1.8 s are 2 % of the first, 4.8 s of the
# second.
RUNS = [(365, 240), (2_400, 600)]


@pytest.mark.parametrize(("count", "per_minute"), RUNS)
def test_a_run_whose_rate_is_limited(bench: Bench, count: int, per_minute: int) -> None:
    # No lockout lies in the longer one: its empty dates would not be believed.
    first = dt.date(2014, 10, 1) if count > 1000 else dt.date(2008, 10, 1)
    bench.upstream("/gapless/latency", {"latency_ms": LATENCY_MS})
    rate = {"GAPLESS_SOURCE_RATE_PER_MINUTE": f'{{"balldontlie": {per_minute}}}'}
    bench.forget(str(first - dt.timedelta(days=60)), str(first + dt.timedelta(days=count)))
    cost = backfill_cost([first + dt.timedelta(days=number) for number in range(count)], rate)
    bench.upstream("/gapless/latency", {"latency_ms": 0})
    seen, least_s = cost["outside"], count / per_minute * 60
    mailed_s = seen["mailed_s"]
    after_s = mailed_s - seen["before_calls_s"] - seen["calling_s"]
    print(f"\n{count} dates at {per_minute} calls a minute, source {LATENCY_MS} ms; load {os.getloadavg()[0]:.1f}")
    print(f"  N/R {least_s:.1f} s, first call to last {seen['calling_s']:.1f} s, mail {mailed_s:.1f} s")
    hidden_by = (mailed_s - least_s) / 0.02 * per_minute / 60
    print_aims(
        [
            Aim("first call to last / N/R", 1.02, seen["calling_s"] / least_s, "some of the rate stays unused"),
            Aim(
                "time of the mail / N/R",
                1.02,
                mailed_s / least_s,
                f"{mailed_s - 1.02 * least_s:.1f} s: {seen['before_calls_s']:.1f} s go before the first call, "
                f"{seen['calling_s'] - least_s:.1f} s while canaries are read, and {after_s:.1f} s after the last one, "
                f"whatever N is: of {hidden_by:,.0f} dates they are 2 %",
            ),
        ]
    )
