"""The middle of a backfill: windows of partitions become date subflows; `flows.loading` takes what they land.

Both go on at once, and a queue of landed partitions is between them::

    plan -> windows -> date subflows -> landed -> batches -> process subflows
"""

from __future__ import annotations

import asyncio
from functools import partial

from alerting.errors import PipelineError
from alerting.instant import utc_now
from alerting.ranges import compress_dates
from flows.child_runs.dispatch import run_elsewhere, windows_of
from flows.child_runs.shared_rate import counts_for_s
from flows.dates import dates, land_window
from flows.loading import BatchLoader, LandedQueue, Pace, load_in_batches
from flows.parameters import Order
from flows.planning.plan import Plan, why_unaskable
from flows.process import validate_batch, validate_loaded
from flows.run.gate import SOURCE_DOWN
from flows.run.landed_before import read_landed
from flows.run.recording import land_nothing, record_failure
from flows.run.run import Run
from flows.run.turns import Turns
from flows.run.usage import give_back_calls
from flows.run.work_set import Landed
from scrapers.partition import Partition, span_windows, windows

# SQLite answers 503 to concurrent writers: four subflows at once is what it takes without retries.
SINGLE_DATE_WINDOWS_AT_ONCE = 4
# One window's dates are fetched while the next one is created. With three, SQLite was measured to refuse one of them
# for 30 s.
LONG_WINDOWS_AT_ONCE = 2

Window = tuple[Partition, ...]


async def map_windows(run: Run, plan: Plan) -> None:
    """Does everything that the plan says: recounts, reloads, fetches; loading goes on while others are landed.

    Canaries that are on trial come to their end, too.
    """
    try:
        await _map_windows(run, plan)
    except Exception:
        await run.canary_trial.ended_somehow()
        raise
    await run.canary_trial.ended()


async def _map_windows(run: Run, plan: Plan) -> None:
    await recount(run, plan)
    reloads, plan = await take_up_landed(run, plan)
    reloads += await call_empty(run, plan)
    landed: LandedQueue = asyncio.Queue()
    most = run.services.settings.process_batch_partitions
    pace = Pace(lambda: run.canary_trial.stage_s, run.services.clock.monotonic)
    loading = asyncio.create_task(load_in_batches(BatchLoader(run), reloads, landed, len(plan.to_fetch), most, pace))
    try:
        await land_in_windows(run, plan, landed)
    except Exception:
        landed.put_nowait(None)
        # Loaded before the run ends, and not beside whoever has the source then.
        await asyncio.wait({loading})
        raise
    finally:
        landed.put_nowait(None)
    # Nothing is asked any more; others may have the calls while the last dates are loaded.
    await asyncio.gather(loading, run.in_thread(give_back_calls, run))


async def recount(run: Run, plan: Plan) -> None:
    """Gives what is loaded already a verdict by its rows."""
    manifests = sorted((one.manifest for one in await read_landed(run, plan.to_recount)), key=lambda one: one.partition)
    size = run.services.settings.process_batch_partitions
    for begin in range(0, len(manifests), size):
        batch = manifests[begin : begin + size]
        await run.subflow(validate_loaded, [one.partition for one in batch], partial(validate_batch, run, batch))


async def take_up_landed(run: Run, plan: Plan) -> tuple[list[Landed], Plan]:
    """What is landed already and only has to be loaded; the plan fetches what turns out to be no evidence."""
    refused, scraper = list[Partition](), run.kit.scraper
    may_ask, earliest = run.client is not None and not run.asked.accept_shrink, scraper.earliest(utc_now())
    askable, rest = list[Partition](), list[Partition]()
    for one in plan.to_reload:
        # What a source says of a date that it answers for no more is nothing about that date.
        (rest if not may_ask or why_unaskable(scraper, one, earliest) else askable).append(one)
    reloads = await read_landed(run, askable, refused) + await read_landed(run, rest)
    if refused:
        keys = compress_dates(one.key for one in refused)
        run.note(f"{keys}: landed from an incomplete response, or damaged since, so fetched again")
        plan = plan.fetching({one.key for one in refused})
    return reloads, plan


