"""Fifteen questions people ask at two in the morning, answered for one source. Pure over what was read."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Mapping
from zoneinfo import ZoneInfo

from alerting.outbox import OutboxEntry
from alerting.ranges import compress_dates
from alerting.wording import about
from flows.control.cooldown import lift_command
from flows.control.lease import LeaseRecord
from flows.ledger import LedgerEntry, Verdict
from flows.plans.first_date import known_scraper
from flows.views.inspection import Cause, causes_of, mail_state
from flows.wiring import Services
from processors import table_budget
from scrapers.rate_limits import described, next_reset

_SHOWN_CAUSES = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """One of the fifteen: its number, what was asked, the answer in one or more lines."""

    number: int
    question: str
    answer: str


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What the answers are made of."""

    services: Services
    source: str
    now: dt.datetime
    entries: Mapping[str, LedgerEntry]
    lease: LeaseRecord | None
    run: OutboxEntry | None
    cooling_until: dt.datetime | None = None

    @property
    def held(self) -> bool:
        """Somebody has the lease, alive or not."""
        return self.lease is not None and self.lease.state in ("held", "paused")

    @property
    def alive(self) -> bool:
        """The holder gave a sign of life in time."""
        return self.lease is not None and self.lease.is_alive(self.now)

    def with_verdict(self, *verdicts: Verdict) -> list[LedgerEntry]:
        """Entries whose verdict is one of these."""
        return [entry for entry in self.entries.values() if entry.verdict in verdicts]

    @property
    def failed(self) -> list[Cause]:
        """Failed partitions by cause."""
        return causes_of(entry for entry in self.entries.values() if entry.verdict.is_failed)

    @property
    def landed_only(self) -> list[LedgerEntry]:
        """Landed, and not yet called done."""
        return self.with_verdict(Verdict.LANDED, Verdict.LOADED)

    @property
    def last_done(self) -> LedgerEntry | None:
        """The partition that got a good verdict last."""
        done = [entry for entry in self.entries.values() if entry.verdict.is_good]
        return max(done, key=lambda entry: entry.updated_at, default=None)

    @property
    def state(self) -> str:
        """running, hung (alive, but nothing finished for ``stall_s``), dead (no heartbeat), idle, or never run."""
        if not self.held or self.lease is None:
            return "idle" if self.entries or self.run else "never run"
        if self.lease.state == "paused":
            return "paused"
        if not self.alive:
            return "dead"
        last = self.last_done.updated_at if self.last_done else self.lease.started_at
        quiet_s = (self.now - max(last, self.lease.started_at)).total_seconds()
        patience_s = self.services.settings.stall_s or 10 * self.services.settings.lease_ttl_s
        return "hung" if quiet_s > patience_s else "running"


def answers_to(seen: Seen) -> list[Answer]:
    """All fifteen, in the order in which people ask."""
    answers = (
        ("Is it running, hung or dead? When did a partition last finish?", _alive(seen)),
        ("Which dates failed, and is it one cause or many?", _failures(seen)),
        ("Is it us, the source, quota or permissions?", _blame(seen)),
        ("Is anything lost, or is the raw data in the bucket?", _raw(seen)),
        ("Can I kill it? Can I rerun? Will it duplicate?", _rerun(seen)),
        ("Which command retries only the failed?", retry_command(seen.source, seen.failed)),
        ("Is 0 records right for that day?", _empty(seen)),
        ("Who holds the lease, and how is a stuck one freed?", _holder(seen)),
        ("When does the quota reset, and what is used?", _quota(seen)),
        ("Did the mail go out? Are live alerts muted?", _mail(seen)),
        ("Which code ran?", _code(seen)),
        ("How long to go?", _eta(seen)),
        ("What depends on these dates?", _dependents(seen)),
        ("Is something gone for good?", _unavailable(seen)),
        ("Can it wait until morning?", _urgency(seen)),
    )
    return [Answer(number, question, answer) for number, (question, answer) in enumerate(answers, start=1)]


def _alive(seen: Seen) -> str:
    last = seen.last_done
    finished = f"last finished: {last.partition} at {_at(last.updated_at)}" if last else "nothing has finished yet"
    if seen.held and seen.lease:
        return f"{seen.state}; {finished}; last heartbeat {_at(seen.lease.heartbeat_at)}"
    return f"{seen.state}; {finished}"


def _failures(seen: Seen) -> str:
    causes = seen.failed
    if not causes:
        return "none"
    dates = sum(len(cause.partitions) for cause in causes)
    lines = [f"{dates} dates, {len(causes)} causes"]
    for cause in causes[:_SHOWN_CAUSES]:
        ranges = compress_dates(cause.partitions, counts=True)
        lines.append(f"{len(cause.partitions)} x {cause.verdict} {cause.error_type}: {ranges}")
    return "\n".join(lines)


def _blame(seen: Seen) -> str:
    return (
        "\n".join(dict.fromkeys(f"{cause.error_type or cause.verdict}: {cause.blame}" for cause in seen.failed))
        or "nobody's"
    )


def _raw(seen: Seen) -> str:
    landed = sum(cause.landed for cause in seen.failed)
    lines = [f"{landed} of the failed dates have an older payload in {seen.services.store.root_uri}"]
    if seen.landed_only:
        keys = compress_dates(entry.partition for entry in seen.landed_only)
        lines.append(f"{len(seen.landed_only)} dates are landed and only have to be loaded: {keys}")
    return "nothing is lost; " + "; ".join(lines)


