"""The parent flow: may it begin, hold the source, plan, work, close, one mail.

Its middle, where dates are fetched and loaded, is `flows.mapping`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Callable
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run as current
from prefect.states import Cancelled, Completed, Failed

from alerting.errors import PipelineError
from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from alerting.wording import plural
from flows.asked import Asked
from flows.calendar_dates import CalendarDate
from flows.canaries import try_canaries
from flows.child_runs.parent import attach_windows
from flows.closing.close import close_dead_runs
from flows.closing.finish import finish, pause
from flows.closing.mailing import mail_trouble, refuse_without_mail, tell_refused
from flows.closing.review import approve, diff_lines, open_review, reject
from flows.closing.state_hooks import HOOKS
from flows.coordination.cooldown import refuse_while_cooling
from flows.coordination.intervention import Intervention
from flows.coordination.kept_lease import kept_alive
from flows.coordination.lease import Lease
from flows.coordination.lease_loan import acquire_when_free
from flows.dropdowns import DateSource
from flows.ledger.reviews import Review, ReviewState, list_reviews, named_review
from flows.ledger.verdicts import abort_reason, exit_code
from flows.log import failed, lets_out_redacted, library_logs_in_run, partition_logger
from flows.mapping import map_windows
from flows.parameters import Advanced, Concurrency, Mode, Order, Publish, Reason, WaitSeconds
from flows.planning.catalogue import refresh_catalogue
from flows.planning.engine import Spread, spread
from flows.planning.plan import Plan
from flows.planning.planner import Planned, plan_asked
from flows.planning.query_bytes import EarlyDryRun, plan_dry_run
from flows.planning.versions import refresh_versions
from flows.run.artifacts import ended, report_progress
from flows.run.cost_history import remember_cost
from flows.run.heap import frozen_heap
from flows.run.heartbeat import keep_alive
from flows.run.interruption import end_children, reason_of
from flows.run.metrics import metered
from flows.run.orchestrator import Decided, Orchestrator
from flows.run.prefect_orchestrator import PrefectOrchestrator, handed_over
from flows.run.progress import ending_of, final_block
from flows.run.resume import begin_resumed, note_resume, take_back_needless
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.run.supervisor import Supervisor
from flows.run.thread_turns import short_turns
from flows.run_id import backfill_id_of, run_name
from flows.wiring import Services, build_services
from processors.review import Stale
from scrapers.scrape import nothing

# The watchdog ends a review and says so; Prefect's own time limit only fails the run.
_LONGER_THAN_REVIEW_S = 86_400


def flow_run_name() -> str:
    """What the current run does, for the UI."""
    return run_name(current.parameters)


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
async def backfill(
    source: DateSource,
    start_date: CalendarDate,
    end_date: CalendarDate,
    reason: Reason,
    *,
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
    """Refills a range of dates of one source: fetches and loads what is missing, verifies it, sends one mail.

    Verified dates are skipped without a call, so running a range twice is safe.

    Args:
        source: The source to refill.
        start_date: First date, inclusive, in the source's own time zone.
        end_date: Last date, inclusive. It must be over and settled.
        reason: Why this is run, for the mail and the record.
        note: The reason in your own words.
        mode: incremental does what is missing or failed; full fetches everything again and loads what changed;
            reprocess loads landed payloads again without a call; validate only recounts the tables.
        publish: at_once, or after_approval: load beside the tables, mail the diff, publish when a person
            approves.
        order: Which dates start first. sequential is oldest first, one at a time.
        max_concurrency: How many dates are fetched at once, 1 to 64.
        dry_run: Only show the plan: no call to the source, nothing written, no mail.
        retry_failed: Only the dates of the range whose last attempt failed.
        accept_shrink: Load only what came with fewer rows than before, as landed and without a call, and remove the
            other rows. Give the reason in the note.
        dates: Only these dates of the range, as a mail writes them: 2025-01-03, 2025-01-07..2025-01-09.
        exclude: Not these dates of the range, written the same way.
        wait_for_lease_s: How long to wait for another run of this source to end; 0 refuses at once.
        advanced: Where dates are fetched, limits, and earlier runs.
    """
    return await run_asked(Asked.model_validate(locals()))


async def run_asked(asked: Asked) -> State[Any]:
    """What every backfill flow does, whatever its form asks for. Must be awaited inside of a flow run."""
    if step := handed_over():
        # Of a family run in this process, which knows more of it than its parameters say.
        return await step()
    backfill_id, has_begun = backfill_id_of(current.id or "local", current.run_count or 1), threading.Event()
    try:
        services = build_services()
        if review := await asyncio.to_thread(_review_of, services, asked.source, backfill_id):
            return await decided(services, review, PrefectOrchestrator())
        planned = await asyncio.to_thread(plan_asked, services, asked, utc_now())
        if asked.dry_run:
            read = await asyncio.to_thread(plan_dry_run, services, asked.source, planned.plan)
            return Completed(message=f"dry run, nothing was done. {planned.describe()}\n{read.describe()}")
        reading = asyncio.create_task(asyncio.to_thread(plan_dry_run, services, asked.source, planned.plan))
        early = EarlyDryRun(planned.plan, reading)
        with library_logs_in_run(), frozen_heap(), short_turns():
            return await run_backfill(services, asked, backfill_id, PrefectOrchestrator(), early, has_begun.set)
    except PipelineError as error:
        # What has begun has its own mail.
        if not (asked.dry_run or has_begun.is_set()):
            await asyncio.to_thread(tell_refused, asked, backfill_id, error)
        return failed(error)


async def run_backfill(
    services: Services,
    asked: Asked,
    backfill_id: str,
    orchestrator: Orchestrator,
    early: EarlyDryRun | None = None,
    begun: Callable[[], object] = nothing,
) -> State[Any]:
    """The whole story: may it begin, hold the source, plan, work, close; ``begun`` is called when its mail is owed."""
    await _refuse_what_may_not_begin(services, asked)
    lease = await acquire_when_free(
        services,
        asked.source,
        backfill_id=backfill_id,
        range_text=asked.range_text,
        wait_s=asked.wait_for_lease_s,
    )
    async with kept_alive(lease, services.settings.heartbeat_s):
        run, plan = await _begun(services, asked, backfill_id, orchestrator, lease, early)
    begun()
    facts = await _work(run, plan, lease)
    if facts is None:
        review = await asyncio.to_thread(named_review, services.store, run.review_id)
        return Completed(message=_waits(review))
    return _final_state(run, facts)


async def decided(services: Services, review: Review, orchestrator: Orchestrator) -> State[Any]:
    """Asks a person about the rows that wait, and does it; a run begins here again when it was resumed."""
    while True:
        left_s = (review.expires_at - utc_now()).total_seconds()
        decision = await orchestrator.decision(review.round, diff_lines(review), max(left_s, 0) + _LONGER_THAN_REVIEW_S)
        if decision is None:
            return Completed(message=_waits(review))
        by = Intervention(decision.by, decision.reason, utc_now())
        act = approve if decision.choice is Decided.PUBLISH else reject
        try:
            closed = await asyncio.to_thread(act, services, review.review_id, by)
        except Stale as error:
            partition_logger().warning("%s", error)
            before, review = review, await asyncio.to_thread(named_review, services.store, review.review_id)
            if review.round == before.round:
                raise
            continue
        if closed is None:
            return Completed(message=f"review {review.review_id} is over")
        message = f"{ending_of(closed.facts)}; {decision.choice.value} by {decision.by}"
        if decision.choice is Decided.REJECT:
            return Cancelled(message=message)
        return Completed(message=message) if exit_code(closed.facts.verdict) == 0 else Failed(message=message)


def _review_of(services: Services, source: str, backfill_id: str) -> Review | None:
    """What this run waits for a decision on, since it was suspended."""
    waiting = list_reviews(services.store, source=source, waiting_only=True)
    mine = (one for one in waiting if one.backfill_id == backfill_id)
    return next((one for one in mine if one.state is not ReviewState.STAGING), None)


def _waits(review: Review) -> str:
    return f"{plural(len(review.keys), 'partition', 'waits', 'wait')} for approval: {review.approve_command}"


async def _refuse_what_may_not_begin(services: Services, asked: Asked) -> None:
    """Nothing is begun in a cooldown, or where nobody would get the mail; what died earlier is closed first."""
    looks = [begin_resumed(services, asked.source), asyncio.to_thread(refuse_without_mail, services)]
    if asked.mode.may_fetch:
        looks.insert(1, asyncio.to_thread(refuse_while_cooling, services.store, asked.source, utc_now()))
    for refused in await asyncio.gather(*looks, return_exceptions=True):
        if refused is not None:
            raise refused
    for closed in await asyncio.to_thread(close_dead_runs, services, utc_now(), asked.source):
        partition_logger().warning("earlier run %s had died; its mail was sent and its lease freed", closed)


async def _begun(
    services: Services,
    asked: Asked,
    backfill_id: str,
    orchestrator: Orchestrator,
    lease: Lease,
    early: EarlyDryRun | None,
) -> tuple[Run, Plan]:
    """A run with its plan stored and its outbox entry open. The lease is free again when that fails."""
    with contextlib.ExitStack() as held:
        held.callback(lambda: lease.release(utc_now()))
        if asked.mode.may_fetch:
            # Again, because the source may have blocked the run that this one waited for.
            await asyncio.to_thread(refuse_while_cooling, services.store, asked.source, utc_now())
        run = held.enter_context(Run(services, asked, backfill_id, orchestrator))
        for told in await run.in_thread(
            refresh_catalogue, services, run.kit.scraper, run.client, asked.entities, utc_now()
        ):
            run.note(told)
        for told in await run.in_thread(refresh_versions, services, run.kit.scraper, run.client, utc_now()):
            run.note(told)
        # Again, because only the holder of the lease sees a ledger that nobody else changes.
        planned = await run.in_thread(plan_asked, services, asked, utc_now(), backfill_id)
        if early is None or not early.is_of(planned.plan):
            early = EarlyDryRun(planned.plan, run.in_thread(plan_dry_run, services, asked.source, planned.plan))
        read = await early.asking
        partition_logger().info("%s\n%s", planned.describe(), read.describe())
        run.spread = await _engine_for(run, planned)
        attach_windows(run)
        promised = {**planned.estimate.promised(), **read.promised()}
        facts = starting_facts(services, planned.plan, promised, backfill_id, asked, run.spread.describe())
        await run.in_thread(lease.check)
        await run.in_thread(run.begin, planned, facts)
        # From here on the closing of the run frees the lease, and the end of its work closes it.
        held.pop_all()
    return run, planned.plan


async def _engine_for(run: Run, planned: Planned) -> Spread:
    """As planned; ``auto`` spreads over no more workers than there are."""
    chosen = planned.spread
    if chosen.why and chosen.is_distributed:
        workers = await run.orchestrator.workers(f"dates/{run.source}")
        chosen = spread(run.asked.engine, run.asked.parallel, dataclasses.replace(planned.load, workers=workers))
        partition_logger().info("engine %s", chosen.describe())
    return chosen


async def _work(run: Run, plan: Plan, lease: Lease) -> RunFacts | None:
    """Everything between the first promise of a mail and its sending; the recounted facts.

    None when rows wait for approval, and this process cannot be suspended until then.
    """
    supervisor = Supervisor(run, lease)
    watching = [asyncio.create_task(work) for work in (keep_alive(run, lease), supervisor.watch())]
    reporting = asyncio.create_task(report_progress(run))
    metrics, waits = contextlib.ExitStack(), "suspended in Prefect: Resume does the rest"
    try:
        metrics.enter_context(metered(run))
        await supervisor.step()
        await map_windows(run, await try_canaries(run, plan))
        await note_resume(run)
        # Before the closing, which has the last word on the progress artifact.
        await ended(reporting)
        if run.review is not None and (review := await run.in_thread(open_review, run)):
            waits = _waits(review)
            partition_logger().warning("%s\n%s", waits, "\n".join(diff_lines(review)))
            left_s = (review.expires_at - utc_now()).total_seconds()
            await run.orchestrator.decision(review.round, diff_lines(review), left_s + _LONGER_THAN_REVIEW_S)
            pause(run, waits)
            return None
        return await _close(run)
    except BaseException as error:
        # What stands in line for a slot makes no call any more.
        run.gate.shut_now("ended")
        # Blocking on purpose: a cancelled task may not await again, and the mail must leave all the same.
        aborted = reason_of(error)
        if aborted == "paused":
            pause(run, waits)
        else:
            finish(run, aborted)
        end_children(str(current.id or ""), aborted)
        raise
    finally:
        for task in (*watching, reporting):
            task.cancel()
        metrics.close()
        run.close()


async def _close(run: Run) -> RunFacts:
    """Sends the mail and frees the lease; then what the next runs learn from this one."""
    facts, found = await asyncio.gather(
        run.in_thread(finish, run, abort_reason(run.stopped_by or run.loading_stopped_by)),
        run.in_thread(take_back_needless, run.services, run.source),
    )
    await run.in_thread(remember_cost, run, facts)
    for needless in found:
        partition_logger().info(
            "flow run %s was to go on at %s UTC and was cancelled: nothing is left for it",
            needless.flow_run_name, f"{needless.at:%Y-%m-%d %H:%M}",
        )  # fmt: skip
    return facts


def _final_state(run: Run, facts: RunFacts) -> State[Any]:
    """Well only when every partition is good and the mail is out."""
    message = ending_of(facts)
    if run.resumes and not facts.resumes_at:
        message += f"; {run.resumes}"
    partition_logger().info("%s", final_block(facts))
    mail = run.services.alerts.last_result
    if trouble := mail_trouble(mail):
        message += f"; {trouble}"
    is_well = exit_code(facts.verdict) == 0 and not (mail and mail.status in ("failed", "refused"))
    return Completed(message=message) if is_well else Failed(message=message)
