"""Windows in processes of their own: they stand still and end when their parent says so, and it sees what they do."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from typing import TYPE_CHECKING

import pytest
from live_windows import PARENT, PATIENCE_S, SOURCE, days, fleet

from alerting.errors import CriticalError
from alerting.instant import utc_now
from flows.canaries import try_canaries
from flows.child_runs.follower import UNJUDGED_FAILURES
from flows.child_runs.messages import (
    Orders,
    read_orders,
    read_report,
    report_name,
    write_orders,
)
from flows.closing.finish import finish
from flows.coordination.lease import read_lease
from flows.coordination.lease_loan import BorrowedLease, ask_for, borrower
from flows.ledger.ledger import Ledger
from flows.ledger.verdicts import abort_reason
from flows.loading import BatchLoader, LandedQueue, load_in_batches
from flows.mapping import land_in_windows, map_windows
from flows.parameters import Mode
from flows.planning.planner import plan_asked
from flows.run.gate import SOURCE_DOWN
from flows.run.orchestrator import Child, ChildRequest
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.supervisor import SHORTEST_STEP_S

if TYPE_CHECKING:
    from .conftest import Place

pytestmark = pytest.mark.usefixtures("processes")


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

            # All that it says of time is by a clock that is ten minutes behind.
            behind = dt.timedelta(minutes=10)
            ledger = Ledger(store, SOURCE)
            done = ledger.refresh()["2025-01-20"]
            ledger.put(dataclasses.replace(done, updated_at=done.updated_at - behind))
            loan = ask_for(store, SOURCE, "live-1", mode="daily", now=utc_now() - behind, ttl_s=60)
            assert isinstance(loan, BorrowedLease)
            loan.heartbeat(utc_now() - behind)
            await found.supervisor.step()
            held = read_lease(store, SOURCE)
            assert held is not None
            assert held.lent_to == "live-1", "its loan is prolonged, whatever its clock says"
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
                async def child(self, request: ChildRequest) -> Child:
                    if not request.idempotency_key.endswith(":1"):
                        async with asyncio.timeout(PATIENCE_S):
                            await first
                        await found.window(*request.parameters["partitions"])
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
                async def child(self, request: ChildRequest) -> Child:
                    """A worker that goes on only when the dates so far are in their tables."""
                    keys, verdicts = request.parameters["partitions"], set[str]()
                    await found.window(*keys[:2], slots=request.parameters["slots"])
                    async with asyncio.timeout(PATIENCE_S):
                        while verdicts != {"verified"}:
                            await asyncio.sleep(0.05)
                            verdicts = {entry.verdict.value for key in keys[:2] if (entry := run.ledger.get(key))}
                    await found.window(*keys[2:], slots=request.parameters["slots"])
                    return Child(keys[0], "Completed")

            run.orchestrator = Tardy()
            plan = plan_asked(run.services, run.asked, utc_now(), PARENT).plan
            landed: LandedQueue = asyncio.Queue()
            loading = asyncio.create_task(load_in_batches(BatchLoader(run), [], landed, 4, 2))
            await land_in_windows(run, plan, landed)
            landed.put_nowait(None)
            await loading
            loaded = sorted(key for receipt in run.tally.receipts for key in receipt.partitions)
            assert loaded == days(1, 4), "each once"
            assert {entry.verdict.value for entry in place.ledger.refresh().values()} == {"verified"}

    asyncio.run(story())


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
                async def child(self, request: ChildRequest) -> Child:
                    """A worker; with ``dies`` the first one is lost behind its first date."""
                    keys, is_lost = request.parameters["partitions"], dies and request.idempotency_key.endswith(":1")
                    await found.window(*(keys[:1] if is_lost else keys), slots=request.parameters["slots"])
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
