"""Spreads the windows of one backfill over the workers of a pool: one lease, one ledger, one verdict, one mail.

Every window is a run of the deployment ``dates/<source>``. Workers land; the parent loads, because a table has one
writer. While they work, parent and windows talk by objects in the bucket: `flows.child_runs.messages`. Prefect
does not fail a parent whose deployed child failed, so what came of a window is read from the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence

from alerting.errors import ConfigurationError
from flows.ledger.ledger import LedgerEntry
from flows.log import partition_logger
from flows.run.landed_before import read_landed
from flows.run.orchestrator import Child
from flows.run.run import Run
from flows.run.work_set import Landed
from scrapers.partition import Partition, window_name

# A window whose worker died is begun again by another one; a third death is the window's own doing.
TRIES = 3


def chunks(partitions: Sequence[Partition], size: int) -> list[tuple[Partition, ...]]:
    """Consecutive windows of at most ``size`` partitions: a deployed child costs 2.5 to 3 CPU seconds to start."""
    return [tuple(partitions[begin : begin + size]) for begin in range(0, len(partitions), size)]


def windows_of(run: Run, partitions: Sequence[Partition]) -> tuple[list[tuple[Partition, ...]], int]:
    """The windows of a distributed run, and how many of them are at work at once.

    Never more than dates may be in flight; beyond that as many as were asked for, or as the settings say.
    """
    settings, asked = run.services.settings, run.asked
    if run.kit.scraper.sweeps:
        return chunks(partitions, len(partitions) or 1), 1
    size = settings.distributed_window_partitions
    if asked.parallel:
        size = max(1, -(-len(partitions) // asked.parallel))
    grouped = chunks(partitions, size)
    at_once = asked.parallel or settings.distributed_windows_at_once
    return grouped, max(1, min(at_once, asked.concurrency, len(grouped)))


async def run_elsewhere(run: Run, keys: list[str], slots: int) -> list[Landed]:
    """Runs one window on a worker and returns what is landed or came again as it was. Ends when it has.

    Args:
        run: The parent's run.
        keys: The window.
        slots: Dates in flight inside the child, so that all children together keep ``max_concurrency``.
    """
    missing, same = keys, dict[str, str]()
    for attempt in range(1, TRIES + 1):
        child = await _run_child(run, missing, slots, attempt)
        entries = await run.in_thread(run.ledger.refresh, min(keys), max(keys))
        mine = {key: entry for key in keys if (entry := entries.get(key)) and _is_by(run, entry)}
        if run.windows is not None:
            await run.in_thread(run.windows.look)
            run.windows.ended(str(child.id))
            same = run.windows.unchanged()
        missing = [key for key in keys if key not in mine and key not in same and key not in run.work.done_elsewhere]
        ended = child.state is not None and (child.state.is_completed() or child.state.is_failed())
        if not missing or ended or run.stopped_by is not None:
            break
        partition_logger().warning("window %s ended as %s; %d dates again", keys[0], child.state_name, len(missing))
    landed = [key for key in keys if key in same or (key in mine and mine[key].verdict.value == "landed")]
    return await read_landed(run, [run.work.partitions[key] for key in landed])


async def _run_child(run: Run, keys: list[str], slots: int, attempt: int) -> Child:
    name = f"dates/{run.source}"
    try:
        return await run.orchestrator.child(
            name,
            {"source": run.source, "backfill_id": run.backfill_id, "partitions": keys, "slots": slots},
            f"{run.source} {window_name(keys)}",
            # A parent that repeats its call never doubles a window.
            f"{run.backfill_id}:{run.created_at:%Y%m%dT%H%M%S}:{keys[0]}:{attempt}",
        )
    except ValueError as error:
        raise ConfigurationError(
            f"there is no deployment {name}", source=run.source, stage="plan", hint="python -m deployments.provision"
        ) from error


def _is_by(run: Run, entry: LedgerEntry) -> bool:
    return entry.backfill_id == run.backfill_id and not entry.is_pending