async def call_empty(run: Run, plan: Plan) -> list[Landed]:
    """Lands what the oracles of the source say is empty; it is loaded and recounted like anything else."""

    def land(one: tuple[Partition, str]) -> Landed | None:
        partition, evidence = one
        try:
            return land_nothing(run, partition.key, evidence)
        except PipelineError as error:
            record_failure(run, partition.key, error, "scrape", partition.key)
            return None

    return [one for one in await run.in_thread_each(land, list(plan.to_call_empty.items())) if one is not None]


async def land_in_windows(run: Run, plan: Plan, landed: LandedQueue) -> None:
    """Fetches what is missing, several windows at once, begun in the order of the plan."""
    grouped, at_once = _windows(run, plan)
    if (
        _is_distributed(run)
        and run.client
        and run.client.calls
        and not (run.kit.scraper.account or run.kit.scraper.domain == "site")
    ):
        # Windows share a limit that does not know what canaries have asked.
        await asyncio.sleep(counts_for_s(run.kit.access.rate, run.client.calls))
    run.turns, in_line = (Turns([partition.key for partition in window] for window in grouped) for _ in range(2))
    places = asyncio.Semaphore(at_once)
    slots = max(1, run.asked.concurrency // at_once)
    is_broken = False

    async def land_one(window: Window) -> None:
        nonlocal is_broken
        try:
            # Places taken by windows whose turn comes later would be held for ever, whichever task the loop runs first.
            await in_line.wait(window[0].key)
            async with places:
                in_line.begun(window[0].key)
                if not is_broken:
                    await (_land_elsewhere if _is_distributed(run) else _land_here)(run, window, landed, slots)
        except Exception:
            is_broken = True
            raise
        finally:
            for order in (run.turns, in_line):
                order.begun(window[0].key)

    landing = [asyncio.create_task(land_one(window)) for window in grouped]
    try:
        await asyncio.gather(*landing)
    except Exception:
        # What the others have under way is landed before the run ends; they begin nothing more.
        await asyncio.wait(landing)
        raise


# -- one window ------------------------------------------------------------------------------------------------------


def _windows(run: Run, plan: Plan) -> tuple[list[Window], int]:
    """The windows, and how many of them are at work at once."""
    settings = run.services.settings
    if _is_distributed(run):
        return windows_of(run, plan.to_fetch)
    if run.kit.scraper.sweeps:
        return [tuple(plan.to_fetch)] if plan.to_fetch else [], 1
    days = run.kit.scraper.days_per_call
    grouped = span_windows(plan.to_fetch, days) if days > 1 else windows(plan.to_fetch, settings.single_window_up_to)
    if run.asked.order is Order.SEQUENTIAL:
        return grouped, 1
    # Both have one call under way at a time.
    narrow = days > 1 or all(len(one) == 1 for one in grouped)
    return grouped, SINGLE_DATE_WINDOWS_AT_ONCE if narrow else LONG_WINDOWS_AT_ONCE


def _is_distributed(run: Run) -> bool:
    return run.spread.is_distributed


def _left(run: Run, window: Window) -> list[str]:
    """What of a window is still to be fetched when its turn comes."""
    if run.stopped_by is not None:
        return []
    return [partition.key for partition in window if partition.key not in run.work.done_elsewhere]


async def _land_here(run: Run, window: Window, landed: LandedQueue, _slots: int) -> None:
    if keys := _left(run, window):
        await run.subflow(dates, keys, partial(land_window, run, keys, landed.put_nowait))


async def _land_elsewhere(run: Run, window: Window, landed: LandedQueue, slots: int) -> None:
    await run.gate.until_open(despite={SOURCE_DOWN})
    if keys := _left(run, window):
        await run_elsewhere(run, keys, slots, landed.put_nowait)
