"""The audit: every level compared, and repair as exactly its findings."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from alerting.errors import LeaseHeld
from flows.control.lease import Lease
from flows.plans.plan import Path, make_plan
from flows.truth import auditing
from flows.truth.deficits import summarised
from scrapers.scrape import utc_now

SOURCE = "bdl_box_scores"
FIRST, LAST = dt.date(2025, 1, 1), dt.date(2025, 1, 6)


def audited(place: Any, **options: Any) -> dict[str, str]:
    found = auditing.audit_sources(place.services, [SOURCE], utc_now(), FIRST, LAST, **options)
    return {one.partition: one.deficit.value for one in found}


def test_k31_trap_13_every_kind_of_deficit_is_found_and_what_is_done_is_not(place: Any) -> None:
    place.fill("2025-01-01", 2)  # the second becomes short below
    place.land("2025-01-03")
    place.fail("2025-01-04")
    place.load(place.land("2025-01-05", record=False), record=False)
    place.sql("DELETE FROM {lines} WHERE game_date = DATE '2025-01-02'")
    assert audited(place) == {
        "2025-01-02": "short",
        "2025-01-03": "landed_not_loaded",
        "2025-01-04": "failed",
        "2025-01-05": "landed_not_loaded",
        "2025-01-06": "never_attempted",
    }


def test_trap_14_a_later_other_payload_reopens_a_date_and_an_equal_one_does_not(place: Any) -> None:
    place.upstream.trouble({"kind": "drop_last_player", "dates": ["2025-01-01"]})
    place.fill("2025-01-01", 2)
    place.upstream.trouble()
    place.land("2025-01-01", 2, record=False)
    assert audited(place)["2025-01-01"] == "landed_not_loaded"
    assert "2025-01-02" not in audited(place)


def test_rows_whose_payload_is_gone_are_loaded_not_landed(place: Any) -> None:
    place.fill("2025-01-01", 6)
    for found in list(place.store.list(f"landing/source={SOURCE}/partition=2025-01-04/")):
        place.store.delete(found.name)
    assert audited(place) == {"2025-01-04": "loaded_not_landed"}


def test_emptiness_expires_and_is_asked_for_again(place: Any) -> None:
    old = utc_now() - dt.timedelta(days=181)
    place.fill("2024-12-24", 1, now=old)
    first = dt.date(2024, 12, 24)
    stale = auditing.audit_sources(place.services, [SOURCE], utc_now(), first, first)
    assert [(one.partition, one.deficit.value) for one in stale] == [("2024-12-24", "stale")]
    keys = auditing.reopen(place.services, SOURCE, stale, "repair-1", utc_now())
    plan = make_plan(place.services.scraper(SOURCE), place.partitions("2024-12-24", 1), place.ledger.refresh())
    assert (keys, plan.items[0].path) == (["2024-12-24"], Path.FETCH)


def test_v25_dates_with_few_rows_are_listed_on_demand(place: Any) -> None:
    place.fill("2025-01-01", 6)
    assert audited(place) == {}
    rows = sum(place.entry("2025-01-01").loaded.values())
    assert "2025-01-01" in audited(place, below=rows + 1)


def test_trap_12_landed_objects_that_no_processor_takes_fail_loudly(place: Any, gapless: Any, inbox: Any) -> None:
    place.store.write("landing/source=forgotten/partition=2025-01-01/attempt=a/manifest.json", b"{}")
    found = gapless("audit", "--json")
    assert found.code == 1
    (line,) = [line for line in found.data["deficits"] if line["deficit"] == "unmapped"]
    assert line["source"] == "forgotten"
    assert "no scraper and no processor" in line["why"]
    auditing.tell(place.services, summarised(auditing.unmapped(place.services)))
    (mail,) = inbox.messages()
    assert "CRITICAL forgotten" in mail["subject"]


def test_v19_repair_takes_up_exactly_the_deficits_each_by_its_cheapest_path(place: Any) -> None:
    place.fill("2025-01-01", 2)
    place.land("2025-01-03", record=False)
    place.fail("2025-01-04")
    place.sql("DELETE FROM {lines} WHERE game_date = DATE '2025-01-02'")
    findings = auditing.audit_sources(place.services, [SOURCE], utc_now(), FIRST, dt.date(2025, 1, 5))
    keys = auditing.reopen(place.services, SOURCE, findings, "repair-1", utc_now())
    assert keys == ["2025-01-02", "2025-01-03", "2025-01-04", "2025-01-05"]
    plan = make_plan(place.services.scraper(SOURCE), place.partitions("2025-01-01", 5), place.ledger.refresh())
    assert [item.path.value for item in plan.items] == ["skip", "reload", "reload", "fetch", "fetch"]


def test_repair_does_not_write_beside_a_living_run(place: Any) -> None:
    place.fill("2025-01-01", 1)
    place.sql("DELETE FROM {lines} WHERE TRUE")
    Lease.acquire(place.store, SOURCE, backfill_id="bf-other", now=utc_now(), ttl_s=60)
    findings = auditing.audit_sources(place.services, [SOURCE], utc_now(), FIRST, FIRST)
    before = place.objects()
    with pytest.raises(LeaseHeld, match="bf-other"):
        auditing.reopen(place.services, SOURCE, findings, "repair-1", utc_now())
    assert place.objects() == before


def test_an_audit_makes_no_call_and_no_write(place: Any, gapless: Any) -> None:
    place.fill("2025-01-01", 2)
    before, calls = place.objects(), place.upstream.calls.report()["total"]
    assert gapless("audit", SOURCE, "--from", "2025-01-01").code == 1
    assert gapless("repair", SOURCE, "2025-01-01", "--dry-run").code == 0
    assert place.objects() == before
    assert place.upstream.calls.report()["total"] == calls


def test_five_deficits_of_two_sources_are_one_alert() -> None:
    from types import SimpleNamespace

    told: list[Any] = []
    lines = [
        {"source": source, "deficit": deficit, "count": 2, "ranges": "2025-01-01..2025-01-02", "why": "w"}
        for source, deficit in (("a", "stale"), ("a", "short"), ("b", "failed"), ("b", "stale"), ("b", "unfinished"))
    ]
    auditing.tell(SimpleNamespace(alerts=SimpleNamespace(record_error=told.append)), lines)
    (one,) = told
    assert one.error_type == "AuditDeficits"
    assert len(one.message.splitlines()) == 5
    assert one.hint == "gapless repair a --reason audit; gapless repair b --reason audit"
    auditing.tell(SimpleNamespace(alerts=SimpleNamespace(record_error=told.append)), [])
    assert len(told) == 1
