"""What was landed becomes batches, and each batch a process subflow, while more is being landed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from flows.planning.batching import is_worth_a_job
from flows.process import load_batch, process_landed, to_load
from flows.run.run import Run
from flows.run.work_set import Landed
from processors.load_plan import MAX_ROWS_PER_BATCH, pack, rows_of

LandedQueue = asyncio.Queue[Landed | None]
"""What was landed, then None."""


Recounts = Sequence[asyncio.Task[None]]
"""Batches whose tables are written, and that are still being recounted."""


class Pace:
    """How fast dates land, and how long a load takes: whether all others have landed before one more would be done.

    Args:
        load_s: What the newest load took, until its tables were written; 0 is not known.
        now_s: Seconds of a clock that never goes back; replaced in tests.
    """

    def __init__(self, load_s: float = 0.0, now_s: Callable[[], float] = time.monotonic) -> None:
        self.load_s = load_s
        self.now_s = now_s
        self._first_s = 0.0
        self._landed = 0

    def landed(self) -> None:
        """One more date."""
        # From the first one: what lies before it (a subflow, a process) is not repeated for the others.
        self._first_s = self._first_s if self._landed else self.now_s()
        self._landed += 1

    def is_nearly_over(self, to_come: int) -> bool:
        """Whether ``to_come`` dates land, as fast as those after the first one, within one load."""
        return to_come * (self.now_s() - self._first_s) < self.load_s * (self._landed - 1)


async def load_in_batches(
    load: Callable[[Sequence[Landed]], Awaitable[Recounts]],
    reloads: Sequence[Landed],
    landed: LandedQueue,
    to_come: int,
    most: int,
    pace: Pace | None = None,
) -> None:
    """Loads one batch at a time, because a table has one writer, while the one before is recounted.

    A batch has at most ``most`` partitions, and one with as many rows as a load takes is not kept waiting for more.

    What is still being landed is loaded in batches small enough for the two to overlap. ``reloads`` go first when they
    fill a batch; fewer save a job by going with the first dates that land.
    """
    batch, loaded, pace = list(reloads), 0, pace or Pace()
    rows = 0
    recounting: Recounts = ()
    if len(batch) >= most:
        recounting = await load(batch)
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
            began_s, before = pace.now_s(), recounting
            recounting = await load(batch)
            pace.load_s = pace.now_s() - began_s
            batch, rows, loaded = [], 0, loaded + len(batch)
            # One recount beside one load, however long it takes.
            await asyncio.gather(*before)
    await asyncio.gather(*recounting)


async def load(run: Run, landed: Sequence[Landed]) -> Recounts:
    """Writes the tables with as few jobs as BigQuery's limits and this machine allow, unless loading was stopped."""
    recounting = list[asyncio.Task[None]]()
    if run.loading_stopped_by is not None:
        return recounting
    loadable = await to_load(run, sorted(landed, key=lambda one: one.key))
    for batch in pack(loadable):
        if run.loading_stopped_by is None:
            written = asyncio.Event()
            part = partial(load_batch, run, batch, written.set)
            working = asyncio.create_task(run.subflow(process_landed, [one.partition for one in batch], part))
            await _until(written, working)
            recounting.append(working)
    return recounting


async def _until(written: asyncio.Event, working: asyncio.Task[None]) -> None:
    """The tables of a batch are written, or its subflow has come to its end without."""
    working.add_done_callback(lambda _: written.set())
    try:
        await written.wait()
    except asyncio.CancelledError:
        working.cancel()
        raise
