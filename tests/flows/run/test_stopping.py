"""What is still asked of a source after an error that says something of all of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from alerting.errors import AuthenticationError, LandingUnavailable
from flows.asked import Asked
from flows.dates import NOT_ATTEMPTED, land_partition
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run

DATES = 12


@pytest.mark.parametrize("in_flight", [1, 3])
def test_after_a_401_no_date_makes_a_call_but_those_that_are_under_way(place: Any, in_flight: int) -> None:
    place.upstream.trouble({"kind": "401"})

    async def all_dates() -> list[Any]:
        run = Run(
            place.services, Asked(source="bdl_box_scores", max_concurrency=in_flight), "bf-1", PlainOrchestrator()
        )
        run.work.partitions = {one.key: one for one in place.partitions("2025-01-01", DATES)}
        with run:
            # Not the step: its errors are recorded by who called it, later than the next date begins.
            tried = (land_partition(run, key) for key in run.work.partitions)
            return await asyncio.gather(*tried, return_exceptions=True)

    outcomes = asyncio.run(all_dates())
    refused = [one for one in outcomes if isinstance(one, AuthenticationError)]
    assert 1 <= len(refused) <= in_flight
    assert place.upstream.calls.report()["total"] == len(refused)
    assert outcomes.count(NOT_ATTEMPTED) == DATES - len(refused)


def test_no_date_is_blamed_for_a_dead_key_and_all_are_asked_for_again_once_it_is_renewed(place: Any, ran: Any) -> None:
    place.upstream.trouble({"kind": "401"})
    _, facts = ran("2025-01-01", "2025-01-05")
    assert (facts.verdict, facts.verdict_counts) == ("ABORTED(critical)", {"planned": 5})
    place.upstream.trouble()
    _, facts = ran("2025-01-01", "2025-01-05")
    assert facts.verdict == "COMPLETE"


def test_a_date_whose_failure_cannot_be_recorded_keeps_no_neighbour_from_its_table(place: Any, ran: Any) -> None:
    place.upstream.trouble({"kind": "500", "dates": ["2025-01-02"]})

    def break_ledger(run: Run) -> None:
        advance = run.ledger.advance

        def broken(key: str, *told: Any, **facts: Any) -> Any:
            if key == "2025-01-02":
                raise LandingUnavailable("storage is down for one object")
            return advance(key, *told, **facts)

        run.ledger.advance = broken  # type: ignore[method-assign]

    # One window of all dates.
    _, facts = ran("2025-01-01", "2025-02-05", break_ledger, canary=-1, max_concurrency=8)
    assert facts.verdict_counts["planned"] == 1
    assert {"verified", "empty_ok", "planned"} == set(facts.verdict_counts)
    (mail,) = place.inbox.messages()
    assert "SourceUnavailable" in place.inbox.message(mail["id"])["text"], "its cause is known all the same"
