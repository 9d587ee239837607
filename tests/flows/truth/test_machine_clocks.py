"""Two machines whose clocks differ work on one source: what was read last stands, and nothing is done that is not."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from alerting import store_clock
from alerting.errors import CriticalError
from alerting.instant import utc_now
from flows.coordination.lease import Holder, Lease
from flows.ledger.ledger import Verdict
from flows.parameters import Mode
from flows.truth import auditing
from flows.truth.reconcile import rebuild_ledger
from flows.views.status import source_status
from scrapers.manifest import Manifest
from scrapers.pace.budget import Budget
from scrapers.scrape import ScrapeContext, scrape

SOURCE, DATE = "bdl_box_scores", "2025-01-01"
FIRST = dt.date(2025, 1, 1)
OFF = [dt.timedelta(minutes=10), dt.timedelta(hours=1)]


def landed(place: Any, off: dt.timedelta, behind: str = "") -> Manifest:
    """By a machine whose clock is so far off, which is killed before the ledger hears of it."""
    kit = place.services.source_kit(SOURCE)
    with contextlib.closing(kit.client_within(Budget(kit.access.rate, source=SOURCE))) as client:
        context = ScrapeContext(
            kit.scraper, client, place.services.landing, "bf-other", "test", lambda: utc_now() + off, behind=behind
        )
        return scrape(place.partitions(DATE, 1)[0], context)


def audited(place: Any) -> list[auditing.Finding]:
    return auditing.audit_sources(place.services, [SOURCE], utc_now(), FIRST, FIRST)


def rebuilt(place: Any) -> tuple[str, Verdict]:
    """What stands when the ledger is lost."""
    place.store.delete(f"ledger/source={SOURCE}/{DATE}.json")
    rebuild_ledger(place.services, SOURCE, utc_now(), apply=True)
    return place.entry(DATE).attempt, place.entry(DATE).verdict


@contextlib.contextmanager
def here_by(off: dt.timedelta) -> Iterator[dt.datetime]:
    """The clock of this machine is so far off."""
    with pytest.MonkeyPatch.context() as wrong:
        wrong.setattr(store_clock, "utc_now", lambda: utc_now() + off)
        yield utc_now() + off


@pytest.mark.parametrize("ahead", OFF, ids=str)
def test_a_payload_of_a_machine_whose_clock_is_ahead_does_not_win_over_a_later_one(
    place: Any, ahead: dt.timedelta
) -> None:
    landed(place, ahead)
    place.upstream.trouble({"kind": "late_game", "dates": [DATE]})
    place.fill(DATE, 1)
    assert audited(place) == []
    assert rebuilt(place) == (place.manifests[DATE].attempt, Verdict.VERIFIED)


@pytest.mark.parametrize("behind", OFF, ids=str)
def test_a_payload_of_a_machine_whose_clock_is_behind_wins_over_an_earlier_one(
    place: Any, behind: dt.timedelta
) -> None:
    place.fill(DATE, 1)
    place.upstream.trouble({"kind": "late_game", "dates": [DATE]})
    later = landed(place, -behind, behind=place.entry(DATE).attempt)
    assert [one.deficit.value for one in audited(place)] == ["landed_not_loaded"]
    assert rebuilt(place) == (later.attempt, Verdict.LANDED)


def test_a_run_lands_behind_what_a_machine_whose_clock_is_ahead_has_landed(place: Any, ran: Any) -> None:
    earlier = landed(place, dt.timedelta(hours=1))
    place.ledger.advance(DATE, Verdict.LANDED, "bf-other", utc_now(), attempt=earlier.attempt, attempts=1)
    place.upstream.trouble({"kind": "late_game", "dates": [DATE]})
    ran(DATE, DATE, mode=Mode.FULL)
    assert place.entry(DATE).attempt > earlier.attempt
    assert audited(place) == []


@pytest.mark.parametrize("behind", OFF, ids=str)
def test_rows_of_an_earlier_payload_do_not_make_a_later_one_of_as_many_rows_done(
    place: Any, behind: dt.timedelta
) -> None:
    place.fill(DATE, 1)
    place.upstream.trouble({"kind": "wrong_score", "dates": [DATE]})
    later = landed(place, -behind, behind=place.entry(DATE).attempt)
    assert rebuilt(place) == (later.attempt, Verdict.LANDED)


def test_what_was_verified_before_a_later_payload_landed_is_no_evidence_of_that_one(place: Any, ran: Any) -> None:
    """By the clock of whoever verified it, it may be the later of the two."""
    place.fill(DATE, 1)
    place.ledger.advance(DATE, Verdict.VERIFIED, "bf-1", utc_now(), verified_at=utc_now() + dt.timedelta(hours=1))
    place.upstream.trouble({"kind": "late_game", "dates": [DATE]})
    ran(DATE, DATE, lambda run: run.stop(CriticalError("BigQuery is shut"), "load"), mode=Mode.FULL)
    assert (place.entry(DATE).verdict, place.entry(DATE).verified_at) == (Verdict.LANDED, None)


@pytest.mark.parametrize("off", [*OFF, *(-one for one in OFF)], ids=str)
def test_a_repair_mends_what_was_found_and_leaves_what_a_run_has_written_since(place: Any, off: dt.timedelta) -> None:
    place.fill(DATE, 1, now=utc_now() + off)
    place.sql("DELETE FROM {lines} WHERE TRUE")
    found = audited(place)
    assert auditing.reopen(place.services, SOURCE, found, "repair-1", utc_now()) == [DATE]
    assert place.entry(DATE).verdict is Verdict.LANDED
    place.ledger.advance(DATE, Verdict.VERIFIED, "bf-other", utc_now() + off)
    auditing.reopen(place.services, SOURCE, found, "repair-2", utc_now())
    assert place.entry(DATE).verdict is Verdict.VERIFIED


@pytest.mark.parametrize("ahead", OFF, ids=str)
def test_a_living_run_is_neither_called_dead_nor_are_its_dates_called_deficits(place: Any, ahead: dt.timedelta) -> None:
    place.land(DATE)
    plan = '{"source": "bdl_box_scores", "items": [{"key": "2025-01-01", "path": "fetch"}]}'
    place.store.write("runs/backfill=bf-1/plan.json", plan.encode())
    Lease.acquire(place.store, SOURCE, Holder("bf-1"), now=utc_now(), ttl_s=300)
    with here_by(ahead) as now:
        found = auditing.audit_sources(place.services, [SOURCE], now, FIRST, FIRST)
        assert [one.deficit.value for one in found] == ["in_work"]
        assert source_status(place.services, SOURCE, now)["state"] == "running"
