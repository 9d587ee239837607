"""The questions that a person asks of a source, and their answers: one function an answer."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from zoneinfo import ZoneInfo

from alerting.ranges import compress_dates
from alerting.wording import about, current, plural
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.planning.known_first_date import known_scraper
from flows.planning.refused_tier import refused_tier
from flows.run.data_facts import changes_rows, lands_from, shrunk_text
from flows.views.inspection import Cause, causes_of, mail_state
from flows.views.situation import APPROVAL, BLOCK, DEAD_KEY, PERSON, QUOTA, Situation, State, at, cancel_command
from flows.wiring import Services
from processors import table_budget
from scrapers.pace.quota import account_period, used_by_source
from scrapers.pace.rate_limits import described, next_reset
from scrapers.registry import account_of, sources_of

_SHOWN_CAUSES = 5

_SHOWN_ACCEPTED = 20


_NOTHING_DOUBLED = "done dates are skipped, others replaced in one step, so nothing is doubled"


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
    situation: Situation

    @property
    def failed(self) -> list[Cause]:
        """Failed partitions by cause."""
        return causes_of(entry for entry in self.situation.entries.values() if entry.has_failed)

    @property
    def in_the_way(self) -> list[Cause]:
        """The same, and what no date is blamed for: a dead key."""
        open_ones = (entry for entry in self.situation.entries.values() if not entry.verdict.is_good)
        return causes_of(one for one in open_ones if one.verdict.is_failed or one.error_type == DEAD_KEY)

    @property
    def landed_only(self) -> list[LedgerEntry]:
        """Landed, and not yet called done."""
        return self.situation.with_verdict(Verdict.LANDED, Verdict.LOADED)

    @property
    def last_done(self) -> LedgerEntry | None:
        """The partition that got a good verdict last."""
        done = [entry for entry in self.situation.entries.values() if entry.verdict.is_good]
        return max(done, key=lambda entry: entry.updated_at, default=None)


def answers_to(seen: Seen) -> list[Answer]:
    """All fifteen, in the order in which people ask."""
    answers = (
        ("Is it running, hung or dead? When did a partition last finish?", _alive(seen)),
        ("Which dates failed, and is it one cause or many?", _failures(seen)),
        ("Is it us, the source, quota or permissions?", _blame(seen)),
        ("Is anything lost, or is the raw data in the bucket?", _raw(seen)),
        ("Can I kill it? Can I rerun? Will it duplicate?", _rerun(seen.situation)),
        ("Which command retries only the failed?", _retry(seen)),
        ("Is 0 records right for that day?", _empty(seen)),
        ("Who holds the lease, and how is a stuck one freed?", _holder(seen.situation)),
        ("When does the quota reset, and what is used?", _quota(seen)),
        ("Did the mail go out? Are live alerts muted?", _mail(seen.situation)),
        ("Which code ran?", _code(seen)),
        ("How long to go?", _eta(seen.situation)),
        ("What depends on these dates?", _dependents(seen)),
        ("Is something gone for good?", _unavailable(seen)),
        ("Can it wait until morning?", _urgency(seen)),
    )
    return [Answer(number, question, answer) for number, (question, answer) in enumerate(answers, start=1)]


def _alive(seen: Seen) -> str:
    last = seen.last_done
    finished = "nothing has finished yet"
    if last:
        finished = f"last finished: {last.partition} at {_to_the_second(last.updated_at)}"
    waiting = [
        f"{one.backfill_id} ({one.range_text}) waits for its turn until {at(one.until)}"
        for one in seen.situation.waiting
    ]
    lease = seen.situation.lease
    beat = [f"last heartbeat {_to_the_second(lease.heartbeat_at)}"] if lease and seen.situation.is_held else []
    return "; ".join([seen.situation.headline, finished, *beat, *waiting])


def _failures(seen: Seen) -> str:
    causes = seen.failed
    if not causes:
        return "none"
    dates = sum(len(cause.partitions) for cause in causes)
    lines = [f"{plural(dates, 'date')}, {plural(len(causes), 'cause')}"]
    lines += [
        f"{entry.partition} shrunk, old rows kept: {shrunk_text(entry)}"
        for entry in seen.situation.with_verdict(Verdict.SHRUNK)[:_SHOWN_CAUSES]
    ]
    for cause in causes[:_SHOWN_CAUSES]:
        ranges = compress_dates(cause.partitions, counts=True)
        lines.append(f"{len(cause.partitions)} x {cause.verdict} {cause.error_type}: {ranges}")
    if len(causes) > _SHOWN_CAUSES:
        more = plural(len(causes) - _SHOWN_CAUSES, "more cause")
        lines.append(f"and {more}: gapless status {seen.situation.source} --failed")
    return "\n".join(lines)


def _blame(seen: Seen) -> str:
    return (
        "\n".join(dict.fromkeys(f"{cause.error_type or cause.verdict}: {cause.blame}" for cause in seen.in_the_way))
        or "no failure to attribute"
    )


def _raw(seen: Seen) -> str:
    landed, failed = sum(cause.landed for cause in seen.failed), sum(len(cause.partitions) for cause in seen.failed)
    kept = f"{landed} of {plural(failed, 'failed date')} left an older payload in {seen.services.store.root_uri}"
    lines = [kept if failed else f"no date has failed, payloads are in {seen.services.store.root_uri}"]
    if seen.landed_only:
        keys = compress_dates(entry.partition for entry in seen.landed_only)
        lines.append(f"{plural(len(seen.landed_only), 'date', 'is', 'are')} landed and need only be loaded: {keys}")
    return "nothing is lost; " + "; ".join(lines)


def _rerun(now: Situation) -> str:
    if now.is_alive and now.lease:
        cancel = cancel_command(now.lease.flow_run_id)
        return f"cancel it at any time ({cancel}): what is done stays; a rerun is {now.refusal}; nothing is doubled"
    if now.state is State.DEAD:
        return f"it is dead; a rerun takes over from it now: {_NOTHING_DOUBLED}"
    if now.paused_for == APPROVAL:
        return f"nothing runs; a rerun leaves what waits for approval as it is, and does the rest: {_NOTHING_DOUBLED}"
    if now.paused_for == PERSON and now.lease:
        cancel = cancel_command(now.lease.flow_run_id)
        return f"give it up: {cancel}; a rerun takes the source over now, and ends it: {_NOTHING_DOUBLED}"
    if now.refusal:
        return f"nothing runs; a rerun is {now.refusal}; nothing is doubled"
    if now.paused_for == QUOTA and now.until and not now.is_overdue:
        return f"nothing runs; a rerun before {at(now.until)} meets the same quota: {_NOTHING_DOUBLED}"
    if now.paused_for == BLOCK:
        return f"nothing runs; a rerun works now, and what is scheduled does the rest: {_NOTHING_DOUBLED}"
    return f"nothing runs; rerun now: {_NOTHING_DOUBLED}"


def _retry(seen: Seen) -> str:
    now = seen.situation
    if not seen.failed:
        return "nothing failed"
    if now.resume and not now.is_overdue and not now.is_held:
        return f"none is needed: {now.headline}; to resume sooner: {now.retry_failed}{_when(now)}"
    return f"{now.retry_failed}{_when(now)}"


def _when(now: Situation) -> str:
    if now.is_alive and now.lease:
        return f" (waits for its turn until {now.lease.backfill_id} has ended)"
    return f" ({now.refusal})" if now.refusal else ""


def _empty(seen: Seen) -> str:
    empty = seen.situation.with_verdict(Verdict.EMPTY_OK)
    if not empty:
        return "no date is empty; an empty response without proof counts as failed"
    proofs = Counter(entry.evidence for entry in empty)
    kinds = ", ".join(f"{count} by {proof}" for proof, count in proofs.most_common(3))
    dates = compress_dates(entry.partition for entry in empty)
    return f"{plural(len(empty), 'date', 'is', 'are')} proven empty ({kinds}): {dates}"


def _holder(now: Situation) -> str:
    if not now.is_held or now.lease is None:
        if now.cooldown is None:
            return "nobody"
        return f"nobody; no run starts until {at(now.cooldown.until)}, after a block; else: {now.lift}"
    free = f"gapless release-lease {now.source} --run {now.lease.backfill_id} --reason WHY"
    if now.lease.state == "paused":
        return f"nobody: {now.lease.backfill_id} released it when it was suspended; a run may take it"
    if now.state is State.DEAD:
        return f"{now.lease.describe()}; it is dead, and the next run takes it over; else: {free}"
    return f"{now.lease.describe()}; expires by itself at {at(now.lease.expires_at)} without a heartbeat; else: {free}"


def _quota(seen: Seen) -> str:
    source = seen.situation.source
    kit, account = seen.services.source_kit(source), account_of(source)
    rate = kit.access.rate
    whose = "source" if account == source else f"account {account} of {', '.join(sources_of(account))}"
    tier = f", tier {kit.tier.name}" if kit.tier else ""
    lines = [f"{whose}{tier}: {described(rate) or 'no limit declared'}"]
    walls = {unit for unit, limit in (("day", rate.per_day), ("month", rate.per_month)) if limit}
    if walls or account != source:
        counts, of = kit.quota.counts(), kit.scraper.cost_unit or "call"
        for unit, used in ((unit, sum(by.values())) for unit, by in counts.spent.items() if unit in walls):
            ends = next_reset(unit, seen.situation.now, ZoneInfo(rate.reset_zone))
            lines.append(f"{used:,} used {current(unit)}, which ends {_to_the_second(ends)}")
        if walls:
            left = plural(kit.quota.left() or 0, of)
            lines.append(f"a backfill may still make {left}" if of == "call" else f"a backfill may still spend {left}")
        if counts.closed_until and seen.situation.now < counts.closed_until:
            lines.append(f"no call is made before {at(counts.closed_until)}: {counts.closed_why}")
        if refused := refused_tier(kit):
            lines.append(f"the source does not open the tier {refused.tier} since {at(refused.at)}: {refused.why}")
        if account != source:
            period, _ = account_period(rate)
            lines.append(f"{of}s {current(period)}: {used_by_source(counts.by_source[period])}")
    lines.append(f"BigQuery's day ends {_to_the_second(table_budget.next_reset(seen.situation.now))}")
    return "; ".join(lines)


def _mail(now: Situation) -> str:
    if now.run is None:
        return "no run, so no mail; live alerts are on"
    ends, muted = now.run.expires_at(), "nothing is muted"
    if now.paused_for in (PERSON, APPROVAL):
        return f"{now.run.backfill_id}: due when the run ends, which waits for Resume; {muted}"
    if not now.run.closed and now.run.finished_at is None and not now.run.stale(now.now) and ends:
        muted = f"errors of {now.run.backfill_id} are collected for its mail until it ends (at the latest {at(ends)})"
        muted += "; all other alerts are live"
    return f"{now.run.backfill_id}: {mail_state(now.run, now.now)}; {muted}"


def _code(seen: Seen) -> str:
    run = seen.situation.run
    ran = run.run_facts.code_version if run else ""
    return f"last run {ran or 'unknown'}; installed here {seen.services.code_version}"


def _eta(now: Situation) -> str:
    far = now.progress.counts if now.progress else "its plan is not stored"
    if now.state is State.RUNNING:
        if now.progress is None or now.progress.eta_s is None:
            return f"{far}; too early to say"
        return (
            f"{far}; {about(now.progress.eta_s)} more, until {at(now.now + dt.timedelta(seconds=now.progress.eta_s))}"
        )
    if now.state in (State.PAUSED, State.HUNG, State.DEAD):
        return f"{far}; {now.headline}"
    return "nothing runs"


def _dependents(seen: Seen) -> str:
    dataset, names = seen.services.settings.dataset, seen.services.source_kit(seen.situation.source).scraper.tables
    tables = ", ".join(f"{dataset}.{name}" for name in names)
    run = seen.situation.run
    began_at = lands_from(run.run_facts) if run else None
    mine = [one for one in seen.situation.entries.values() if run and one.backfill_id == run.backfill_id]
    changed = compress_dates(entry.partition for entry in mine if changes_rows(entry, began_at))
    return f"whatever reads {tables}; the last run changed {f'rows of {changed}' if changed else 'no row'}"


def _unavailable(seen: Seen) -> str:
    gone = seen.situation.with_verdict(Verdict.UNAVAILABLE)
    scraper = known_scraper(seen.services, seen.situation.source)
    floor = f"nothing exists before {scraper.floor} {scraper.floor_evidence}".rstrip()
    if not scraper.keeps_history:
        floor += "; it keeps no history: a date is asked for while it lasts"
    if scraper.horizon:
        floor += f"; it answers for dates from {scraper.earliest(seen.situation.now)} on"
    lines = [f"{floor}; given up: {compress_dates(entry.partition for entry in gone) or 'none'}"]
    accepted = [f"{entry.partition}: {entry.accepted}" for entry in seen.situation.entries.values() if entry.accepted]
    lines += accepted[:_SHOWN_ACCEPTED]
    if len(accepted) > _SHOWN_ACCEPTED:
        lines.append(f"and {plural(len(accepted) - _SHOWN_ACCEPTED, 'more accepted loss')}")
    return "\n".join(lines)


def _urgency(seen: Seen) -> str:
    now = seen.situation
    if now.state in (State.IDLE, State.NEVER_RUN) and (now.with_verdict(Verdict.BLOCKED) or now.needs_key):
        blame = next(cause.blame for cause in seen.in_the_way if _is_a_persons(cause))
        return f"a person is needed, but nothing gets worse: {blame}; {now.next_step}"
    if now.state is State.IN_COOLDOWN:
        return f"yes, nothing gets worse: {now.headline}; {now.next_step}"
    if now.state in (State.PAUSED, State.HUNG, State.DEAD):
        return f"yes, nothing is half-written: {now.headline}; {now.next_step}"
    if now.state is State.RUNNING:
        return f"yes: {now.next_step}"
    if now.open_keys:
        return f"yes: landed data stays, and a rerun does the rest: {now.next_step}"
    return "yes: nothing is wrong"


def _is_a_persons(cause: Cause) -> bool:
    return cause.verdict == Verdict.BLOCKED.value or cause.error_type == DEAD_KEY


def _to_the_second(instant: dt.datetime) -> str:
    return f"{instant.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
