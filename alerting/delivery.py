"""Sends what the outbox owes. One function for all senders: the run itself, hooks, the watchdog, the next start.

SMTP is at-least-once: a crash, or a broken connection, between the message and the server's 250 repeats the same bytes
with the same Message-ID, which mailboxes fold, and a failed try is repeated ever more seldom. Nothing else can repeat a
mail, and nothing can lose one.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Literal

from alerting.channels import Channel
from alerting.errors import PipelineError, StateUnreadable
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.message import text_of
from alerting.notices import deliver, tell_human
from alerting.object_store import ObjectStore
from alerting.outbox import Outbox, OutboxEntry, sender_name
from alerting.owed_mail import mail_name, mail_of, severity_of
from alerting.redaction import redact
from alerting.run_facts import RunFacts
from alerting.spool import recover
from alerting.summary_rows import removed_rows

_log = logging.getLogger("gapless.alerting")
Status = Literal["sent", "failed", "refused", "claimed_by_other", "already_sent", "archived", "not_owed"]


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of one owed summary. ``refused``, ``cut`` and ``errors`` belong into the run's state when not empty.

    ``cut`` maps a channel that refused the mail itself to its answer: it has a smaller one, or with status ``refused``
    none at all, and nobody tries again. ``waiting`` are recipients to whom a server said "not now", and its answers:
    the entry stays owed for them alone. ``mail`` is the whole one, when it was sent or tried in this call.
    """

    status: Status
    backfill_id: str
    message_id: str = ""
    mail_object: str = ""
    errors: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    cut: dict[str, str] = field(default_factory=dict)
    waiting: tuple[str, ...] = ()
    mail: EmailMessage | None = field(default=None, repr=False, compare=False)

    @property
    def delivered(self) -> bool:
        """Every channel has it, now or before."""
        return self.status in ("sent", "already_sent")


@dataclass(frozen=True, slots=True)
class OwedSummary:
    """One entry that is not closed. ``is_due`` unless a living run still holds it, another sender is at it, or it rests
    between two tries."""

    backfill_id: str
    why: Literal["running", "stale", "unsent", "claimed", "resting"]
    entry: OutboxEntry

    @property
    def is_due(self) -> bool:
        """Whether the watchdog or the next start should send it."""
        return self.why in ("stale", "unsent")


def owed_summaries(
    store: ObjectStore, now: dt.datetime | None = None, unreadable: list[StateUnreadable] | None = None
) -> list[OwedSummary]:
    """Every open entry and why it is open. What cannot be read is added to ``unreadable``, or raised without it."""
    now = now or dt.datetime.now(dt.UTC)
    return [OwedSummary(entry.backfill_id, _why(entry, now), entry) for entry in Outbox(store).entries(unreadable)]


def _why(entry: OutboxEntry, now: dt.datetime) -> Literal["running", "stale", "unsent", "claimed", "resting"]:
    if entry.claimed(now):
        return "claimed"
    if entry.rests(now):
        return "resting"
    if entry.finished_at is not None or (entry.state == "claimed"):
        return "unsent"
    return "stale" if entry.stale(now) else "running"


def send_owed_summary(
    store: ObjectStore,
    channels: Sequence[Channel],
    backfill_id: str,
    *,
    run_facts: RunFacts | None = None,
    now: dt.datetime | None = None,
    spool_folder: Path | str | None = None,
) -> SendResult:
    """Claims the entry, renders from the journal (or takes the mail rendered before), sends, marks as sent.

    The caller decides that the run is over. Channels that have the mail are not asked again. When one fails, the
    entry stays owed with the rendered bytes, its text goes to the log, and the result says ``failed``.
    Incidents that a killed process of this machine left in ``spool_folder`` are taken up first. A backfill of which
    the mail of another one tells is archived with its facts instead.
    Raises ``StateUnreadable`` (entry or journal; a human is told) and what the store raises: still owed then too.
    """
    now = now or dt.datetime.now(dt.UTC)
    outbox = Outbox(store)
    entry = outbox.claim(backfill_id, sender_name(), now)
    if entry is None:
        return _not_claimed(outbox.read(backfill_id), backfill_id)
    return send_claimed(outbox, entry, channels, run_facts=run_facts, now=now, spool_folder=spool_folder)


