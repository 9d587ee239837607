"""A team's score is the sum of its players' points: what no count shows is told in the mail, or refused when strict."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from flows.ledger.ledger import Verdict
from flows.parameters import Mode

from .test_late_rows import live

if TYPE_CHECKING:
    from .conftest import Place, Ran

SOURCE = "bdl_box_scores"
FIRST, LAST, GOOD = "2025-01-10", "2025-01-15", "2025-01-15"
TROUBLES = {
    "2025-01-10": "drop_top_scorer",
    "2025-01-11": "one_player",
    "2025-01-12": "renamed_field",  # pts is gone
    "2025-01-13": "wrong_score",
    "2025-01-14": "negative_score",
}


@pytest.fixture
def wrong(place: Place) -> Place:
    place.upstream.trouble(*({"kind": kind, "dates": [date]} for date, kind in TROUBLES.items()))
    return place


def test_each_wrong_sum_is_found_and_the_mail_begins_with_it(wrong: Place, ran: Ran) -> None:
    run, facts = ran(FIRST, LAST)
    assert facts.verdict_counts == {"verified": 6}
    found = {key: texts for receipt in run.tally.receipts for key, texts in receipt.unbalanced.items()}
    assert set(found) == set(TROUBLES)
    assert all("visitor_team_score is" in texts[0] and "pts sums to" in texts[0] for texts in found.values())
    mail = wrong.inbox.messages()[0]
    text = " ".join(wrong.inbox.message(mail["id"])["text"].split())
    assert text.startswith("COMPLETE, WITH A WARNING")
    assert "warning" in mail["subject"]
    warning = text.index("WARNING: nba_bdl_games visitor_team_score is not the sum that it should be")
    assert warning < text.index("DATA")
    assert "2025-01-10…2025-01-14" in text[warning : warning + 200]


def test_declared_strict_they_are_faults_and_old_rows_stay(
    place: Place, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran(FIRST, LAST)
    before = place.sql("SELECT TO_JSON_STRING(t) AS j FROM {games} t ORDER BY j")
    processor = place.services.source_kit(SOURCE).processor
    strict = tuple(dataclasses.replace(one, is_strict=True) for one in processor.balances)
    monkeypatch.setattr(type(processor), "balances", strict)
    place.upstream.trouble(*({"kind": kind, "dates": [date]} for date, kind in TROUBLES.items()))
    _, facts = ran(FIRST, LAST, mode=Mode.FULL, breaker=False)
    assert facts.verdict_counts == {"partial": 5, "verified": 1}
    assert place.sql("SELECT TO_JSON_STRING(t) AS j FROM {games} t ORDER BY j") == before
    entry = place.entry("2025-01-13")
    assert (entry.verdict, entry.error_type) == (Verdict.PARTIAL, "CoverageLow")
    assert "UNBALANCED: nba_bdl_games" in entry.error


def test_the_daily_run_tells_of_them_as_an_alert(wrong: Place) -> None:
    run = live(wrong, FIRST, 1)
    assert run.tally.receipts[0].unbalanced.keys() == {FIRST}
    told: list[Any] = [one for one in run.services.alerts.live.pending(1) if one.error_type == "Unbalanced"]
    assert [(one.severity, one.partition) for one in told] == [("WARNING", FIRST)]
