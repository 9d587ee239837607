"""The parent flow for sources of which each entity has dates of its own: another form, the same run."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.backfill import flow_run_name, run_asked
from flows.calendar_dates import CalendarDate
from flows.closing.state_hooks import HOOKS
from flows.dropdowns import SeriesSource
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
    Order,
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
async def backfill_series(
    source: SeriesSource,
    start_date: CalendarDate,
    end_date: CalendarDate,
    reason: Reason,
    *,
    entities: str = "all",
    note: str = "",
    mode: Mode = Mode.INCREMENTAL,
    publish: Publish = Publish.AT_ONCE,
    order: Order = Order.OLDEST_FIRST,
    on_failure: OnFailure = OnFailure.CONTINUE,
    engine: Engine = Engine.INLINE,
    parallel: Parallel = 0,
    max_concurrency: Concurrency = 8,
    dry_run: bool = False,
    retry_failed: bool = False,
    accept_shrink: bool = False,
    ignore_requires: bool = False,
    dates: str = "",
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
    """Refills a range of dates of some entities of one source (shops ...): fetches what is missing, sends one mail.

    Each entity at each date is done for itself: one that fails stops no other, and what is verified is skipped.

    Args:
        source: What to refill.
        start_date: First date, inclusive, in the source's own time zone.
        end_date: Last date, inclusive. It must be over and settled, or today where the source keeps no history.
        reason: Why this is run, for the mail and the record.
        entities: all, or names separated by commas.
        note: The reason in your own words.
        mode: incremental does what is missing or failed; full fetches everything again and loads what changed;
            reprocess loads landed payloads again without a call; validate only recounts the tables.
        publish: at_once, or after_approval: rows are loaded and recounted beside the tables, a mail shows what they
            would change, and a person publishes or rejects them.
        order: Which dates are begun first; a window of dates begins only when the one before it has. sequential is
            oldest first, one at a time.
        on_failure: continue with the other dates, or stop and leave them pending.
        engine: inline fetches in this one process; distributed spreads windows of dates over all workers of the pool.
        parallel: Only for engine distributed: into how many parts the dates are split, all at work at once as far as
            workers and max_concurrency allow. 0 takes the settings: 31 dates in a part, 4 parts at once.
        max_concurrency: How many dates are fetched at once, 1 to 64.
        dry_run: Only show the plan: no call to the source, nothing written, no mail.
        retry_failed: Only the dates of the range whose last attempt failed.
        accept_shrink: Only the dates of the range that came with fewer rows than before: what is landed is loaded,
            without a call, and the rows that it does not have are removed. Give the reason in the note.
        ignore_requires: Also begin dates that another source has to be done with first, as results after their cards.
            The mail and the record name them.
        dates: Only these dates of the range, as a mail writes them: 2025-01-03, a.example@2025-01-07..2025-01-09.
        exclude: Not these dates of the range, written the same way.
        failed_of: Only what this earlier backfill (bf-...) planned and is not done yet.
        plan_of: Only what the stored plan of this earlier backfill wanted to touch and still needs it.
        resume_of: Set by a run that goes on after a pause: dates done since that backfill began are not done twice.
        canary: How many telling dates go first and must be well before the others follow. 0 takes 3 when more
            than 100 are to be fetched, -1 takes none.
        breaker: Stop early at red flags (20 % failing, one error on every date ...). Off, every date is tried.
        max_calls: Calls this run may make, or credits where the source counts those; 0 has no limit but the source's.
        max_cost_usd: US dollars this run may cost (calls, storage operations, BigQuery); 0 takes the setting.
        deadline_h: Hours after which nothing more is begun; 0 takes the setting.
        wait_for_lease_s: How long to wait for another run of this source to end; 0 refuses at once.
    """
    return await run_asked(Asked.model_validate(locals()))
