"""A source that is asked for a part of what it has: what is landed for less than is wanted is never called done."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from alerting.errors import ConfigurationError
from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from deployments.local.upstreams.racing_upstream import RACING_PASSWORD, RACING_USER, RacingUpstream
from deployments.local.upstreams.racing_world import RacingWorld
from flows.asked import Asked
from flows.closing.finish import finish
from flows.ledger.verdicts import abort_reason
from flows.mapping import map_windows
from flows.planning.plan import Plan
from flows.planning.planner import plan_asked
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.truth.deficits import find_deficits
from flows.truth.inventory import read_inventory
from flows.views.status import source_status
from flows.wiring import build_services

WORLD = RacingWorld(meetings=(4, 5), races=(2, 3), runners=(3, 5), bookmakers=2, horses=300)


def _regions(*dates: dt.date) -> set[str]:
    return {race.region_code for date in dates for race in WORLD.races_on(date)}


def _days() -> list[dt.date]:
    """Two dates that results go back to, with races in Britain, in Ireland, and on one of them elsewhere."""
    last = utc_now().date() - dt.timedelta(days=9)
    while (
        not {"gb", "ire"} <= _regions(last) & _regions(last - dt.timedelta(days=1))
        or len(_regions(last, last - dt.timedelta(days=1))) < 3
    ):
        last -= dt.timedelta(days=1)
    return [last - dt.timedelta(days=1), last]


DAYS = _days()
SOURCES = ("racing_reference", "racing_cards", "racing_results")
RUNS = (f"bf-part{number:08d}" for number in itertools.count(1))
LOGIN = {"racing_api_user": RACING_USER, "racing_api_password": RACING_PASSWORD}


@pytest.fixture
def upstream() -> Iterator[RacingUpstream]:
    with RacingUpstream(world=WORLD, per_second=0) as started:
        yield started


@pytest.fixture
def place(provisioned: Any, upstream: RacingUpstream, monkeypatch: pytest.MonkeyPatch) -> Place:
    services = provisioned(
        "racing_cards",
        upstream.url,
        LOGIN,
        GAPLESS_SOURCE_URLS=json.dumps(dict.fromkeys(SOURCES, upstream.url)),
        GAPLESS_SOURCE_RATE_PER_MINUTE=json.dumps({"the_racing_api": 60_000}),
    )
    for name in SOURCES:
        for table in services.source_kit(name).processor.tables:
            services.warehouse.ensure_table(table)
    return Place(monkeypatch)


class Place:
    """Cards and results of two dates, under a setting that changes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.services = build_services()

    def narrow(self, **only: list[str]) -> None:
        self._monkeypatch.setenv("GAPLESS_SOURCE_ONLY", json.dumps(only))
        self.services = build_services()

    def plan(self, source: str) -> Plan:
        return plan_asked(self.services, self._asked(source), utc_now()).plan

    def ran(self, source: str, **more: Any) -> RunFacts:
        run = Run(self.services, self._asked(source, **more), next(RUNS), PlainOrchestrator())
        try:
            planned = plan_asked(run.services, run.asked, utc_now(), run.backfill_id)
            run.begin(planned, starting_facts(run.services, planned.plan, {}, run.backfill_id, run.asked))
            asyncio.run(map_windows(run, planned.plan))
            return finish(run, abort_reason(run.stopped_by or run.loading_stopped_by))
        finally:
            run.close()

    def regions(self, table: str) -> set[str]:
        rows = self.services.warehouse.query(f"SELECT region FROM {self.services.warehouse.name_of(table)}")
        return {row["region"].lower() for row in rows}

    def missing(self, source: str) -> dict[str, str]:
        ttl = dt.timedelta(days=180)
        known = read_inventory(self.services, source, utc_now(), *DAYS)
        return {one.partition: one.why for one in find_deficits(source, known, utc_now(), empty_ttl=ttl, fresh_for=ttl)}

    def _asked(self, source: str, **more: Any) -> Asked:
        dates = {"start_date": str(DAYS[0]), "end_date": str(DAYS[1])}
        return Asked.model_validate({"source": source, "ignore_requires": True, "max_concurrency": 2, **dates, **more})


def test_a_date_that_was_landed_for_some_regions_is_not_done_for_all(place: Place, upstream: RacingUpstream) -> None:
    place.narrow(the_racing_api=["IRE", "gb"])
    facts = place.ran("racing_cards")
    assert facts.verdict == "COMPLETE"
    assert "Asked for region gb, ire alone (GAPLESS_SOURCE_ONLY)" in facts.notes
    assert place.regions("ra_cards") == {"gb", "ire"} < _regions(*DAYS)
    assert place.missing("racing_cards") == {}
    calls = upstream.calls.report()["total"]
    assert place.plan("racing_cards").counts() == {"skip": 2}

    place.narrow()
    plan = place.plan("racing_cards")
    assert [(one.path.value, one.why) for one in plan.items] == [("fetch", "partial: Narrowed")] * 2
    why = "landed for gb, ire alone, and all is wanted"
    assert set(place.missing("racing_cards")) == {str(day) for day in DAYS}
    assert why in json.dumps(source_status(place.services, "racing_cards", utc_now()), default=str)
    assert upstream.calls.report()["total"] == calls

    assert place.ran("racing_cards").verdict == "COMPLETE"
    assert place.regions("ra_cards") == _regions(*DAYS)
    place.narrow(racing_cards=["gb"])
    assert place.plan("racing_cards").counts() == {"skip": 2}, "all of it holds what is wanted"
    stored = place.services.source_kit("racing_cards").ledger.refresh().values()
    assert {one.only for one in stored} == {()}


def test_other_regions_are_fetched_and_take_no_rows_away_unless_somebody_accepts_that(place: Place) -> None:
    place.narrow(racing_cards=["gb"])
    assert place.ran("racing_cards").verdict == "COMPLETE"
    place.narrow(racing_cards=["ire"])
    assert place.ran("racing_cards").verdict_counts == {"shrunk": 2}
    assert place.regions("ra_cards") == {"gb"}
    assert place.ran("racing_cards", accept_shrink=True, note="Ireland alone").verdict == "COMPLETE"
    assert place.regions("ra_cards") == {"ire"}


def test_results_are_judged_by_cards_of_the_same_regions_and_by_no_others(place: Place) -> None:
    place.narrow(racing_cards=["gb"])
    assert place.ran("racing_cards").verdict == "COMPLETE"
    facts = place.ran("racing_results")
    assert facts.items == {}
    assert "racing_cards has gb there, and all of it is asked for" in " ".join(facts.notes)
    place.narrow(the_racing_api=["gb"])
    facts = place.ran("racing_results", mode="full")
    assert facts.items["found"] == facts.items["expected"] > 0


@pytest.mark.parametrize(
    ("source", "only", "problem"),
    [
        ("racing_reference", ["gb"], "racing_reference cannot be asked for a part of what it has"),
        ("racing_cards", [], "no region is named"),
        ("racing_cards", ["gb,ire"], "'gb,ire' is no region"),
    ],
)
def test_what_cannot_be_narrowed_is_refused_before_anything_is_done(
    place: Place, upstream: RacingUpstream, source: str, only: list[str], problem: str
) -> None:
    place.narrow(**{source: only})
    with pytest.raises(ConfigurationError, match=problem):
        place.plan(source)
    assert not upstream.calls.report()["total"]
