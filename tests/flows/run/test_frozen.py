"""A process that was frozen for longer than its lease begins and writes nothing until it knows who has the source."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import processors.process
from alerting import instant
from alerting.errors import LandingUnavailable, LeaseHeld, PipelineError, SourceUnavailable
from alerting.instant import Instant, utc_now
from alerting.memory_store import MemoryObjectStore
from flows.asked import Asked
from flows.coordination.lease import Holder, Lease, read_lease
from flows.coordination.lease_loan import ask_for, lend
from flows.dates import NOT_ATTEMPTED, land_partition
from flows.process import Told, load_batch
from flows.run import supervisor
from flows.run.gate import Gate
from flows.run.heartbeat import keep_alive
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.recording import record_failure, take
from flows.run.run import Run

SOURCE, DAY, NEXT = "bdl_box_scores", "2025-01-03", "2025-01-04"
SHORT_TTL_S = 0.2


@contextlib.asynccontextmanager
async def _woken(place: Any) -> AsyncIterator[tuple[Run, Lease]]:
    """Its lease has run out, and its next heartbeat is 15 s away; ``run.heartbeat_due`` makes it at once."""
    lease = Lease.acquire(place.store, SOURCE, Holder("bf-1"), now=utc_now(), ttl_s=SHORT_TTL_S)
    with Run(place.services, Asked(source=SOURCE), "bf-1", PlainOrchestrator()) as run:
        run.work.partitions = {one.key: one for one in place.partitions(DAY, 2)}
        watching = asyncio.create_task(keep_alive(run, lease))
        await asyncio.sleep(SHORT_TTL_S)
        async with asyncio.timeout(10):
            while run.gate.is_kept:
                await asyncio.sleep(0.01)
        try:
            yield run, lease
        finally:
            watching.cancel()


@pytest.mark.parametrize("borrowed", [False, True])
def test_a_clock_that_was_set_back_meanwhile_makes_no_lease_longer(monkeypatch, borrowed):
    store, at = MemoryObjectStore(), utc_now()
    lease = Lease.acquire(store, SOURCE, Holder("bf-1"), now=at, ttl_s=SHORT_TTL_S)
    if borrowed:
        ask_for(store, SOURCE, "daily-1", mode="daily", now=at, ttl_s=SHORT_TTL_S)
        lend(store, lease, at)
        lease = ask_for(store, SOURCE, "daily-1", mode="daily", now=at, ttl_s=SHORT_TTL_S)
    hour_ago = at - dt.timedelta(hours=1)
    monkeypatch.setattr(instant, "utc_now", lambda: hour_ago)

    async def story() -> None:
        gate = Gate()
        lease.heartbeat(hour_ago)
        await gate.keep_open(lease.held_until)
        assert gate.is_kept
        await asyncio.sleep(SHORT_TTL_S)
        assert not gate.is_kept

    asyncio.run(story())
    held = read_lease(store, SOURCE)
    assert (held.lent_until if borrowed else held.expires_at) >= at, "nor does it look shorter to others"


async def _taken_over(place: Any) -> None:
    """By another run, once the lease is over by the clock of the store, too."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(LeaseHeld):
                Lease.acquire(place.store, SOURCE, Holder("bf-2"), now=utc_now(), ttl_s=60.0)
                return
            await asyncio.sleep(0.05)


async def _waits(work: Awaitable[Any]) -> asyncio.Future[Any]:
    begun = asyncio.ensure_future(work)
    done, _ = await asyncio.wait([begun], timeout=0.2)
    assert not done
    return begun


def _after_its_freeze(place: Any, then: Callable[[Run, Lease], Awaitable[None]]) -> None:
    async def story() -> None:
        async with _woken(place) as (run, lease):
            await then(run, lease)

    asyncio.run(story())


def test_it_asks_the_source_for_nothing_until_its_lease_is_renewed(place):
    async def then(run: Run, lease: Lease) -> None:
        begun = await _waits(land_partition(run, DAY))
        assert place.upstream.calls.report()["total"] == 0
        lease.ttl_s = 60.0
        run.heartbeat_due.set()
        assert await begun == "landed"

    _after_its_freeze(place, then)


def test_it_does_nothing_more_when_another_run_has_taken_the_source_over(place):
    async def then(run: Run, lease: Lease) -> None:
        dates = [await _waits(land_partition(run, key)) for key in (DAY, NEXT)]
        await _taken_over(place)
        run.heartbeat_due.set()
        assert await asyncio.gather(*dates) == [NOT_ATTEMPTED, NOT_ATTEMPTED]
        assert place.upstream.calls.report()["total"] == 0

    _after_its_freeze(place, then)


def test_a_call_for_which_it_waits_is_not_made_when_another_run_has_taken_the_source_over(place):
    async def then(run: Run, lease: Lease) -> None:
        await run.gate.keep_open(None)
        run.kit.budget.pause_for(1.0)
        date = await _waits(land_partition(run, DAY))
        await _taken_over(place)
        run.heartbeat_due.set()
        with pytest.raises(LeaseHeld):
            await date
        assert place.upstream.calls.report()["total"] == 0

    _after_its_freeze(place, then)


