"""The state of one source at one moment, and what comes next: read once, from which every answer is derived.

`situation_of` reads lease, cooldown, scheduled resumes, waiting runs, outbox, plan and ledger; nothing else decides
what state a source is in. Whoever tells people (status, command line, mail) takes from the `Situation`:

* ``state``, with ``paused_for`` and ``until`` (aware UTC) where it is ``PAUSED`` or ``IN_COOLDOWN``,
* ``headline``: that in one sentence,
* ``next_step``: what a person has to do, "nothing to do ..." when it is nothing,
* ``refusal``: why a run that begins now would be refused, "" when it would work,
* ``progress``: of ``backfill_id``, None before its plan is stored.

A run that ends knows its own next instant before anybody can read it: ``RunFacts.resumes_at`` and ``resumes_as`` are
set by `flows.run.resume`, ``commands_work_from`` by the closing; the mail is made of these.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Mapping
from enum import StrEnum

from alerting.advice import MAX_PASTED
from alerting.errors import AuthenticationError, StateUnreadable
from alerting.outbox import Outbox, OutboxEntry
from alerting.ranges import compress_dates
from alerting.store_clock import StoreClock
from alerting.wording import about, plural
from flows.coordination.lease import LeaseRecord, read_lease, seems_taken
from flows.coordination.lease_loan import Waiting, read_waiting
from flows.coordination.standstill import LIVE, Standstill
from flows.ledger.cooldowns import Cooldown, lift_command, read_cooldown, sites_left_alone
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.ledger.resumes import Resume, read_resumes
from flows.ledger.reviews import Review, ReviewState, waiting_review
from flows.parameters import PASTED_WAIT_S
from flows.planning.requested import ALL
from flows.run.progress import Progress
from flows.truth.inventory import span_of
from flows.views.stored_runs import recent_runs, stored_progress, stored_work
from flows.wiring import Services
from scrapers.base import Scraper

DEAD_KEY = AuthenticationError.__name__
QUOTA, BLOCK, PERSON, APPROVAL = "quota", "block", "a person", "approval"
# A scheduled run that has not begun by then has no worker.
OVERDUE = dt.timedelta(minutes=5)


class State(StrEnum):
    """What a source is doing.

    ``paused``: a run goes on later, by itself or when a person says so, as ``paused_for`` tells. ``in cooldown``: after
    a block nothing may begin, and nothing is scheduled. ``hung``: alive, but nothing finished for ``stall_s``.
    ``dead``: without a heartbeat.
    """

    NEVER_RUN = "never run"
    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    IN_COOLDOWN = "in cooldown"
    HUNG = "hung"
    DEAD = "dead"


@dataclasses.dataclass(frozen=True, slots=True)
class Situation:
    """One source at ``now`` (aware UTC). ``run`` is the mail entry of the run in question, else of the last one.

    ``is_alive``: the holder has a heartbeat in time, or works by a loan, by the clock of the store as well.
    ``cooldown`` is None when runs may begin, ``left_alone`` are sites in cooldown; ``resumes`` are those
    that still have something to do. ``review`` is the one whose rows wait for a decision. Where a run has ``ended``,
    what comes next is asked of its ``planned`` partitions alone.
    """

    source: str
    now: dt.datetime
    entries: Mapping[str, LedgerEntry]
    lease: LeaseRecord | None
    is_alive: bool
    cooldown: Cooldown | None
    resumes: tuple[Resume, ...]
    waiting: tuple[Waiting, ...]
    run: OutboxEntry | None
    progress: Progress | None
    patience_s: float
    scraper: Scraper
    review: Review | None = None
    left_alone: Mapping[str, Cooldown] = dataclasses.field(default_factory=dict)
    ended: OutboxEntry | None = None
    planned: Collection[str] | None = None

    @property
    def is_held(self) -> bool:
        """Somebody has the lease, alive or not."""
        return self.lease is not None and self.lease.state in ("held", "paused")

    @property
    def waits_for_approval(self) -> bool:
        """Rows wait for a person, and nobody works on the source meanwhile."""
        return self.review is not None and not self.is_alive

    @property
    def resume(self) -> Resume | None:
        """What goes on next by itself."""
        return self.resumes[0] if self.resumes else None

    @property
    def backfill_id(self) -> str:
        """The run in question: whose rows wait for approval, the holder, the one that goes on by itself, the last."""
        if self.waits_for_approval and self.review:
            return self.review.backfill_id
        if self.is_held and self.lease:
            return self.lease.backfill_id
        return self.resume.backfill_id if self.resume else self.run.backfill_id if self.run else ""

    @property
    def standstill(self) -> Standstill | None:
        """Why the living holder begins nothing."""
        if self.lease is None or not self.is_alive:
            return None
        if self.lease.is_lent(self.now):
            return Standstill(why=LIVE, live_id=self.lease.lent_to)
        return self.lease.standstill

    @property
    def state(self) -> State:
        """See ``State``."""
        if self.waits_for_approval:
            return State.PAUSED
        if self.is_held and self.lease:
            if self.lease.state == "paused":
                return State.PAUSED
            if not self.is_alive:
                return State.DEAD
            if self.standstill:
                return State.PAUSED
            return State.HUNG if self.quiet_s > self.patience_s else State.RUNNING
        if self.resume:
            return State.PAUSED
        if self.cooldown:
            return State.IN_COOLDOWN
        return State.IDLE if self.entries or self.run else State.NEVER_RUN

    @property
    def paused_for(self) -> str:
        """``approval``, ``quota``, ``block``, ``a person``, ``blackout``, ``live work``, ``trouble at the source``.

        Else "".
        """
        if self.state is not State.PAUSED:
            return ""
        if self.waits_for_approval:
            return APPROVAL
        if self.standstill:
            return self.standstill.why
        if self.is_held:
            return PERSON
        return self.resume.waits_for if self.resume else ""

    @property
    def until(self) -> dt.datetime | None:
        """When a pause ends by itself, or the source may be asked again."""
        if self.waits_for_approval:
            return None
        if self.standstill:
            return self.standstill.until
        if self.is_held:
            return None
        if self.resume:
            return self.resume.at
        return self.cooldown.until if self.cooldown else None

    @property
    def is_overdue(self) -> bool:
        """What was to resume automatically has not started in time."""
        return not self.is_held and self.resume is not None and self.now > self.resume.at + OVERDUE

    @property
    def quiet_s(self) -> float:
        """Seconds since the holder brought a partition to any verdict, or since its begin."""
        if self.lease is None:
            return 0.0
        mine = (one.updated_at for one in self.entries.values() if one.backfill_id == self.lease.backfill_id)
        return (self.now - max(mine, default=self.lease.started_at)).total_seconds()

    def with_verdict(self, *verdicts: Verdict) -> list[LedgerEntry]:
        """Entries whose verdict is one of these."""
        return [entry for entry in self.entries.values() if entry.verdict in verdicts]

    @property
    def open_keys(self) -> list[str]:
        """Partitions that were asked for and are not good, sorted."""
        found = sorted(key for key, entry in self.entries.items() if not entry.verdict.is_good)
        return found if self.planned is None else [key for key in found if key in self.planned]

    @property
    def needs_key(self) -> bool:
        """The source refused the key, or Google our identity, and nothing went well there since."""
        return any(self.entries[key].error_type == DEAD_KEY for key in self.open_keys)

    @property
    def headline(self) -> str:
        """The state in one sentence, with the instant at which it changes by itself."""
        if self.waits_for_approval and self.review:
            count = plural(len(self.review.keys), "partition", "waits", "wait")
            return f"paused: {count} for approval in {self.review.review_id}, until {at(self.review.expires_at)}"
        if self.is_held and self.lease:
            who = f"{self.lease.backfill_id} ({self.lease.range_text})"
            if self.state is State.DEAD:
                return f"dead: {who} has no heartbeat"
            if self.state is State.HUNG:
                return f"hung: {who} has finished nothing for {about(self.quiet_s)}"
            if self.standstill:
                return f"{self.standstill.describe()}: {who} resumes automatically"
            if self.lease.state == "paused":
                return f"paused by a person: {who} was suspended in Prefect and waits for Resume"
            return f"running: {who}"
        if self.resume and self.is_overdue:
            return f"paused: {self._resuming}, and it has not started"
        if self.resume:
            why = "after a block" if self.resume.waits_for == BLOCK else "because a quota is used up"
            return f"paused {why}: {self._resuming}"
        if self.cooldown:
            return f"in cooldown until {at(self.cooldown.until)}, after a block of {self.cooldown.backfill_id}"
        return f"{self.state}{self._ended}{self._alone}"

    @property
    def _ended(self) -> str:
        if self.run is None or not self.run.run_facts.verdict:
            return ""
        ended = self.run.run_facts.finished_at or self.run.finished_at
        return f"; {self.run.backfill_id} ended {self.run.run_facts.verdict}" + (f" at {at(ended)}" if ended else "")

    @property
    def _alone(self) -> str:
        told = ", ".join(f"{site} until {at(one.until)}" for site, one in self.left_alone.items())
        return f"; left alone after a block: {told}" if told else ""

    @property
    def _resuming(self) -> str:
        if self.resume is None:
            return ""
        verb = "should have resumed" if self.is_overdue else "resumes"
        resume = self.resume
        return f"{resume.backfill_id} {verb} at {at(resume.at)} automatically as flow run {resume.flow_run_name}"

    @property
    def refusal(self) -> str:
        """Why a run that begins now would be refused, and what to do instead; "" when it would work."""
        if self.is_alive and self.lease:
            return f"refused while {self.lease.backfill_id} runs, unless it waits for it: -p wait_for_lease_s=3600"
        if self.cooldown:
            return f"refused until {at(self.cooldown.until)}; if you know that the block is gone: {self.lift}"
        return ""

    @property
    def lift(self) -> str:
        """The command that ends the cooldown."""
        return lift_command(self.source)

    @property
    def next_step(self) -> str:
        """What a person has to do now."""
        if self.waits_for_approval and self.review:
            look = f"gapless reviews {self.review.review_id}"
            return f"look at it: {look}; then {self.review.approve_command}, or {self.review.reject_command}"
        if self.state is State.HUNG and self.lease:
            return f"look at its log, then cancel it: {cancel_command(self.lease.flow_run_id)}"
        if self.state is State.DEAD:
            return "nothing to do: the watchdog mails and frees it within five minutes; sooner: gapless send-owed"
        if self.paused_for == PERSON and self.lease:
            return f"press Resume in Prefect, or give it up: {cancel_command(self.lease.flow_run_id)}"
        if self.is_overdue:
            return "start a worker: prefect worker start --pool gapless"
        if self.is_alive and self.lease:
            return "nothing to do" + (": it mails when it ends" if self.lease.mode == "backfill" else "")
        if self.resume and self.cooldown:
            return (
                f"nothing to do; to resume sooner, if you know that the block is gone: {self.lift}, then {self.again}"
            )
        if self.resume:
            return "nothing to do" + (f"; to resume sooner: {self.again}" if self.resume.waits_for == BLOCK else "")
        if self.cooldown:
            return f"wait until {at(self.cooldown.until)}, or if you know that the block is gone: {self.lift}"
        if not self.open_keys:
            return "nothing to do"
        open_sites = {self.scraper.site_of(key) for key in self.open_keys} if self.left_alone else set()
        if open_sites and open_sites <= self.left_alone.keys():
            last = max(self.left_alone[site].until for site in open_sites)
            lifts = ", ".join(lift_command(self.source, site) for site in sorted(open_sites))
            return f"wait until {at(last)}, or if you know that the block is gone: {lifts}; then {self.again}"
        if self.needs_key:
            return f"renew the key; then gapless preflight {self.source} --canary, and {self.again}"
        return self.again

    def after(self, ended: OutboxEntry, planned: Collection[str]) -> Situation:
        """As this run of ``planned`` partitions left it: without what other runs do, left, wait for or take up."""
        backfill_id = ended.backfill_id
        is_own = self.lease is not None and self.lease.backfill_id == backfill_id
        return dataclasses.replace(
            self,
            ended=ended,
            planned=planned,
            lease=self.lease if is_own else None,
            is_alive=self.is_alive and is_own,
            resumes=tuple(one for one in self.resumes if one.backfill_id == backfill_id),
            review=self.review if self.review and self.review.backfill_id == backfill_id else None,
        )

    @property
    def retry_failed(self) -> str:
        """The command that takes up what has failed."""
        run = f" --run {self.ended.backfill_id}" if self.ended else ""
        return f"gapless retry-failed {self.source}{run} --reason errors"

    @property
    def again(self) -> str:
        """The command that takes up everything that is not good, whatever became of it; "" when all is."""
        keys = self.open_keys
        if not keys:
            return ""
        if all(self.entries[key].has_failed for key in keys):
            return self.retry_failed
        ranges = compress_dates(keys, join="..")
        is_short = len(ranges) <= MAX_PASTED
        own = ""
        if self.ended:
            publish = self.ended.run_facts.flags.get("publish")
            own += f" --publish {publish}" if publish else ""
            own += "" if is_short else f" -p failed_of={self.ended.backfill_id}"
            own += f" -p wait_for_lease_s={PASTED_WAIT_S}"
        if self.scraper.step == "whole":
            # What is done of all is skipped.
            names = f"'{ranges}'" if is_short else ALL
            return f"gapless run {self.source} --entities {names}{own} --reason errors"
        first, last = span_of(self.scraper, keys)
        is_told = "," in ranges or self.scraper.has_series
        days = f" --dates '{ranges}'" if is_told and is_short else ""
        return f"gapless run {self.source} {first} {last}{days}{own} --reason errors"


def cancel_command(flow_run_id: str) -> str:
    """What ends a flow run; a holder without one is a command at somebody's terminal.

    >>> cancel_command("1b2c"), cancel_command("")
    ('prefect flow-run cancel 1b2c', 'Ctrl+C where it was typed')
    """
    return f"prefect flow-run cancel {flow_run_id}" if flow_run_id else "Ctrl+C where it was typed"


def at(instant: dt.datetime) -> str:
    """An instant for people: minutes, as mails and refusals have them.

    >>> at(dt.datetime(2025, 1, 1, 12, 30, 5, tzinfo=dt.UTC))
    '2025-01-01 12:30 UTC'
    """
    return f"{instant.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"


def situation_of(
    services: Services, source: str, now: dt.datetime, unreadable: list[StateUnreadable] | None = None
) -> Situation:
    """Reads everything at once: one listing of the ledger, and some single objects.

    Raises ``StateUnreadable``. Entries of the ledger and past runs that cannot be read are added to ``unreadable``
    instead, where that is given: they leave the rest true.
    """
    store, kit = services.store, services.source_kit(source)
    entries = kit.ledger.refresh(unreadable=unreadable)
    lease = read_lease(store, source)
    is_alive = lease is not None and seems_taken(store, lease, now)
    if lease is not None and is_alive and not lease.is_alive(now):
        # The clock of this machine is wrong: by it nothing would have been finished for long, either.
        now = StoreClock(store).about()
    cooldown = read_cooldown(store, source)
    resumes = tuple(one for one in read_resumes(store, source) if one.has_work(entries))
    review = waiting_review(store, source)
    review = review if review is not None and review.state is not ReviewState.STAGING else None
    run = None
    if review is not None and not is_alive:
        run = Outbox(store).read(review.backfill_id)
    elif lease is not None and lease.state in ("held", "paused"):
        run = Outbox(store).read(lease.backfill_id)
    elif resumes:
        run = Outbox(store).read(resumes[0].backfill_id)
    run = run or next(recent_runs(store, 1, source, unreadable), None)
    work = stored_work(store, run.backfill_id) if run is not None else None
    return Situation(
        source=source,
        now=now,
        entries=entries,
        lease=lease,
        is_alive=is_alive,
        cooldown=cooldown if cooldown is not None and cooldown.is_on(now) else None,
        resumes=resumes,
        waiting=read_waiting(store, source, now),
        run=run,
        progress=stored_progress(run, work, entries, now) if run is not None and work is not None else None,
        patience_s=services.settings.stall_s or 10 * services.settings.lease_ttl_s,
        scraper=kit.scraper,
        review=review,
        left_alone=sites_left_alone(store, kit.scraper, now),
    )
