"""A simulated thread that waits lets its loop go on, keeps what it has locked, and ends with its process."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
from collections.abc import Iterator

import pytest

from flows.simulate.virtual_threads import Deadlock
from flows.simulate.virtual_time import Owner, VirtualLoop, cancel_all, virtual_time

BEGIN = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


class Someone:
    """Who has tasks and threads."""

    is_alive = True


OWNER: Owner = Someone()


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    with virtual_time(BEGIN, 0) as clock:
        made = VirtualLoop(clock, owner=lambda: OWNER)
        yield made
        made.close()


def test_a_heart_beats_while_a_thread_waits_for_an_hour(loop: VirtualLoop) -> None:
    beats: list[float] = []

    async def beat() -> None:
        while True:
            beats.append(time.monotonic())
            await asyncio.sleep(900)

    async def live() -> None:
        beating = asyncio.create_task(beat())
        await asyncio.to_thread(time.sleep, 3_600)
        beating.cancel()

    loop.run_until_complete(live())
    assert beats == [0.0, 900.0, 1_800.0, 2_700.0]


def test_threads_wait_side_by_side_and_for_a_lock_one_after_the_other(loop: VirtualLoop) -> None:
    ended: list[tuple[str, float]] = []
    lock = threading.Lock()

    def wait(name: str) -> None:
        time.sleep(10)
        ended.append((name, time.monotonic()))

    def wait_with_lock(name: str) -> None:
        with lock:
            wait(name)

    async def live() -> None:
        free = [asyncio.to_thread(wait, name) for name in ("a", "b")]
        await asyncio.gather(*free, *(asyncio.to_thread(wait_with_lock, name) for name in ("c", "d", "e")))

    loop.run_until_complete(live())
    assert ended == [("a", 10.0), ("b", 10.0), ("c", 10.0), ("d", 20.0), ("e", 30.0)]


def test_a_task_that_wants_what_a_waiting_thread_holds_is_a_deadlock_and_no_endless_wait(loop: VirtualLoop) -> None:
    lock = threading.Lock()

    def hold() -> None:
        with lock:
            time.sleep(10)

    async def live() -> None:
        holding = asyncio.ensure_future(asyncio.to_thread(hold))
        await asyncio.sleep(1)
        try:
            with lock:
                pass
        finally:
            await holding

    with pytest.raises(Deadlock, match="holds while it waits"):
        loop.run_until_complete(live())
    assert not lock.locked()


@pytest.mark.parametrize(("is_alive", "done"), [(True, ["slept", "left"]), (False, ["left"])])
def test_a_process_ends_after_its_threads_unless_it_was_killed(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch, is_alive: bool, done: list[str]
) -> None:
    noted: list[str] = []

    def work() -> None:
        try:
            time.sleep(60)
            noted.append("slept")
        finally:
            noted.append("left")
            time.sleep(1)

    async def live() -> None:
        working = asyncio.ensure_future(asyncio.to_thread(work))
        await asyncio.sleep(1)
        working.cancel()

    loop.run_until_complete(live())
    monkeypatch.setattr(OWNER, "is_alive", is_alive)
    loop.run_until_complete(cancel_all(OWNER))
    assert noted == done
    assert loop.time() == (61.0 if is_alive else 1.0)


def test_what_a_thread_raises_is_raised_where_it_is_waited_for(loop: VirtualLoop) -> None:
    def fail() -> None:
        time.sleep(1)
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        loop.run_until_complete(asyncio.wait_for(asyncio.to_thread(fail), 5))
