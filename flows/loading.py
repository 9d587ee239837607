"""What was landed becomes batches, and each batch a process subflow, while more is being landed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from flows.planning.batching import is_worth_a_job
from flows.process import load_batch, process_landed, to_load
from flows.run.run import Run
from flows.run.work_set import Landed
from processors.load_plan import pack

LandedQueue = asyncio.Queue[Landed | None]
"""What was landed, then None."""


async def load_in_batches(
    load: Callable[[Sequence[Landed]], Awaitable[None]],
    reloads: Sequence[Landed],
    landed: LandedQueue,
    to_come: int,
    most: int,
) -> None:
    """Loads one batch of at most ``most`` at a time, because a table has one writer.

    What is still being landed is loaded in batches small enough for the two to overlap. ``reloads`` go first when they
    fill a batch; fewer save a job by going with the first dates that land.
    """
    batch, loaded = list(reloads), 0
    if len(batch) >= most:
        await load(batch)
        batch = []
    more = True
    while more:
        one = await landed.get()
        more = one is not None
        if one is not None:
            batch.append(one)
            to_come -= 1
            if len(batch) < most and not landed.empty():
                continue
        if batch and (not more or is_worth_a_job(len(batch), loaded=loaded, to_come=to_come, most=most)):
            await load(batch)
            batch, loaded = [], loaded + len(batch)


async def load(run: Run, landed: Sequence[Landed]) -> None:
    """Loads with as few jobs as BigQuery's limits and this machine allow, unless loading was stopped."""
    if run.loading_stopped_by is not None:
        return
    loadable = await to_load(run, sorted(landed, key=lambda one: one.key))
    for batch in pack(loadable):
        if run.loading_stopped_by is None:
            await run.subflow(process_landed, [one.partition for one in batch], partial(load_batch, run, batch))
