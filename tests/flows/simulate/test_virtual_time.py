"""A simulated process lives on a clock that only its own sleeps move, and in an order that only a seed decides."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import secrets
import time
import uuid
from collections.abc import Sequence

import pytest

from flows.simulate.virtual_threads import Deadlock
from flows.simulate.virtual_time import Endless, VirtualLoop, virtual_time

BEGIN = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


def order_of(seed: int | None) -> Sequence[int]:
    done: list[int] = []

    async def one(number: int) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        done.append(number)

    async def all_of_them() -> None:
        await asyncio.gather(*(one(number) for number in range(6)))

    with virtual_time(BEGIN, 0) as clock:
        loop = VirtualLoop(clock, random.Random(seed) if seed is not None else None)
        loop.run_until_complete(all_of_them())
        loop.close()
    return done


def test_a_sleep_of_a_day_moves_every_clock_of_the_process_by_a_day() -> None:
    async def a_day() -> None:
        await asyncio.sleep(43_200)
        await asyncio.to_thread(time.sleep, 43_200)

    with virtual_time(BEGIN, 0) as clock:
        begun_s = time.monotonic()
        loop = VirtualLoop(clock)
        loop.run_until_complete(a_day())
        loop.close()
        assert time.monotonic() - begun_s == 86_400
        assert dt.datetime.now(dt.UTC) == BEGIN + dt.timedelta(days=1)
        clock.ahead_s = lambda: 3_600.0
        assert dt.datetime.now(dt.UTC) == BEGIN + dt.timedelta(days=1, hours=1)
        assert time.monotonic() - begun_s == 86_400
        assert clock.right() == BEGIN + dt.timedelta(days=1)


def test_names_and_chance_are_those_of_the_seed_and_the_process_has_its_own_again_afterwards() -> None:
    def names(seed: int) -> tuple[str, str, float]:
        with virtual_time(BEGIN, seed):
            return str(uuid.uuid4()), secrets.token_hex(4), random.random()

    sleep = time.sleep
    assert names(1) == names(1)
    assert names(1) != names(2)
    assert uuid.uuid4() != uuid.uuid4()
    assert time.sleep is sleep


def test_whatever_is_ready_at_once_goes_in_the_order_of_the_seed() -> None:
    assert order_of(None) == [0, 1, 2, 3, 4, 5]
    assert order_of(3) == order_of(3)
    assert len({tuple(order_of(seed)) for seed in range(8)}) > 4


def test_tasks_that_wait_for_each_other_are_a_deadlock_and_no_endless_wait() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    with virtual_time(BEGIN, 0) as clock:
        loop = VirtualLoop(clock)
        with pytest.raises(Deadlock):
            loop.run_until_complete(forever())
        loop.close()


def test_a_loop_in_which_only_a_timer_goes_on_is_told_of_and_ended() -> None:
    async def report() -> None:
        while True:
            await asyncio.sleep(5)

    async def work() -> None:
        reports = asyncio.create_task(report())
        await asyncio.Event().wait()
        reports.cancel()

    with virtual_time(BEGIN, 0) as clock:
        loop = VirtualLoop(clock, most_s=3_600)
        with pytest.raises(Endless, match="tasks wait at"):
            loop.run_until_complete(work())
        assert clock.now_s < 3_700
        loop.close()
