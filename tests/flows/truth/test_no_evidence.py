"""Dates that an earlier version landed from an answer which is no complete one: nothing calls them done."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest

from alerting.instant import utc_now
from flows.ledger.ledger import Verdict
from flows.truth.auditing import audit_sources, reopen
from flows.truth.deficits import Deficit, find_gaps
from flows.truth.inventory import read_inventory
from flows.truth.reconcile import rebuild_ledger
from flows.truth.recount import recount_range

if TYPE_CHECKING:
    from .conftest import Place, Ran

SOURCE = "bdl_box_scores"
GOOD, BAD, EMPTY = "2025-01-03", "2025-01-04", "2025-01-05"
RANGE = (dt.date(2025, 1, 3), dt.date(2025, 1, 5))


def landed_with(place: Place, status: int, date: str = BAD, *, tells: bool = False) -> None:
    """Makes the landing of ``date`` one of an answer with this status; an earlier version's listing tells no status."""
    name = place.entry(date).manifest_name
    data, generation = place.store.read(name)
    manifest = json.loads(data)
    for page in manifest["pages"]:
        page["status"] = status
    metadata = {"content_hash": manifest["content_hash"], "backfill_id": manifest["backfill_id"]}
    told = {"statuses": str(status)} if tells else {}
    place.store.write(
        name,
        json.dumps(manifest).encode(),
        if_generation=generation,
        content_type="application/json",
        metadata=metadata | told,
    )


def asked(place: Place) -> dict[str, int]:
    found: dict[str, int] = place.upstream.calls.report()["by_date"]
    return found


def test_audit_gaps_and_verify_call_no_date_done_that_was_landed_from_a_206_and_repair_asks_again(
    place: Place, ran: Ran
) -> None:
    place.upstream.trouble({"kind": "empty", "dates": [EMPTY]})
    place.fill(GOOD, 3)
    services, now = place.services, utc_now()
    assert audit_sources(services, [SOURCE], now, *RANGE) == []
    landed_with(place, 206, BAD, tells=True)
    landed_with(place, 206, EMPTY, tells=False)
    found = audit_sources(services, [SOURCE], now, *RANGE)
    assert {(one.partition, one.deficit) for one in found} == {(day, Deficit.NO_EVIDENCE) for day in (BAD, EMPTY)}
    assert all("status 206" in one.why for one in found)
    gaps = find_gaps(SOURCE, read_inventory(services, SOURCE, now, *RANGE), services.source_kit(SOURCE).scraper.tables)
    assert {gap.partitions for gap in gaps} == {(BAD,), (EMPTY,)}
    recount = recount_range(services, SOURCE, now, *RANGE)
    assert not recount.passed
    assert set(recount.problems) == {BAD, EMPTY}

    assert reopen(services, SOURCE, found, "repair-1", now) == [BAD, EMPTY]
    place.upstream.trouble()
    before = asked(place)
    _, facts = ran(GOOD, EMPTY)
    assert facts.verdict == "COMPLETE"
    assert asked(place) == {GOOD: before[GOOD], BAD: before[BAD] + 1, EMPTY: before[EMPTY] + 1}, "and no other"
    assert audit_sources(services, [SOURCE], utc_now(), *RANGE) == []
    assert recount_range(services, SOURCE, utc_now(), *RANGE).passed


def test_what_was_landed_from_no_complete_answer_is_not_loaded_but_asked_for_again_by_the_run_that_would_load_it(
    place: Place, ran: Ran
) -> None:
    last = EMPTY  # which has games here
    place.land(GOOD, 3)
    landed_with(place, 202, BAD)
    landed_with(place, 206, last)
    _, facts = ran(GOOD, last)
    assert facts.verdict == "COMPLETE"
    assert asked(place) == {GOOD: 1, BAD: 2, last: 2}
    assert any(f"{BAD}…{last}: landed from an incomplete response" in note for note in facts.notes), facts.notes
    assert audit_sources(place.services, [SOURCE], utc_now(), *RANGE) == []


@pytest.mark.parametrize("mode", ["reprocess", "validate"])
def test_a_mode_that_makes_no_call_refuses_such_a_date_and_the_next_run_asks_for_it(
    place: Place, ran: Ran, mode: str
) -> None:
    place.fill(GOOD, 2)
    landed_with(place, 202)
    ran(GOOD, BAD, mode=mode)
    entry = place.entry(BAD)
    assert (place.entry(GOOD).verdict, entry.verdict) == (Verdict.VERIFIED, Verdict.TRUNCATED)
    assert "status 202" in entry.error
    assert asked(place) == {GOOD: 1, BAD: 1}
    _, facts = ran(GOOD, BAD)
    assert (facts.verdict, asked(place)) == ("COMPLETE", {GOOD: 1, BAD: 2})


def test_repair_and_reconcile_plan_a_landing_of_a_206_that_the_ledger_does_not_know(place: Place) -> None:
    place.fill(GOOD, 2)
    landed_with(place, 206)
    for one in list(place.store.list(f"ledger/source={SOURCE}/")):
        place.store.delete(one.name)
    found: list[Any] = rebuild_ledger(place.services, SOURCE, utc_now(), apply=False)
    assert {one.entry.partition: one.entry.verdict for one in found} == {GOOD: "verified", BAD: "planned"}
    findings = audit_sources(place.services, [SOURCE], utc_now(), *RANGE)
    reopen(place.services, SOURCE, findings, "repair-1", utc_now())
    assert place.entry(BAD).verdict is Verdict.PLANNED
