"""Time, chance and names that only a seed decides: the clock of a simulated world, and an event loop on it.

A process of its own belongs to a simulation: the clocks and the sources of randomness of this process are replaced
while it lasts. Nothing waits: a sleep is a step of the clock.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import random
import secrets
import selectors
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import time_machine

from scrapers.pace.budget import Clock

R = TypeVar("R")
_OURS = Path(__file__).parent.parent

real_monotonic, real_sleep = time.monotonic, time.sleep


class Deadlock(RuntimeError):
    """Nothing is ready and nothing will be: every task waits for another one."""


class Endless(RuntimeError):
    """Nothing but timers goes on, for far longer than any work takes; names where each task waits."""


class VirtualClock:
    """Wall clock and monotonic clock; only `sleep` and `leap` move them.

    ``now_s`` is monotonic, in seconds since the beginning of the simulation; `skew` moves the wall clock alone.
    """

    def __init__(self, traveller: Any) -> None:
        self._traveller = traveller
        self.now_s = 0.0
        self.skew_s = 0.0

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self.now_s

    def now(self) -> dt.datetime:
        """Aware UTC, skew included."""
        return dt.datetime.now(dt.UTC)

    def sleep(self, seconds: float) -> None:
        """Both clocks go on."""
        if seconds > 0:
            self.now_s += seconds
            self._traveller.shift(seconds)

    def skew(self, seconds: float) -> None:
        """The wall clock is set, as by a time server; the monotonic one goes on."""
        self.skew_s += seconds
        self._traveller.shift(seconds)

    def unskew(self) -> None:
        """The wall clock is right again."""
        self._traveller.shift(-self.skew_s)
        self.skew_s = 0.0

    @property
    def for_budgets(self) -> Clock:
        """As budgets take it."""
        return Clock(monotonic=self.monotonic, now=self.now, sleep=self.sleep)


@contextmanager
def virtual_time(begins_at: dt.datetime, seed: int) -> Iterator[VirtualClock]:
    """Replaces clocks, sleeps, chance and unique names of this process by those of ``seed``, and puts them back.

    ``begins_at`` is aware.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    before = time.monotonic, time.sleep, uuid.uuid4, secrets.token_hex, random.getstate()
    with time_machine.travel(begins_at, tick=False) as traveller:
        clock = VirtualClock(traveller)
        time.monotonic = clock.monotonic
        time.sleep = clock.sleep  # type: ignore[assignment]
        uuid.uuid4 = lambda: uuid.UUID(int=chance.getrandbits(128), version=4)
        secrets.token_hex = lambda nbytes=32: chance.randbytes(nbytes or 32).hex()
        random.seed(seed)
        try:
            yield clock
        finally:
            time.monotonic, time.sleep, uuid.uuid4, secrets.token_hex = before[:4]
            random.setstate(before[4])


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a virtual clock: timers make it leap, threads are plain calls, and one seed orders the rest.

    A loop that goes on for more than ``most_s`` raises ``Endless``. With ``reorder`` whatever is ready at once goes in
    an order that the seed decides: every await is a place where another task may go first.
    """

    def __init__(self, clock: VirtualClock, reorder: random.Random | None = None, *, most_s: float = math.inf) -> None:
        super().__init__(_LeapingSelector(clock))
        self._virtual = clock
        self._reorder = reorder
        self._most_s = clock.now_s + most_s

    def time(self) -> float:
        """Of the virtual clock."""
        return self._virtual.now_s

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., R], *args: Any
    ) -> asyncio.Future[R]:
        """Calls ``func`` here and now; what it raises is in the future."""
        done: asyncio.Future[R] = self.create_future()
        try:
            done.set_result(func(*args))
        except StopIteration as error:
            done.set_exception(RuntimeError(repr(error)))
        except BaseException as error:
            done.set_exception(error)
        return done

    def _run_once(self) -> None:
        if self._virtual.now_s > self._most_s:
            self._most_s = math.inf
            waits = {_where(task) for task in asyncio.all_tasks(self)} - {""}
            raise Endless(f"tasks wait at {', '.join(sorted(waits))}")
        ready = self._ready  # type: ignore[attr-defined]
        if self._reorder is not None and len(ready) > 1:
            shuffled = list(ready)
            self._reorder.shuffle(shuffled)
            ready.clear()
            ready.extend(shuffled)
        super()._run_once()  # type: ignore[misc]


def _where(task: asyncio.Task[Any]) -> str:
    """The innermost line of our own at which a task waits."""
    awaited: Any = task.get_coro()
    told = ""
    while awaited is not None and getattr(awaited, "cr_frame", None) is not None:
        frame = awaited.cr_frame
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_OURS):
            told = f"{path.name}:{frame.f_lineno} in {frame.f_code.co_name}"
        awaited = awaited.cr_await
    return told


class _LeapingSelector(selectors.SelectSelector):
    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("every task waits, and no timer is set")
        self._clock.sleep(timeout)
        return []
