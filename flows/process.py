"""The process subflow: landed partitions of one batch become rows, are replaced atomically, and are recounted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from alerting.errors import CoverageLow, Shrunk
from alerting.incident import Incident
from alerting.redaction import redact
from flows.control.gate import TROUBLE
from flows.dates import retry_transient, window_name
from flows.ledger import Verdict
from flows.log import lets_out_redacted, partition_logger
from flows.runs.active import current_run
from flows.runs.bookkeeping import record_batch_failure, record_failure
from flows.runs.context import RunContext
from flows.runs.data_facts import balance_facts
from flows.runs.events import verdict_event
from flows.runs.suspicion import set_suspects_apart
from processors.process import Receipt, process
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
    manifests = [run.manifests[key] for key in partitions]
    return await run.in_thread(_load, run, manifests)


def _load(run: RunContext, manifests: list[Manifest]) -> Receipt:
    services, keys = run.services, [manifest.partition for manifest in manifests]
    return process(
        manifests,
        processor=run.processor,
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
    manifests = [run.manifests[key] for key in partitions]
    return await run.in_thread(
        verify, manifests, processor=run.processor, warehouse=run.services.warehouse, dropped=run.receipts[-1].dropped
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
        return await _process(run, [key for key in partitions if key in run.manifests])


async def _process(run: RunContext, landed: list[str]) -> State[Any]:
    partitions = await run.in_thread(set_suspects_apart, run, landed)
    if not landed:
        return Completed(message="nothing is left to load")
    if not partitions:
        return Failed(message=f"all {len(landed)} partitions are suspects: see their errors")
    delays_s = run.services.settings.retry_delays_s
    retries: dict[str, Any] = {"retries": len(delays_s), "retry_delay_seconds": delays_s}
    state = await load.with_options(**retries)(run.backfill_id, partitions, return_state=True)  # type: ignore[misc]
    receipt = await state.aresult(raise_on_failure=False)
    if isinstance(receipt, BaseException):
        return await _all_failed(run, partitions, receipt, "load")
    run.receipts.append(receipt)
    if run.reread and receipt.unbalanced:
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
        run.manifests.pop(key, None)
    message = f"{sum(good)} of {len(landed)} verified"
    partition_logger().info("%s, receipt %s", message, receipt.receipt_id)
    return Completed(message=message) if sum(good) == len(landed) else Failed(message=message)


def record_verification(
    run: RunContext,
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
    manifest = run.manifests[key]
    entry = run.ledger.advance(
        key,
        Verdict.EMPTY_OK if manifest.empty_evidence else Verdict.VERIFIED,
        run.backfill_id,
        utc_now(),
        loaded=found.loaded,
        changes=changes or {},
        actual=found.loaded.get(run.scraper.tables[0], 0),
        verified_at=utc_now(),
        **({"receipt_id": receipt_id} if receipt_id else {}),
        **({"accepted": _acceptance(run)} if run.asked.accept_shrink else {}),
    )
    verdict_event(entry)
    return True


def _warn_of(run: RunContext, receipt: Receipt) -> None:
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


def _acceptance(run: RunContext) -> str:
    by = f" by {run.facts.requested_by}" if run.facts.requested_by else ""
    return f"fewer rows accepted{by} in {run.backfill_id}: {run.asked.reason_text}"


async def _all_failed(run: RunContext, partitions: list[str], error: BaseException, stage: str) -> State[Any]:
    """One failure of the whole batch, recorded on each of its partitions, whose landed payloads stay."""
    await run.in_thread_each(lambda key: record_batch_failure(run, key, error, stage, partitions[0]), partitions)
    partition_logger().error("%s of %s partitions failed: %s", stage, len(partitions), redact(str(error))[:300])
    return Failed(message=f"{stage} failed for {len(partitions)} partitions: {type(error).__name__}")
