"""What was landed becomes batches, and each batch a process subflow, while more is being landed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Protocol

from flows.planning.batching import is_worth_a_job
from flows.process import Told, load_batch, to_load
from flows.run.run import Run
from flows.run.work_set import Landed
from processors.batch_reading import BatchRows
from processors.load_plan import MAX_ROWS_PER_BATCH, pack, rows_of

LandedQueue = asyncio.Queue[Landed | None]
"""What was landed, then None."""


BATCHES_UNDER_WAY = 3
"""One is staged, one written, one recounted: each takes as long as a job, and a table has one writer. Where staging is
the longest, two are staged."""


class Loading(Protocol):
    """What takes one batch after the other."""

    async def begin(self, landed: Sequence[Landed]) -> None:
        """Begins a batch; returns when the next one may begin."""

    async def ended(self) -> None:
        """Every batch that was begun has come to its end."""


class Pace:
    """How fast dates land, and how long a batch keeps the next one waiting: whether all others land meanwhile.

    Args:
        first_stage_s: What staging took before the first batch: None while it goes on, 0 is not known.
        now_s: Seconds of a clock that never goes back; replaced in tests.
    """

    def __init__(
        self, first_stage_s: Callable[[], float | None] = lambda: 0.0, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.stage_s: float | None = None
        self.now_s = now_s
        self._first_stage_s = first_stage_s
        self._first_s = 0.0
        self._landed = 0

    def landed(self) -> None:
        """One more date."""
        # From the first one: what lies before it (a subflow, a process) is not repeated for the others.
        self._first_s = self._first_s if self._landed else self.now_s()
        self._landed += 1

    def is_nearly_over(self, to_come: int) -> bool:
        """Whether ``to_come`` dates land, as fast as those after the first one, while a batch is staged.

        True while the canaries are staged: another batch would only stand in line behind them.
        """
        stage_s = self._first_stage_s() if self.stage_s is None else self.stage_s
        return stage_s is None or to_come * (self.now_s() - self._first_s) < stage_s * (self._landed - 1)


async def load_in_batches(
    loading: Loading,
    reloads: Sequence[Landed],
    landed: LandedQueue,
    to_come: int,
    most: int,
    pace: Pace | None = None,
) -> None:
    """Loads one batch after the other while more is being landed.

    A batch has at most ``most`` partitions, and one with as many rows as a load takes is not kept waiting for more.

    What is still being landed is loaded in batches small enough for the two to overlap. ``reloads`` go first when they
    fill a batch; fewer save a job by going with the first dates that land. What a batch raises is raised when all that
    were begun have come to their end.
    """
    try:
        await _load_in_batches(loading, reloads, landed, to_come, most, pace or Pace())
    except Exception:
        with contextlib.suppress(Exception):
            await loading.ended()
        raise
    await loading.ended()


async def _load_in_batches(
    loading: Loading, reloads: Sequence[Landed], landed: LandedQueue, to_come: int, most: int, pace: Pace
) -> None:
    batch, loaded, rows = list(reloads), 0, 0
    if len(batch) >= most:
        await loading.begin(batch)
        batch = []
    more = True
    while more:
        one = await landed.get()
        more = one is not None
        if one is not None:
            batch.append(one)
            rows += rows_of(one.manifest)
            to_come -= 1
            pace.landed()
            if len(batch) < most and rows < MAX_ROWS_PER_BATCH and not landed.empty():
                continue
        waiting = len(batch) if rows < MAX_ROWS_PER_BATCH else most
        waits = pace.is_nearly_over(to_come)
        if batch and (not more or is_worth_a_job(waiting, loaded=loaded, to_come=to_come, most=most, waits=waits)):
            began_s = pace.now_s()
            await loading.begin(batch)
            pace.stage_s = pace.now_s() - began_s
            batch, rows, loaded = [], 0, loaded + len(batch)


class BatchLoader:
    """Writes the tables with as few jobs as BigQuery's limits and this machine allow, unless loading was stopped."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._under_way = set[asyncio.Task[None]]()
        self._last: _Turn | None = None

    async def begin(self, landed: Sequence[Landed]) -> None:
        """See `Loading`: they are read, and no more than `BATCHES_UNDER_WAY` would be with the next ones."""
        run, loop = self._run, asyncio.get_running_loop()
        if run.loading_stopped_by is not None:
            return
        loadable = await to_load(run, sorted(landed, key=lambda one: one.key))
        for batch in pack(loadable):
            if run.loading_stopped_by is None:
                read, self._last = asyncio.Event(), _Turn(self._last)
                told = Told(partial(_set, loop, read), turn=self._last.taken)
                working = asyncio.create_task(load_batch(run, batch, told))
                working.add_done_callback(self._last.over)
                self._under_way.add(working)
                await _until(read, working)
                await self._only(BATCHES_UNDER_WAY - 1)

    async def ended(self) -> None:
        """See `Loading`."""
        await self._only(0)

    async def _only(self, most: int) -> None:
        """No more than so many are under way; what a batch raises beside its own errors is raised here."""
        while len(self._under_way) > most:
            done, self._under_way = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            if any(one.exception() for one in done) and self._under_way:
                await asyncio.wait(self._under_way)
            for one in done:
                one.result()


class _Turn:
    """Of one batch, to be written after the one before."""

    def __init__(self, before: _Turn | None) -> None:
        self._is_over = asyncio.Event()
        self._before = before._is_over if before else None

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Waits until the batch before is written, or has come to its end without."""
        if self._before:
            await self._before.wait()
        try:
            yield
        finally:
            self.over()

    def over(self, _: object = None) -> None:
        """Lets the next one write. Repeatable."""
        self._is_over.set()


def _set(loop: asyncio.AbstractEventLoop, read: asyncio.Event, _: BatchRows) -> None:
    loop.call_soon_threadsafe(read.set)


async def _until(read: asyncio.Event, working: asyncio.Task[None]) -> None:
    """The rows of a batch are read, or its subflow has come to its end without."""
    working.add_done_callback(lambda _: read.set())
    try:
        await read.wait()
    except asyncio.CancelledError:
        working.cancel()
        raise
