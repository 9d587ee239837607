"""What a run had to repeat is no part of what the next one needs."""

from __future__ import annotations

from typing import Any

import pytest

from flows.planning.history import read_history

SOURCE = "bdl_box_scores"


def test_a_date_that_fails_at_every_try_makes_no_other_date_look_dear(
    place: Any, ran: Any, inbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAPLESS_RETRY_DELAYS_S", "0,0,0")
    place.upstream.trouble({"kind": "500", "dates": ["2025-01-03", "2025-01-04"]})
    run, facts = ran("2025-01-01", "2025-01-04", canary=-1)
    assert facts.verdict_counts == {"verified": 2, "failed_retryable": 2}
    assert (facts.calls_failed, facts.calls - facts.calls_failed) == (run.tally.tries("2025-01-03") * 2, 2)
    assert read_history(place.store, SOURCE).calls_per_partition == 1.0
    (mail,) = inbox.messages()
    assert "Resuming needs 2 calls" in " ".join(inbox.message(mail["id"])["text"].split())