def _rerun(seen: Seen) -> str:
    if seen.alive and seen.lease:
        return f"kill it at any time; a rerun waits for its lease ({_at(seen.lease.expires_at)}); nothing is doubled"
    return "nothing runs; rerun now: done dates are skipped, others replaced in one step, so nothing is doubled"


def retry_command(source: str, causes: list[Cause]) -> str:
    """The command for exactly the failed partitions, "" when there are none."""
    return f"gapless retry-failed {source} --reason errors" if causes else "nothing failed"


def _empty(seen: Seen) -> str:
    empty = seen.with_verdict(Verdict.EMPTY_OK)
    if not empty:
        return "no date is called empty; an empty answer without proof counts as failed"
    proofs = Counter(entry.evidence for entry in empty)
    kinds = ", ".join(f"{count} by {proof}" for proof, count in proofs.most_common(3))
    return f"{len(empty)} dates are proven empty ({kinds}): {compress_dates(entry.partition for entry in empty)}"


def _holder(seen: Seen) -> str:
    if not seen.held or seen.lease is None:
        if seen.cooling_until is None:
            return "nobody"
        return f"nobody; none begins until {_at(seen.cooling_until)}, after a block; else: {lift_command(seen.source)}"
    free = f"gapless release-lease {seen.source} --run {seen.lease.backfill_id} --reason WHY"
    return f"{seen.lease.describe()}; expires by itself at {_at(seen.lease.expires_at)}; else: {free}"


def _quota(seen: Seen) -> str:
    rate = seen.services.access(seen.source).rate
    lines = [f"source: {described(rate) or 'no limit declared'}"]
    walls = {unit for unit, limit in (("day", rate.per_day), ("month", rate.per_month)) if limit}
    if walls:
        quota = seen.services.quota(seen.source)
        for unit, used in ((unit, sum(by.values())) for unit, by in quota.counts().spent.items() if unit in walls):
            ends = next_reset(unit, seen.now, ZoneInfo(rate.reset_zone))
            lines.append(f"{used:,} used this {unit}, which ends {_at(ends)}")
        lines.append(f"a backfill may still make {quota.left():,} calls")
    lines.append(f"BigQuery's day ends {_at(table_budget.next_reset(seen.now))}")
    return "; ".join(lines)


def _mail(seen: Seen) -> str:
    if seen.run is None:
        return "no run, so no mail is owed; live alerts are on"
    ends, muted = seen.run.expires_at(), "nothing is muted"
    if not seen.run.closed and seen.run.finished_at is None and ends:
        muted = f"errors of {seen.run.backfill_id} are collected for its mail until it ends (at the latest {_at(ends)})"
        muted += "; all other alerts are live"
    return f"{seen.run.backfill_id}: {mail_state(seen.run, seen.now)}; {muted}"


def _code(seen: Seen) -> str:
    ran = seen.run.run_facts.code_version if seen.run else ""
    return f"last run {ran or 'unknown'}; installed here {seen.services.code_version}"


def _eta(seen: Seen) -> str:
    if not seen.alive or seen.lease is None or seen.run is None:
        return "nothing runs"
    planned = seen.run.run_facts.planned or 0
    mine = [entry for entry in seen.entries.values() if entry.backfill_id == seen.lease.backfill_id]
    done = sum(1 for entry in mine if entry.verdict.is_good or entry.verdict.is_failed)
    elapsed_s = (seen.now - seen.lease.started_at).total_seconds()
    if not done:
        return f"0 of {planned} since {_at(seen.lease.started_at)}; too early to say"
    left_s = elapsed_s / done * max(planned - done, 0)
    return f"{done} of {planned}; {about(left_s)} more, until {_at(seen.now + dt.timedelta(seconds=left_s))}"


def _dependents(seen: Seen) -> str:
    dataset, names = seen.services.settings.dataset, seen.services.scraper(seen.source).tables
    tables = ", ".join(f"{dataset}.{name}" for name in names)
    run = seen.run.backfill_id if seen.run else ""
    mine = (entry for entry in seen.entries.values() if entry.backfill_id == run and not entry.is_pending)
    changed = compress_dates(entry.partition for entry in mine) if run else ""
    return f"whatever reads {tables}; the last run changed {changed or 'nothing'}"


def _unavailable(seen: Seen) -> str:
    gone = seen.with_verdict(Verdict.UNAVAILABLE, Verdict.SKIPPED)
    scraper = known_scraper(seen.services, seen.source)
    floor = f"nothing exists before {scraper.floor} {scraper.floor_evidence}".rstrip()
    return f"{floor}; given up: {compress_dates(entry.partition for entry in gone) or 'none'}"


def _urgency(seen: Seen) -> str:
    if seen.with_verdict(Verdict.BLOCKED):
        return "a human is needed, but nothing gets worse: the source is left alone until somebody reruns"
    if seen.state in ("dead", "hung"):
        return "yes: nothing is half-written; the watchdog mails and frees a dead run within five minutes"
    if seen.failed or seen.landed_only:
        return "yes: what is landed stays, and a rerun takes up exactly the rest"
    return "yes: nothing is wrong"


def _at(instant: dt.datetime) -> str:
    return f"{instant.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
