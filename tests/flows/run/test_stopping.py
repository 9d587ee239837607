"""What is still asked of a source after an error that says something of all of it."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import threading
import time
from typing import Any

import pytest

from alerting.errors import AuthenticationError, BlockedBySource, LandingUnavailable
from alerting.instant import utc_now
from flows.asked import Asked
from flows.dates import NOT_ATTEMPTED, land_partition
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from scrapers.pace.budget import Clock

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


@pytest.mark.parametrize(("kind", "refusal"), [("401", AuthenticationError), ("html403", BlockedBySource)])
def test_after_a_refusal_not_even_a_date_that_waits_for_its_turn_makes_a_call(
    place: Any, kind: str, refusal: type[Exception]
) -> None:
    place.upstream.trouble({"kind": kind})
    heard, slept_s = threading.Event(), [0.0]

    def sleep(seconds: float) -> None:
        # A turn at the source is a minute away; less is what two writers of an object wait.
        if seconds < 1:
            time.sleep(seconds)
            return
        heard.wait(200)
        slept_s[0] += seconds

    clock = Clock(
        monotonic=lambda: time.monotonic() + slept_s[0],
        now=lambda: utc_now() + dt.timedelta(seconds=slept_s[0]),
        sleep=sleep,
    )
    settings = place.services.settings.model_copy(update={"source_rate_per_minute": {"balldontlie": 1}})
    services = dataclasses.replace(place.services, settings=settings, clock=clock)

    async def all_dates() -> list[Any]:
        run = Run(services, Asked(source="bdl_box_scores", max_concurrency=3), "bf-1", PlainOrchestrator())
        run.work.partitions = {one.key: one for one in place.partitions("2025-01-01", 3)}

        async def tried(key: str) -> Any:
            try:
                return await land_partition(run, key)
            finally:
                heard.set()

        with run:
            return await asyncio.gather(*map(tried, run.work.partitions), return_exceptions=True)

    outcomes = asyncio.run(all_dates())
    assert sum(isinstance(one, refusal) for one in outcomes) == 1
    assert outcomes.count(NOT_ATTEMPTED) == 2
    assert slept_s[0] > 0, "the others waited"
    assert place.upstream.calls.report()["total"] == 1


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
