"""A place at the source passes from thread to thread; who stood in line makes no call that may not begin any more."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from alerting.errors import CriticalError
from flows.asked import Asked
from flows.dates import DONE_BY_LIVE, NOT_ATTEMPTED, land_partition
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.run.slots import Slots

SOURCE, DAY = "bdl_box_scores", "2025-01-03"


def test_places_go_to_threads_in_the_order_in_which_they_ask() -> None:
    slots, served, threads = Slots(1), list[int](), list[threading.Thread]()

    def ask(number: int) -> None:
        with slots.taken():
            served.append(number)

    with slots.taken() as slot:
        for number in range(5):
            threads.append(threading.Thread(target=ask, args=(number,), daemon=True))
            threads[-1].start()
            while len(slots._in_line) <= number:
                time.sleep(0.001)
        assert served == []
        slot.answered()
        for thread in threads:
            thread.join(10)
    assert served == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("until_stored", [False, True])
def test_no_more_threads_than_places_are_at_the_source(until_stored: bool) -> None:
    slots, at_source, most = Slots(3, until_stored=until_stored), 0, 0
    counting = threading.Lock()

    def count(step: int) -> None:
        nonlocal at_source, most
        with counting:
            at_source += step
            most = max(most, at_source)

    def ask() -> None:
        for _ in range(20):
            with slots.taken() as slot:
                count(1)
                time.sleep(0.0005)
                if until_stored:
                    slot.answered()
                    time.sleep(0.0005)
                count(-1)
                slot.answered()

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == 3


def _in_line(place: Any, then: Callable[[Run, Awaitable[str]], Awaitable[None]]) -> None:
    """A date stands in line while a pause begins, and has its turn before that ends."""

    async def story() -> None:
        asked = Asked(source=SOURCE, max_concurrency=1)
        with Run(place.services, asked, "bf-1", PlainOrchestrator()) as run:
            run.work.partitions = {one.key: one for one in place.partitions(DAY, 1)}
            async with asyncio.timeout(20):
                with run.slots.taken():
                    date = asyncio.ensure_future(land_partition(run, DAY))
                    while not run.slots._in_line:
                        await asyncio.sleep(0.01)
                    await run.gate.shut("a pause")
                while not run.gate.is_idle:
                    await asyncio.sleep(0.01)
                assert not date.done()
                assert place.upstream.calls.report()["total"] == 0
                await then(run, date)

    asyncio.run(story())


def test_what_stood_in_line_when_a_pause_began_makes_its_call_behind_it(place):
    async def then(run: Run, date: Awaitable[str]) -> None:
        await run.gate.open("a pause")
        assert await date == "landed"
        assert place.upstream.calls.report()["total"] == 1

    _in_line(place, then)


def test_what_a_live_run_did_during_the_pause_is_not_asked_for_again(place):
    async def then(run: Run, date: Awaitable[str]) -> None:
        run.work.leave_to_others([DAY])
        await run.gate.open("a pause")
        assert await date == DONE_BY_LIVE
        assert place.upstream.calls.report()["total"] == 0

    _in_line(place, then)


def test_what_stood_in_line_when_the_run_was_stopped_makes_no_call(place):
    async def then(run: Run, date: Awaitable[str]) -> None:
        run.stop(CriticalError("the key is dead"), "scrape")
        await run.gate.open("a pause")
        assert await date == NOT_ATTEMPTED
        assert place.upstream.calls.report()["total"] == 0

    _in_line(place, then)
