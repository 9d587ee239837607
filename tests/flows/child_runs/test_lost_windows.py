"""Windows that end too early: their dates are done by another one, or named with a cause."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from live_windows import PARENT, PATIENCE_S, SOURCE, Fleet, days, fleet

from alerting.errors import CriticalError
from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from flows.child_runs.messages import (
    Report,
    write_report,
)
from flows.closing.finish import finish
from flows.ledger.verdicts import abort_reason, exit_code
from flows.mapping import map_windows
from flows.planning.planner import plan_asked
from flows.run.orchestrator import Child, ChildRequest
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run

if TYPE_CHECKING:
    from .conftest import Place

pytestmark = pytest.mark.usefixtures("processes")


class Workers(PlainOrchestrator):
    """Workers whose children end one after the other as ``fates`` say, the last one over and over.

    ``crashes``, ``fails``: at once. ``half``: behind half of its dates. ``silent``: given up, as it says nothing more.
    ``waits``: no worker ever begins it. ``lives``: does its work.
    """

    def __init__(self, found: Fleet, *fates: str) -> None:
        super().__init__()
        self.found, self.fates, self.begun = found, list(fates), list[list[str]]()

    async def child(self, request: ChildRequest) -> Child:
        keys = list(request.parameters["partitions"])
        self.begun.append(keys)
        fate = self.fates.pop(0) if len(self.fates) > 1 else self.fates[0]
        if fate == "lives":
            await self.found.window(*keys, slots=request.parameters["slots"])
            return Child(keys[0], "Completed")
        if fate == "half":
            await self.found.window(*keys[: len(keys) // 2])
            return Child(keys[0], "Crashed", "Process for flow run exited with status code: -9")
        if fate == "silent":
            write_report(self.found.run.services.store, PARENT, "mute", Report())
        while fate in ("silent", "waits"):
            await self.found.supervisor.step()
            if why := request.given_up("mute"):
                return Child("mute", "given up", why)
            await asyncio.sleep(0.02)
        state = {"fails": "Failed", "cancelled": "Cancelled", "deleted": "deleted"}.get(fate, "Crashed")
        return Child(request.idempotency_key, state, f"it {fate}", is_cancelled=fate == "cancelled")


def spread(
    place: Place, last: int, *fates: str, meanwhile: Callable[[Run], None] | None = None
) -> tuple[RunFacts, Any]:
    """A distributed run of January up to ``last`` in one window, to the mail; its facts, and what was begun."""

    async def story() -> tuple[RunFacts, Any]:
        async with fleet("2025-01-01", f"2025-01-{last:02d}", parallel=1, canary=-1) as found:
            workers = found.run.orchestrator = Workers(found, *fates)
            if meanwhile is not None:
                asyncio.get_running_loop().call_later(0.3, meanwhile, found.run)
            plan = plan_asked(found.run.services, found.run.asked, utc_now(), PARENT).plan
            async with asyncio.timeout(PATIENCE_S):
                await map_windows(found.run, plan)
            facts = await found.run.in_thread(finish, found.run, abort_reason(found.run.stopped_by))
            return facts, workers.begun

    return asyncio.run(story())


@pytest.mark.parametrize("fate", ["fails", "crashes", "deleted", "silent"])
def test_a_window_that_ends_before_its_first_date_is_begun_again_by_another_worker(
    place: Place, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    monkeypatch.setenv("GAPLESS_LEASE_TTL_S", "1.5")
    facts, begun = spread(place, 3, fate, "lives")
    assert (facts.verdict, begun) == ("COMPLETE", [days(1, 3)] * 2)
    assert place.upstream.calls.report()["by_date"] == dict.fromkeys(days(1, 3), 1)


def test_what_failed_before_a_pause_of_the_run_is_missing_until_a_window_has_tried_it_again(place: Place) -> None:
    place.run_id = PARENT
    place.fail("2025-01-02")
    facts, begun = spread(place, 3, "crashes", "lives")
    assert (facts.verdict, begun) == ("COMPLETE", [days(1, 3)] * 2)


def test_a_window_is_begun_again_with_what_is_missing_for_as_long_as_it_gets_on(place: Place) -> None:
    facts, begun = spread(place, 8, "half", "crashes", "half", "crashes", "crashes", "half", "lives")
    assert facts.verdict == "COMPLETE"
    assert [len(keys) for keys in begun] == [8, 4, 4, 2, 2, 2, 1]
    assert place.upstream.calls.report()["by_date"] == dict.fromkeys(days(1, 8), 1)


@pytest.mark.parametrize("fate", ["fails", "crashes"])
def test_dates_of_a_window_that_never_gets_on_are_named_with_a_cause_and_the_run_is_not_well(
    place: Place, fate: str
) -> None:
    facts, begun = spread(place, 8, "half", fate)
    assert begun == [days(1, 8), *[days(5, 8)] * 3]
    assert facts.verdict == "FAILED", "half of it is no small gap"
    assert facts.verdict_counts == {"verified": 4, "failed_permanent": 4}
    (mail,) = place.inbox.messages()
    text = " ".join(place.inbox.message(mail["id"])["text"].split())
    assert "its window ended 3 times as" in text
    assert f"it {fate}" in text
    entry = place.entry("2025-01-05")
    assert (entry.error_type, entry.verdict.value) == ("WindowLost", "failed_permanent")


def test_a_small_window_that_is_lost_is_no_gap_that_the_source_left(place: Place) -> None:
    facts, _ = spread(place, 20, "half", "half", "half", "half", "crashes")
    assert facts.verdict_counts == {"verified": 17, "empty_ok": 1, "failed_permanent": 2}
    assert (facts.verdict, exit_code(facts.verdict)) == ("FAILED", 1), "nine tenths are there, and a machine is broken"


def test_a_window_that_a_person_cancels_is_not_begun_again_and_its_dates_are_named(place: Place) -> None:
    facts, begun = spread(place, 3, "cancelled")
    assert (facts.verdict, len(begun)) == ("FAILED", 1)
    assert "its window was cancelled" in place.entry("2025-01-02").error


def test_no_parent_waits_for_a_window_that_no_worker_begins_once_the_run_is_over(place: Place) -> None:
    def stall(run: Run) -> None:
        run.stop(CriticalError("nothing finished for an hour", source=SOURCE, abort="red_flag"), "scrape")

    facts, begun = spread(place, 3, "waits", meanwhile=stall)
    assert (facts.verdict, len(begun)) == ("ABORTED(red_flag)", 1)
    assert facts.verdict_counts == {"planned": 3}


def test_a_source_without_a_deployment_for_windows_stops_with_the_command_that_makes_one(place: Place) -> None:
    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-03", canary=-1) as found:
            plan = plan_asked(found.run.services, found.run.asked, utc_now(), PARENT).plan
            await map_windows(found.run, plan)
            facts = await found.run.in_thread(finish, found.run, abort_reason(found.run.stopped_by))
            assert facts.verdict == "ABORTED(critical)"

    asyncio.run(story())
    texts = [place.inbox.message(mail["id"])["text"] for mail in place.inbox.messages()]
    assert any("python -m deployments.provision" in text for text in texts)
