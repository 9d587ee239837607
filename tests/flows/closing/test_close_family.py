"""The verdict of a run of a family, from those of its steps."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from alerting.run_facts import RunFacts
from flows.closing.close_family import family_facts

NOW = dt.datetime(2026, 1, 9, 12, tzinfo=dt.UTC)
GOOD: dict[str, Any] = {"verdict": "COMPLETE", "verdict_counts": {"verified": 3}}


def paused(verdict: str, hours: int) -> dict[str, Any]:
    counts = {"verified": 1, "paused": 2}
    return {"verdict": verdict, "verdict_counts": counts, "resumes_at": NOW + dt.timedelta(hours=hours)}


@pytest.mark.parametrize(
    ("steps", "aborted", "verdict"),
    [
        ([GOOD, GOOD], "", "COMPLETE"),
        ([GOOD, paused("ABORTED(budget)", 1)], "", "ABORTED(budget)"),
        ([GOOD, paused("ABORTED(critical)", 1)], "", "ABORTED(critical)"),
        ([paused("ABORTED(critical)", 5), paused("ABORTED(budget)", 1)], "", "ABORTED(budget)"),
        ([GOOD, paused("ABORTED(budget)", 1)], "user", "ABORTED(user)"),
    ],
)
def test_a_family_that_goes_on_was_stopped_by_what_its_step_waits_for(
    steps: list[dict[str, Any]], aborted: str, verdict: str
) -> None:
    facts = [RunFacts(source=f"s{number}", **step) for number, step in enumerate(steps)]
    known = RunFacts(source="family")
    assert family_facts(known, facts, aborted=aborted, acceptable_share=0.9, now=NOW).verdict == verdict
