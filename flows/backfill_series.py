"""The parent flow for sources of which each entity has dates of its own: another form, the same run."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.asked import Asked
from flows.backfill import flow_run_name, run_asked
from flows.calendar_dates import CalendarDate
from flows.closing.state_hooks import HOOKS
from flows.dropdowns import SeriesSource
from flows.log import lets_out_redacted
from flows.parameters import Advanced, Concurrency, Mode, Order, Publish, Reason, WaitSeconds


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
    max_concurrency: Concurrency = 8,
    dry_run: bool = False,
    retry_failed: bool = False,
    accept_shrink: bool = False,
    dates: str = "",
    exclude: str = "",
    wait_for_lease_s: WaitSeconds = 0.0,
    advanced: Advanced = Advanced(),  # noqa: B008 - frozen; the form shows what a parameter is by its default
) -> State[Any]:
    """Refills a range of dates of some entities of one source (shops ...): fetches what is missing, sends one mail.

    An entity that fails stops no other, and verified dates are skipped.

    Args:
        source: The source to refill.
        start_date: First date, inclusive, in the source's own time zone.
        end_date: Last date, inclusive. It must be over and settled, or today where the source keeps no history.
        reason: Why this is run, for the mail and the record.
        entities: all, or names separated by commas.
        note: The reason in your own words.
        mode: incremental does what is missing or failed; full fetches everything again and loads what changed;
            reprocess loads landed payloads again without a call; validate only recounts the tables.
        publish: at_once, or after_approval: load beside the tables, mail the diff, publish when a person
            approves.
        order: Which dates start first. sequential is oldest first, one at a time.
        max_concurrency: How many are fetched at once, 1 to 64.
        dry_run: Only show the plan: no call to the source, nothing written, no mail.
        retry_failed: Only the dates of the range whose last attempt failed.
        accept_shrink: Load only what came with fewer rows than before, as landed and without a call, and remove the
            other rows. Give the reason in the note.
        dates: Only these dates of the range, as a mail writes them: 2025-01-03, a.example@2025-01-07..2025-01-09.
        exclude: Not these dates of the range, written the same way.
        wait_for_lease_s: How long to wait for another run of this source to end; 0 refuses at once.
        advanced: Where dates are fetched, limits, and earlier runs.
    """
    return await run_asked(Asked.model_validate(locals()))
