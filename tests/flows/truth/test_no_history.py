"""A source that keeps no history: a date is asked for while it lasts, and nobody can look at it afterwards."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from alerting.errors import ConfigurationError, PartitionUnavailable
from flows.daily import settled_window
from flows.ledger.ledger import Verdict
from flows.parameters import Mode
from flows.planning.requested import Selection, requested_partitions
from scrapers.partition import Partition
from scrapers.scrape import refuse_unaskable
from scrapers.sources.bdl_box_scores import BdlBoxScores

SOURCE = "bdl_box_scores"
FIRST, LAST = "2025-01-01", "2025-01-04"
WHY = "nobody looked that day, and the source keeps no history"


@pytest.fixture
def forgetful(place: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of four past days one is verified, one landed, one failed, and at one nobody looked."""
    place.fill("2025-01-01", 1)
    place.land("2025-01-02")
    place.fail("2025-01-03")
    monkeypatch.setattr(BdlBoxScores, "keeps_history", False)
    return place


def test_a_past_day_is_never_fetched_what_is_landed_is_loaded_and_the_rest_is_noted_as_gone(
    forgetful: Any, ran: Any
) -> None:
    calls = forgetful.upstream.calls.report()["total"]
    run, facts = ran(FIRST, LAST)
    assert (facts.verdict, forgetful.upstream.calls.report()["total"]) == ("COMPLETE", calls)
    entries = forgetful.ledger.refresh()
    assert {key: entry.verdict for key, entry in entries.items()} == {
        "2025-01-01": Verdict.VERIFIED,
        "2025-01-02": Verdict.VERIFIED,
        "2025-01-03": Verdict.UNAVAILABLE,
        "2025-01-04": Verdict.UNAVAILABLE,
    }
    assert entries["2025-01-03"].evidence == f"{WHY}; its last try failed: SourceUnavailable"
    assert entries["2025-01-04"].evidence == WHY
    assert run.tally.calls == 0


def test_what_failed_after_it_was_done_or_landed_is_never_called_gone(
    place: Any, ran: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, short, damaged = "2025-01-01", "2025-01-02", "2025-01-03"
    ran(good, short)
    place.land(damaged)
    for key in (good, short):
        place.fail(key)
    place.sql("DELETE FROM {lines} WHERE game_date = DATE '" + short + "'")
    prefix = place.entry(damaged).manifest_name.removesuffix("manifest.json")
    place.store.delete(next(one.name for one in place.store.list(prefix) if "/page-" in one.name))
    place.services.landing._recent.clear()
    monkeypatch.setattr(BdlBoxScores, "keeps_history", False)
    calls = place.upstream.calls.report()["total"]
    _, facts = ran(good, damaged)
    assert {key: entry.verdict for key, entry in place.ledger.refresh().items()} == {
        good: Verdict.VERIFIED,
        short: Verdict.PARTIAL,
        damaged: Verdict.FAILED_RETRYABLE,
    }
    assert facts.verdict == "FAILED"
    # What is landed is loaded again; and the payload may come back from an older generation of its object.
    _, facts = ran(good, damaged)
    assert facts.verdict_counts == {"verified": 2, "failed_retryable": 1}
    assert place.upstream.calls.report()["total"] == calls


@pytest.mark.parametrize(("mode", "reread"), [(Mode.FULL, 1), (Mode.REPROCESS, 2)])
def test_a_landed_day_is_loaded_without_a_call_and_reprocess_rereads_every_one(
    forgetful: Any, ran: Any, mode: Mode, reread: int
) -> None:
    calls = forgetful.upstream.calls.report()["total"]
    run, _ = ran(FIRST, "2025-01-02", mode=mode)
    assert forgetful.upstream.calls.report()["total"] == calls
    entries = [forgetful.entry(key) for key in ("2025-01-01", "2025-01-02")]
    assert sum(entry.backfill_id == run.backfill_id for entry in entries) == reread
    assert [entry.verdict for entry in entries] == [Verdict.VERIFIED] * 2


def test_gaps_verify_and_audit_tell_a_missed_day_alike_and_the_audit_once(
    forgetful: Any, ran: Any, gapless: Any
) -> None:
    gaps = gapless("gaps", SOURCE, FIRST, LAST, "--json").data
    assert gaps["unavailable"] == [{"verdict": "unavailable", "partitions": 1, "ranges": "2025-01-04", "why": WHY}]
    assert not [one for one in gaps["gaps"] if "2025-01-04" in one["ranges"]]
    assert gapless("verify", SOURCE, FIRST, LAST, "--json").data["unavailable"] == gaps["unavailable"]
    missed = gapless("audit", SOURCE, "--from", FIRST, "--to", LAST, "--only", "missed", "--json")
    assert [(one["ranges"], one["why"]) for one in missed.data["deficits"]] == [("2025-01-04", WHY)]
    assert "1 partition noted as gone for good" in gapless("repair", SOURCE, FIRST, LAST, "--dry-run").out
    ran(FIRST, LAST)
    assert gapless("audit", SOURCE, "--from", FIRST, "--to", LAST).code == 0
    assert gapless("gaps", SOURCE, FIRST, LAST).code == 0
    assert WHY in gapless("gaps", SOURCE, FIRST, LAST).out


def test_today_may_be_asked_for_from_its_first_moment_to_its_last_and_tomorrow_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BdlBoxScores, "keeps_history", False)
    scraper, zone = BdlBoxScores(), ZoneInfo(BdlBoxScores.zone)
    day = Partition.day(dt.date(2025, 1, 3), scraper.zone)
    midnight = dt.datetime(2025, 1, 3, tzinfo=zone).astimezone(dt.UTC)
    second = dt.timedelta(seconds=1)
    for now in (midnight, midnight + dt.timedelta(days=1) - second):
        refuse_unaskable(day, scraper, now)
        assert settled_window(scraper, 3, now) == [day]
        assert scraper.last_settled(now) == day.start
    with pytest.raises(ConfigurationError, match="2025-01-03 does not begin before 2025-01-03 05:00 UTC"):
        requested_partitions(scraper, Selection(day.start, day.start), midnight - second)
    with pytest.raises(PartitionUnavailable, match="nobody looked that day: it was over before"):
        refuse_unaskable(day, scraper, midnight + dt.timedelta(days=1))


def test_there_is_no_first_date_to_search_for(forgetful: Any, gapless: Any) -> None:
    answered = gapless("first-date", SOURCE, FIRST, LAST)
    assert answered.code == 1
    assert "keeps no history: its first date is the one on which somebody first looked" in answered.err