def send_claimed(
    outbox: Outbox,
    entry: OutboxEntry,
    channels: Sequence[Channel],
    *,
    run_facts: RunFacts | None,
    now: dt.datetime,
    spool_folder: Path | str | None,
) -> SendResult:
    """As ``send_owed_summary``, of an entry that this thread has claimed."""
    store, backfill_id, by = outbox.store, entry.backfill_id, entry.claimed_by
    try:
        recover(IncidentJournal(store), spool_folder, backfill_id)
        if entry.told_by:
            return _left_to_another(outbox, entry, run_facts, now)
        mail = mail_of(store, entry, run_facts, now)
    except (PipelineError, OSError) as error:
        if isinstance(error, StateUnreadable):
            tell_human(store, channels, backfill_id, Incident.from_error(error, source=entry.source), now)
        _release(outbox, backfill_id, by, f"{type(error).__name__}: {redact(str(error))}")
        raise
    facts = run_facts or entry.run_facts
    is_quiet = not facts.warnings and not removed_rows(facts)
    if entry.quiet_if_ok and is_quiet and mail["X-Backfill-Outcome"] == "OK" and entry.human is None:
        _archive(outbox, entry)
        return SendResult("archived", backfill_id, str(mail["Message-ID"]), mail_name(entry), mail=mail)
    kept_at = f"{store.root_uri}/{mail_name(entry)}"
    delivered, errors = deliver(mail, channels, severity_of(mail), entry.delivered, now, kept_at)
    if not channels and not entry.delivered:
        errors.append("no channel configured")
    if errors:
        # The whole text once: a channel that stays dead would fill the log with it every five minutes.
        text = "" if entry.errors else redact(text_of(mail))
        _log.error("summary of backfill %s not delivered: %s\n%s", backfill_id, "; ".join(errors), text)

    consoles = {channel.name for channel in channels if channel.kind == "console"}
    told = [name for name, each in {**entry.delivered, **delivered}.items() if not each.given_up]
    # The console alone tells nobody, unless there is nothing else.
    reached = [name for name in told if name not in consoles or len(consoles) == len(channels)]
    over: Literal["sent", "refused"] = "sent" if reached else "refused"

    waiting = [each.missing for each in {**entry.delivered, **delivered}.values() if each.missing]

    def settle(current: OutboxEntry) -> OutboxEntry | None:
        if current.attempt != entry.attempt:
            return None
        current.delivered.update(delivered)
        current.message_id, current.mail_object = str(mail["Message-ID"]), mail_name(entry)
        current.claimed_by, current.claimed_until = "", None
        current.finished_at = current.finished_at or now
        if run_facts is not None:
            # A run that died could not leave its last word; whoever closed it knows it.
            current.facts = current.run_facts.merged(run_facts.redacted()).to_dict()
        current.failed_tries, current.failed_at = (current.failed_tries + 1, now) if errors else (0, None)
        current.state = "open" if errors or waiting else over
        current.sent_at = (current.sent_at or now) if over == "sent" and not errors else None
        for problem in (*errors, *waiting, *(each.cut for each in delivered.values() if each.cut)):
            current.note(f"{now:%Y-%m-%dT%H:%M:%SZ} {problem}")
        return current

    outbox.update(backfill_id, settle)
    refused = {
        who: answer for each in delivered.values() for who, answer in each.refused.items() if who not in each.later
    }
    cut = {name: each.cut for name, each in delivered.items() if each.cut}
    status: Status = "failed" if errors else over
    return SendResult(
        status,
        backfill_id,
        str(mail["Message-ID"]),
        mail_name(entry),
        tuple(errors),
        refused,
        cut,
        tuple(waiting),
        mail,
    )


def _not_claimed(entry: OutboxEntry | None, backfill_id: str) -> SendResult:
    if entry is None:
        return SendResult("not_owed", backfill_id)
    closed: dict[str, Status] = {"sent": "already_sent", "refused": "refused", "archived": "archived"}
    status = closed.get(entry.state, "claimed_by_other")
    return SendResult(status, backfill_id, entry.message_id, entry.mail_object)


def _left_to_another(outbox: Outbox, entry: OutboxEntry, run_facts: RunFacts | None, now: dt.datetime) -> SendResult:
    """Keeps the last word of a backfill for the mail that tells of it."""

    def told(current: OutboxEntry) -> None:
        current.finished_at = current.finished_at or now
        if run_facts is not None:
            current.facts = current.run_facts.merged(run_facts.redacted()).to_dict()

    _archive(outbox, entry, told)
    return SendResult("archived", entry.backfill_id)


def _archive(outbox: Outbox, entry: OutboxEntry, also: Callable[[OutboxEntry], object] = lambda _: None) -> None:
    """Nothing is owed of this attempt any more; of the next one, should it have begun, it is."""

    def archived(current: OutboxEntry) -> OutboxEntry | None:
        if current.attempt != entry.attempt:
            return None
        current.state, current.claimed_by, current.claimed_until = "archived", "", None
        also(current)
        return current

    outbox.update(entry.backfill_id, archived)


def _release(outbox: Outbox, backfill_id: str, by: str, problem: str) -> None:
    def release(current: OutboxEntry) -> OutboxEntry | None:
        if current.claimed_by != by:
            return None
        current.state, current.claimed_by, current.claimed_until = "open", "", None
        current.note(problem)
        return current

    outbox.update(backfill_id, release)
