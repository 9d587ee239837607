"""Recounts the rows of loaded partitions as they are: mode ``validate``, and what a full run gets unchanged.

Fetches nothing and writes no table.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from alerting.errors import StateUnreadable
from flows.control.gate import TROUBLE
from flows.dates import retry_transient, window_name
from flows.log import lets_out_redacted, partition_logger
from flows.process import record_verification
from flows.runs.active import current_run
from flows.runs.bookkeeping import record_batch_failure, record_landed
from flows.runs.context import RunContext
from flows.runs.suspicion import set_suspects_apart
from processors.receipt import read_receipt
from processors.verification import Verification, verify


def _flow_run_name() -> str:
    return f"validate {flow_run.parameters['source']} {window_name(flow_run.parameters['partitions'])}"


@lets_out_redacted
@task(name="verify", cache_policy=NO_CACHE, persist_result=False, retry_condition_fn=retry_transient)
async def recount_batch(backfill_id: str, partitions: list[str]) -> dict[str, Verification]:
    """Compares the tables with the manifests, and with what the receipts say was dropped rightly."""
    run = current_run(backfill_id)
    return await run.in_thread(_recount, run, partitions)


def _recount(run: RunContext, partitions: list[str]) -> dict[str, Verification]:
    entries = [entry for key in partitions if (entry := run.ledger.get(key)) is not None]
    dropped: dict[str, dict[str, int]] = {}
    for receipt_id in sorted({entry.receipt_id for entry in entries if entry.receipt_id}):
        dropped.update(read_receipt(run.services.store, run.source, receipt_id).dropped)
    return verify(
        [run.manifests[key] for key in partitions],
        processor=run.processor,
        warehouse=run.services.warehouse,
        dropped=dropped,
    )


async def to_load(run: RunContext, keys: list[str]) -> list[str]:
    """Which of ``keys`` have to be loaded; the others came as they were, and their rows were recounted and are right.

    Only a full run has such: what the source sent again unchanged is not staged and swapped again, unless the recount
    or another version of the processor says that the rows are not what they should be.
    """
    same = [key for key in keys if key in run.to_recount]
    if not same:
        return keys
    async with run.gate.passed(despite={TROUBLE}):
        for key in same:
            run.manifests[key] = run.to_recount.pop(key)
        believed = await run.in_thread(set_suspects_apart, run, same)
        keys = [key for key in keys if key in believed or key not in same]
        same = believed
        if not same:
            return keys
        delays_s = run.services.settings.retry_delays_s
        tried = recount_batch.with_options(retries=len(delays_s), retry_delay_seconds=delays_s)
        state = await tried(run.backfill_id, same, return_state=True)  # type: ignore[misc]
        found = await state.aresult(raise_on_failure=False)
        counted = {} if isinstance(found, BaseException) else found
        right = await run.in_thread_each(lambda key: _keep_if_right(run, key, counted.get(key), same[0]), same)
    kept = {key for key, is_right in zip(same, right, strict=True) if is_right}
    partition_logger().info("%s of %s unchanged partitions recounted and right", len(kept), len(same))
    return [key for key in keys if key not in kept]


def _keep_if_right(run: RunContext, key: str, counted: Verification | None, window: str) -> bool:
    if counted is not None and counted.is_ok and _is_of_this_processor(run, key):
        record_verification(run, "", counted, window)
        del run.manifests[key]
        return True
    record_landed(run, run.manifests[key])
    return False


def _is_of_this_processor(run: RunContext, key: str) -> bool:
    entry = run.ledger.get(key)
    try:
        receipt = read_receipt(run.services.store, run.source, entry.receipt_id if entry else "")
    except StateUnreadable:
        return False
    return receipt.processor_version == run.processor.version


@lets_out_redacted
@flow(name="validate", flow_run_name=_flow_run_name, persist_result=False, validate_parameters=False)
async def validate_loaded(source: str, backfill_id: str, partitions: list[str]) -> State[Any]:  # noqa: ARG001 - named by the UI
    """Gives every partition of the batch a verdict from its rows as they are.

    Args:
        source: Source name.
        backfill_id: The backfill this batch belongs to.
        partitions: Keys of loaded partitions whose manifests are read.
    """
    run = current_run(backfill_id)
    asked = len(partitions)
    partitions = await run.in_thread(set_suspects_apart, run, partitions)
    if not partitions:
        return Failed(message=f"all {asked} are suspects: see their errors")
    delays_s = run.services.settings.retry_delays_s
    tried = recount_batch.with_options(retries=len(delays_s), retry_delay_seconds=delays_s)
    state = await tried(backfill_id, partitions, return_state=True)  # type: ignore[misc]
    found = await state.aresult(raise_on_failure=False)
    if isinstance(found, BaseException):
        # The rows are loaded, and whether they are right is not known: a later run recounts them.
        await run.in_thread_each(lambda key: record_batch_failure(run, key, found, "verify", partitions[0]), partitions)
        return Failed(message=f"recount failed for {len(partitions)} partitions: {type(found).__name__}")
    good = await run.in_thread_each(lambda key: record_verification(run, "", found[key], partitions[0]), partitions)
    for key in partitions:
        run.manifests.pop(key, None)
    message = f"{sum(good)} of {asked} verified"
    partition_logger().info("%s by recount", message)
    return Completed(message=message) if sum(good) == asked else Failed(message=message)
