"""Windows in processes of their own: they stand still and end when their parent says so, and it sees what they do."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from alerting.errors import CriticalError
from alerting.run_facts import RunFacts
from flows.asked import Asked
from flows.canaries import try_canaries
from flows.child_runs.follower import PATIENCE, UNJUDGED_FAILURES, Follower
from flows.child_runs.messages import (
    Orders,
    Report,
    read_orders,
    read_report,
    report_name,
    write_orders,
    write_report,
)
from flows.child_runs.parent import attach_windows
from flows.child_runs.window import Window, joined
from flows.closing.finish import finish
from flows.coordination.lease import Holder, Lease
from flows.coordination.lease_loan import BorrowedLease, ask_for, borrower
from flows.dates import land_window
from flows.ledger.ledger import Verdict
from flows.ledger.verdicts import abort_reason, exit_code
from flows.loading import LandedQueue, load, load_in_batches
from flows.mapping import land_in_windows, map_windows
from flows.parameters import Engine, Mode
from flows.planning.planner import plan_asked
from flows.run.gate import SOURCE_DOWN
from flows.run.orchestrator import Child
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.run.supervisor import SHORTEST_STEP_S, Supervisor
from flows.wiring import build_services
from scrapers.scrape import utc_now

if TYPE_CHECKING:
    from .conftest import Place

SOURCE = "bdl_box_scores"
PARENT = "bf-parent000001"
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every asyncio task is a process, whose limits need no server."""
    monkeypatch.setenv("GAPLESS_HEARTBEAT_S", "0.2")
    monkeypatch.setenv("GAPLESS_BREAKER_PROBES", "0")


