"""What of a long window is loaded and journaled while the rest of it is still fetched."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from alerting.errors import AuthenticationError, LandingUnavailable
from flows import dates
from flows.asked import Asked
from flows.parameters import Order
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.run.work_set import Landed

DAYS = 9


@pytest.fixture
def run(place: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of nine dates, one after the other, of which three are told together."""
    monkeypatch.setattr(dates, "TOLD_TOGETHER", 3)
    asked = Asked(source="bdl_box_scores", order=Order.SEQUENTIAL)
    with Run(place.services, asked, "bf-1", PlainOrchestrator()) as run:
        run.work.partitions = {one.key: one for one in place.partitions("2025-01-01", DAYS)}
        run.ledger.refresh()
        yield run


def test_the_first_dates_of_a_window_are_told_before_its_last_ones_are_asked_for(place: Any, run: Run) -> None:
    keys, calls_when_told = list(run.work.partitions), dict[str, int]()

    def landed(one: Landed) -> None:
        calls_when_told[one.key] = place.upstream.calls.report()["total"]

    state = asyncio.run(dates.land_window(run, keys, landed))
    assert state.message == "9 of 9 landed"
    assert list(calls_when_told) == keys
    assert calls_when_told[keys[2]] < DAYS == calls_when_told[keys[-1]]


def test_errors_of_a_window_are_journaled_before_it_ends(place: Any, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    place.upstream.trouble({"kind": "redirect", "dates": ["2025-01-02"]})
    flushed: list[str] = []
    monkeypatch.setattr(run.services.alerts, "flush", lambda window, *_: flushed.append(window))
    monkeypatch.setattr(run.tally, "takes_prompt_flush", lambda most: False)
    state = asyncio.run(dates.land_window(run, list(run.work.partitions), lambda _: None))
    assert state.message == "8 of 9 landed, 1 failed, 0 not attempted"
    assert flushed == ["2025-01-01", "2025-01-04", "2025-01-07"]


def test_dates_that_are_not_begun_after_a_dead_key_are_no_steps(
    place: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.upstream.trouble({"kind": "401"})
    shown: list[str] = []
    step = run.step

    async def shown_step(name: str, label: str, *rest: Any) -> Any:
        shown.append(label)
        return await step(name, label, *rest)

    monkeypatch.setattr(run, "step", shown_step)
    state = asyncio.run(dates.land_window(run, list(run.work.partitions), lambda _: None))
    assert isinstance(run.stopped_by, AuthenticationError)
    assert state.message == "0 of 9 landed, 1 failed, 8 not attempted"
    assert len(shown) <= 2, "the one that failed, and the one that waited for its place"


def test_no_part_is_begun_after_one_of_which_a_failure_could_not_be_recorded(
    place: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.upstream.trouble({"kind": "redirect", "dates": ["2025-01-02"]})

    def broken(*_: Any) -> None:
        raise LandingUnavailable("storage is down for one object")

    monkeypatch.setattr(dates, "record_failure", broken)
    told: list[str] = []
    with pytest.raises(LandingUnavailable):
        asyncio.run(dates.land_window(run, list(run.work.partitions), lambda one: told.append(one.key)))
    assert told[:2] == ["2025-01-01", "2025-01-03"], "its neighbours are loaded"
    assert not {"2025-01-07", "2025-01-08", "2025-01-09"} & set(told)
