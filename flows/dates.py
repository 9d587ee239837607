"""The date subflow: a window of consecutive partitions is landed, each by a step that is tried again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import accumulate, chain
from typing import Annotated, Any, TypeVar

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from alerting.errors import ConfigurationError, LeaseHeld, NotSettled, PipelineError, StateUnreadable
from alerting.redaction import redact
from alerting.wording import plural
from flows.child_runs.window import Window, WorkerServices, joined
from flows.log import lets_out_redacted, partition_logger
from flows.planning.batching import told_together
from flows.run.at_source import NOT_ATTEMPTED, at_source
from flows.run.heap import frozen_heap
from flows.run.prefect_orchestrator import PrefectOrchestrator, handed_over
from flows.run.recording import (
    begin_sweep,
    go_on_sweeping,
    land,
    land_together,
    record_failure,
    record_shared_failure,
    take,
)
from flows.run.run import Run
from flows.run.slots import Slot
from flows.run.step_rows import rows_told_together
from flows.run.thread_turns import short_turns
from flows.run.work_set import Landed
from flows.wiring import build_services
from scrapers.manifest import Manifest
from scrapers.partition import spans, window_name
from scrapers.scrape import nothing
from scrapers.spans import SpanQueue, SpanResult
from scrapers.sweeps import SweepScrape
from scrapers.threads import threads

T = TypeVar("T")

TOLD_TOGETHER = 92
"""Of a window of a year, a quarter: loading goes on meanwhile, and an error waits no longer to be journaled."""

PARTS_AT_ONCE = 2
"""The last dates of one, which may have to be tried again, and the next one."""

TAKEN_AT_ONCE = 24
"""Of the partitions of one answer: a write each."""

LANDED = "landed"
UNCHANGED = "unchanged"
SomeKeys = Annotated[list[str], Field(min_length=1)]
FAILED = "failed"
DONE_BY_LIVE = "done by a live run"


def _flow_run_name() -> str:
    return f"{flow_run.parameters['source']} {window_name(flow_run.parameters['partitions'])}"


@lets_out_redacted
@flow(name="dates", flow_run_name=_flow_run_name, retries=0, persist_result=False, validate_parameters=False)
async def dates(source: str, backfill_id: str, partitions: SomeKeys, slots: int = 8) -> State[Any]:
    """Lands every partition of the window; a failing one never stops its neighbours.

    Args:
        source: Source name.
        backfill_id: The backfill this window belongs to.
        partitions: Partition keys, oldest first.
        slots: Dates in flight at once, where the window runs in a process of its own.
    """
    if part := handed_over():
        return await part()
    try:
        window = Window(source, backfill_id, partitions, slots, str(flow_run.id or partitions[0]))
        with frozen_heap(), short_turns():
            services = WorkerServices(build_services().settings)
            async with joined(PrefectOrchestrator(), window, services) as run, rows_told_together():
                # The parent loads: it reads in the ledger what is landed.
                return await land_window(run, partitions, lambda _: None)
    except (ConfigurationError, LeaseHeld, StateUnreadable) as error:
        partition_logger().error("%s", error)
        return Failed(message=redact(str(error)))


async def land_window(run: Run, keys: list[str], landed: Callable[[Landed], None]) -> State[Any]:
    """Lands ``keys``, and tells ``landed`` of those that have to be loaded or recounted.

    They are told in their order, `told_together` where each has a call of its own, else at the end. When
    something of a part could not even be recorded, no further one is begun.
    """
    # Before any of its dates waits for a slot: the window before it must not find them taken.
    await run.turns.wait(keys[0])
    has_own_calls = not run.kit.scraper.sweeps and run.kit.scraper.days_per_call == 1
    sizes = told_together(len(keys), TOLD_TOGETHER) if has_own_calls else [len(keys)]
    parts = [keys[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]
    places, is_broken = asyncio.Semaphore(PARTS_AT_ONCE), False

    async def land_part(part: list[str]) -> list[str]:
        nonlocal is_broken
        async with places:
            if is_broken:
                return [NOT_ATTEMPTED] * len(part)
            try:
                return await _land_part(run, part, landed)
            except Exception:
                is_broken = True
                raise

    outcomes = list(chain.from_iterable(await _all_of([land_part(part) for part in parts])))
    failed, skipped = outcomes.count(FAILED), outcomes.count(NOT_ATTEMPTED)
    message = f"{len(keys) - failed - skipped} of {len(keys)} landed"
    if failed or skipped:
        return Failed(message=f"{message}, {failed} failed, {skipped} not attempted")
    return Completed(message=message)


async def _land_part(run: Run, keys: list[str], landed: Callable[[Landed], None]) -> list[str]:
    try:
        if run.kit.scraper.sweeps:
            outcomes = await _land_by_sweep(run, keys)
        elif run.kit.scraper.days_per_call > 1:
            outcomes = await _land_in_spans(run, keys)
        else:
            outcomes = await _all_of([_land_or_record(run, key, keys[0]) for key in keys])
    finally:
        for one in run.work.hand_over(keys):
            landed(one)
    await run.in_thread(run.services.alerts.flush, keys[0], str(flow_run.id or run.backfill_id))
    return outcomes


async def _all_of(works: Sequence[Awaitable[T]]) -> list[T]:
    """What each comes to. What could not even be recorded is raised when all of the others are done."""
    ended = await asyncio.gather(*works, return_exceptions=True)
    for one in ended:
        if isinstance(one, BaseException):
            raise one
    return [one for one in ended if not isinstance(one, BaseException)]


# -- one partition by one call ---------------------------------------------------------------------------------


async def _land_or_record(run: Run, key: str, window: str) -> str:
    """The outcome of one partition; a failure is recorded."""
    async with run.begun.taken() as begun:
        if run.stopped_by is not None:
            # Nobody needs a row and a line for each date of a year that nothing was done for.
            return NOT_ATTEMPTED
        result = await run.step("scrape", f"scrape {key}", partial(land_partition, run, key, begun))
        if isinstance(result, BaseException):
            await run.in_thread(record_failure, run, key, result, "scrape", window)
            return FAILED
    _log(run, key, result)
    return result


async def land_partition(run: Run, key: str, begun: Slot | None = None) -> str:
    """Lands one partition; the effect is in object storage, ledger and work set, the result is only a word.

    The slot is held for the source's calls, not while their answers are stored or the step waits to be tried again, so
    that neither a distant storage nor failing dates starve the others. ``begun`` is given back with it.
    """

    def work(slot: Slot) -> Manifest:
        def answered() -> None:
            for place in filter(None, (slot, begun)):
                place.answered()

        return land(run, key, answered)

    def done() -> str | None:
        return DONE_BY_LIVE if key in run.work.done_elsewhere else None

    found = await at_source(run, key, work, done)
    return found if isinstance(found, str) else _judged(run, found)


def _judged(run: Run, manifest: Manifest) -> str:
    """What has become of a partition whose call was good; raises ``NotSettled``."""
    key = manifest.partition
    if manifest.unsettled:
        names = ", ".join(manifest.unsettled[:3])
        raise NotSettled(
            f"{plural(len(manifest.unsettled), 'item', 'is', 'are')} not final yet: {names}; landed, not loaded",
            source=run.source,
            partition=key,
            stage="scrape",
            hint="run the date again later",
        )
    landed = run.work.landed.get(key)
    if key in run.work.unchanged or (landed and landed.is_unchanged):
        return UNCHANGED
    return LANDED


def _log(run: Run, key: str, outcome: str) -> None:
    """What was landed has its row among the tasks and a line with its counts when it is loaded: none more is sent."""
    landed = run.work.landed.get(key)
    counts = f": {landed.manifest.counts}" if landed and outcome == LANDED else ""
    partition_logger().log(logging.DEBUG if outcome == LANDED else logging.INFO, "%s %s%s", key, outcome, counts)


# -- several partitions by one call ----------------------------------------------------------------------------


async def _land_in_spans(run: Run, keys: list[str]) -> list[str]:
    """Asks for one span after the other; one outcome each, but for those that were done meanwhile."""
    window, outcomes = keys[0], list[str]()
    queue = SpanQueue([run.work.partitions[key] for key in keys], run.kit.scraper.days_per_call)
    while asked := queue.take():
        span = [partition.key for partition in asked]
        if len(span) == 1:
            outcomes.append(await _land_or_record(run, span[0], window))
            continue
        label = f"scrape {window_name(span)}"
        answer = await run.step("scrape together", label, partial(land_partitions_together, run, span))
        if isinstance(answer, BaseException):
            failed = [key for key in span if not run.work.is_done(key)]
            recording = (run.in_thread(record_shared_failure, run, key, answer, window) for key in failed)
            await asyncio.gather(*recording)
            outcomes += [FAILED] * len(failed)
        elif isinstance(answer, SpanResult):
            queue.put_back(answer)
            known = [key for key in span if key in answer.manifests or key in answer.failures]
            outcomes += [await _outcome_of(run, key, answer, window) for key in known]
        else:
            outcomes += [answer] * len(span)
    return outcomes


async def land_partitions_together(run: Run, keys: list[str]) -> SpanResult | str:
    """Lands consecutive partitions by one call, for sources that take a range: one slot, one step, one answer.

    Gives shorter spans to ask for when the answer reached a cap, or when some of the dates are done: by a live run
    meanwhile, or by an earlier try that could not record all of them.
    """

    def done() -> SpanResult | None:
        left = [run.work.partitions[key] for key in keys if not run.work.is_done(key)]
        return None if len(left) == len(keys) else SpanResult(shorter=tuple(spans(left, run.kit.scraper.days_per_call)))

    def work(slot: Slot) -> SpanResult:
        answer = land_together(run, keys, slot.answered)
        _take_each(run, list(answer.manifests.values()))
        return answer

    return await at_source(run, keys[0], work, done)


# -- all partitions by one reading ---------------------------------------------------------------------------------


async def _land_by_sweep(run: Run, keys: list[str]) -> list[str]:
    """Reads all that the source has, some pages a step: between two steps a run can pause, stop, and try again."""
    window, wanted = keys[0], [key for key in keys if not run.work.is_done(key)]
    sweep = begin_sweep(run, wanted) if wanted else None
    outcomes = list[str]()
    while sweep is not None and not outcomes:
        label = f"sweep {window_name(wanted)} from page {sweep.pages + 1}"
        answer = await run.step("sweep", label, partial(_sweep_some_pages, run, sweep, wanted))
        if isinstance(answer, BaseException):
            failed = [key for key in wanted if not run.work.is_done(key)]
            recording = (run.in_thread(record_shared_failure, run, key, answer, window) for key in failed)
            await asyncio.gather(*recording)
            outcomes = [FAILED] * len(failed)
        elif isinstance(answer, SpanResult):
            outcomes = [await _outcome_of(run, key, answer, window) for key in wanted if key in answer.manifests]
        elif answer == NOT_ATTEMPTED:
            outcomes = [NOT_ATTEMPTED] * len(wanted)
    return outcomes


async def _sweep_some_pages(run: Run, sweep: SweepScrape, keys: list[str]) -> SpanResult | str:
    """One slot and one step; "" when there is more to read."""

    def work(_: Slot) -> SpanResult | str:
        result = go_on_sweeping(run, sweep, keys)
        if result is None:
            return ""
        _take_each(run, [one for key, one in result.manifests.items() if not run.work.is_done(key)])
        return result

    return await at_source(run, keys[0], work, nothing)


def _take_each(run: Run, manifests: list[Manifest]) -> None:
    """Records all of them, also when one cannot be recorded: a retry must not write beside what is still under way."""
    with threads(TAKEN_AT_ONCE, "take") as pool:
        taking = [pool.submit(take, run, manifest) for manifest in manifests]
    for one in taking:
        one.result()


async def _outcome_of(run: Run, key: str, answer: SpanResult, window: str) -> str:
    """The outcome of one partition of an answer that several share; a failure of its own is recorded."""
    try:
        if key in answer.failures:
            raise answer.failures[key]
        outcome = _judged(run, answer.manifests[key])
    except PipelineError as error:
        await run.in_thread(record_failure, run, key, error, "scrape", window)
        return FAILED
    _log(run, key, outcome)
    return outcome
