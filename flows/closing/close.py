"""Ends a backfill from whatever process is left: recount, verdict, record, lease, and the one mail.

Four callers share it, and the outbox's atomic claim lets exactly one of them send: the flow's own ``finally``, its
state hooks (a new process after kill -9), the watchdog, and the next start of the same source. It reads plan, ledger
and journal only, never another process's memory.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
from collections.abc import Mapping
from contextvars import copy_context

from alerting.delivery import OwedSummary, SendResult, owed_summaries, send_owed_summary
from alerting.errors import PipelineError, StateUnreadable
from alerting.outbox import Outbox, OutboxEntry
from alerting.ranges import compress_dates
from alerting.run_facts import RunFacts, Wait
from alerting.store_clock import StoreClock
from alerting.wording import plural
from flows.closing.announcing import announce, run_events
from flows.closing.close_family import family_ending, family_facts, told_steps
from flows.closing.dropping import settle_review, waiting_ids
from flows.closing.record import keep_mail, keep_record
from flows.closing.settle_ledger import Ending, settle_ledger
from flows.coordination.lease import has_run_out, list_leases, release_lease, suspended_runs
from flows.ledger.cooldowns import cooling_until, held_back, lift_command
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.ledger.pending import CANCELLED
from flows.ledger.resumes import read_resumes
from flows.ledger.reviews import list_reviews
from flows.ledger.verdicts import backfill_verdict, count_verdicts, mail_outcome
from flows.planning.plan import Path
from flows.planning.stored_plan import StoredPlan, read_plan, run_prefix
from flows.run.calendar_artifact import calendar_artifacts
from flows.run.data_facts import with_data_facts
from flows.run.progress import ending_of
from flows.run.progress_artifact import end_progress, has_page
from flows.run.result_artifacts import result_artifacts
from flows.truth.kept_look import keep_look_at
from flows.wiring import Services
from scrapers.threads import threads

LOG = logging.getLogger("gapless.closing")


@dataclasses.dataclass(frozen=True)
class Closed:
    """The recounted facts of an ended run, and what became of its mail."""

    facts: RunFacts
    mail: SendResult | None


def recount(
    services: Services,
    facts: RunFacts,
    plan: StoredPlan,
    ledger: Mapping[str, LedgerEntry],
    *,
    aborted: str,
    now: dt.datetime,
) -> RunFacts:
    """``facts`` with verdict, counts and tables as the stored plan and ``ledger`` have them."""
    keys = plan.keys
    counts = count_verdicts(keys, ledger, unavailable=set(plan.unavailable))
    verdict = backfill_verdict(counts, services.settings.acceptable_share, aborted)
    entries = [ledger[key] for key in keys if key in ledger]
    untouched = _untouched(facts.backfill_id, plan, ledger)
    if aborted and untouched and verdict == "COMPLETE":
        # Everything is good, but not by this run: it was to do good dates again and did not come to them.
        verdict = f"ABORTED({aborted})"
        facts = dataclasses.replace(facts, notes=[*facts.notes, _told_untouched(facts, untouched, len(keys))])
    tables = services.source_kit(facts.source).scraper.tables
    return dataclasses.replace(
        with_data_facts(facts, tables, entries, plan.since),
        planned=len(keys),
        verdict=verdict,
        outcome=mail_outcome(verdict),
        verdict_counts=_as_facts(counts),
        not_renewed=sum(entry.keeps_verified_rows for entry in entries),
        work_counts=_as_facts(count_verdicts(plan.work_of(skipping=untouched), ledger)),
        fetch_counts=_as_facts(count_verdicts(plan.work_of(Path.FETCH, skipping=untouched), ledger)),
        calendar={key: ledger[key].verdict.value if key in ledger else "planned" for key in keys},
        finished_at=now,
        wall_s=(now - facts.started_at).total_seconds() if facts.started_at else facts.wall_s,
    )


def _as_facts(counts: Mapping[Verdict, int]) -> dict[str, int]:
    return {one.value: count for one, count in sorted(counts.items()) if count}


def _untouched(backfill_id: str, plan: StoredPlan, ledger: Mapping[str, LedgerEntry]) -> list[str]:
    """Partitions that the run was to work on and whose verdict is older than the run.

    Its own are not, whatever time the clock of a window's machine gave them.
    """
    if plan.since is None:
        return []
    return [
        key
        for key, is_work in plan.work.items()
        if is_work
        and (entry := ledger.get(key)) is not None
        and entry.updated_at < plan.since
        and entry.backfill_id != backfill_id
    ]


def _told_untouched(facts: RunFacts, keys: list[str], planned: int) -> str:
    return (
        f"{len(keys):,} of {plural(planned, 'planned partition')} not done again (mode {facts.mode}); good by "
        f"earlier runs: {compress_dates(keys)}"
    )


def close_backfill(
    services: Services,
    backfill_id: str,
    *,
    aborted: str,
    now: dt.datetime,
    facts: RunFacts | None = None,
    resumes_at: dt.datetime | None = None,
) -> Closed | None:
    """Gives all that was planned a verdict, recounts, keeps the record, frees the lease, sends the mail still owed.

    Args:
        services: The outside.
        backfill_id: Which run.
        aborted: Why it ended early (``critical``, ``user``, ``crashed``, ``deadline`` ...), "" when it did not.
        now: Aware UTC.
        facts: What the flow itself knows (calls, waits); None takes what it stored at its start.
        resumes_at: When the run goes on by itself (aware), None when it does not.

    Returns:
        The recounted facts and what became of the mail; None when this run owes none (any more).
    """
    owed = Outbox(services.store).read(backfill_id)
    if owed is not None and owed.closed and owed.source and not owed.covers:
        release_lease(services.store, owed.source, backfill_id, now)
        return None
    if owed is None or owed.closed:
        free_lease_of(services, backfill_id, now)
        return None
    if owed.covers:
        return _close_family(services, owed, aborted=aborted, now=now, facts=facts)
    known = facts or owed.run_facts
    if not resumes_at and not settle_review(services, known, aborted, now):
        return None
    early = CANCELLED if aborted == "user" else f"ended ({aborted})"
    ended = f"{early} before it began this" if aborted else "ended without beginning this"
    plan = read_plan(services.store, backfill_id)
    ledger = settle_ledger(services.store, known.source, backfill_id, plan, Ending(ended, now, resumes_at))
    # The whole history is some round trips to storage, and so are record and mail.
    with threads(1, "calendar") as beside:
        is_shown = has_page(known.flow_run_id)
        drawing = beside.submit(
            calendar_artifacts, services, [known.source] if is_shown else [], now, known.flow_run_id
        )
        final = _told_cooldown(services, recount(services, known, plan, ledger, aborted=aborted, now=now), now)
        keep_record(services.store, run_prefix(backfill_id), final)
        result = _sent(services, backfill_id, final, now)
        told = final.redacted()
        shown = result_artifacts(told, ledger, services.settings.inbox_url) if is_shown else []
        ending = final.flow_run_id, ending_of(final)
        showing = beside.submit(copy_context().run, lambda: end_progress(*ending, [*shown, *drawing.result()]))
        _leave(services, backfill_id, known.source, result, now)
        # Who waits for it may take the source at once.
        announce(run_events(told, ledger, services.table_names(final.source)))
        showing.result()
    sent = f"mail {result.status}" if result else "no mail was owed"
    LOG.info("backfill %s closed: %s; %s", backfill_id, ending_of(final), sent)
    return Closed(final, result)


def _close_family(
    services: Services, owed: OutboxEntry, *, aborted: str, now: dt.datetime, facts: RunFacts | None
) -> Closed:
    """Closes what its steps left open, then sums them up and sends the mail that tells of all of them."""
    backfill_id = owed.backfill_id
    for planned in owed.covers:
        close_backfill(services, str(planned["backfill_id"]), aborted=aborted or "crashed", now=now)
    steps = told_steps(services, backfill_id)
    final = family_facts(
        facts or owed.run_facts,
        steps,
        aborted=aborted,
        acceptable_share=services.settings.acceptable_share,
        now=now,
    )
    prefix = run_prefix(backfill_id)
    keep_record(services.store, prefix, final)
    result = _sent(services, backfill_id, final, now)
    _leave(services, backfill_id, owed.source, result, now)
    tables = [table for step in steps for table in services.table_names(step.source)]
    announce(run_events(final.redacted(), {}, tables))
    end_progress(final.flow_run_id, family_ending(final, steps))
    # The mail is out: tables of our own delay nobody.
    first, last = map(dt.date.fromisoformat, (final.start_date, final.end_date))
    keep_look_at(services, [step.source for step in steps], first, last, now)
    LOG.info("family run %s closed: %s", backfill_id, family_ending(final, steps))
    return Closed(final, result)


def _sent(services: Services, backfill_id: str, final: RunFacts, now: dt.datetime) -> SendResult | None:
    """Sends the mail that is owed."""
    if services.alerts.backfill_id == backfill_id:
        return services.alerts.disable_backfill_mode(run_facts=final)
    return send_owed_summary(services.store, services.channels, backfill_id, run_facts=final, now=now)


def _leave(services: Services, backfill_id: str, source: str, sent: SendResult | None, now: dt.datetime) -> None:
    """Frees the source, and keeps the mail beside the record meanwhile."""
    with threads(1, "keep") as beside:
        if sent and sent.mail_object:
            keeping = beside.submit(keep_mail, services.store, run_prefix(backfill_id), sent)
        release_lease(services.store, source, backfill_id, now)
    if sent and sent.mail_object:
        keeping.result()


def _told_cooldown(services: Services, facts: RunFacts, now: dt.datetime) -> RunFacts:
    """With the instant from which the mail's commands work, while the source, or a part of it, is in cooldown."""
    try:
        until = cooling_until(services.store, facts.source, now)
        waits = [] if until else _waits(services, facts, now)
    except StateUnreadable as error:
        LOG.error("the mail does not say from when its commands work: %s", error)
        return facts
    if until is None:
        return dataclasses.replace(facts, waits=waits)
    return dataclasses.replace(facts, commands_work_from=until, command_to_begin_sooner=lift_command(facts.source))