@dataclass
class Fleet:
    """A parent with its lease, and windows beside it."""

    run: Run
    lease: Lease
    supervisor: Supervisor
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def window(self, *keys: str, slots: int = 1) -> asyncio.Task[None]:
        """Begins a window, as a worker does."""

        async def work() -> None:
            one = Window(SOURCE, PARENT, list(keys), slots, keys[0])
            async with joined(PlainOrchestrator(), one, build_services()) as run:
                await land_window(run, list(keys), lambda _: None)

        task = asyncio.create_task(work())
        self.tasks.append(task)
        return task

    async def until(self, true: Callable[[], Any]) -> Any:
        """Supervises until something is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := true()):
                await self.supervisor.step()
                await asyncio.sleep(0.02)
        return found

    def report(self, window: str) -> Report:
        return read_report(self.run.services.store, report_name(PARENT, window))


@asynccontextmanager
async def fleet(first: str, last: str, **rest: Any) -> AsyncIterator[Fleet]:
    services = build_services()
    given = {"source": SOURCE, "start_date": first, "end_date": last, "engine": Engine.DISTRIBUTED, **rest}
    asked = Asked.model_validate(given)
    lease = Lease.acquire(services.store, SOURCE, Holder(PARENT), now=utc_now(), ttl_s=120)
    run = Run(services, asked, PARENT, PlainOrchestrator())
    attach_windows(run)
    planned = plan_asked(services, asked, utc_now(), PARENT)
    run.begin(planned, starting_facts(services, planned.plan, {}, PARENT, asked))
    supervisor = Supervisor(run, lease)
    await supervisor.step()
    made = Fleet(run, lease, supervisor)
    try:
        yield made
    finally:
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)
        run.close()


def days(first: int, last: int) -> list[str]:
    return [f"2025-01-{day:02d}" for day in range(first, last + 1)]


def test_windows_stand_still_for_live_work_and_do_not_fetch_what_it_did(place: Place) -> None:
    place.upstream.trouble({"kind": "slow", "delay_s": 0.1})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-20") as found:
            store = place.store
            windows = [found.window(*days(1, 10)), found.window(*days(11, 20))]
            await found.until(lambda: found.run.tally.calls >= 2)

            assert ask_for(store, SOURCE, "live-1", mode="daily", now=utc_now(), ttl_s=60) is None
            await found.until(lambda: borrower(store, SOURCE, utc_now()) == "live-1")
            # The source is the live run's: nothing is under way, and nothing begins.
            orders, generation = read_orders(store, PARENT)
            assert orders.closed_by == {"live work"}
            reports = [found.report(days(1, 1)[0]), found.report(days(11, 11)[0])]
            assert all(report.is_idle and report.orders == generation for report in reports)
            asked_before = place.upstream.calls.report()["total"]
            place.run_id = "live-1"
            place.fill("2025-01-20", 1)
            assert place.upstream.calls.report()["total"] == asked_before + 1

            loan = ask_for(store, SOURCE, "live-1", mode="daily", now=utc_now(), ttl_s=60)
            assert isinstance(loan, BorrowedLease)
            loan.release(utc_now())
            await found.until(lambda: all(window.done() for window in windows))
            for window in windows:
                window.result()
            await found.supervisor.step()
            assert found.run.stopped_by is None
            assert place.upstream.calls.report()["by_date"] == dict.fromkeys(days(1, 20), 1)
            assert found.run.tally.calls == 19
            assert place.entry("2025-01-20").backfill_id == "live-1"

    asyncio.run(story())


def test_windows_begin_nothing_in_a_blackout_and_go_on_after_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPLESS_BLACKOUTS", '{"*": ["00:00-00:00 UTC"]}')

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-04") as found:
            window = found.window(*days(1, 4))
            _, generation = read_orders(place.store, PARENT)
            await found.until(lambda: has_report(place, "2025-01-01", orders=generation))
            assert read_orders(place.store, PARENT)[0].closed_by == {"blackout"}
            assert place.upstream.calls.report()["total"] == 0
            found.supervisor._blackouts = []
            await found.until(window.done)
            window.result()
            assert place.upstream.calls.report()["total"] == 4

    asyncio.run(story())


def has_report(place: Place, window: str, *, orders: int) -> bool:
    name = report_name(PARENT, window)
    listed = next(iter(place.store.list(name)), None)
    return listed is not None and read_report(place.store, name).orders == orders


def test_one_error_on_every_date_of_several_windows_trips_the_parents_breaker_and_later_windows_begin_nothing(
    place: Place,
) -> None:
    place.upstream.trouble({"kind": "500"})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-20") as found:
            for first in (1, 5, 9):
                assert found.run.stopped_by is None, "no window alone has seen enough"
                window = found.window(*days(first, first + 3))
                await found.until(window.done)
                window.result()
            await found.until(lambda: found.run.stopped_by)
            assert found.run.stopped_by.facts["abort"] == "red_flag"
            assert any("red flag, same error" in note for note in found.run.notes)
            asked = place.upstream.calls.report()["total"]

            late = found.window(*days(13, 20))
            await found.until(late.done)
            late.result()
            assert place.upstream.calls.report()["total"] == asked
            assert found.report("2025-01-13").stop is None, "it was told to, and has nothing to tell"
            facts = await found.run.in_thread(finish, found.run, "red_flag")
            counts = facts.verdict_counts
            assert 10 <= counts["failed_retryable"] <= 12, "the third window stood still while the parent judged"
            assert counts["planned"] == 20 - counts["failed_retryable"]
            assert facts.calls == asked

    asyncio.run(story())


def test_a_contract_that_breaks_in_several_windows_stops_all_of_them_and_tells_a_human_once(place: Place) -> None:
    body = '{"games":[]}'
    raw = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    place.upstream.trouble({"kind": "raw", "raw": raw})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-10") as found:
            for first in (1, 3, 5):
                assert found.run.stopped_by is None, "no window alone has seen enough"
                assert place.inbox.messages() == [], "one odd date is nothing to wake somebody for"
                window = found.window(*days(first, first + 1))
                await found.until(window.done)
                window.result()
            await found.until(lambda: found.run.stopped_by)
            (mail,) = place.inbox.messages()
            assert "NEEDS A HUMAN" in mail["subject"]
            text = place.inbox.message(mail["id"])["text"]
            assert "dates broke the source's contract alike" in " ".join(text.split())

            late = found.window(*days(7, 10))
            await found.until(late.done)
            late.result()
            facts = await found.run.in_thread(finish, found.run, "red_flag")
            assert (facts.verdict_counts["planned"], facts.calls) == (4, 6)
            subjects = [one["subject"] for one in place.inbox.messages()]
            assert sorted("NEEDS A HUMAN" in subject for subject in subjects) == [False, True]
            summary = next(one for one in place.inbox.messages() if "NEEDS A HUMAN" not in one["subject"])
            text = place.inbox.message(summary["id"])["text"]
            assert ("C1" in text, "C2" in text) == (True, False), "the stop is no second cause beside the dates"

    asyncio.run(story())


def test_a_window_that_reports_its_odd_dates_while_a_person_asked_to_try_all_wakes_nobody(place: Place) -> None:
    body = '{"games":[]}'
    raw = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    place.upstream.trouble({"kind": "raw", "raw": raw})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-07", breaker=False) as found:
            window = found.window(*days(1, 7))
            await found.until(window.done)
            window.result()
            await found.supervisor.step()
            assert (found.run.stopped_by, found.run.tally.calls) == (None, 7)
            assert place.inbox.messages() == []

    asyncio.run(story())


@pytest.mark.parametrize("answers", [True, False])
def test_when_the_source_is_down_one_date_of_one_window_is_tried_at_a_time(
    place: Place, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    monkeypatch.setenv("GAPLESS_BREAKER_PROBES", "1")
    monkeypatch.setenv("GAPLESS_BREAKER_PROBE_PAUSE_S", "3600")
    # The dates after the burst are so slow that the windows read their orders meanwhile.
    place.upstream.trouble({"kind": "500", "times": 10}, {"kind": "slow", "delay_s": 3.0})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-30") as found:
            windows = [found.window(*days(1, 15)), found.window(*days(16, 30))]
            await found.until(lambda: found.run.breaker.is_waiting)
            await found.supervisor.step()
            orders, _ = read_orders(place.store, PARENT)
            assert (orders.closed_by, orders.probe) == ({SOURCE_DOWN}, 0)
            reports = ("2025-01-01", "2025-01-16")

            def have_heard() -> bool:
                # What it judges of them is written there, too.
                _, generation = read_orders(place.store, PARENT)
                return all(has_report(place, name, orders=generation) for name in reports)

            await found.until(have_heard)
            await found.until(lambda: all(found.report(name).is_idle for name in reports))
            asked = place.upstream.calls.report()["total"]
            assert asked < 30

            place.upstream.trouble() if answers else place.upstream.trouble({"kind": "500"})
            found.run.breaker._probing._until = utc_now()
            await found.until(lambda: found.run.stopped_by or not found.run.breaker.is_waiting)
            assert (found.run.stopped_by is None) == answers
            await found.until(lambda: all(window.done() for window in windows))
            for window in windows:
                window.result()
            assert place.upstream.calls.report()["total"] == (30 if answers else asked + 1)

    asyncio.run(story())


def test_a_window_whose_dates_fail_one_after_the_other_begins_no_more_until_its_parent_has_judged(place: Place) -> None:
    place.upstream.trouble({"kind": "500"})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-31", breaker=False) as found:
            window = found.window(*days(1, 31))
            async with asyncio.timeout(PATIENCE_S):
                while len(place.ledger.refresh()) < UNJUDGED_FAILURES or not found.report("2025-01-01").holds:
                    await asyncio.sleep(0.05)
            # Its parent does not look: what was under way ends, and nothing else is asked for.
            await asyncio.sleep(4 * SHORTEST_STEP_S)
            assert place.upstream.calls.report()["total"] <= UNJUDGED_FAILURES + 2
            await found.until(window.done)
            window.result()
            assert place.upstream.calls.report()["total"] == 31, "whoever asked to try all of them gets that"
            assert found.run.stopped_by is None

    asyncio.run(story())


# -- a parent that is not heard of ------------------------------------------------------------------------------


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_window_whose_parent_is_silent_stands_still_and_goes_on_with_its_next_heartbeat(
    place: Place, caplog: pytest.LogCaptureFixture, has_begun: bool
) -> None:
    place.upstream.trouble({"kind": "slow", "delay_s": 0.1})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-20") as found:
            window = found.window(*days(1, 20)) if has_begun else None
            await found.until(lambda: found.run.tally.calls >= (2 if has_begun else 0))
            # The lease's time is over, and nobody else has taken it.
            found.lease.heartbeat(utc_now() - dt.timedelta(minutes=4))
            window = window or found.window(*days(1, 20))
            await found.until(lambda: "no heartbeat of the parent" in caplog.text)
            await found.until(lambda: found.report("2025-01-01").is_idle)
            asked = place.upstream.calls.report()["total"]
            assert (2 if has_begun else 0) <= asked < 20
            await asyncio.sleep(4 * SHORTEST_STEP_S)
            assert (place.upstream.calls.report()["total"], window.done()) == (asked, False)

            found.lease.heartbeat(utc_now())
            await found.until(window.done)
            window.result()
            assert place.upstream.calls.report()["by_date"] == dict.fromkeys(days(1, 20), 1)

    asyncio.run(story())


def test_a_window_that_was_frozen_looks_at_its_orders_before_it_begins_another_date(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAPLESS_LEASE_TTL_S", "1")
    place.upstream.trouble({"kind": "slow", "delay_s": 0.1})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-20") as found:
            window, wake = found.window(*days(1, 20)), asyncio.Event()
            await found.until(lambda: found.run.tally.calls >= 2)

            # All of it that looks around; frozen dates could not begin, and these must not.
            async def asleep(self: Follower) -> None:
                await wake.wait()
                await step(self)

            step = Follower.step
            monkeypatch.setattr(Follower, "step", asleep)
            await asyncio.sleep(2.0)
            asked = place.upstream.calls.report()["total"]
            assert asked < 20
            await asyncio.sleep(1.0)
            assert place.upstream.calls.report()["total"] == asked

            write_orders(place.store, PARENT, Orders(given_up=frozenset({report_name(PARENT, "2025-01-01")})))
            wake.set()
            async with asyncio.timeout(PATIENCE_S):
                await window
            assert place.upstream.calls.report()["total"] == asked, "others do its dates"

    asyncio.run(story())


def test_a_window_whose_date_another_one_has_done_meanwhile_calls_for_nobody(place: Place) -> None:
    place.upstream.trouble({"kind": "slow", "delay_s": 1.0})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-03") as found:
            window = found.window("2025-01-01")
            async with asyncio.timeout(PATIENCE_S):
                while not place.upstream.calls.report()["total"]:
                    await asyncio.sleep(0.02)
            place.ledger.advance("2025-01-01", Verdict.LANDED, PARENT, utc_now(), attempt="another", attempts=1)
            await found.until(window.done)
            assert place.inbox.messages() == []
            assert place.entry("2025-01-01").attempt == "another"
            assert found.run.stopped_by is None

    asyncio.run(story())


def test_a_window_that_cannot_follow_its_parent_any_more_ends_and_stops_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.upstream.trouble({"kind": "slow", "delay_s": 0.1})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-20") as found:
            window = found.window(*days(1, 20))
            await found.until(lambda: found.run.tally.calls >= 2)

            async def broken(_: Follower) -> None:
                raise RuntimeError("nobody knows this")

            monkeypatch.setattr(Follower, "step", broken)
            async with asyncio.timeout(PATIENCE_S):
                await window
            assert place.upstream.calls.report()["total"] < 20
            await found.supervisor.step()
            assert found.run.stopped_by is None

    asyncio.run(story())


@pytest.mark.parametrize("end", ["released", "taken over", "silent for too long"])
def test_a_window_that_stands_still_for_its_parent_ends_when_the_source_is_not_the_parents_any_more(
    place: Place, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    place.upstream.trouble({"kind": "slow", "delay_s": 0.1})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-20") as found:
            window = found.window(*days(1, 20))
            await found.until(lambda: found.run.tally.calls >= 1)
            found.lease.heartbeat(utc_now() - dt.timedelta(minutes=4))
            await found.until(lambda: "no heartbeat of the parent" in caplog.text)
            if end == "released":
                found.lease.release(utc_now())
            elif end == "taken over":
                Lease.acquire(place.store, SOURCE, Holder("bf-another00001"), now=utc_now(), ttl_s=120)
            else:
                found.lease.heartbeat(utc_now() - dt.timedelta(minutes=2 * (PATIENCE + 1) + 1))
            async with asyncio.timeout(PATIENCE_S):
                await window
            assert place.upstream.calls.report()["total"] < 20
            assert found.report("2025-01-01").ended

    asyncio.run(story())


def test_a_window_at_work_ends_after_the_partition_under_way_when_it_is_told_to(place: Place) -> None:
    place.upstream.trouble({"kind": "slow", "delay_s": 0.1})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-31") as found:
            window = found.window(*days(1, 31))
            await found.until(lambda: found.run.tally.calls >= 1)
            found.run.stop(CriticalError("the key is dead", source=SOURCE), "scrape")
            await found.until(window.done)
            window.result()
            assert place.upstream.calls.report()["total"] < 31
            assert found.report("2025-01-01").ended

    asyncio.run(story())


def test_a_window_whose_flow_run_was_deleted_ends_when_another_one_does_its_dates(place: Place) -> None:
    place.upstream.trouble({"kind": "slow", "delay_s": 0.1})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-31", parallel=1, canary=-1) as found:
            first = found.window(*days(1, 31))

            class Deleting(PlainOrchestrator):
                async def child(self, deployment: str, parameters: Any, *told: Any) -> Child:
                    if not told[1].endswith(":1"):
                        async with asyncio.timeout(PATIENCE_S):
                            await first
                        await found.window(*parameters["partitions"])
                        return Child("second", "Completed")
                    await found.until(lambda: found.run.tally.calls >= 1)
                    return Child("2025-01-01", "deleted", "its flow run was deleted")

            found.run.orchestrator = Deleting()
            watching = asyncio.create_task(found.supervisor.watch())
            plan = plan_asked(found.run.services, found.run.asked, utc_now(), PARENT).plan
            await map_windows(found.run, plan)
            watching.cancel()
            facts = await found.run.in_thread(finish, found.run, abort_reason(found.run.stopped_by))
            assert facts.verdict == "COMPLETE"
            assert place.upstream.calls.report()["total"] < 45, "some dates were under way, and no more came twice"

    asyncio.run(story())


def test_a_window_that_was_given_up_and_lives_after_all_leaves_its_dates_to_the_other_one(place: Place) -> None:
    place.upstream.trouble({"kind": "slow", "delay_s": 0.1})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-31") as found:
            window = found.window(*days(1, 31))
            await found.until(lambda: found.run.tally.calls >= 1)
            write_orders(place.store, PARENT, Orders(given_up=frozenset({report_name(PARENT, "2025-01-01")})))
            async with asyncio.timeout(PATIENCE_S):
                await window
            assert place.upstream.calls.report()["total"] < 31
            assert found.report("2025-01-01").stop is None, "it concerns no other window"

    asyncio.run(story())


def test_the_call_budget_counts_the_calls_of_windows_that_are_still_at_work(place: Place) -> None:
    place.upstream.trouble({"kind": "slow", "delay_s": 0.1})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-31", max_calls=3) as found:
            window = found.window(*days(1, 31))
            await found.until(lambda: found.run.stopped_by)
            assert found.run.stopped_by.facts["abort"] == "budget"
            await found.until(window.done)
            assert place.upstream.calls.report()["total"] < 31

    asyncio.run(story())


def test_the_canary_of_a_distributed_run_is_tried_before_any_window(place: Place) -> None:
    place.upstream.trouble({"kind": "null_id"})

    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-20", canary=2) as found:
            planned = plan_asked(found.run.services, found.run.asked, utc_now(), PARENT)
            await try_canaries(found.run, planned.plan)
            assert place.upstream.calls.report()["total"] <= 2
            assert found.run.stopped_by is not None
            await found.supervisor.step()
            assert read_orders(place.store, PARENT)[0].stop is not None

    asyncio.run(story())


def test_what_a_window_has_landed_is_loaded_while_it_goes_on(place: Place) -> None:
    async def story() -> None:
        async with fleet("2025-01-01", "2025-01-04", parallel=1) as found:
            run = found.run

            class Tardy(PlainOrchestrator):
                async def child(self, deployment: str, parameters: Any, *told: Any) -> Child:
                    """A worker that goes on only when the dates so far are in their tables."""
                    keys, verdicts = parameters["partitions"], set[str]()
                    await found.window(*keys[:2], slots=parameters["slots"])
                    async with asyncio.timeout(PATIENCE_S):
                        while verdicts != {"verified"}:
                            await asyncio.sleep(0.05)
                            verdicts = {entry.verdict.value for key in keys[:2] if (entry := run.ledger.get(key))}
                    await found.window(*keys[2:], slots=parameters["slots"])
                    return Child(keys[0], "Completed")

            run.orchestrator = Tardy()
            plan = plan_asked(run.services, run.asked, utc_now(), PARENT).plan
            landed: LandedQueue = asyncio.Queue()
            loading = asyncio.create_task(load_in_batches(partial(load, run), [], landed, 4, 2))
            await land_in_windows(run, plan, landed)
            landed.put_nowait(None)
            await loading
            loaded = sorted(key for receipt in run.tally.receipts for key in receipt.partitions)
            assert loaded == days(1, 4), "each once"
            assert {entry.verdict.value for entry in place.ledger.refresh().values()} == {"verified"}

    asyncio.run(story())


# -- windows that end too early ---------------------------------------------------------------------------------


class Workers(PlainOrchestrator):
    """Workers whose children end one after the other as ``fates`` say, the last one over and over.

    ``crashes``, ``fails``: at once. ``half``: behind half of its dates. ``silent``: given up, as it says nothing more.
    ``waits``: no worker ever begins it. ``lives``: does its work.
    """

    def __init__(self, found: Fleet, *fates: str) -> None:
        super().__init__()
        self.found, self.fates, self.begun = found, list(fates), list[list[str]]()

    async def child(
        self,
        deployment: str,
        parameters: Mapping[str, Any],
        label: str,
        idempotency_key: str,
        given_up: Callable[[str], str],
    ) -> Child:
        keys = list(parameters["partitions"])
        self.begun.append(keys)
        fate = self.fates.pop(0) if len(self.fates) > 1 else self.fates[0]
        if fate == "lives":
            await self.found.window(*keys, slots=parameters["slots"])
            return Child(keys[0], "Completed")
        if fate == "half":
            await self.found.window(*keys[: len(keys) // 2])
            return Child(keys[0], "Crashed", "Process for flow run exited with status code: -9")
        if fate == "silent":
            write_report(self.found.run.services.store, PARENT, "mute", Report())
        while fate in ("silent", "waits"):
            await self.found.supervisor.step()
            if why := given_up("mute"):
                return Child("mute", "given up", why)
            await asyncio.sleep(0.02)
        state = {"fails": "Failed", "cancelled": "Cancelled", "deleted": "deleted"}.get(fate, "Crashed")
        return Child(idempotency_key, state, f"it {fate}", is_cancelled=fate == "cancelled")


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
    monkeypatch.setenv("GAPLESS_LEASE_TTL_S", "0.6")
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


@pytest.mark.long
@pytest.mark.parametrize("dies", [False, True])
def test_a_distributed_full_run_recounts_what_its_windows_got_unchanged_and_loads_the_rest(
    place: Place, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    place.fill("2025-01-10", 3)
    known = place.ledger.refresh()
    place.upstream.trouble({"kind": "late_game", "dates": ["2025-01-12"]})
    asked_before = place.upstream.calls.report()["total"]

    async def story() -> None:
        async with fleet("2025-01-10", "2025-01-12", mode=Mode.FULL, parallel=1) as found:
            run = found.run

            class Workers(PlainOrchestrator):
                async def child(self, deployment: str, parameters: Any, *told: Any) -> Child:
                    """A worker; with ``dies`` the first one is lost behind its first date."""
                    keys, is_lost = parameters["partitions"], dies and told[1].endswith(":1")
                    await found.window(*(keys[:1] if is_lost else keys), slots=parameters["slots"])
                    return Child(keys[0], "Crashed" if is_lost else "Completed")

            run.orchestrator = Workers()
            plan = plan_asked(run.services, run.asked, utc_now(), PARENT).plan
            await map_windows(run, plan)
            assert run.stopped_by is None
            assert [receipt.partitions for receipt in run.tally.receipts] == [("2025-01-12",)]
            assert place.upstream.calls.report()["total"] == asked_before + 3
            entries = place.ledger.refresh()
            assert {entry.backfill_id for entry in entries.values()} == {PARENT}, "all were verified by this run"
            for key in days(10, 11):
                assert (entries[key].verdict, entries[key].receipt_id) == (known[key].verdict, known[key].receipt_id)
                # The newest answer with those bytes, as of an inline run.
                assert entries[key].attempt > known[key].attempt
            assert entries["2025-01-12"].attempt != known["2025-01-12"].attempt

    asyncio.run(story())
