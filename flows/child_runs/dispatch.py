"""Spreads the windows of one backfill over the workers of a pool: one lease, one ledger, one verdict, one mail.

Every window is a run of the deployment ``dates/<source>``. Workers land; the parent loads, because a table has one
writer, and takes what has landed with every heartbeat, so that a window may be hours long. While they work, parent and
windows talk by objects in the bucket: `flows.child_runs.messages`. Prefect does not fail a parent whose deployed child
failed, so what came of a window is read from the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any

from alerting.errors import ConfigurationError, PipelineError, WindowLost
from alerting.incident import Incident
from alerting.redaction import redact
from alerting.wording import plural
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.log import partition_logger
from flows.run.landed_before import read_landed
from flows.run.orchestrator import Child, ChildRequest
from flows.run.recording import record_failure
from flows.run.run import Run
from flows.run.work_set import Landed
from scrapers.partition import Partition, window_name

# A window that ended too early is begun again with what is missing; a third end without a date more is its own doing.
TRIES = 3

_LEAST_PARTITIONS = 31
"""In a window: the month that an inline run takes beyond 31 dates."""


def chunks(partitions: Sequence[Partition], size: int) -> list[tuple[Partition, ...]]:
    """Consecutive windows of at most ``size`` partitions: a deployed child costs 1 to 3 CPU seconds to start."""
    return [tuple(partitions[begin : begin + size]) for begin in range(0, len(partitions), size)]


def windows_of(run: Run, partitions: Sequence[Partition]) -> tuple[list[tuple[Partition, ...]], int]:
    """The windows of a distributed run, and how many of them are at work at once.

    Never more than dates may be in flight; beyond that as many as were asked for or chosen, or as the settings say.
    Each is as long as it can be: it begins with a new process.
    """
    settings, parts = run.services.settings, run.spread.parts
    if run.kit.scraper.sweeps:
        return chunks(partitions, len(partitions) or 1), 1
    at_once = parts or settings.distributed_windows_at_once
    size = max(1, -(-len(partitions) // at_once))
    if not parts:
        size = min(max(size, _LEAST_PARTITIONS), settings.distributed_window_partitions)
    grouped = chunks(partitions, size)
    return grouped, max(1, min(at_once, run.asked.concurrency, len(grouped)))


async def run_elsewhere(run: Run, keys: list[str], slots: int, landed: Callable[[Landed], None]) -> None:
    """Runs one window on a worker until every date of it is accounted for, whatever becomes of the worker.

    What ends before that is begun again (failed, crashed, deleted, silent: all the same), but for a window that a
    person has cancelled. What is missing in the end is recorded as `WindowLost`.

    Args:
        run: The parent's run.
        keys: The window.
        slots: Dates in flight inside the child, so that all children together keep ``max_concurrency``.
        landed: Told of each that is landed or came again as it was; of what has landed, while the window goes on.
    """
    taking = _Taking(run, keys, landed)
    missing, tries = keys, 0
    for attempt in count(1):
        child = await taking.beside(_run_child(run, missing, slots, attempt))
        if child is None:
            return
        before, missing = missing, await taking.missing_behind(child)
        tries = tries + 1 if len(missing) == len(before) else 0
        if not missing or run.stopped_by is not None:
            break
        told = f"window {keys[0]} ended as {child.state} without {plural(len(missing), 'partition')}: {child.message}"
        if tries == TRIES or child.is_cancelled:
            partition_logger().error("%s", told)
            await run.in_thread_each(partial(_record_lost, run, keys[0], child, tries), missing)
            break
        partition_logger().warning("%s; restarted", told)
        if run.windows is not None:
            run.windows.replaced(child.id)
        # By then the parent knows whether the source is still its own, and storage or server may be back.
        await asyncio.sleep(run.services.settings.heartbeat_s)
        # A process that outlived its flow run has had time to end.
        missing = await taking.missing_behind(child)
        if not missing:
            break
    await taking.take_all()


def _record_lost(run: Run, window: str, child: Child, tries: int, key: str) -> None:
    by = "was cancelled" if child.is_cancelled else f"ended {plural(tries, 'time')} as {child.state}"
    said = redact(child.message)
    error = WindowLost(
        f"its window {by} before this was tried to the end" + (f": {said}" if said else ""),
        source=run.source,
        partition=key,
        stage="scrape",
        flow_run=child.id,
    )
    record_failure(run, key, error, "scrape", window)


class _Taking:
    """Takes what the windows of some partitions land; each once."""

    def __init__(self, run: Run, keys: list[str], landed: Callable[[Landed], None]) -> None:
        self._run, self._keys, self._landed = run, keys, landed
        # A run that goes on after a pause has written of some of them before.
        self._before = {key: entry.updated_at for key in keys if (entry := run.ledger.get(key))}
        self._taken: set[str] = set()
        self._mine: dict[str, LedgerEntry] = {}
        self._same: dict[str, str] = {}

    async def missing_behind(self, child: Child) -> list[str]:
        """What of the window nothing is known of, now that ``child`` has ended."""
        self._mine, self._same = await self._look(), {}
        if self._run.windows is not None:
            await self._run.in_thread(self._run.windows.look)
            self._run.windows.ended(child.id)
            self._same = self._run.windows.unchanged()
        known = (self._mine, self._same, self._run.work.done_elsewhere)
        return [key for key in self._keys if not any(key in one for one in known)]

    async def take_all(self) -> None:
        """What the last child left; called once, behind ``missing_behind``."""
        await self._take(self._mine, self._same)

    async def _look(self) -> dict[str, LedgerEntry]:
        """What the ledger says of those that this run has begun."""
        entries = await self._run.in_thread(self._run.ledger.refresh, min(self._keys), max(self._keys))
        return {key: entry for key in self._keys if (entry := entries.get(key)) and self._is_new(entry)}

    def _is_new(self, entry: LedgerEntry) -> bool:
        is_ours = entry.backfill_id == self._run.backfill_id and not entry.is_pending
        return is_ours and entry.updated_at != self._before.get(entry.partition)

    async def _take(self, mine: Mapping[str, LedgerEntry], same: Collection[str] = ()) -> None:
        """Those of ``mine`` that are landed, and ``same``, which came again as they were."""
        ready = [
            key
            for key in self._keys
            if key not in self._taken and (key in same or (key in mine and mine[key].verdict is Verdict.LANDED))
        ]
        for one in await read_landed(self._run, [self._run.work.partitions[key] for key in ready]):
            self._landed(one)
        self._taken.update(ready)

    async def beside(self, running: Coroutine[Any, Any, Child | None]) -> Child | None:
        """The result of ``running``; with every heartbeat until then, what has landed is taken."""
        child = asyncio.create_task(running)
        try:
            while not child.done():
                await asyncio.wait([child], timeout=self._run.services.settings.heartbeat_s)
                if not child.done():
                    await self._take_meanwhile()
        finally:
            child.cancel()
            await asyncio.gather(child, return_exceptions=True)
        return child.result()

    async def _take_meanwhile(self) -> None:
        try:
            await self._take(await self._look())
        except PipelineError as error:
            partition_logger().warning("what window %s has landed is taken later: %s", self._keys[0], error)


async def _run_child(run: Run, keys: list[str], slots: int, attempt: int) -> Child | None:
    """How the window ended; None when there is nothing that could run it, which stops the run."""
    name, windows = f"dates/{run.source}", run.windows
    try:
        request = ChildRequest(
            name,
            {"source": run.source, "backfill_id": run.backfill_id, "partitions": keys, "slots": slots},
            f"{run.source} {window_name(keys)}",
            # A parent that repeats its call never doubles a window.
            f"{run.backfill_id}:{run.created_at:%Y%m%dT%H%M%S}:{keys[0]}:{attempt}",
            lambda window_id: windows.given_up(window_id) if windows is not None else "",
        )
        return await run.orchestrator.child(request)
    except ValueError as error:
        if run.stopped_by is None:
            found = ConfigurationError(
                str(error), source=run.source, stage="plan", hint="python -m deployments.provision"
            )
            run.stop(found, "scrape")
            run.services.alerts.record_error(Incident.from_error(found))
        return None