def _waits(services: Services, facts: RunFacts, now: dt.datetime) -> list[Wait]:
    verdicts = {key: Verdict(verdict) for key, verdict in facts.calendar.items()}
    held = held_back(services.store, services.source_kit(facts.source).scraper, verdicts, now)
    scheduled = read_resumes(services.store, facts.source) if held else ()
    names = {one.backfill_id: one.flow_run_name for one in scheduled}
    name = names.get(facts.backfill_id, "")
    return [Wait(compress_dates(one.keys, join=".."), one.until, one.lift, name) for one in held]


def free_lease_of(services: Services, backfill_id: str, now: dt.datetime) -> None:
    """Frees what an ended run still holds; it may have died between taking the lease and promising a mail."""
    for lease in list_leases(services.store, unreadable=[]):
        if lease.backfill_id == backfill_id and lease.state == "held":
            release_lease(services.store, lease.source, backfill_id, now)


def close_dead_runs(services: Services, now: dt.datetime, source: str = "", *, at_once: bool = False) -> list[str]:
    """Closes every run whose mail is owed and whose lease has expired or gone; returns their ids.

    ``at_once`` also tries a mail again that rests after failed tries.

    A paused run lives until somebody takes its source or ends it, and one whose rows wait for approval until somebody
    decides. Called by the watchdog for all sources and by the next start for its own.

    Raises ``StateUnreadable``, and what closing one of them raises, when all others are closed; with ``source`` nothing
    that is known to concern another source alone.
    """
    closed, troubles = list[str](), list[PipelineError]()
    owed, alive = _owed_and_alive(services, now, troubles)
    unclear = {trouble.source for trouble in troubles}
    waits = ("claimed",) if at_once else ("claimed", "resting")
    for one in owed:
        if one.backfill_id in alive or one.why in waits or (source and one.entry.source != source):
            continue
        if one.entry.source in unclear:
            continue
        try:
            if _is_closed(services, one, now):
                closed.append(one.backfill_id)
        except PipelineError as error:
            LOG.error("dead run %s is not closed: %s", one.backfill_id, error)
            troubles.append(error.located(source=one.entry.source))
    for trouble in troubles:
        if source in ("", trouble.source) or not trouble.source:
            raise trouble
        LOG.error("%s", trouble)
    return closed


