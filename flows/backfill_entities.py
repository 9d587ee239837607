"""The parent flow for sources that are asked by entity: another form than `flows.backfill`, the same run."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.backfill import flow_run_name, run_asked
from flows.closing.state_hooks import HOOKS
from flows.dropdowns import EntitySource
from flows.log import lets_out_redacted
from flows.parameters import (
    Asked,
    Canary,
    Concurrency,
    DeadlineHours,
    EarlierRun,
    Engine,
    MaxCalls,
    MaxCost,
    Mode,
    OnFailure,
    Parallel,
    PausedRun,
    PlannedRun,
    Publish,
    Reason,
    WaitSeconds,
)


# The same name, so that deployments, automations and commands are backfill/<source> for every source.
@lets_out_redacted
@flow(
    name="backfill",
    flow_run_name=flow_run_name,
    persist_result=False,
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
    on_failure: OnFailure = OnFailure.CONTINUE,
    engine: Engine = Engine.INLINE,
    parallel: Parallel = 0,
    max_concurrency: Concurrency = 8,
    dry_run: bool = False,
    retry_failed: bool = False,
    accept_shrink: bool = False,
    ignore_requires: bool = False,
    exclude: str = "",
    failed_of: EarlierRun = "",
    plan_of: PlannedRun = "",
    resume_of: PausedRun = "",
    canary: Canary = 0,
    breaker: bool = True,
    max_calls: MaxCalls = 0,
    max_cost_usd: MaxCost = 0.0,
    deadline_h: DeadlineHours = 0.0,
    wait_for_lease_s: WaitSeconds = 0.0,
) -> State[Any]:
    """Refills entities of one source (towns, documents ...): fetches what is missing, loads it, sends one mail.

    Entities that are already verified are skipped without a call, until their snapshot is too old.

    Args:
        source: What to refill.
        entities: all, or names separated by commas. alameda.ca: everything of it; alameda.ca~minutes: one kind of
            document; all~minutes: that kind of every one.
        reason: Why this is run, for the mail and the record.
        note: The reason in your own words.
        mode: incremental does what is missing or failed; full fetches everything again; reprocess loads landed
            payloads again without a call; validate only recounts the tables.
        publish: at_once, or after_approval: rows are loaded and recounted beside the tables, a mail shows what they
            would change, and a person publishes or rejects them.
        on_failure: continue with the other entities, or stop and leave them pending.
        engine: inline fetches in this one process; distributed spreads the entities over all workers of the pool.
        parallel: Only for engine distributed: into how many parts the entities are split, all at work at once as far
            as workers and max_concurrency allow. 0 takes the settings: 31 entities in a part, 4 parts at once.
        max_concurrency: How many entities are fetched at once, 1 to 64.
        dry_run: Only show the plan: no call to the source, nothing written, no mail.
        retry_failed: Only those of the entities whose last attempt failed.
        accept_shrink: Only those of the entities that came with fewer rows than before: what is landed is loaded,
            without a call, and the rows that it does not have are removed. Give the reason in the note.
        ignore_requires: Also begin entities that another source has to be done with first. The mail and the record
            name them.
        exclude: Not these entities, written the same way.
        failed_of: Only what this earlier backfill (bf-...) planned and is not done yet.
        plan_of: Only what the stored plan of this earlier backfill wanted to touch and still needs it.
        resume_of: Set by a run that goes on after a pause: entities done since that backfill began are not done twice.
        canary: How many telling entities go first and must be well before the others follow. 0 takes 3 when more
            than 100 are to be fetched, -1 takes none.
        breaker: Stop early at red flags (20 % failing, one error on every entity ...). Off, every entity is tried.
        max_calls: Calls this run may make, or credits where the source counts those; 0 has no limit but the source's.
        max_cost_usd: US dollars this run may cost (calls, storage operations, BigQuery); 0 takes the setting.
        deadline_h: Hours after which nothing more is begun; 0 takes the setting.
        wait_for_lease_s: How long to wait for another run of this source to end; 0 refuses at once.
    """
    return await run_asked(Asked.model_validate(locals()))
