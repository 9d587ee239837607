"""What was landed and is not there any more as it was landed: one date fails, by name, and a rerun fetches it again."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from flows.ledger.ledger import Verdict

SOURCE, DATES, BAD = "bdl_box_scores", ("2025-01-01", "2025-01-02", "2025-01-03"), "2025-01-02"


def damage(place: Any, kind: str, how: str) -> str:
    """Changes the page or manifest of one landed date, as somebody with a console does."""
    (name,) = [one for one in place.objects() if f"partition={BAD}/" in one and kind in one]
    if how == "gone":
        place.store.delete(name)
    elif how == "other bytes":
        body = gzip.decompress(place.store.read(name)[0])
        place.store.write(name, gzip.compress(body.replace(b"1", b"2", 1)))
    else:
        place.store.write(name, b"no gzip, and no JSON")
    # Another process reads them.
    place.services.landing._recent.clear()
    return str(name)


@pytest.fixture
def landed(place: Any) -> Any:
    for date in DATES:
        place.land(date)
    return place


@pytest.mark.parametrize(
    ("how", "told"),
    [("other bytes", "has other bytes than were landed"), ("gone", "is gone"), ("broken", "cannot be unpacked")],
)
def test_a_payload_that_changed_fails_its_date_alone_and_is_fetched_again(
    landed: Any, ran: Any, how: str, told: str
) -> None:
    name = damage(landed, "/page-", how)
    _, facts = ran(DATES[0], DATES[-1])
    assert facts.verdict_counts == {"verified": 2, "failed_retryable": 1}
    assert facts.verdict == "FAILED", "nothing stopped the run"
    entry = landed.entry(BAD)
    assert entry.error_type == "LandingDamaged"
    assert f"{name} {told}" in entry.error
    assert f"gapless run {SOURCE} {BAD} {BAD} --mode full" in entry.error
    _, facts = ran(DATES[0], DATES[-1])
    assert facts.verdict == "COMPLETE"


@pytest.mark.parametrize("how", ["gone", "broken"])
def test_a_date_whose_manifest_is_damaged_is_fetched_again_by_the_very_run(landed: Any, ran: Any, how: str) -> None:
    damage(landed, "/manifest.json", how)
    run, facts = ran(DATES[0], DATES[-1])
    assert facts.verdict == "COMPLETE"
    assert any("damaged since, so fetched again" in note for note in run.notes)
    assert run.client.calls == 1


def test_a_run_that_may_make_no_call_names_the_object(landed: Any, ran: Any) -> None:
    name = damage(landed, "/manifest.json", "broken")
    _, facts = ran(DATES[0], DATES[-1], mode="reprocess")
    assert facts.verdict_counts == {"verified": 2, "failed_retryable": 1}
    assert name in landed.entry(BAD).error


def test_repair_and_reconcile_have_a_damaged_manifest_fetched_again(place: Any, gapless: Any) -> None:
    place.fill(DATES[0], 3)
    damage(place, "/manifest.json", "broken")
    place.store.delete(f"ledger/source={SOURCE}/{BAD}.json")
    assert gapless("reconcile", SOURCE, "--apply").code == 0
    entry = place.entry(BAD)
    assert entry.verdict is Verdict.PLANNED
    assert "cannot be read" in entry.evidence
