"""Two hosts of NBA.com, of which one blocks: its own account is in cooldown, and what the other has is read.

Whichever source met the block. On emulators.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from alerting.errors import RateLimited
from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from deployments.local.upstreams.nba_upstream import NbaUpstream
from flows.asked import Asked
from flows.closing.finish import finish
from flows.ledger.cooldowns import cooling_until
from flows.ledger.verdicts import abort_reason
from flows.mapping import map_windows
from flows.planning.plan import Plan
from flows.planning.planner import plan_asked
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.resume import note_resume
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.views.status import source_status
from flows.wiring import Services, build_services
from scrapers.pace.budget import Clock

DAY, NEXT = "2024-11-02", "2024-11-03"
RUNS = (f"bf-host{number:08d}" for number in itertools.count(1))
STATS, CDN = {"kind": "access_denied", "path": "/stats/"}, {"kind": "access_denied", "path": "playbyplay_"}


@pytest.fixture
def site() -> Iterator[NbaUpstream]:
    with NbaUpstream(now=dt.datetime(2025, 2, 1, 12, tzinfo=dt.UTC)) as started:
        yield started


@pytest.fixture
def services(provisioned: Any, site: NbaUpstream) -> Services:
    urls = {"nba_schedule": "/{site}", "nba_playbyplay": "/{site}", "nba_scoreboard": "/stats"}
    found: Services = provisioned(
        "nba_schedule",
        "",
        {},
        GAPLESS_SOURCE_URLS=json.dumps({name: f"{site.url}{rest}" for name, rest in urls.items()}),
        GAPLESS_SOURCE_PAUSE_S=json.dumps({"nba_stats": [0, 0], "nba_cdn": [0, 0]}),
        GAPLESS_SOURCE_RATE_PER_MINUTE=json.dumps({"nba_stats": 60_000, "nba_cdn": 60_000}),
        GAPLESS_RETRY_DELAYS_S="[0]",
    )
    for name in urls:
        for table in found.source_kit(name).processor.tables:
            found.warehouse.ensure_table(table)
    assert ran(found, "nba_schedule", entities="2024-25").verdict == "COMPLETE"
    return found


def ran(services: Services, source: str, **given: Any) -> RunFacts:
    what = given if "entities" in given else {"start_date": DAY, "end_date": NEXT}
    asked = Asked.model_validate({"source": source, **what, **given})
    run = Run(services, asked, next(RUNS), PlainOrchestrator())
    try:
        plan = plan_asked(services, asked, utc_now(), run.backfill_id)
        run.begin(plan, starting_facts(services, plan.plan, {}, run.backfill_id, asked))
        asyncio.run(_worked(run, plan.plan))
        return finish(run, abort_reason(run.stopped_by or run.loading_stopped_by))
    finally:
        run.close()


async def _worked(run: Run, plan: Plan) -> None:
    await map_windows(run, plan)
    await note_resume(run)


def cooling(services: Services) -> dict[str, bool]:
    """By host, named by a source that asks no other."""
    names = {"stats": "nba_scoreboard", "cdn": "nba_schedule"}
    return {host: cooling_until(services.store, name, utc_now()) is not None for host, name in names.items()}


def test_a_block_of_the_files_ends_the_run_and_their_account_is_in_cooldown_alone(
    services: Services, site: NbaUpstream
) -> None:
    site.trouble(CDN)
    facts = ran(services, "nba_playbyplay")
    assert facts.verdict == "ABORTED(critical)"
    assert cooling(services) == {"stats": False, "cdn": True}
    assert ran(services, "nba_scoreboard").verdict == "COMPLETE"


def test_a_block_of_the_lists_costs_what_needs_them_and_nobody_asks_that_host_before_its_cooldown_is_over(
    services: Services, site: NbaUpstream
) -> None:
    site.trouble(STATS)
    facts = ran(services, "nba_playbyplay")
    assert facts.verdict == "FAILED"
    assert facts.verdict_counts == {"blocked": 2}
    assert any("blocked by nba_stats; it can resume at" in note for note in facts.notes)
    (wait,) = facts.waits
    assert (wait.ranges, wait.sooner) == (f"{DAY}..{NEXT}", "gapless lift-cooldown nba_boxscores --reason WHY")
    assert cooling(services) == {"stats": True, "cdn": False}
    assert ran(services, "nba_schedule", entities="2024-25", mode="full").verdict == "COMPLETE"

    site.trouble()
    before = site.calls.report()["total"]
    assert ran(services, "nba_playbyplay").verdict_counts == {"blocked": 2}
    error = services.source_kit("nba_playbyplay").ledger.refresh()[DAY].error
    assert "stats blocked an earlier call (the account nba_stats is in cooldown until" in error
    assert site.calls.report()["total"] == before


def test_calls_of_a_source_to_the_other_host_are_paced_and_counted_with_those_of_that_hosts_account(
    services: Services, site: NbaUpstream
) -> None:
    facts = ran(services, "nba_playbyplay")
    assert facts.verdict == "COMPLETE"
    asked = site.calls.report()["by_path"].items()
    lists, files = (sum(count for path, count in asked if part in path) for part in ("score", "playbyplay_"))
    assert (lists, files) == (2, facts.calls - 2)
    assert facts.account == (
        f"nba_cdn: {files} by nba_playbyplay, 1 by nba_schedule today; nba_stats: 2 by nba_playbyplay today"
    )
    turns = {one.name for one in services.store.list("budgets/pace/")}
    assert turns == {"budgets/pace/nba_cdn.json", "budgets/pace/nba_stats.json"}


def test_two_sources_share_the_rate_of_a_host_that_one_of_them_only_asks_for_lists(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute allows three calls to stats.nba.com, and any number to the files."""
    limits = json.dumps({"nba_stats": 3, "nba_cdn": 60_000})
    monkeypatch.setenv("GAPLESS_SOURCE_RATE_PER_MINUTE", limits)
    now = utc_now()
    clock = Clock(monotonic=lambda: 0.0, now=lambda: now, sleep=lambda _: None)
    slow = Services(build_services().settings, clock=clock)
    lists, plays = slow.source_kit("nba_scoreboard"), slow.source_kit("nba_playbyplay")
    (stats,) = plays.budgets_of_hosts.values()
    assert [budget.acquire(0) for budget in (stats, stats)] == [0.0, 0.0]
    with pytest.raises(RateLimited):
        lists.budget.acquire(0)
    plays.budget.acquire(0)


def test_n22_n40_the_newest_objects_of_a_source_lie_by_source_and_date_and_are_told_newest_first(
    services: Services,
) -> None:
    assert ran(services, "nba_scoreboard").verdict == "COMPLETE"
    told = source_status(services, "nba_scoreboard", utc_now(), newest=4)["newest_objects"]
    assert [one["written_at"] for one in told] == sorted((one["written_at"] for one in told), reverse=True)
    landed = [one["uri"].partition("/landing/")[2] for one in told]
    assert {path.partition("/attempt=")[0] for path in landed} == {
        f"source=nba_scoreboard/partition={day}" for day in (DAY, NEXT)
    }
    assert [path for path in landed if path.endswith("manifest.json")]
    listed = services.store.list(f"landing/source=nba_scoreboard/partition={DAY}/")
    assert {one.name.rpartition("/")[2] for one in listed} == {"page-0001.json.gz", "manifest.json"}
