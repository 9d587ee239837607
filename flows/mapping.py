"""Maps windows of partitions onto date subflows, and batches of landed partitions onto process subflows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from alerting.errors import LeaseHeld, PipelineError
from flows.dates import dates
from flows.lease import Lease
from flows.log import partition_logger
from flows.parameters import Order
from flows.plan import Plan
from flows.process import process_landed
from flows.run import RunContext
from flows.validation import validate_loaded
from scrapers.partition import Partition, windows
from scrapers.scrape import utc_now

# SQLite answers 503 to concurrent writers: four subflows at once is what it takes without retries.
SINGLE_DATE_WINDOWS_AT_ONCE = 4
# Two months overlap, so that the last dates of one do not leave the slots idle.
LONG_WINDOWS_AT_ONCE = 2


async def map_windows(run: RunContext, plan: Plan) -> None:
    """Runs every window of the plan; landed partitions are processed in batches while others are still fetched."""
    landed: asyncio.Queue[str | None] = asyncio.Queue()
    processing = asyncio.create_task(_process_in_batches(run, landed))
    try:
        await _validate_in_batches(run, await _landed_before(run, plan.to_recount))
        for key in await _landed_before(run, plan.to_reload):
            landed.put_nowait(key)
        grouped = windows(plan.to_fetch, run.services.settings.single_window_up_to)
        at_once = SINGLE_DATE_WINDOWS_AT_ONCE if all(len(one) == 1 for one in grouped) else LONG_WINDOWS_AT_ONCE
        if run.asked.order is Order.SEQUENTIAL:
            at_once = 1
        gate = asyncio.Semaphore(at_once)
        await asyncio.gather(*(_run_window(run, window, gate, landed) for window in grouped))
    finally:
        landed.put_nowait(None)
    await processing


async def _run_window(
    run: RunContext, window: Sequence[Partition], gate: asyncio.Semaphore, landed: asyncio.Queue[str | None]
) -> None:
    async with gate:
        if run.stopped_by is not None:
            return
        keys = [partition.key for partition in window]
        await dates(run.source, run.backfill_id, keys, return_state=True)
        for key in keys:
            if key in run.manifests:
                landed.put_nowait(key)


async def _landed_before(run: RunContext, partitions: Sequence[Partition]) -> list[str]:
    """Reads the manifests of partitions that an earlier run landed; an unreadable one becomes an incident."""

    def read(partition: Partition) -> str:
        entry = run.ledger.get(partition.key)
        try:
            run.manifests[partition.key] = run.services.landing.read_manifest(entry.manifest_name if entry else "")
        except PipelineError as error:
            run.record_failure(partition.key, error, "load", partition.key)
            return ""
        return partition.key

    return [key for key in await run.in_thread_each(read, partitions) if key]


async def _validate_in_batches(run: RunContext, keys: Sequence[str]) -> None:
    size = run.services.settings.process_batch_partitions
    for begin in range(0, len(keys), size):
        await validate_loaded(run.source, run.backfill_id, sorted(keys[begin : begin + size]), return_state=True)


async def _process_in_batches(run: RunContext, landed: asyncio.Queue[str | None]) -> None:
    """One batch at a time: a table has one writer."""
    size = run.services.settings.process_batch_partitions
    batch: list[str] = []
    more = True
    while more:
        key = await landed.get()
        more = key is not None
        if key is not None:
            batch.append(key)
        if batch and (len(batch) >= size or not more):
            if run.loading_stopped_by is None:
                await process_landed(run.source, run.backfill_id, sorted(batch), return_state=True)
            batch = []


async def keep_alive(run: RunContext, lease: Lease, planned: int) -> None:
    """Heartbeats of lease and alert mode, and the progress artifact, until cancelled.

    A lost lease stops the run: what it wrote so far is recorded, nothing more is begun.
    """
    artifact_id = await acreate_progress_artifact(
        progress=0.0, key=f"progress-{run.backfill_id}", description="0 dates"
    )
    while True:
        await asyncio.sleep(run.services.settings.heartbeat_s)
        try:
            await run.in_thread(lease.heartbeat, utc_now())
            await run.in_thread(run.services.alerts.heartbeat)
        except LeaseHeld as error:
            run.stop(error, "scrape")
            run.stop(error, "load")
            return
        except PipelineError as error:
            partition_logger().warning("heartbeat failed, trying again: %s", error)
        done = run.done_count()
        await aupdate_progress_artifact(
            artifact_id=artifact_id, progress=100.0 * done / max(planned, 1), description=f"{done:,}/{planned:,} dates"
        )
