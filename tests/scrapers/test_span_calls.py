"""Several dates by one call: no row is lost at a silent cap, calls stay within twice the fewest, each date is exact."""

from __future__ import annotations

import datetime as dt
import json
import random
import re
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sales_world import Api, Killed, Sales, World, days, fewest, source

import scrapers.sources
from alerting.errors import Truncated
from scrapers.answers import parsed_json
from scrapers.base import Findings, Page, Request
from scrapers.partition import Partition
from scrapers.spans import dates_of


@pytest.mark.long
@pytest.mark.parametrize("order", ["oldest first", "newest first"])
def test_five_years_of_an_api_that_caps_at_1000_lose_no_row_and_take_at_most_twice_the_fewest_calls(order):
    chosen = random.Random(3)
    per_day = [chosen.choice((0, 2, 5, 9, 30, 120)) if at % 97 else 2500 for at in range(1826)]
    api = Api(per_day, 1000, order)
    world = World(source(1000, 90), api)
    world.fetch(days(len(per_day)))
    assert (len(world.manifests), world.failures) == (1826, {})
    world.check()
    optimum = fewest(per_day, 1000, 90, api)
    assert api.calls <= 2 * optimum
    assert api.calls < 1826 / 4


counts_of_days = st.lists(st.one_of(st.integers(0, 4), st.integers(0, 25)), min_size=1, max_size=40)


@given(
    counts_of_days,
    st.integers(3, 12),
    st.integers(1, 45),
    st.sampled_from(["oldest first", "newest first", "no order"]),
    st.booleans(),
    st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_any_days_any_cap_any_order_every_date_is_exact_or_truncated(per_day, cap, days_per_call, order, total, seed):
    api = Api(per_day, cap, order, seed)
    api.announces = total
    world = World(source(cap, days_per_call), api)
    world.fetch(days(len(per_day)))
    world.check()
    assert all(isinstance(error, Truncated) for error in world.failures.values())
    assert len(world.manifests) + len(world.failures) == len(per_day)
    # Only a date that is too large by itself fails, and none of its neighbours.
    assert all(sum(row["date"] == key for row in api.rows) >= cap for key in world.failures)
    if total:
        assert all(one.source_total == one.counts["sales"] for one in world.manifests.values())
    if order != "no order" and not world.failures:
        assert api.calls <= 2 * fewest(per_day, cap, days_per_call, api) + 2 * (order == "newest first")


@given(counts_of_days, st.integers(3, 12), st.integers(2, 45), st.lists(st.integers(1, 40), max_size=4))
@settings(max_examples=80, deadline=None)
def test_a_kill_before_any_call_and_a_rerun_give_what_an_undisturbed_run_gives(per_day, cap, days_per_call, kills):
    kept = [min(count, cap - 1) for count in per_day]
    alone = World(source(cap, days_per_call), Api(kept, cap))
    alone.fetch(days(len(kept)))
    world = World(source(cap, days_per_call), Api(kept, cap))
    for kill in [*kills, 0]:
        world.api.kill_at = world.api.calls + kill if kill else 0
        try:
            world.fetch(days(len(kept)))
        except Killed:
            continue
    world.check()
    assert {key: one.counts for key, one in world.manifests.items()} == {
        key: one.counts for key, one in alone.manifests.items()
    }


def test_the_example_of_a_source_of_ranges_asks_for_90_dates_at_once_and_is_cut_at_its_cap():
    (block,) = re.findall(r"^ {4}class Sales\(.*", scrapers.sources.__doc__ or "", re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"dt": dt, "Scraper": Sales, "Partition": Partition, "Request": Request}
    names |= {"Findings": Findings, "Page": Page, "dates_of": dates_of, "parsed_json": parsed_json}
    exec(dedent(block), names)

    class ByDate(Api):
        def fetch(self, request: Request, page_number: int = 1) -> Page:
            self.calls += 1
            first, last = (value for _, value in request.params)
            found = [row for row in self.rows if first <= row["date"] <= last]
            body = json.dumps(found[: self.cap]).encode()
            return Page(request, page_number, 200, {}, body, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 0.9)

    world = World(names["Sales"](), ByDate([20] * 200, 1000))
    world.fetch(days(200))
    assert {one.counts["sales"] for one in world.manifests.values()} == {20}
    assert len(world.manifests) == 200
    # 49 dates stay below the cap: 4 runs, and the last 4 dates.
    assert world.api.calls == 9
