"""BigQuery refuses rows that were landed: who is loaded, and what error, status, command and mail say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alerting.journal import IncidentJournal
from alerting.summary import render
from processors.row_lines import RowLines

if TYPE_CHECKING:
    from .conftest import Place, Ran

SOURCE, FIRST, BAD, LAST = "bdl_box_scores", "2025-01-10", "2025-01-12", "2025-01-16"


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Any:
    """From here on the games of these dates reach BigQuery as rows that it refuses."""
    line = RowLines.line

    def do(*dates: str) -> None:
        def spoiled(self: RowLines, row: Any) -> bytes:
            written = line(self, row)
            bad = any(f'"game_date":"{date}"'.encode() in written for date in dates)
            return written.replace(b'"season":', b'"season":"x","":') if bad else written

        monkeypatch.setattr(RowLines, "line", spoiled)

    return do


def _mail(run: Any, facts: Any) -> Any:
    return render(facts, list(IncidentJournal(run.services.store).read(run.backfill_id)))


def test_one_date_that_bigquery_refuses_is_named_in_error_status_and_mail_and_the_others_load(
    place: Place, ran: Ran, gapless: Any, spoil: Any
) -> None:
    spoil(BAD)
    run, facts = ran(FIRST, LAST)
    assert facts.verdict_counts == {"verified": 5, "empty_ok": 1, "failed_permanent": 1}
    entry = place.entry(BAD)
    assert entry.error_type == "RowRejected"
    assert f"{SOURCE} {BAD} [load]: BigQuery refuses the rows of this partition alone" in entry.error
    assert run.loading_stopped_by is None
    status = gapless("status", SOURCE).out
    assert f"1 x failed_permanent RowRejected: {BAD}" in status
    mail = _mail(run, facts)
    assert "BigQuery refuses the rows of this partition alone" in " ".join(mail.text.split())
    assert BAD in mail.text


def test_a_refusal_of_every_date_is_a_failure_that_a_retry_mends_without_a_call(
    place: Place, ran: Ran, gapless: Any, spoil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(RowLines, "line", RowLines.line)
        spoil(*[f"2025-01-{day}" for day in range(10, 17)])
        run, facts = ran(FIRST, LAST)
    assert facts.verdict_counts == {"landed": 7}
    assert "LoadRejected" in place.entry(BAD).error_type
    status = gapless("status", SOURCE, "--json").data
    assert "nothing failed" not in status["answers"][5]["answer"]
    assert f"gapless retry-failed {SOURCE}" in status["answers"][5]["answer"]
    assert "7 x landed LoadRejected" in status["answers"][1]["answer"]
    mail = _mail(run, facts)
    advice = next(line for line in mail.text.splitlines() if "advice:" in line)
    assert advice.strip().startswith("advice:   bq show -j gapless-load-")
    assert advice.strip().endswith("-a1")
    assert "7 calls" not in mail.text
    assert "7 days, landed, so no calls" in " ".join(mail.text.split())
    assert "Bq show" not in mail.text + mail.html
