"""A family of sources as one run: each source's ordinary backfill, in the order of what they need, and one mail."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
from functools import partial
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import deployment
from prefect.runtime import flow_run as current
from prefect.states import Completed, Failed

from alerting.errors import LeaseHeld, PipelineError
from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from flows.asked import Asked, AskedFamily
from flows.backfill import backfill, run_backfill
from flows.backfill_entities import backfill_entities
from flows.backfill_series import backfill_series
from flows.closing.close import close_backfill, close_dead_runs
from flows.closing.close_family import family_ending, tell_not_begun, told_steps
from flows.closing.mailing import mail_trouble, refuse_without_mail, tell_refused
from flows.closing.state_hooks import HOOKS
from flows.coordination.kept_lease import kept_alive
from flows.coordination.lease import Lease
from flows.coordination.lease_loan import acquire_when_free
from flows.dropdowns import Family, FamilySource
from flows.ledger.verdicts import exit_code
from flows.log import failed, lets_out_redacted, library_logs_in_run, partition_logger
from flows.parameters import AdvancedFamily, Concurrency, DateOrNone, Mode, OnFailure, Period, Reason, WaitSeconds
from flows.planning.family import FamilyPlan, Step, plan_family, step_id
from flows.run.artifacts import show_progress
from flows.run.heap import frozen_heap
from flows.run.interruption import end_children, reason_of
from flows.run.orchestrator import Orchestrator
from flows.run.prefect_orchestrator import PrefectOrchestrator
from flows.run.progress_artifact import artifact_name
from flows.run.resume import schedule_again
from flows.run.starting_facts import family_starting_facts, planned_facts
from flows.run.thread_turns import short_turns
from flows.run_id import backfill_id_of, family_run_name
from flows.wiring import Services, build_services


def flow_run_name() -> str:
    """What the current run does, for the UI."""
    return family_run_name(current.parameters)


# The same name as that of a single source, so that commands say backfill/<family> too.
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
async def backfill_family(
    family: Family,
    reason: Reason,
    *,
    period: Period = "",
    start_date: DateOrNone = "",
    end_date: DateOrNone = "",
    note: str = "",
    skip: list[FamilySource] = [],  # noqa: B006 - the form shows what a parameter is by its default
    also: list[FamilySource] = [],  # noqa: B006
    mode: Mode = Mode.INCREMENTAL,
    on_failure: OnFailure = OnFailure.CONTINUE,
    max_concurrency: Concurrency = 8,
    dry_run: bool = False,
    wait_for_lease_s: WaitSeconds = 0.0,
    advanced: AdvancedFamily = AdvancedFamily(),  # noqa: B008 - frozen; the form shows what a parameter is by its default
) -> State[Any]:
    """Refills a season, a year or a range of dates of all sources of a family, one after the other; sends one mail.

    Verified dates are skipped without a call, so running it twice is safe.

    Args:
        family: The family of sources to refill.
        reason: Why this is run, for the mail and the record.
        period: 2024-25 (a season, where there are seasons), 2024 (a year) or 2024-03 (a month). Or give dates.
        start_date: First date, inclusive, in each source's own time zone; leave the period empty then.
        end_date: Last date, inclusive. Each source is read as far as it is settled.
        note: The reason in your own words.
        skip: Sources of the family to leave out. Sources that need them use what is there.
        also: Sources of other families to run too, such as prices of the games.
        mode: incremental does what is missing or failed; full fetches everything again and loads what changed;
            reprocess loads landed payloads again without a call; validate only recounts the tables.
        on_failure: continue, or stop, when a source is not complete; what needs an incomplete source waits in either
            case.
        max_concurrency: How many dates of a source are fetched at once, 1 to 64.
        dry_run: Only show the plan of all sources: no call to a source, nothing written, no mail.
        wait_for_lease_s: How long to wait for another run of the family, or of one of its sources; 0 refuses.
        advanced: Where dates are fetched, limits, and earlier runs.
    """
    asked = AskedFamily.model_validate(locals())
    family_run = backfill_id_of(current.id or "local", current.run_count or 1)
    try:
        services = build_services()
        if asked.dry_run:
            plan = await asyncio.to_thread(plan_family, services, asked, utc_now())
            return Completed(message=f"dry run, nothing was done\n{plan.describe()}")
        return await run_family(services, asked, family_run, PrefectOrchestrator())
    except PipelineError as error:
        return failed(error)


async def run_family(services: Services, asked: AskedFamily, family_run: str, orchestrator: Orchestrator) -> State[Any]:
    """The whole story: may it begin, hold the family, plan all, run each, close."""
    try:
        # What cannot be planned is refused before anything is held, closed or waited for.
        await asyncio.to_thread(plan_family, services, asked, utc_now())
        lease, plan, facts = await _held(services, asked, family_run)
    except PipelineError as error:
        await asyncio.to_thread(tell_refused, asked, family_run, error)
        raise
    family = FamilyRun(services, asked, plan, family_run, orchestrator, facts)
    return await family.work(lease)


async def _held(services: Services, asked: AskedFamily, family_run: str) -> tuple[Lease, FamilyPlan, RunFacts]:
    await asyncio.to_thread(refuse_without_mail, services)
    for closed in await asyncio.to_thread(close_dead_runs, services, utc_now(), asked.family):
        partition_logger().warning("earlier run %s had died; its mail was sent and its lease freed", closed)
    lease = await acquire_when_free(
        services,
        asked.family,
        backfill_id=family_run,
        range_text=asked.range_text,
        wait_s=asked.wait_for_lease_s,
    )
    async with kept_alive(lease, services.settings.heartbeat_s):
        plan, facts = await _begun(services, asked, family_run, lease)
    return lease, plan, facts


async def _begun(services: Services, asked: AskedFamily, family_run: str, lease: Lease) -> tuple[FamilyPlan, RunFacts]:
    """The plan of a run whose mail is owed from here on. The lease is free again when that fails."""
    with contextlib.ExitStack() as held:
        held.callback(lambda: lease.release(utc_now()))
        plan = await asyncio.to_thread(plan_family, services, asked, utc_now())
        partition_logger().info("%s", plan.describe())
        facts = family_starting_facts(services, asked, plan, family_run)
        covers = [planned_facts(services, step, step_id(family_run, step.source), family_run) for step in plan.steps]
        await asyncio.to_thread(lease.check)
        await asyncio.to_thread(_open, services, asked.family, facts, covers)
        # From here on the closing of the run frees the lease.
        held.pop_all()
    return plan, facts


def _open(services: Services, family: str, facts: RunFacts, covers: list[RunFacts]) -> None:
    services.alerts.enable_backfill_mode(
        facts.backfill_id,
        source=family,
        ttl_s=services.settings.lease_ttl_s,
        facts=facts,
        covers=covers,
    )


@dataclasses.dataclass
class FamilyRun:
    """A family run in this process, whose mail is owed. ``stopped`` is why no further source is begun, "" for go on."""

    services: Services
    asked: AskedFamily
    plan: FamilyPlan
    backfill_id: str
    orchestrator: Orchestrator
    facts: RunFacts
    stopped: str = ""
    artifact_id: UUID | None = None

    async def work(self, lease: Lease) -> State[Any]:
        """Runs every step, then closes; whatever ends it, the mail leaves from here if this process lives."""
        try:
            beat_s, alerts = self.services.settings.heartbeat_s, self.services.alerts
            async with kept_alive(lease, beat_s, also=alerts.heartbeat, when_lost=self._lost):
                for number, step in enumerate(self.plan.steps):
                    if not self._may_begin(step):
                        break
                    await self._show(number, step.source)
                    await self._run(step)
                await self._note_resume()
            closed = await asyncio.to_thread(self._close, "deadline" if self.stopped == "deadline" else "")
        except BaseException as error:
            # Blocking on purpose: a cancelled task may not await again, and the mail must leave all the same.
            aborted = reason_of(error)
            end_children(str(current.id or ""), aborted)
            self._close(aborted)
            raise
        return self._final_state(closed)

    async def _show(self, number: int, source: str) -> None:
        """How far it is, on the page of the run; the step's own page has the rest."""
        of = len(self.plan.steps)
        told = f"{number + 1} of {of}: {source}"
        name = artifact_name(self.backfill_id)
        self.artifact_id = await show_progress(name, self.artifact_id, 100 * number / of, told)

    def _may_begin(self, step: Step) -> bool:
        hours = self.asked.deadline_h
        if hours and self.facts.started_at and utc_now() - self.facts.started_at > dt.timedelta(hours=hours):
            self.stopped = "deadline"
        if self.stopped:
            self._note(f"{step.source} and what comes after it were not started: {self.stopped}")
        return not self.stopped

    async def _run(self, step: Step) -> None:
        """One source, seen as a subflow run of its own; what it raises stops nobody beside it."""
        wanted = step.asked.model_copy(update={"part_of": self.backfill_id})
        scraper = self.services.source_kit(step.source).scraper
        shown = backfill_entities if scraper.step == "whole" else backfill_series if scraper.has_series else backfill
        backfill_id = step_id(self.backfill_id, step.source)
        partition_logger().info("%s: begins as %s", step.source, backfill_id)
        work = partial(run_step, self.services.anew(), wanted, backfill_id, self.orchestrator)
        await self.orchestrator.subflow(shown, wanted.given(), work)
        # A step that ended in any other way than its own still has its last word.
        await asyncio.to_thread(close_backfill, self.services, backfill_id, aborted="crashed", now=utc_now())
        if self.asked.on_failure is OnFailure.STOP and not self.stopped:
            told = {one.backfill_id: one for one in await asyncio.to_thread(self._told)}
            if told[backfill_id].verdict != "COMPLETE":
                self.stopped = f"{step.source} is not complete, and on_failure is stop"

    async def _note_resume(self) -> None:
        """Schedules the run that goes on where a step met a wall, and says so in the mail."""
        steps = await asyncio.to_thread(self._told)
        at = min((step.resumes_at for step in steps if step.resumes_at), default=None)
        if at is None:
            return
        told = f"it can resume at {at:%Y-%m-%d %H:%M} UTC"
        if not deployment.id:
            self._note(f"{told}; run it again then (it was not started from a deployment)")
            return
        try:
            given = self.asked.resumed(self.backfill_id)
            _, name = await schedule_again(self.backfill_id, given, at)
        except Exception as problem:  # whatever the server says, the run has still to end with its mail
            self._note(f"{told}; the run that goes on could not be scheduled, so run it again then")
            partition_logger().error("the resuming run was not scheduled: %s", problem)
            return
        self.facts = dataclasses.replace(self.facts, resumes_at=at, resumes_as=name)

    def _told(self) -> list[RunFacts]:
        return told_steps(self.services, self.backfill_id)

    def _note(self, text: str) -> None:
        self.facts = dataclasses.replace(self.facts, notes=[*self.facts.notes, text])
        partition_logger().warning("%s", text)

    def _close(self, aborted: str) -> RunFacts:
        closed = close_backfill(self.services, self.backfill_id, aborted=aborted, now=utc_now(), facts=self.facts)
        return closed.facts if closed else self.facts

    def _final_state(self, facts: RunFacts) -> State[Any]:
        """Well only when every source is, and the mail is out."""
        message = family_ending(facts, self._told())
        if facts.resumes_as:
            message += f"; resumes automatically as flow run {facts.resumes_as}"
        mail = self.services.alerts.last_result
        if trouble := mail_trouble(mail):
            message += f"; {trouble}"
        is_well = exit_code(facts.verdict) == 0 and not (mail and mail.status in ("failed", "refused"))
        return Completed(message=message) if is_well else Failed(message=message)

    def _lost(self, error: LeaseHeld) -> None:
        self.stopped = error.message


async def run_step(services: Services, asked: Asked, backfill_id: str, orchestrator: Orchestrator) -> State[Any]:
    """The ordinary backfill of one source; why one never began is left for the family's mail."""
    try:
        with library_logs_in_run(), frozen_heap(), short_turns():
            return await run_backfill(services, asked, backfill_id, orchestrator)
    except PipelineError as error:
        await asyncio.to_thread(tell_not_begun, services, asked, backfill_id, error, utc_now())
        return failed(error)
