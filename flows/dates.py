"""The date subflow: a window of consecutive partitions, each one a task with retries."""

from __future__ import annotations

import asyncio
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.tasks import Task

from alerting.errors import (
    ConfigurationError,
    LeaseHeld,
    NotSettled,
    PipelineError,
    StateUnreadable,
)
from alerting.redaction import redact
from alerting.wording import plural
from flows.child_runs.window import joined
from flows.log import lets_out_redacted, partition_logger, retry_transient
from flows.run.active import current_run, is_here
from flows.run.recording import (
    land,
    land_together,
    record_failure,
    record_shared_failure,
    stop_if_critical,
    take,
)
from flows.run.run import Run
from flows.run_id import window_name
from scrapers.landing import Manifest
from scrapers.partition import runs
from scrapers.spans import RunAnswer, RunQueue

NOT_ATTEMPTED = "not attempted"
UNCHANGED = "unchanged"
DONE_BY_LIVE = "done by a live run"


def _flow_run_name() -> str:
    return f"{flow_run.parameters['source']} {window_name(flow_run.parameters['partitions'])}"


@lets_out_redacted
@task(
    name="scrape",
    task_run_name="scrape {partition}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retry_condition_fn=retry_transient,
    retry_jitter_factor=0.3,
)
async def scrape_partition(backfill_id: str, partition: str) -> str:
    """Lands one partition; the effect is in object storage and the ledger, the result is only a word.

    The slot is held while a thread works, not while Prefect waits to retry, so that failing dates do not starve
    the others.
    """
    run = current_run(backfill_id)
    async with run.slots, run.gate.passed() as probe:
        run.turns.begun(partition)
        if partition in run.work.done_elsewhere:
            return DONE_BY_LIVE
        run.keep_budget()
        if run.stopped_by is not None:
            return NOT_ATTEMPTED
        try:
            manifest = await run.in_thread(land, run, partition)
        except Exception as error:
            # Here and not when it is recorded: with the slot free, the next date would make its call before that.
            run.probed(probe, error)
            stop_if_critical(run, partition, error, "scrape")
            raise
        run.probed(probe, None)
    return _landed(run, manifest)


def _landed(run: Run, manifest: Manifest) -> str:
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
    return UNCHANGED if key in run.work.unchanged or key in run.work.to_recount else "landed"


def _together_name(parameters: dict[str, Any]) -> str:
    return f"scrape {window_name(parameters['partitions'])}"


@lets_out_redacted
@task(
    name="scrape together",
    task_run_name=_together_name,  # type: ignore[arg-type]  # the protocol has a class method that no function has
    cache_policy=NO_CACHE,
    persist_result=False,
    retry_condition_fn=retry_transient,
    retry_jitter_factor=0.3,
)
async def scrape_together(backfill_id: str, partitions: list[str]) -> RunAnswer | str:
    """Lands consecutive partitions by one call, for sources that take a range: one slot, one task, one answer.

    Gives shorter runs to ask for when the answer reached a cap, or when some of the dates are done: by a live run
    meanwhile, or by an earlier try that could not record all of them.
    """
    run = current_run(backfill_id)
    async with run.slots, run.gate.passed() as probe:
        run.turns.begun(partitions[0])
        left = [run.work.partitions[key] for key in partitions if not run.work.is_done(key)]
        if len(left) < len(partitions):
            return RunAnswer(shorter=tuple(runs(left, run.kit.scraper.days_per_call)))
        run.keep_budget()
        if run.stopped_by is not None:
            return NOT_ATTEMPTED
        try:
            answer = await run.in_thread(land_together, run, partitions)
            await _take_each(run, list(answer.manifests.values()))
        except Exception as error:
            run.probed(probe, error)
            stop_if_critical(run, partitions[0], error, "scrape")
            raise
        run.probed(probe, None)
    return answer


