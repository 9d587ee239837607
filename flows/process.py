"""The process subflow: landed partitions of one batch become rows, are replaced atomically, and are recounted.

Mode ``validate``, and what a full run gets unchanged, is recounted alone: that fetches nothing and writes no table.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from alerting.errors import LandingUnavailable, PipelineError, Shrunk, StateUnreadable
from alerting.incident import Incident
from alerting.redaction import redact
from alerting.wording import plural
from flows.log import lets_out_redacted, partition_logger
from flows.run.data_facts import balance_facts
from flows.run.gate import SOURCE_DOWN
from flows.run.prefect_orchestrator import handed_over
from flows.run.quarantine import quarantine_suspects
from flows.run.recording import record_batch_failure, record_failure, record_landed
from flows.run.recounted import record_verification
from flows.run.run import Run
from flows.run.work_set import Landed
from processors.batch_reading import BatchRows
from processors.load_plan import Warehouse
from processors.process import LoadContext, Prepared, Receipt, prepare
from processors.receipt import dropped_rightly, read_receipt
from processors.verification import Verification, verify
from scrapers.manifest import Manifest
from scrapers.partition import window_name
from scrapers.scrape import nothing

_NOT_BEGUN = "a batch is handed over by the run that landed it: start the backfill"


def _process_run_name() -> str:
    return f"process {flow_run.parameters['source']} {window_name(flow_run.parameters['partitions'])}"


@lets_out_redacted
@flow(name="process", flow_run_name=_process_run_name, retries=0, persist_result=False, validate_parameters=False)
async def process_landed(source: str, backfill_id: str, partitions: list[str]) -> State[Any]:  # noqa: ARG001 - named by the UI
    """Loads and verifies one batch of landed partitions.

    Args:
        source: Source name.
        backfill_id: The backfill this batch belongs to.
        partitions: Keys of landed partitions, oldest first.
    """
    part = handed_over()
    return await part() if part else Failed(message=_NOT_BEGUN)


def _validate_run_name() -> str:
    return f"validate {flow_run.parameters['source']} {window_name(flow_run.parameters['partitions'])}"


@lets_out_redacted
@flow(name="validate", flow_run_name=_validate_run_name, retries=0, persist_result=False, validate_parameters=False)
async def validate_loaded(source: str, backfill_id: str, partitions: list[str]) -> State[Any]:  # noqa: ARG001 - named by the UI
    """Gives every partition of the batch a verdict from its rows as they are.

    Args:
        source: Source name.
        backfill_id: The backfill this batch belongs to.
        partitions: Keys of loaded partitions whose manifests are read.
    """
    part = handed_over()
    return await part() if part else Failed(message=_NOT_BEGUN)


# -- before a batch: what has to be loaded at all --------------------------------------------------------------


async def to_load(run: Run, landed: Sequence[Landed]) -> list[Manifest]:
    """Which of ``landed`` have to be loaded; the others came as they were, and their rows were recounted and are right.

    Only a full run has such: what the source sent again unchanged is not staged and swapped again, unless the recount
    or another version of the processor says that the rows are not what they should be.
    """
    right = await _recounted(run, [one.manifest for one in landed if one.is_unchanged])
    # A live run that went first may have done some of them.
    return [one.manifest for one in landed if one.key not in right and run.work.is_wanted(one.key)]


async def _recounted(run: Run, same: list[Manifest]) -> set[str]:
    """Those of ``same`` whose rows are right, with their verdict; what is not right is recorded as landed."""
    if not same:
        return set()
    async with run.gate.passed(despite={SOURCE_DOWN}):
        wanted = [one for one in same if run.work.is_wanted(one.partition)]
        believed = await run.in_thread(quarantine_suspects, run, wanted)
        if not believed:
            return set()
        found = await _recount(run, believed)
        counted = {} if isinstance(found, BaseException) else found
        window = believed[0].partition
        right = await run.in_thread_each(
            lambda manifest: _keep_if_right(run, manifest, counted.get(manifest.partition), window), believed
        )
    kept = {manifest.partition for manifest, is_right in zip(believed, right, strict=True) if is_right}
    partition_logger().info("%s of %s unchanged partitions recounted and right", len(kept), len(believed))
    return kept


def _keep_if_right(run: Run, manifest: Manifest, counted: Verification | None, window: str) -> bool:
    if counted is not None and counted.is_ok and _is_of_this_processor(run, manifest.partition):
        return record_verification(run, manifest, counted, window)
    record_landed(run, manifest)
    return False


def _is_of_this_processor(run: Run, key: str) -> bool:
    entry = run.ledger.get(key)
    try:
        receipt = read_receipt(run.services.store, run.source, entry.receipt_id if entry else "")
    except StateUnreadable:
        return False
    return receipt.processor_version == run.kit.processor.version


# -- a batch: load, then verify --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """Who is told how far a batch is: when its rows are read, from any thread, and when they are staged. Repeatable.

    ``turn`` is held while it is written, so that batches staged side by side are written in their order.
    """

    read: Callable[[BatchRows], None] = nothing
    staged: Callable[[], None] = nothing
    turn: Callable[[], contextlib.AbstractAsyncContextManager[None]] = contextlib.nullcontext


async def load_batch(run: Run, batch: Sequence[Manifest], told: Told = Told()) -> None:
    """A process subflow: stages the rows of all partitions, replaces them in one step per table, and recounts them."""
    async with run.gate.passed(despite={SOURCE_DOWN}):
        # A live run that went first may have done some of them.
        wanted = [one for one in batch if run.work.is_wanted(one.partition)]
        async with run.judging:
            manifests = await run.in_thread(quarantine_suspects, run, wanted)
        # It takes Prefect half a second to begin a subflow: the rows are staged meanwhile.
        ahead = [asyncio.create_task(run.in_thread(_prepare, run, manifests, told.read))] if manifests else []
        try:
            part = partial(_load_and_verify, run, wanted, manifests, told, ahead)
            await run.subflow(process_landed, [one.partition for one in batch], part)
        except Exception:
            await _forget(run, ahead)
            raise
        await _forget(run, ahead)


async def _forget(run: Run, ahead: list[asyncio.Task[Prepared]]) -> None:
    """Removes what was staged and taken by nobody, as the subflow could not begin."""
    for staging in ahead:
        with contextlib.suppress(Exception):
            await run.in_thread((await staging).forget)


async def _load_and_verify(
    run: Run, landed: list[Manifest], manifests: list[Manifest], told: Told, ahead: list[asyncio.Task[Prepared]]
) -> State[Any]:
    if not landed:
        return Completed(message="nothing is left to load")
    if not manifests:
        return Failed(message=f"{plural(len(landed), 'partition')} quarantined, none left to load: see the errors")
    keys = [one.partition for one in manifests]
    written = await run.step("load", f"load {window_name(keys)}", partial(_load, run, manifests, told, ahead))
    if isinstance(written, BaseException):
        return await _all_failed(run, keys, written, "load")
    if written is None:
        return Failed(message=f"{plural(len(keys), 'partition')} not loaded, as loading was stopped: see the errors")
    # Beside the recount: nobody waits for what is not needed any more.
    tidying = asyncio.create_task(run.in_thread(_tidy, written))
    try:
        return await _recount_written(run, written.receipt, manifests, len(landed))
    finally:
        await tidying


async def _recount_written(run: Run, receipt: Receipt, manifests: list[Manifest], wanted: int) -> State[Any]:
    window = manifests[0].partition
    await _take_receipt(run, receipt, window)
    loaded = [one for one in manifests if one.partition in receipt.partitions]
    found = await _verify(run, loaded, receipt)
    if isinstance(found, BaseException):
        return await _all_failed(run, [one.partition for one in loaded], found, "verify")
    async with run.judging:
        # The payload of a later batch may have shown that one of this batch is not to be believed.
        believed = [one for one in loaded if one.partition not in run.work.quarantined]
        good = await run.in_thread_each(
            lambda one: record_verification(run, one, found[one.partition], window, receipt=receipt), believed
        )
    message = f"{sum(good)} of {wanted} verified"
    partition_logger().info("%s, receipt %s", message, receipt.receipt_id)
    return Completed(message=message) if sum(good) == wanted else Failed(message=message)


@dataclasses.dataclass(frozen=True, slots=True)
class _Written:
    """A batch in its tables, and what is still staged of it."""

    receipt: Receipt
    prepared: Prepared


async def _load(
    run: Run, manifests: list[Manifest], told: Told, ahead: list[asyncio.Task[Prepared]]
) -> _Written | None:
    """The next batch is staged while this one is written. None when nothing of it is to be written any more.

    The first try takes what is staged ``ahead``.
    """
    prepared = await (ahead.pop() if ahead else run.in_thread(_prepare, run, manifests, told.read))
    told.staged()
    await run.canary_trial.until_over([one.partition for one in manifests])
    async with told.turn(), run.writing:
        # It may have been frozen since it passed the gate.
        await run.gate.until_kept()
        # Others may have ended loading meanwhile, or shown by their payloads that these are not to be believed.
        wanted = [one for one in manifests if run.work.is_wanted(one.partition)]
        if run.loading_stopped_by is not None or not wanted:
            await run.in_thread(prepared.forget)
            return None
        if len(wanted) < len(manifests):
            await run.in_thread(prepared.forget)
            prepared = await run.in_thread(_prepare, run, wanted)
        return _Written(await run.in_thread(_publish, run, prepared), prepared)


def _prepare(run: Run, manifests: list[Manifest], read: Callable[[BatchRows], None] = nothing) -> Prepared:
    keys = [manifest.partition for manifest in manifests]
    return prepare(
        manifests,
        LoadContext(
            run.kit.processor,
            run.services.landing,
            run.warehouse,
            run.backfill_id,
            written=run.written_lately,
            refuse_to_write=partial(_refuse_unless_kept, run),
            read=read,
        ),
        verified={key: entry.loaded for key in keys if (entry := run.ledger.get(key)) is not None and entry.loaded},
    )


def _refuse_unless_kept(run: Run) -> None:
    """It may have been frozen since its turn came, and rows of another run may stand there by now."""
    if run.ledger.is_lost or not run.gate.is_kept:
        raise LandingUnavailable("no heartbeat for longer than the lease; no further table was touched", stage="load")


def _publish(run: Run, prepared: Prepared) -> Receipt:
    # Of a review, a person sees which rows would go before any does.
    accept_shrink = run.asked.accept_shrink or run.review is not None
    return prepared.publish(expected=run.expected, accept_shrink=accept_shrink)


def _tidy(written: _Written) -> None:
    """What cannot be removed is logged: the rows are in their tables."""
    try:
        written.prepared.forget()
    except PipelineError as error:
        partition_logger().warning("staged rows of %s were not removed: %s", written.receipt.receipt_id, error)


async def _take_receipt(run: Run, receipt: Receipt, window: str) -> None:
    """Counts what was loaded and records what the load refused."""
    run.tally.add_receipt(receipt)
    if run.is_live and receipt.unbalanced:
        await run.in_thread(_warn_of, run, receipt)
    refused = receipt.refused()
    for error in refused.values():
        if isinstance(error, Shrunk):
            error.located(hint=f"look at the source; if it is wrong, retry; if it is right: {run.asked.accept_command}")
    await run.in_thread_each(lambda key: record_failure(run, key, refused[key], "load", window), list(refused))
    run.count_loaded(len(receipt.partitions))


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


# -- a batch that is loaded already ----------------------------------------------------------------------------


async def validate_batch(run: Run, batch: Sequence[Manifest]) -> State[Any]:
    """Recounts ``batch``; loads nothing."""
    manifests = await run.in_thread(quarantine_suspects, run, batch)
    if not manifests:
        return Failed(message=f"{plural(len(batch), 'partition')} quarantined, none left to recount: see the errors")
    keys = [one.partition for one in manifests]
    found = await _recount(run, manifests)
    if isinstance(found, BaseException):
        # The rows are loaded, and whether they are right is not known: a later run recounts them.
        await run.in_thread_each(lambda key: record_batch_failure(run, key, found, "verify", keys[0]), keys)
        return Failed(message=f"recount failed for {plural(len(keys), 'partition')}: {type(found).__name__}")
    good = await run.in_thread_each(lambda one: record_verification(run, one, found[one.partition], keys[0]), manifests)
    message = f"{sum(good)} of {len(batch)} verified"
    partition_logger().info("%s by recount", message)
    return Completed(message=message) if sum(good) == len(batch) else Failed(message=message)


# -- recounting and recording ----------------------------------------------------------------------------------


async def _recount(run: Run, manifests: list[Manifest]) -> dict[str, Verification] | BaseException:
    """Compares the tables with the manifests, and with what the receipts say was dropped rightly."""
    keys = [one.partition for one in manifests]
    rests_on = {key: entry.receipt_id for key in keys if (entry := run.ledger.get(key)) is not None}

    def dropped() -> dict[str, Mapping[str, int]]:
        ids = sorted(set(rests_on.values()) - {""})
        return dropped_rightly(rests_on, {one: read_receipt(run.services.store, run.source, one) for one in ids})

    async def work() -> dict[str, Verification]:
        return await run.in_thread(_verified, run, run.services.warehouse, manifests, await run.in_thread(dropped))

    return await run.step("verify", f"verify {window_name(keys)}", work)


async def _verify(run: Run, manifests: list[Manifest], receipt: Receipt) -> dict[str, Verification] | BaseException:
    """Recounts a batch in BigQuery and compares it with the source's own numbers and the manifests."""
    label = f"verify {window_name([one.partition for one in manifests])}" if manifests else "verify nothing"
    supposed = receipt.first_keys
    part = partial(run.in_thread, _verified, run, run.warehouse, manifests, receipt.dropped, supposed)
    return await run.step("verify", label, part)


def _verified(
    run: Run,
    warehouse: Warehouse,
    manifests: list[Manifest],
    dropped: Mapping[str, Mapping[str, int]],
    supposed: Mapping[str, Collection[object]] | None = None,
) -> dict[str, Verification]:
    return verify(
        manifests,
        processor=run.kit.processor,
        warehouse=warehouse,
        dropped=dropped,
        expected=run.expected,
        supposed=supposed,
    )


async def _all_failed(run: Run, partitions: list[str], error: BaseException, stage: str) -> State[Any]:
    """One failure of the whole batch, recorded on each of its partitions, whose landed payloads stay."""
    await run.in_thread_each(lambda key: record_batch_failure(run, key, error, stage, partitions[0]), partitions)
    partition_logger().error("%s of %s partitions failed: %s", stage, len(partitions), redact(str(error))[:300])
    return Failed(message=f"{stage} failed for {plural(len(partitions), 'partition')}: {type(error).__name__}")
