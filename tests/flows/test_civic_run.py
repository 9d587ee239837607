"""All towns through stage one and two with the real collaborators, without a Prefect server; one town fails."""

from __future__ import annotations

import asyncio
import datetime as dt
import json

import pytest

from flows.run.plain_orchestrator import PlainOrchestrator

pytest.importorskip("datasette")

from alerting.errors import PipelineError
from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from alerting.summary_rows import data_rows
from deployments.local.upstreams.civic_upstream import LOCAL_CIVIC_KEY, CivicUpstream
from flows.asked import Asked
from flows.closing.close import recount
from flows.closing.record import render_record
from flows.parameters import Mode
from flows.planning.planner import plan_asked
from flows.planning.stored_plan import plan_name, read_plan
from flows.run.recording import land, record_failure
from flows.run.recounted import record_verification
from flows.run.run import Run
from flows.wiring import Services
from processors.process import LoadContext, process
from processors.verification import verify
from scrapers.manifest import Manifest
from scrapers.sources.civic_band import CivicBand

TOWNS = {"alameda.ca": (330, 40), "berkeley.ca": (120, 0), "temecula.ca": (20, 10)}


@pytest.fixture
def services(tmp_path, provisioned):
    with CivicUpstream(data_dir=tmp_path, towns=TOWNS) as upstream:
        services = provisioned(
            "civic_band",
            upstream.base_url,
            {"civic_band_api_key": LOCAL_CIVIC_KEY},
            GAPLESS_SOURCE_RATE_PER_MINUTE=json.dumps({"civic_band": 6000}),
            GAPLESS_SOURCE_ENTITIES=json.dumps({"civic_band": list(TOWNS)}),
            GAPLESS_SOURCE_PAGE_SIZE=json.dumps({"civic_band": 50}),
        )
        yield services, upstream


async def run_all(services, backfill_id: str, entities: str = "all", mode: Mode = Mode.INCREMENTAL) -> Run:
    asked = Asked(source="civic_band", entities=entities, mode=mode)
    run = Run(services, asked, backfill_id, PlainOrchestrator())
    plan = plan_asked(services, asked, utc_now()).plan
    run.work.partitions = {one.key: one for one in plan.to_fetch}
    services.store.write(plan_name(backfill_id), plan.to_json())
    run.ledger.refresh()
    for key in run.work.partitions:
        try:
            land(run, key)
        except PipelineError as error:
            record_failure(run, key, error, "scrape", key)
    if manifests := [one.manifest for one in run.work.landed.values() if not one.is_unchanged]:
        _load(services, run, manifests)
    run.close()
    return run


def _load(services, run: Run, manifests: list[Manifest]) -> None:
    context = LoadContext(run.kit.processor, services.landing, services.warehouse, run.backfill_id)
    receipt = process(manifests, context)
    found = verify(manifests, processor=run.kit.processor, warehouse=services.warehouse)
    for manifest in manifests:
        record_verification(run, manifest, found[manifest.partition], manifest.partition, receipt=receipt)


def test_v08_v21_one_failing_town_stops_no_other_and_the_ledger_says_how_far_each_came(services):
    built, upstream = services
    upstream.trouble({"town": "temecula.ca", "do": "fail", "status": 404, "html": True, "calls": 0})
    run = asyncio.run(run_all(built, "bf-1"))
    assert run.stopped_by is None
    entries = {key: run.ledger.get(key) for key in run.work.partitions}
    assert {key: entry.verdict.value for key, entry in entries.items()} == {
        "alameda.ca~agendas": "verified",
        "alameda.ca~minutes": "verified",
        "berkeley.ca~agendas": "verified",
        "berkeley.ca~minutes": "empty_ok",
        "temecula.ca~agendas": "failed_permanent",
        "temecula.ca~minutes": "verified",
    }
    big = run.ledger.refresh()["alameda.ca~agendas"]
    assert (big.pages_fetched, big.expected, big.actual, big.last_cursor) == (
        330,
        330,
        330,
        upstream.ids("alameda.ca")[299],
    )
    assert big.verified_at is not None

    upstream.trouble({"town": "temecula.ca", "at_call": 1, "do": "fail", "status": 503})
    again = asyncio.run(run_all(built, "bf-2", "temecula.ca~agendas"))
    assert again.ledger.get("temecula.ca~agendas").verdict.value == "failed_retryable"
    asyncio.run(run_all(built, "bf-3"))
    assert run.ledger.refresh()["temecula.ca~agendas"].verdict.value == "verified"
    assert upstream.calls == {"temecula.ca~agendas": 2}