async def _take_each(run: Run, manifests: list[Manifest]) -> None:
    """Records all of them, also when one cannot be recorded: a retry must not write beside what is still under way."""
    taken = (run.in_thread(take, run, manifest) for manifest in manifests)
    for outcome in await asyncio.gather(*taken, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


@lets_out_redacted
@flow(name="dates", flow_run_name=_flow_run_name, persist_result=False, validate_parameters=False)
async def dates(source: str, backfill_id: str, partitions: list[str], slots: int = 8) -> State[Any]:
    """Lands every partition of the window; a failing one never stops its neighbours.

    Args:
        source: Source name.
        backfill_id: The backfill this window belongs to.
        partitions: Partition keys, oldest first.
        slots: Dates in flight at once, where the window runs in a process of its own.
    """
    if is_here(backfill_id):
        return await _land_window(current_run(backfill_id), partitions)
    try:
        async with joined(source, backfill_id, partitions, slots) as run:
            return await _land_window(run, partitions)
    except (ConfigurationError, LeaseHeld, StateUnreadable) as error:
        partition_logger().error("%s", error)
        return Failed(message=redact(str(error)))


async def _land_window(run: Run, partitions: list[str]) -> State[Any]:
    # Before any of its dates waits for a slot: the window before it must not find them taken.
    await run.turns.wait(partitions[0])
    delays_s = run.services.settings.retry_delays_s
    retries: dict[str, Any] = {"retries": len(delays_s), "retry_delay_seconds": delays_s}
    # Once for all: a copy of a task costs 3 ms, as Prefect reads its source again.
    tried = scrape_partition.with_options(**retries)
    if run.kit.scraper.days_per_call > 1:
        outcomes = await _land_in_runs(run, tried, scrape_together.with_options(**retries), partitions)
    else:
        outcomes = await asyncio.gather(*(_land_or_record(run, tried, key, partitions[0]) for key in partitions))
    failed = sum(outcome == "failed" for outcome in outcomes)
    skipped = sum(outcome == NOT_ATTEMPTED for outcome in outcomes)
    await run.in_thread(run.services.alerts.flush, partitions[0], str(flow_run.id or run.backfill_id))
    message = f"{len(partitions) - failed - skipped} of {len(partitions)} landed"
    if failed or skipped:
        return Failed(message=f"{message}, {failed} failed, {skipped} not attempted")
    return Completed(message=message)


async def _land_in_runs(run: Run, alone: Task[..., Any], together: Task[..., Any], partitions: list[str]) -> list[str]:
    """Asks for one run of dates after the other; one outcome each, but for those that were done meanwhile."""
    window, outcomes = partitions[0], list[str]()
    queue = RunQueue([run.work.partitions[key] for key in partitions], run.kit.scraper.days_per_call)
    while asked := queue.take():
        keys = [partition.key for partition in asked]
        if len(keys) == 1:
            outcomes.append(await _land_or_record(run, alone, keys[0], window))
            continue
        state = await together(run.backfill_id, keys, return_state=True)
        answer = await state.aresult(raise_on_failure=False)
        if isinstance(answer, BaseException):
            failed = [key for key in keys if not run.work.is_done(key)]
            recording = (run.in_thread(record_shared_failure, run, key, answer, window) for key in failed)
            await asyncio.gather(*recording)
            outcomes += ["failed"] * len(failed)
        elif isinstance(answer, RunAnswer):
            queue.put_back(answer)
            known = [key for key in keys if key in answer.manifests or key in answer.failures]
            outcomes += [await _outcome_of(run, key, answer, window) for key in known]
        else:
            outcomes += [answer] * len(keys)
    return outcomes


async def _outcome_of(run: Run, key: str, answer: RunAnswer, window: str) -> str:
    """The outcome of one partition of an answer that several share; a failure of its own is recorded."""
    try:
        if key in answer.failures:
            raise answer.failures[key]
        outcome = _landed(run, answer.manifests[key])
    except PipelineError as error:
        await run.in_thread(record_failure, run, key, error, "scrape", window)
        return "failed"
    partition_logger().info("%s %s: %s", key, outcome, answer.manifests[key].counts)
    return outcome


async def _land_or_record(run: Run, tried: Task[..., Any], key: str, window: str) -> str:
    async with run.begun:
        state = await tried(run.backfill_id, key, return_state=True)
        result = await state.aresult(raise_on_failure=False)
        if isinstance(result, BaseException):
            await run.in_thread(record_failure, run, key, result, "scrape", window)
            return "failed"
    if result == "landed":
        partition_logger().info("%s landed: %s", key, run.work.manifests[key].counts)
    else:
        partition_logger().info("%s %s", key, result)
    return str(result)
