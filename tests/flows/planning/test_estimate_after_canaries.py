"""After three dates the estimate of a season is right within 10 %, for every source that there is."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from alerting.instant import utc_now
from alerting.memory_store import MemoryObjectStore
from alerting.smart_alert_manager import SmartAlertManager
from deployments.local.processes import Inherited, Serving, free_port, start_child, wait_ready
from deployments.local.stack_environment import settings_of_sources
from deployments.local.upstreams.worlds import available_worlds
from flows.asked import Asked
from flows.dates import land_window
from flows.parameters import Mode
from flows.planning.canary import DEFAULT_CANARIES, choose_canaries
from flows.planning.estimate import Estimate
from flows.planning.plan import Plan, PlanRules, make_plan
from flows.planning.requested import Selection, requested_partitions
from flows.run.cost_history import cost_so_far, learn_from_canaries
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.run.work_set import Landed
from flows.settings import Settings
from flows.wiring import Services
from scrapers.pace.budget import Clock
from scrapers.partition import Partition
from scrapers.registry import scraper, sources

PROJECT_DIR = Path(__file__).parents[3]
SEASON_ENDS, DAYS = dt.date(2025, 4, 13), 174
MOST_WRONG = 0.10
MOST_ENTITIES = 12

pytestmark = pytest.mark.long


class Store(MemoryObjectStore):
    calls: ClassVar[dict[str, int]] = {}


class Time:
    """Goes on by sleeps alone, which take none: no rate of a source is waited for."""

    def __init__(self) -> None:
        self._began, self._slept_s, self._lock = utc_now(), 0.0, threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._slept_s += seconds

    @property
    def clock(self) -> Clock:
        now = lambda: self._began + dt.timedelta(seconds=self._slept_s)  # noqa: E731
        return Clock(monotonic=lambda: self._slept_s, now=now, sleep=self.sleep)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """All sample worlds in one process, without limits of their own; what reaches them, as settings."""
    folder, ports = tmp_path_factory.mktemp("worlds"), {world: free_port() for world in available_worlds()}
    command = [sys.executable, "-m", "deployments.local.upstreams", "--data-dir", str(folder / "data")]
    command += [f"--port={world}={port}" for world, port in ports.items()]
    url = f"http://127.0.0.1:{ports['odds']}"
    serving, inherited = Serving(url, f"{url}/healthz", ports), Inherited({}, PROJECT_DIR)
    child = start_child("worlds", command, log_path=folder / "log", serving=serving, inherited=inherited)
    try:
        wait_ready([child])
        for world in {"odds", "racing"} & ports.keys():
            body = json.dumps({"per_second": 0}).encode()
            urllib.request.urlopen(f"http://127.0.0.1:{ports[world]}/gapless/limit", body, timeout=30)
        yield settings_of_sources(ports)
    finally:
        child.stop()


class Reading:
    """One source, read to memory and not loaded."""

    def __init__(self, source: str, samples: dict[str, dict[str, Any]]) -> None:
        self.source = source
        settings = Settings(
            project="p",
            console_only=True,
            source_urls=samples["GAPLESS_SOURCE_URLS"],
            source_secrets=samples["GAPLESS_SOURCE_SECRETS"],
            source_entities=samples["GAPLESS_SOURCE_ENTITIES"],
        )
        self.services = Services(settings, clock=Time().clock)
        store = Store()
        self.services.__dict__.update(store=store, alerts=SmartAlertManager(store=store, channels=[]))
        self.scraper = self.services.source_kit(source).scraper

    def partitions(self) -> list[Partition]:
        """A season of dates, or all entities; of a source without history what there is today."""
        now = utc_now()
        if self.scraper.step == "whole":
            entities = ", ".join(self.scraper.entities[:MOST_ENTITIES])
            return requested_partitions(self.scraper, Selection(entities=entities), now)
        last = self.scraper.last_settled(now)
        if not self.scraper.keeps_history:
            return requested_partitions(self.scraper, Selection(last, last), now)
        last = last if self.scraper.horizon else min(last, SEASON_ENDS)
        first = max(last - dt.timedelta(days=DAYS - 1), self.scraper.floor, self.scraper.earliest(now))
        return requested_partitions(self.scraper, Selection(first, last), now)

    def run(self, number: int, plan: Plan) -> Run:
        dated = {} if self.scraper.step == "whole" else {"start_date": plan.start_date, "end_date": plan.end_date}
        # Datasette makes its catalogue at the first call, and two at once fail.
        at_once = 1 if self.scraper.has_sites else 4
        asked = {"source": self.source, "breaker": False, "max_concurrency": at_once, "entities": "all", **dated}
        run = Run(self.services, Asked.model_validate(asked), f"bf-{number}", PlainOrchestrator())
        run.work.partitions = {one.key: one for one in plan.to_fetch}
        run.ledger.refresh()
        return run


def _read(run: Run, keys: list[str]) -> tuple[int, int]:
    """Calls and units that reading them took."""
    before, landed = (run.client.calls, run.client.units), list[Landed]()
    asyncio.run(land_window(run, keys, landed.append))
    assert len(landed) >= 0.8 * len(keys), {key: entry.error for key, entry in run.ledger.refresh().items()}
    return run.client.calls - before[0], run.client.units - before[1]


# Of a sweep and of what feeds on it no date can go first: tests/flows/test_hemnet_run.py has what those take.
BY_CANARIES = [one for one in sources() if not (scraper(one).sweeps or scraper(one).feeds_on)]


@pytest.mark.parametrize("source", BY_CANARIES)
def test_after_the_canaries_calls_and_units_of_the_rest_are_right_within_10_percent(
    source: str, samples: dict[str, dict[str, Any]]
) -> None:
    assert source in samples["GAPLESS_SOURCE_URLS"], "every source has a sample"
    of = Reading(source, samples)
    partitions, rules = of.partitions(), PlanRules(mode=Mode.FULL)
    plan = make_plan(of.scraper, partitions, {}, rules)
    goes_first = [one.key for one in choose_canaries(plan.to_fetch, DEFAULT_CANARIES, plan.hash)]
    if len(partitions) <= MOST_ENTITIES:
        # Little is left after canaries: the first reading is what the second one learns from.
        goes_first = [one.key for one in partitions]
    with of.run(1, plan) as run:
        _read(run, goes_first)
        rest = plan
        if len(goes_first) < len(partitions):
            left = tuple(item for item in plan.items if item.partition.key not in goes_first)
            rest = dataclasses.replace(plan, items=left)
        said = learn_from_canaries(run, rest, cost_so_far(run, 1.0), 1.0)
    assert said is not None
    with of.run(2, rest) as run:
        calls, units = _read(run, [one.key for one in rest.to_fetch])
    _judge(said, calls, units)


def _judge(said: Estimate, calls: int, units: int) -> None:
    assert calls > 0
    assert abs(said.calls - calls) <= max(MOST_WRONG * calls, 1), f"{said.calls} calls said, {calls} made"
    if said.cost_unit:
        assert abs(said.units - units) <= MOST_WRONG * units, f"{said.units} {said.cost_unit}s said, {units} spent"