def test_what_it_had_staged_is_not_written_over_the_rows_of_its_successor(place):
    (manifest,) = place.land(DAY)

    async def then(run: Run, lease: Lease) -> None:
        run.ledger.refresh()
        run.work.partitions = {one.key: one for one in place.partitions(DAY, 1)}
        await run.gate.keep_open(None)
        staged = asyncio.Event()
        async with run.writing:
            loading = asyncio.ensure_future(load_batch(run, [manifest], Told(staged=staged.set)))
            await staged.wait()
            await run.gate.keep_open(Instant.now())
        await _taken_over(place)
        run.heartbeat_due.set()
        await loading
        assert "not loaded" in str(run.orchestrator.states[-1].message)
        assert place.sql("SELECT COUNT(*) AS n FROM {games}") == [{"n": 0}]

    _after_its_freeze(place, then)


def test_what_it_was_about_to_write_when_it_was_frozen_is_not_written_either(place, monkeypatch):
    (manifest,) = place.land(DAY)

    async def then(run: Run, lease: Lease) -> None:
        run.ledger.refresh()
        run.work.partitions = {one.key: one for one in place.partitions(DAY, 1)}
        await run.gate.keep_open(None)
        loop = asyncio.get_running_loop()

        def freezes(*_: object) -> dict[str, PipelineError]:
            run.gate._kept_until = Instant.now()
            Lease.acquire(place.store, SOURCE, Holder("bf-2"), now=utc_now(), ttl_s=60.0)
            loop.call_soon_threadsafe(run.heartbeat_due.set)
            return {}

        monkeypatch.setattr(processors.process, "twins", freezes)
        before = place.ledger.get(DAY)
        await load_batch(run, [manifest])
        assert run.orchestrator.states[-1].is_failed()
        assert place.sql("SELECT COUNT(*) AS n FROM {games}") == [{"n": 0}]
        assert place.ledger.get(DAY) == before

    _after_its_freeze(place, then)


def test_a_failure_that_it_met_while_it_was_frozen_is_recorded_by_no_one_when_the_source_is_lost(place):
    async def then(run: Run, lease: Lease) -> None:
        async def fails() -> None:
            raise SourceUnavailable("the connection failed")

        step = await _waits(run.step("scrape", f"scrape {DAY}", fails))
        await _taken_over(place)
        run.heartbeat_due.set()
        assert isinstance(await step, SourceUnavailable)
        assert run.ledger.is_lost

    _after_its_freeze(place, then)


def test_an_answer_that_came_while_it_was_frozen_is_not_recorded_before_that(place):
    (manifest,) = place.land(DAY, record=False)

    async def then(run: Run, lease: Lease) -> None:
        with pytest.raises(LandingUnavailable, match="no heartbeat"):
            await run.in_thread(take, run, manifest)
        assert place.ledger.get(DAY) is None

    _after_its_freeze(place, then)


def test_nothing_that_was_under_way_is_recorded_when_another_run_has_the_source(place):
    (manifest,) = place.land(DAY, record=False)

    async def then(run: Run, lease: Lease) -> None:
        await _taken_over(place)
        run.heartbeat_due.set()
        await run.gate.until_kept()
        with pytest.raises(LeaseHeld, match="lost its source"):
            await run.in_thread(take, run, manifest)
        await run.in_thread(record_failure, run, NEXT, SourceUnavailable("503"), "scrape", DAY)
        assert place.ledger.refresh() == {}

    _after_its_freeze(place, then)


def test_a_heartbeat_that_fails_for_a_reason_nobody_thought_of_does_not_hold_the_run_for_ever(place, monkeypatch):
    def beaten(*_: object) -> None:
        monkeypatch.undo()
        raise RuntimeError("dictionary changed size during iteration")

    async def then(run: Run, lease: Lease) -> None:
        begun = await _waits(land_partition(run, DAY))
        lease.ttl_s = 60.0
        monkeypatch.setattr(lease, "heartbeat", beaten)
        for _ in range(2):
            run.heartbeat_due.set()
            await asyncio.sleep(0.1)
        assert await asyncio.wait_for(begun, 10) == "landed"

    _after_its_freeze(place, then)


@pytest.mark.parametrize("hours", [2, -2])
def test_a_clock_that_is_set_while_a_run_works_stops_it_neither_as_stalled_nor_by_its_deadline(
    place: Any, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    lease = Lease.acquire(place.store, SOURCE, Holder("bf-1"), now=utc_now(), ttl_s=60.0)
    with Run(place.services, Asked(source=SOURCE, deadline_h=1), "bf-1", PlainOrchestrator()) as run:
        for module in (supervisor, instant):
            monkeypatch.setattr(module, "utc_now", lambda: utc_now() + dt.timedelta(hours=hours))
        asyncio.run(supervisor.Supervisor(run, lease).step())
        assert run.stopped_by is None
