"""The process subflow: landed partitions of one batch become rows, are replaced atomically, and are recounted.

Mode ``validate``, and what a full run gets unchanged, is recounted alone: fetches nothing and writes no table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from alerting.errors import CoverageLow, Shrunk, StateUnreadable
from alerting.incident import Incident
from alerting.redaction import redact
from alerting.wording import plural
from flows.ledger.events import verdict_event
from flows.ledger.ledger import Verdict
from flows.log import lets_out_redacted, partition_logger, retry_transient
from flows.run.active import current_run
from flows.run.data_facts import balance_facts
from flows.run.gate import TROUBLE
from flows.run.recording import record_batch_failure, record_failure, record_landed
from flows.run.run import Run
from flows.run.suspects import set_suspects_apart
from flows.run_id import window_name
from processors.process import Receipt, process
from processors.receipt import read_receipt
from processors.verification import Verification, verify
from scrapers.landing import Manifest
from scrapers.scrape import utc_now


def _flow_run_name() -> str:
    return f"process {flow_run.parameters['source']} {window_name(flow_run.parameters['partitions'])}"


@lets_out_redacted
@task(name="load", cache_policy=NO_CACHE, persist_result=False, retry_condition_fn=retry_transient)
async def load(backfill_id: str, partitions: list[str]) -> Receipt:
    """Stages the rows of all partitions, then replaces them in one step per table."""
    run = current_run(backfill_id)
    manifests = [run.work.manifests[key] for key in partitions]
    return await run.in_thread(_load, run, manifests)


def _load(run: Run, manifests: list[Manifest]) -> Receipt:
    services, keys = run.services, [manifest.partition for manifest in manifests]
    return process(
        manifests,
        processor=run.kit.processor,
        landing=services.landing,
        store=services.store,
        warehouse=services.warehouse,
        backfill_id=run.backfill_id,
        verified={key: entry.loaded for key in keys if (entry := run.ledger.get(key)) is not None and entry.loaded},
        accept_shrink=run.asked.accept_shrink,
    )


@lets_out_redacted
@task(name="verify", cache_policy=NO_CACHE, persist_result=False, retry_condition_fn=retry_transient)
async def verify_batch(backfill_id: str, partitions: list[str]) -> dict[str, Verification]:
    """Recounts the batch in BigQuery and compares it with the source's own numbers and the manifests."""
    run = current_run(backfill_id)
    manifests = [run.work.manifests[key] for key in partitions]
    return await run.in_thread(
        verify,
        manifests,
        processor=run.kit.processor,
        warehouse=run.services.warehouse,
        dropped=run.tally.receipts[-1].dropped,
    )


@lets_out_redacted
@flow(name="process", flow_run_name=_flow_run_name, persist_result=False, validate_parameters=False)
async def process_landed(source: str, backfill_id: str, partitions: list[str]) -> State[Any]:  # noqa: ARG001 - named by the UI
    """Loads and verifies one batch of landed partitions.

    Args:
        source: Source name.
        backfill_id: The backfill this batch belongs to.
        partitions: Keys of landed partitions, oldest first.
    """
    run = current_run(backfill_id)
    async with run.gate.passed(despite={TROUBLE}):
        # A live run that went first may have done some of them.
        return await _process(run, [key for key in partitions if key in run.work.manifests])


async def _process(run: Run, landed: list[str]) -> State[Any]:
    partitions = await run.in_thread(set_suspects_apart, run, landed)
    if not landed:
        return Completed(message="nothing is left to load")
    if not partitions:
        return Failed(message=f"{plural(len(landed), 'partition')} set apart, none left to load: see the errors")
    delays_s = run.services.settings.retry_delays_s
    retries: dict[str, Any] = {"retries": len(delays_s), "retry_delay_seconds": delays_s}
    state = await load.with_options(**retries)(run.backfill_id, partitions, return_state=True)  # type: ignore[misc]
    receipt = await state.aresult(raise_on_failure=False)
    if isinstance(receipt, BaseException):
        return await _all_failed(run, partitions, receipt, "load")
    run.tally.add_receipt(receipt)
    if run.is_live and receipt.unbalanced:
        await run.in_thread(_warn_of, run, receipt)
    refused = receipt.refused()
    for error in refused.values():
        if isinstance(error, Shrunk):
            error.located(hint=f"look at the source; if it is right: {run.asked.accept_command}")
    await run.in_thread_each(lambda key: record_failure(run, key, refused[key], "load", partitions[0]), list(refused))
    run.count_loaded(len(partitions) - len(refused))
    loaded = [key for key in partitions if key not in refused]
    state = await verify_batch.with_options(**retries)(run.backfill_id, loaded, return_state=True)  # type: ignore[misc]
    found = await state.aresult(raise_on_failure=False)
    if isinstance(found, BaseException):
        return await _all_failed(run, loaded, found, "verify")
    good = await run.in_thread_each(
        lambda key: record_verification(run, receipt.receipt_id, found[key], partitions[0], receipt.changes_of(key)),
        loaded,
    )
    for key in partitions:
        run.work.manifests.pop(key, None)
    message = f"{sum(good)} of {len(landed)} verified"
    partition_logger().info("%s, receipt %s", message, receipt.receipt_id)
    return Completed(message=message) if sum(good) == len(landed) else Failed(message=message)


