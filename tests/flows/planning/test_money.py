"""Money: what a run will cost, what it did cost, and where it stops."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest

from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from flows.asked import Asked
from flows.closing.finish import finish
from flows.dates import land_partition
from flows.ledger.verdicts import abort_reason
from flows.planning.history import MINIMUM_BILLED_BYTES, RunCost, SourceHistory, read_history
from flows.planning.planner import Planned, plan_asked
from flows.prices import TIB, Prices, Usage
from flows.run.breaker_limits import breaker_limits
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.settings import Settings
from flows.wiring import Services

if TYPE_CHECKING:
    from .conftest import Place

SOURCE = "bdl_box_scores"
PRICES = {"GAPLESS_SOURCE_USD_PER_CALL": json.dumps({SOURCE: 0.01})}


def asked(first: str, last: str, **rest: Any) -> Asked:
    return Asked(source=SOURCE, start_date=dt.date.fromisoformat(first), end_date=dt.date.fromisoformat(last), **rest)


def test_calls_operations_and_bytes_are_paid_by_their_own_prices() -> None:
    prices = Prices(usd_per_call=0.002, usd_per_1000_writes=0.005, usd_per_1000_reads=0.0004, usd_per_tib=6.25)
    used = Usage(calls=1_000, storage_writes=10_000, storage_reads=5_000, billed_bytes=TIB // 2)
    assert prices.cost_usd(used) == pytest.approx({"calls": 2.0, "storage": 0.052, "bigquery": 3.125})
    assert prices.total_usd(used + used) == pytest.approx(2 * prices.total_usd(used))


def test_the_price_of_a_call_is_what_the_source_declares_unless_the_settings_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from scrapers.sources.bdl_box_scores import BdlBoxScores

    monkeypatch.setattr(BdlBoxScores, "usd_per_call", 0.25)
    assert Services(Settings(console_only=True)).source_kit(SOURCE).prices.usd_per_call == 0.25
    mine = Settings(console_only=True, source_usd_per_call={SOURCE: 0.5})
    assert Services(mine).source_kit(SOURCE).prices.usd_per_call == 0.5


def test_a_run_has_its_own_cost_budget_or_that_of_the_settings() -> None:
    settings = Settings(console_only=True, run_budget_usd=5.0)
    given = asked("2025-01-01", "2025-01-02", max_cost_usd=1.5, breaker=False)
    assert breaker_limits(settings, given).max_cost_usd == 1.5
    assert breaker_limits(settings, asked("2025-01-01", "2025-01-02")).max_cost_usd == 5.0


def run_cost(**rest: Any) -> RunCost:
    given: dict[str, Any] = {
        "backfill_id": "bf-0",
        "ended_at": dt.datetime(2025, 1, 1, tzinfo=dt.UTC),
        "fetched": 100,
        "calls": 200,
        "bytes_landed": 1,
        "rows": 1,
        "bigquery_jobs": 4,
        "busy_s": 1.0,
        "concurrency": 1,
    }
    return RunCost.model_validate({**given, **rest})


def test_what_a_partition_costs_is_learned_and_runs_of_older_versions_teach_nothing_about_it() -> None:
    old, new = run_cost(), run_cost(storage_writes=700, storage_reads=300, billed_bytes=400)
    guessed, learned = SourceHistory(runs=(old,)), SourceHistory(runs=(old, new))
    assert guessed.storage_writes_per_partition > 0
    assert (learned.storage_writes_per_partition, learned.storage_reads_per_partition) == (7.0, 3.0)
    assert learned.billed_bytes_per_job == 100.0


def begun(services: Services, given: Asked, backfill_id: str) -> tuple[Run, Planned]:
    run = Run(services, given, backfill_id, PlainOrchestrator())
    planned = plan_asked(services, given, utc_now(), backfill_id)
    run.begin(planned, starting_facts(services, planned.plan, planned.estimate.promised(), backfill_id, given))
    return run, planned


def tried(run: Run, keys: list[str]) -> list[str]:
    """What the tasks of these dates return, one after the other."""

    async def each() -> list[str]:
        return [await land_partition(run, key) for key in keys]

    try:
        return asyncio.run(each())
    finally:
        run.close()


def closed(run: Run) -> RunFacts:
    return finish(run, abort_reason(run.stopped_by))


def test_a_run_stops_at_its_cost_budget_and_the_mail_sets_the_money_against_the_estimate(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in PRICES.items():
        monkeypatch.setenv(name, value)
    services = Services(Settings())
    given = asked("2025-01-10", "2025-01-19", max_cost_usd=0.03, note="money")
    run, planned = begun(services, given, "bf-money0000001")
    assert planned.estimate.cost_usd > 0.1
    assert "cost       0.1" in planned.describe()

    told = tried(run, planned.plan.keys)
    assert told == ["landed"] * 3 + ["not attempted"] * 7
    assert run.tally.calls == 3

    facts = closed(run)
    assert facts.verdict == "ABORTED(budget)"
    assert facts.cost_usd is not None
    assert 0.03 <= facts.cost_usd < 0.032
    assert facts.cost_usd_by["calls"] == pytest.approx(0.03)
    (mail,) = place.inbox.messages()
    text = " ".join(place.inbox.message(mail["id"])["text"].split())
    assert f"(estimate {planned.estimate.cost_usd:.2f} USD, -" in text
    for part in ("budget, cost", "max_cost_usd=0.03", "calls 0.03 USD"):
        assert part in text


def test_what_a_run_really_used_becomes_the_base_of_the_next_estimate(place: Place) -> None:
    from flows.run.cost_history import remember_cost

    services = place.services
    run, planned = begun(services, asked("2025-01-10", "2025-01-12"), "bf-money0000002")
    tried(run, planned.plan.keys)
    place.load([one.manifest for one in run.work.landed.values()])
    before = services.cloud_usage()
    facts = closed(run)
    remember_cost(run, facts)
    (kept,) = read_history(services.store, SOURCE).runs
    assert kept.storage_writes >= before.storage_writes >= 3 * 3
    # At least one replace and one recount a table.
    assert kept.billed_bytes == services.warehouse.billed_bytes >= 4 * MINIMUM_BILLED_BYTES
    assert facts.cost_usd_by["bigquery"] == pytest.approx(kept.billed_bytes / TIB * 6.25)
