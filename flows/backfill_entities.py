"""The parent flow for sources that are asked by entity: another form than `flows.backfill`, the same run."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.asked import Asked
from flows.backfill import flow_run_name, run_asked
from flows.closing.state_hooks import HOOKS
from flows.dropdowns import EntitySource
from flows.log import lets_out_redacted
from flows.parameters import Advanced, Concurrency, Mode, Publish, Reason, WaitSeconds


# The same name, so that deployments, automations and commands are backfill/<source> for every source.
@lets_out_redacted
@flow(
    name="backfill",
    flow_run_name=flow_run_name,
    persist_result=False,
    retries=0,
    on_completion=HOOKS,
    on_failure=HOOKS,
    on_crashed=HOOKS,
    on_cancellation=HOOKS,
)
async def backfill_entities(
    source: EntitySource,
    entities: str,
    reason: Reason,
    *,
    note: str = "",
    mode: Mode = Mode.INCREMENTAL,
    publish: Publish = Publish.AT_ONCE,
    max_concurrency: Concurrency = 8,
    dry_run: bool = False,
    retry_failed: bool = False,
    accept_shrink: bool = False,
    exclude: str = "",
    wait_for_lease_s: WaitSeconds = 0.0,
    advanced: Advanced = Advanced(),  # noqa: B008 - frozen; the form shows what a parameter is by its default
) -> State[Any]:
    """Refills entities of one source (towns, documents ...): fetches what is missing, loads it, sends one mail.

    Verified entities are skipped without a call until their snapshot is too old.

    Args:
        source: The source to refill.
        entities: all, or names separated by commas. alameda.ca: everything of it; alameda.ca~minutes: one kind of
            document; all~minutes: that kind of every one.
        reason: Why this is run, for the mail and the record.
        note: The reason in your own words.
        mode: incremental does what is missing or failed; full fetches everything again; reprocess loads landed
            payloads again without a call; validate only recounts the tables.
        publish: at_once, or after_approval: load beside the tables, mail the diff, publish when a person
            approves.
        max_concurrency: How many entities are fetched at once, 1 to 64.
        dry_run: Only show the plan: no call to the source, nothing written, no mail.
        retry_failed: Only entities whose last attempt failed.
        accept_shrink: Load only what came with fewer rows than before, as landed and without a call, and remove the
            other rows. Give the reason in the note.
        exclude: Not these entities, written the same way.
        wait_for_lease_s: How long to wait for another run of this source to end; 0 refuses at once.
        advanced: Where dates are fetched, limits, and earlier runs.
    """
    return await run_asked(Asked.model_validate(locals()))