def record_verification(
    run: Run,
    receipt_id: str,
    found: Verification,
    window: str,
    changes: Mapping[str, Mapping[str, int]] | None = None,
) -> bool:
    """Writes one partition's final verdict; True when it is good. An empty ``receipt_id`` keeps the one it has."""
    key = found.partition
    if not found.is_ok:
        error = CoverageLow(
            f"{found.verdict}: {found.evidence}; the rows are loaded but not called done",
            source=run.source,
            partition=key,
            stage="verify",
            hint="fetch the date again",
        )
        record_failure(run, key, error, "verify", window)
        return False
    manifest = run.work.manifests[key]
    entry = run.ledger.advance(
        key,
        Verdict.EMPTY_OK if manifest.empty_evidence else Verdict.VERIFIED,
        run.backfill_id,
        utc_now(),
        loaded=found.loaded,
        changes=changes or {},
        actual=found.loaded.get(run.kit.scraper.tables[0], 0),
        verified_at=utc_now(),
        **({"receipt_id": receipt_id} if receipt_id else {}),
        **({"accepted": _acceptance(run)} if run.asked.accept_shrink else {}),
    )
    verdict_event(entry)
    return True


def _warn_of(run: Run, receipt: Receipt) -> None:
    """A live run has no summary: its warnings are alerts."""
    for text in balance_facts([receipt]):
        run.services.alerts.record_error(
            Incident(
                source=run.source,
                partition=min(receipt.unbalanced),
                stage="load",
                error_type="Unbalanced",
                message=text,
                severity="WARNING",
            )
        )


def _acceptance(run: Run) -> str:
    by = f" by {run.facts.requested_by}" if run.facts.requested_by else ""
    return f"fewer rows accepted{by} in {run.backfill_id}: {run.asked.reason_text}"


async def _all_failed(run: Run, partitions: list[str], error: BaseException, stage: str) -> State[Any]:
    """One failure of the whole batch, recorded on each of its partitions, whose landed payloads stay."""
    await run.in_thread_each(lambda key: record_batch_failure(run, key, error, stage, partitions[0]), partitions)
    partition_logger().error("%s of %s partitions failed: %s", stage, len(partitions), redact(str(error))[:300])
    return Failed(message=f"{stage} failed for {plural(len(partitions), 'partition')}: {type(error).__name__}")


def _validate_run_name() -> str:
    return f"validate {flow_run.parameters['source']} {window_name(flow_run.parameters['partitions'])}"


@lets_out_redacted
@task(name="verify", cache_policy=NO_CACHE, persist_result=False, retry_condition_fn=retry_transient)
async def recount_batch(backfill_id: str, partitions: list[str]) -> dict[str, Verification]:
    """Compares the tables with the manifests, and with what the receipts say was dropped rightly."""
    run = current_run(backfill_id)
    return await run.in_thread(_recount, run, partitions)


def _recount(run: Run, partitions: list[str]) -> dict[str, Verification]:
    entries = [entry for key in partitions if (entry := run.ledger.get(key)) is not None]
    dropped: dict[str, dict[str, int]] = {}
    for receipt_id in sorted({entry.receipt_id for entry in entries if entry.receipt_id}):
        dropped.update(read_receipt(run.services.store, run.source, receipt_id).dropped)
    return verify(
        [run.work.manifests[key] for key in partitions],
        processor=run.kit.processor,
        warehouse=run.services.warehouse,
        dropped=dropped,
    )


async def to_load(run: Run, keys: list[str]) -> list[str]:
    """Which of ``keys`` have to be loaded; the others came as they were, and their rows were recounted and are right.

    Only a full run has such: what the source sent again unchanged is not staged and swapped again, unless the recount
    or another version of the processor says that the rows are not what they should be.
    """
    same = [key for key in keys if key in run.work.to_recount]
    if not same:
        return keys
    async with run.gate.passed(despite={TROUBLE}):
        for key in same:
            run.work.manifests[key] = run.work.to_recount.pop(key)
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


def _keep_if_right(run: Run, key: str, counted: Verification | None, window: str) -> bool:
    if counted is not None and counted.is_ok and _is_of_this_processor(run, key):
        record_verification(run, "", counted, window)
        del run.work.manifests[key]
        return True
    record_landed(run, run.work.manifests[key])
    return False


def _is_of_this_processor(run: Run, key: str) -> bool:
    entry = run.ledger.get(key)
    try:
        receipt = read_receipt(run.services.store, run.source, entry.receipt_id if entry else "")
    except StateUnreadable:
        return False
    return receipt.processor_version == run.kit.processor.version


@lets_out_redacted
@flow(name="validate", flow_run_name=_validate_run_name, persist_result=False, validate_parameters=False)
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
        return Failed(message=f"recount failed for {plural(len(partitions), 'partition')}: {type(found).__name__}")
    good = await run.in_thread_each(lambda key: record_verification(run, "", found[key], partitions[0]), partitions)
    for key in partitions:
        run.work.manifests.pop(key, None)
    message = f"{sum(good)} of {asked} verified"
    partition_logger().info("%s by recount", message)
    return Completed(message=message) if sum(good) == asked else Failed(message=message)
