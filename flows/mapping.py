"""Maps windows of partitions onto date subflows, and batches of landed partitions onto process subflows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from alerting.errors import LeaseHeld, PipelineError, Truncated
from alerting.ranges import compress_dates
from flows.child_runs.dispatch import run_elsewhere, windows_of
from flows.coordination.lease import Lease
from flows.dates import dates
from flows.log import partition_logger
from flows.parameters import Engine, Order
from flows.planning.batching import is_worth_a_job
from flows.planning.plan import Plan
from flows.process import process_landed, to_load, validate_loaded
from flows.run.gate import TROUBLE
from flows.run.recording import record_failure
from flows.run.run import Run
from flows.run.turns import Turns
from processors.load_plan import pack
from scrapers.partition import Partition, run_windows, windows
from scrapers.scrape import utc_now

# SQLite answers 503 to concurrent writers: four subflows at once is what it takes without retries.
SINGLE_DATE_WINDOWS_AT_ONCE = 4
# One window's dates are fetched while the next one is created. With three, SQLite was measured to refuse one of them
# for 30 s.
LONG_WINDOWS_AT_ONCE = 2


async def map_windows(run: Run, plan: Plan) -> None:
    """Runs every window of the plan; landed partitions are processed in batches while others are still fetched."""
    await _validate_in_batches(run, await _landed_before(run, plan.to_recount))
    refused: list[Partition] = []
    may_ask = run.client is not None and not run.asked.accept_shrink
    reloads = await _landed_before(run, plan.to_reload, refused if may_ask else None)
    if refused:
        run.note(f"{compress_dates(one.key for one in refused)}: landed from no complete answer, so asked for again")
        plan = plan.fetching({one.key for one in refused})
    landed: asyncio.Queue[str | None] = asyncio.Queue()
    processing = asyncio.create_task(_process_in_batches(run, reloads, landed, len(plan.to_fetch)))
    try:
        grouped, at_once = _windows(run, plan)
        run.turns = Turns([partition.key for partition in window] for window in grouped)
        gate = asyncio.Semaphore(at_once)
        slots = max(1, run.asked.concurrency // at_once)
        await asyncio.gather(*(_run_window(run, window, gate, landed, slots) for window in grouped))
    finally:
        landed.put_nowait(None)
    await processing


def _windows(run: Run, plan: Plan) -> tuple[list[tuple[Partition, ...]], int]:
    """The windows, and how many of them are at work at once."""
    settings = run.services.settings
    if run.asked.engine is Engine.DISTRIBUTED:
        return windows_of(run, plan.to_fetch)
    days = run.kit.scraper.days_per_call
    grouped = run_windows(plan.to_fetch, days) if days > 1 else windows(plan.to_fetch, settings.single_window_up_to)
    if run.asked.order is Order.SEQUENTIAL:
        return grouped, 1
    # Both have one call under way at a time.
    narrow = days > 1 or all(len(one) == 1 for one in grouped)
    return grouped, SINGLE_DATE_WINDOWS_AT_ONCE if narrow else LONG_WINDOWS_AT_ONCE


async def _run_window(
    run: Run, window: Sequence[Partition], gate: asyncio.Semaphore, landed: asyncio.Queue[str | None], slots: int
) -> None:
    try:
        async with gate:
            await _run_now(run, window, landed, slots)
    finally:
        run.turns.begun(window[0].key)


async def _run_now(run: Run, window: Sequence[Partition], landed: asyncio.Queue[str | None], slots: int) -> None:
    if run.asked.engine is Engine.DISTRIBUTED:
        await run.gate.until_open(despite={TROUBLE})
    keys = [partition.key for partition in window if partition.key not in run.work.done_elsewhere]
    if run.stopped_by is not None or not keys:
        return
    if run.asked.engine is Engine.DISTRIBUTED:
        done = set(await run_elsewhere(run, keys, slots))
        for key in await _landed_before(run, [partition for partition in window if partition.key in done]):
            landed.put_nowait(key)
        return
    await dates(run.source, run.backfill_id, keys, return_state=True)
    for key in keys:
        if key in run.work.manifests or key in run.work.to_recount:
            landed.put_nowait(key)


async def _landed_before(
    run: Run, partitions: Sequence[Partition], refused: list[Partition] | None = None
) -> list[str]:
    """Reads the manifests of what an earlier run or a worker landed; one that cannot be read becomes an incident.

    So does one that is no evidence, unless ``refused`` takes it.
    """
    same = run.windows.unchanged() if run.windows is not None else {}

    def read(partition: Partition) -> str:
        key = partition.key
        entry = run.ledger.get(key)
        if entry and key in same:
            entry = replace(entry, attempt=same[key])
        try:
            name = entry.manifest_name if entry else ""
            manifest = run.services.landing.take_up(name, run.kit.scraper)
            (run.work.to_recount if key in same else run.work.manifests)[key] = manifest
        except PipelineError as error:
            if refused is not None and isinstance(error, Truncated):
                refused.append(partition)
            else:
                record_failure(run, key, error, "load", key)
            return ""
        return key

    return [key for key in await run.in_thread_each(read, partitions) if key]


async def _validate_in_batches(run: Run, keys: Sequence[str]) -> None:
    size = run.services.settings.process_batch_partitions
    for begin in range(0, len(keys), size):
        await validate_loaded(run.source, run.backfill_id, sorted(keys[begin : begin + size]), return_state=True)


async def _process_in_batches(run: Run, reloads: list[str], landed: asyncio.Queue[str | None], to_come: int) -> None:
    """One batch at a time: a table has one writer.

    What is still being landed is loaded in batches small enough for the two to overlap. ``reloads`` go first when they
    fill a batch; fewer save a job by going with the first dates that land.
    """
    most = run.services.settings.process_batch_partitions
    batch, loaded = list(reloads), 0
    if len(batch) >= most:
        await _load(run, batch)
        batch = []
    more = True
    while more:
        key = await landed.get()
        more = key is not None
        if key is not None:
            batch.append(key)
            to_come -= 1
            if len(batch) < most and not landed.empty():
                continue
        if batch and (not more or is_worth_a_job(len(batch), loaded=loaded, to_come=to_come, most=most)):
            await _load(run, batch)
            batch, loaded = [], loaded + len(batch)


async def _load(run: Run, keys: list[str]) -> None:
    """Loads ``keys`` with as few jobs as BigQuery's limits and this machine allow, unless loading was stopped."""
    if not keys or run.loading_stopped_by is not None:
        return
    loadable = await to_load(run, sorted(keys))
    # A live run that went first may have done some of them.
    for batch in pack([run.work.manifests[key] for key in loadable if key in run.work.manifests]):
        if run.loading_stopped_by is None:
            await process_landed(run.source, run.backfill_id, [one.partition for one in batch], return_state=True)


async def keep_alive(run: Run, lease: Lease) -> None:
    """Heartbeats of lease and alert mode, until cancelled; at once when there is something to say.

    A lost lease stops the run: what it wrote so far is recorded, nothing more is begun.
    """
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(run.heartbeat_due.wait(), run.services.settings.heartbeat_s)
        run.heartbeat_due.clear()
        try:
            await run.in_thread(lease.heartbeat, utc_now())
            await run.in_thread(run.services.alerts.heartbeat, run.facts_so_far())
        except LeaseHeld as error:
            run.stop(error, "scrape")
            run.stop(error, "load")
            return
        except PipelineError as error:
            partition_logger().warning("heartbeat failed, trying again: %s", error)
