"""The mails beside the summary: "a human is needed now", at most one per attempt; by choice, start and progress."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

from alerting.advice import advice_of
from alerting.channels import Channel, DeliveryFailed, EveryoneRefused, MessageRefused
from alerting.errors import PipelineError
from alerting.incident import Incident, Severity
from alerting.journal import IncidentJournal
from alerting.message import backfill_mail, message_id, smaller_mails, text_of
from alerting.object_store import ObjectStore
from alerting.outbox import Delivered, HumanNotice, Outbox, OutboxEntry
from alerting.redaction import redact
from alerting.store_clock import StoreClock
from alerting.wording import duration, plural, span

_log = logging.getLogger("gapless.alerting")
_CLAIM_S = 120.0
# A server that greylists takes the mail within minutes to hours; what it does not take in a day it will not take.
_LATER_FOR = dt.timedelta(days=1)


def deliver(
    mail: EmailMessage,
    channels: Sequence[Channel],
    severity: Severity,
    already: Mapping[str, Delivered],
    now: dt.datetime,
    kept_at: str = "",
) -> tuple[dict[str, Delivered], list[str]]:
    """Offers the mail to every channel that does not have it yet; returns deliveries and problems by channel.

    Of a channel that has it, only those are offered it again to whom the server said "not now": the delivery is
    returned with who is still without it. A channel that refuses the mail itself gets a smaller one; ``kept_at`` tells
    its reader where the whole one is.
    """
    delivered: dict[str, Delivered] = {}
    errors: list[str] = []
    for channel in channels:
        before = already.get(channel.name)
        if before and not before.later:
            continue
        try:
            delivered[channel.name] = (
                _offer_again(channel, mail, severity, before, now, kept_at)
                if before
                else _offer(channel, mail, severity, now, kept_at)
            )
        except PipelineError as error:
            errors.append(f"{channel.name}: {redact(error.message)}")
        except Exception as error:  # a channel of somebody else's making must not cost the others their mail
            errors.append(
                f"{channel.name}: {DeliveryFailed.__name__} {type(error).__name__} {redact(str(error))[:300]}"
            )
    return delivered, errors


def _offer_again(
    channel: Channel, mail: EmailMessage, severity: Severity, before: Delivered, now: dt.datetime, kept_at: str
) -> Delivered:
    """To those alone who are still without it, for a day; then they count as refused."""
    if now - before.at > _LATER_FOR:
        _log.error("%s: given up after %s: %s", channel.name, _LATER_FOR, redact(before.missing))
        return replace(before, later=[])
    try:
        answer = _offer(channel, mail, severity, now, kept_at, {"only": before.later})
    except EveryoneRefused as error:
        answer = Delivered(now, dict(error.refused), later=sorted(error.later))
    final = {who: said for who, said in before.refused.items() if who not in before.later}
    return replace(before, refused={**final, **answer.refused}, later=answer.later, cut=before.cut or answer.cut)


def _offer(
    channel: Channel,
    mail: EmailMessage,
    severity: Severity,
    now: dt.datetime,
    kept_at: str,
    only: Mapping[str, Sequence[str]] | None = None,
) -> Delivered:
    # Channels of somebody else's making know nothing of single recipients, and return none to try again.
    given: dict[str, Any] = dict(only or {})
    try:
        answer = channel.send(mail, severity=severity, **given)
        return Delivered(now, dict(answer.refused), later=sorted(answer.later))
    except MessageRefused as error:
        refusal = redact(error.message)
    for smaller in smaller_mails(mail, refusal, kept_at):
        try:
            answer = channel.send(smaller, severity="CRITICAL", **given)
        except MessageRefused as error:
            refusal = redact(error.message)
            continue
        _log.critical("%s: %s; a smaller mail went out instead, the whole one: %s", channel.name, refusal, kept_at)
        return Delivered(now, dict(answer.refused), cut=refusal, later=sorted(answer.later))
    _log.critical(
        "%s: %s; also the smallest, so nothing is tried again. The mail: %s\n%s",
        channel.name,
        refusal,
        kept_at or "not kept",
        redact(text_of(mail)),
    )
    return Delivered(now, cut=refusal, given_up=True)


def tell_human(
    store: ObjectStore, channels: Sequence[Channel], backfill_id: str, incident: Incident, now: dt.datetime
) -> bool:
    """Sends the one notice of this attempt about its first critical incident; True when it went out in this call.

    Refused by a channel, it stays owed in the outbox entry; the next heartbeat or critical incident tries again. Of
    backfills that one mail tells of, it is the one notice of them all.
    """
    outbox = Outbox(store)
    own = outbox.read(backfill_id)
    backfill_id = own.told_by if own and own.told_by else backfill_id

    def is_busy(notice: HumanNotice) -> bool:
        """Another process is at it. When its claim was written is not known: heartbeats write the same object."""
        until = notice.claimed_until
        return until is not None and (now < until or StoreClock(store).now() < until)

    def claim(entry: OutboxEntry) -> OutboxEntry | None:
        notice = entry.human or HumanNotice(incident)
        if entry.closed or notice.sent_at is not None or is_busy(notice):
            return None
        notice.claimed_until = now + dt.timedelta(seconds=_CLAIM_S)
        notice.message_id = message_id(entry, "human")
        entry.human = notice
        return entry

    entry = outbox.update(backfill_id, claim)
    if entry is None or entry.human is None:
        return False
    subject, text = _human_text(entry.human.incident, entry)
    outcome = _outcome(entry.human.incident).replace(" ", "-")
    mail = backfill_mail(entry, subject, text, role="human", outcome=outcome, now=now)
    delivered, problems = deliver(mail, channels, "CRITICAL", entry.human.delivered, now)
    if problems:
        _log.critical("a human is needed, and not everyone could be told: %s\n%s", "; ".join(problems), redact(text))

    def settle(current: OutboxEntry) -> OutboxEntry | None:
        if current.human is None or current.attempt != entry.attempt:
            return None
        current.human.claimed_until = None
        current.human.delivered.update(delivered)
        waiting = any(each.later for each in current.human.delivered.values())
        current.human.sent_at = None if problems or waiting else now
        for problem in problems:
            current.note(problem)
        return current

    outbox.update(backfill_id, settle)
    return bool(delivered)


def _outcome(incident: Incident) -> str:
    """A block is to be known at once and waited out: the run goes on by itself, as its summary says."""
    return "BLOCKED" if incident.error_type == "BlockedBySource" else "NEEDS A HUMAN"


def _human_text(incident: Incident, entry: OutboxEntry) -> tuple[str, str]:
    source = incident.source or entry.source
    where = " ".join(part for part in (source, incident.partition) if part)
    lines = [
        f"{where or 'backfill'}: {incident.error_type}",
        "",
        incident.message,
        "",
        f"Do this: {advice_of(incident)}",
        f"At:      {incident.occurred_at:%Y-%m-%d %H:%M:%S} UTC, stage {incident.stage or '?'}",
        f"Run:     backfill {entry.backfill_id}, attempt {entry.attempt}, owner {entry.owner or '?'}",
        *(f"{name}: {value}" for name, value in (entry.facts.get("links") or {}).items()),
        *(f"Contact: {role}: {who}" for role, who in (entry.facts.get("contacts") or {}).items()),
        "",
        "This is the only such mail of this run; everything else comes in its summary.",
    ]
    return f"[backfill][{_outcome(incident)}] {source} · {incident.error_type}", "\n".join(lines)


def send_review(
    channels: Sequence[Channel], entry: OutboxEntry, place: str, lines: Sequence[str], number: int, now: dt.datetime
) -> bool:
    """Tells that rows wait for approval, and what they would change; True when a channel took it. Best effort: they
    wait, whoever is told. ``place`` is source and dates; ``number`` says how often the run has told it."""
    text = redact("\n".join(lines))
    subject = f"[backfill][REVIEW] {place} · approve or reject"
    mail = backfill_mail(entry, subject, text, role=f"review-{number}", outcome="REVIEW", now=now)
    delivered, problems = deliver(mail, channels, "ERROR", {}, now)
    if problems:
        _log.error("not everybody was told that %s waits for approval: %s", entry.backfill_id, "; ".join(problems))
    return bool(delivered)


def send_start(channels: Sequence[Channel], entry: OutboxEntry, now: dt.datetime) -> bool:
    """The one "it has begun" of an attempt, by choice; True when a channel took it. Best effort: it is only news."""
    facts = entry.run_facts
    count = (
        f"{plural(facts.planned, 'partition')} planned" if facts.planned is not None else "partitions not counted yet"
    )
    place = f"{entry.source or entry.backfill_id} {span(facts.start_date, facts.end_date)}".strip()
    lines = [
        f"Backfill {entry.backfill_id} of {place} has started: {count}.",
        *([f"Requested by {facts.requested_by}: {facts.reason}."] if facts.requested_by and facts.reason else []),
        "Its summary follows at the end.",
        *(f"{name}: {url}" for name, url in facts.links.items()),
    ]
    subject = f"[backfill][STARTED] {place}"
    mail = backfill_mail(entry, subject, "\n".join(lines), role="start", outcome="STARTED", now=now)
    delivered, problems = deliver(mail, channels, "INFO", {}, now)
    if problems:
        _log.warning("start mail of %s: %s", entry.backfill_id, "; ".join(problems))
    return bool(delivered)


def send_progress(
    store: ObjectStore, channels: Sequence[Channel], backfill_id: str, every_hours: float, now: dt.datetime
) -> bool:
    """One mail per ``every_hours`` of a run that is still going; True when this call sent it. Best effort."""
    number = 0

    def claim(entry: OutboxEntry) -> OutboxEntry | None:
        nonlocal number
        since = entry.progress_mail_at or entry.opened_at or now
        if entry.closed or entry.finished_at is not None or now < since + dt.timedelta(hours=every_hours):
            return None
        number = int((now - (entry.opened_at or now)).total_seconds() // (every_hours * 3600))
        entry.progress_mail_at = now
        return entry

    try:
        entry = Outbox(store).update(backfill_id, claim)
        if entry is None:
            return False
        age_s = (now - (entry.opened_at or now)).total_seconds()
        facts = entry.run_facts
        done = sum(
            count for verdict, count in facts.verdict_counts.items() if verdict not in ("planned", "running", "paused")
        )
        lines = [
            f"Backfill {backfill_id} has been running for {duration(age_s)}.",
            f"{done:,} of {f'{facts.planned:,}' if facts.planned is not None else '?'} partitions have a verdict.",
            f"{plural(IncidentJournal(store).count(backfill_id), 'incident')} so far. The summary follows at the end.",
            *(f"{name}: {url}" for name, url in facts.links.items()),
        ]
    except (PipelineError, OSError) as error:
        _log.warning("no progress mail for %s: %s", backfill_id, redact(str(error)))
        return False
    mail = backfill_mail(
        entry,
        f"[backfill][RUNNING] {entry.source or backfill_id} · {done:,} done",
        "\n".join(lines),
        role=f"progress-{number}",
        outcome="RUNNING",
        now=now,
    )
    delivered, problems = deliver(mail, channels, "INFO", {}, now)
    if problems:
        _log.warning("progress mail of %s: %s", backfill_id, "; ".join(problems))
    return bool(delivered)