def recounted(services: Services, run: Run, backfill_id: str) -> RunFacts:
    facts = RunFacts(backfill_id=backfill_id, source="civic_band")
    plan = read_plan(services.store, backfill_id)
    return recount(services, facts, plan, run.ledger.refresh(), aborted="", now=utc_now())


def test_v21_what_a_reload_changed_is_in_ledger_summary_and_mail_and_a_recount_changes_nothing(services):
    built, upstream = services
    asyncio.run(run_all(built, "bf-1"))
    upstream.change("alameda.ca", "delete", rows=7)
    upstream.change("berkeley.ca", "add", rows=4)
    run = asyncio.run(run_all(built, "bf-2", mode=Mode.FULL))
    changes = {key: entry.changes for key, entry in run.ledger.refresh().items()}
    assert changes["alameda.ca~agendas"] == {"civic_pages": {"unchanged": 323, "removed": 7}}
    assert changes["berkeley.ca~agendas"] == {"civic_pages": {"unchanged": 120, "created": 4}}

    facts = recounted(built, run, "bf-2")
    assert facts.tables[0].changes == {"unchanged": 323 + 120, "removed": 7, "created": 4}
    assert facts.to_dict()["tables"][0]["changes"]["created"] == 4
    assert ("civic_pages rows", "4 created, 443 unchanged, 7 removed") in data_rows(facts)
    assert "(4 created, 443 unchanged, 7 removed)" in render_record(facts, [])

    asyncio.run(run_all(built, "bf-3"))
    again = recounted(built, run, "bf-3")
    assert again.tables[0].changed == ""


def calls_of(upstream: CivicUpstream, *keys: str) -> dict[str, int]:
    calls = {key: upstream.calls[key] for key in keys or list(upstream.calls)}
    upstream.calls.clear()
    return calls


def test_v24_an_old_snapshot_is_fetched_again_only_when_its_counts_changed_or_are_no_longer_trusted(
    services, monkeypatch
):
    built, upstream = services
    monkeypatch.setattr(CivicBand, "fresh_for", dt.timedelta(0))
    asyncio.run(run_all(built, "bf-1"))
    whole = {"alameda.ca~agendas": 14, "berkeley.ca~agendas": 6}
    assert calls_of(upstream, *whole) == whole

    unchanged = asyncio.run(run_all(built, "bf-2"))
    assert calls_of(upstream, *whole) == {"alameda.ca~agendas": 2, "berkeley.ca~agendas": 2}
    entries = unchanged.ledger.refresh()
    assert {entry.verdict.is_good for entry in entries.values()} == {True}
    assert {key for key, entry in entries.items() if entry.backfill_id == "bf-2"} == set(entries)
    assert unchanged.work.unchanged == set(whole), "what fits on one page is read and not probed"

    upstream.change("berkeley.ca", "add", rows=1, seed=5)
    changed = asyncio.run(run_all(built, "bf-3"))
    assert calls_of(upstream, *whole) == {"alameda.ca~agendas": 2, "berkeley.ca~agendas": 7}
    assert changed.ledger.refresh()["berkeley.ca~agendas"].actual == 121

    asyncio.run(run_all(built, "bf-4", mode=Mode.FULL))
    assert calls_of(upstream)["alameda.ca~agendas"] == 14
    monkeypatch.setattr(CivicBand, "trusted_for", dt.timedelta(0))
    asyncio.run(run_all(built, "bf-5"))
    assert calls_of(upstream)["alameda.ca~agendas"] == 14


def test_v24_what_failed_or_is_new_is_read_in_full_whatever_its_counts_are(services, monkeypatch):
    built, upstream = services
    monkeypatch.setattr(CivicBand, "fresh_for", dt.timedelta(0))
    asyncio.run(run_all(built, "bf-1", "alameda.ca~agendas"))
    upstream.trouble({"town": "alameda.ca", "at_call": 2, "do": "fail", "status": 503})
    broken = asyncio.run(run_all(built, "bf-2", "alameda.ca~agendas"))
    assert broken.ledger.get("alameda.ca~agendas").verdict.value == "failed_retryable"
    upstream.trouble()
    asyncio.run(run_all(built, "bf-3", "alameda.ca~agendas,alameda.ca~minutes"))
    assert calls_of(upstream) == {"alameda.ca~agendas": 14, "alameda.ca~minutes": 1}
