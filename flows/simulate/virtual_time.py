"""Time, chance and names that only a seed decides: the clock of a simulated world, and an event loop on it.

A process of its own belongs to a simulation: the clocks and the sources of randomness of this process are replaced
while it lasts. Nothing waits: a sleep is a step of the clock, and that of a thread a timer of its loop.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import math
import random
import secrets
import selectors
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol, TypeVar

import time_machine

from flows.simulate.virtual_threads import Deadlock, VirtualThreads, thread_here, virtual_locks
from scrapers.pace.budget import Clock

R = TypeVar("R")
_OURS = Path(__file__).parent.parent

real_monotonic, real_sleep = time.monotonic, time.sleep


class Endless(RuntimeError):
    """Nothing but timers goes on, for far longer than any work takes; names where each task waits."""


_RULES: ContextVar[VirtualClock | None] = ContextVar("virtual_clock", default=None)


class Timer(Protocol):
    """Something that goes off at an instant of the virtual clock."""

    due_s: float

    def run(self) -> object:
        """What it does."""


class VirtualClock:
    """Wall clock and monotonic clock; only `sleep` moves them.

    ``now_s`` is that of the world, in seconds since the beginning of the simulation. What a process reads may differ:
    its wall clock is ``ahead_s``, and its monotonic one was still for ``slept_s``.
    """

    def __init__(self, begins_at: dt.datetime, traveller: Any) -> None:
        self._now_ns = traveller.time_ns()
        self._begins_at = begins_at
        self.now_s = 0.0
        self.ahead_s: Callable[[], float] = float
        self.slept_s: Callable[[], float] = float
        traveller.time_ns = lambda: self._now_ns + round(self.ahead_s() * 1e9)
        self.on_the_way: Callable[[float], Timer | None] = lambda _: None
        """What goes off by an instant of the clock, one after the other."""

    def rules_here(self) -> bool:
        """Threads that know nothing of a simulation, as those of a sample in this process, go on in real time."""
        return _RULES.get() is self

    def monotonic(self) -> float:
        """Seconds since the beginning, without those for which the machine has slept."""
        return self.now_s - self.slept_s() if self.rules_here() else real_monotonic()

    def now(self) -> dt.datetime:
        """Aware UTC, by the clock of the machine."""
        return dt.datetime.now(dt.UTC)

    def right(self) -> dt.datetime:
        """Aware UTC, whatever the clocks of machines say."""
        return self._begins_at + dt.timedelta(seconds=self.now_s)

    def sleep(self, seconds: float) -> None:
        """Both clocks go on, and what is due on the way goes off when it is; so do the tasks of a thread's loop."""
        if not self.rules_here():
            real_sleep(seconds)
            return
        if thread := thread_here():
            thread.wait(seconds)
            return
        until_s = self.now_s + seconds
        while timer := self.on_the_way(until_s):
            self._go_on_until(timer.due_s)
            timer.run()
        self._go_on_until(until_s)

    def _go_on_until(self, instant_s: float) -> None:
        if instant_s > self.now_s:
            self._now_ns += round((instant_s - self.now_s) * 1e9)
            self.now_s = instant_s

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
        clock = VirtualClock(begins_at, traveller)
        ours, before_here = clock.rules_here, _RULES.set(clock)
        time.monotonic = clock.monotonic
        time.sleep = clock.sleep  # type: ignore[assignment]
        uuid.uuid4 = lambda: uuid.UUID(int=chance.getrandbits(128), version=4) if ours() else before[2]()
        secrets.token_hex = lambda nbytes=32: chance.randbytes(nbytes or 32).hex() if ours() else before[3](nbytes)
        random.seed(seed)
        try:
            with virtual_locks(ours):
                yield clock
        finally:
            time.monotonic, time.sleep, uuid.uuid4, secrets.token_hex = before[:4]
            random.setstate(before[4])
            _RULES.reset(before_here)


class _Task(asyncio.Task[R]):
    """A task whose place in a set is that of its number, and not of where it lies in memory."""

    def __init__(self, number: int, owner: object, work: Coroutine[Any, Any, R], **given: Any) -> None:
        self._number, self.owner = number, owner
        super().__init__(work, **given)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a virtual clock: timers make it leap, threads go on until they wait, one seed orders the rest.

    A loop that goes on for more than ``most_s`` raises ``Endless``. With ``reorder`` whatever is ready at once goes in
    an order that the seed decides: every await is a place where another task may go first. A task or thread belongs to
    the ``owner`` at its beginning.
    """

    def __init__(
        self,
        clock: VirtualClock,
        reorder: random.Random | None = None,
        *,
        most_s: float = math.inf,
        owner: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(_LeapingSelector(clock))
        self._owner = owner
        self._begun = itertools.count()
        self.threads = VirtualThreads(self)
        self.set_task_factory(self._task)  # type: ignore[arg-type]
        self._virtual = clock
        self._reorder = reorder
        self._most_s = clock.now_s + most_s

    def time(self) -> float:
        """Of the virtual clock."""
        return self._virtual.now_s

    def _task(self, _: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, R], **given: Any) -> asyncio.Task[R]:
        return _Task(next(self._begun), self._owner(), work, loop=self, **given)

    def may_take(self, seconds: float) -> None:
        """From now on."""
        self._most_s = self._virtual.now_s + seconds

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., R], *args: Any
    ) -> asyncio.Future[R]:
        """Calls ``func`` here and now, until it waits; what it raises is in the future."""
        return self.threads.begin(self._owner(), func, args)

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


class Owner(Protocol):
    """Of tasks and threads."""

    is_alive: bool


async def cancel_all(owner: Owner | None) -> None:
    """The tasks of ``owner`` but this one, and waits for their ends. Its threads come to theirs, unless it is dead."""
    here, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    theirs = [task for task in asyncio.all_tasks() if task is not here and getattr(task, "owner", None) is owner]
    for task in theirs:
        task.cancel()
    await asyncio.gather(*theirs, return_exceptions=True)
    while threads := loop.threads.of(owner):
        if owner is None or owner.is_alive:
            await threads[0].over
        else:
            threads[0].end()


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