def _owed_and_alive(
    services: Services, now: dt.datetime, troubles: list[PipelineError]
) -> tuple[list[OwedSummary], set[str]]:
    """What is owed, and the ids of runs that live; what cannot be read of either is added to ``troubles``."""
    unreadable = list[StateUnreadable]()
    # Before the leases: a run takes its lease first, and owes its mail then. Who begins between two listings would
    # owe a mail and hold nothing.
    owed = owed_summaries(services.store, now, unreadable)
    leases = list(list_leases(services.store, unreadable))
    clock = StoreClock(services.store)
    alive = {one.backfill_id for one in leases if one.state == "held" and not has_run_out(clock, one, now)}
    alive |= suspended_runs(leases)
    # A live run takes the lease of a run whose rows wait for approval, and that run lives all the same.
    alive |= waiting_ids(list_reviews(services.store, waiting_only=True, unreadable=unreadable))
    troubles += unreadable
    return owed, alive


def _is_closed(services: Services, owed: OwedSummary, now: dt.datetime) -> bool:
    """Closes a run that is dead; False where its mail did not leave, or somebody else has closed it meanwhile."""
    if owed.entry.finished_at is None or not owed.entry.message_id:
        return close_backfill(services, owed.backfill_id, aborted="crashed", now=now) is not None
    # It has ended, and its mail is drawn: a recount would put what is true today over the record of the run.
    free_lease_of(services, owed.backfill_id, now)
    send_owed_summary(services.store, services.channels, owed.backfill_id, now=now)
    entry = Outbox(services.store).read(owed.backfill_id)
    return entry is not None and entry.closed
