"""The mail that an outbox entry owes: drawn once from the journal, then always the same bytes."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Iterable
from email.message import EmailMessage
from typing import Any

from alerting.errors import PipelineError
from alerting.incident import Incident, Severity
from alerting.journal import IncidentJournal, alerts_prefix, path_part
from alerting.message import from_bytes, message_id, summary_mail, to_bytes
from alerting.object_store import GenerationConflict, ObjectMissing, ObjectStore
from alerting.outbox import OutboxEntry
from alerting.redaction import redact
from alerting.run_facts import Outcome, RunFacts
from alerting.summary import RenderedMail, render, render_bare
from alerting.verdict import PAUSED

_DIED = "X-Backfill-Died"
_log = logging.getLogger("gapless.alerting")


def mail_of(
    store: ObjectStore, entry: OutboxEntry, run_facts: RunFacts | None, outcome: Outcome, now: dt.datetime
) -> EmailMessage:
    """The mail of this attempt. ``outcome`` is what a run without a last word is called.

    Raises ``StateUnreadable`` and what the store raises.
    """
    name = mail_name(entry)
    try:
        return from_bytes(store.read(name)[0])
    except ObjectMissing:
        pass
    facts = entry.run_facts.merged(run_facts) if run_facts else entry.run_facts
    died = facts.verdict == "ABORTED(crashed)" or (entry.finished_at is None and not facts.verdict)
    facts.outcome = facts.outcome or outcome
    facts.finished_at = facts.finished_at or entry.finished_at or now
    if not facts.previous_run:
        facts.previous_run, trouble = _last_run(store, entry)
        facts.notes = [*facts.notes, *trouble]
    journal = IncidentJournal(store)
    uri = f"{store.root_uri}/{alerts_prefix(entry.backfill_id)}incidents/"
    rendered = _rendered(facts, journal.read(entry.backfill_id), uri)
    mail = summary_mail(entry, rendered, now)
    if died:
        mail[_DIED] = "yes"
    data = to_bytes(mail)
    try:
        store.write(
            name,
            data,
            if_generation=0,
            content_type="message/rfc822",
            metadata={"message_id": message_id(entry, "final")},
        )
    except GenerationConflict:
        data = store.read(name)[0]
    else:
        _remember(store, entry, rendered.memory)
    return from_bytes(data)


def _rendered(facts: RunFacts, incidents: Iterable[Incident], uri: str) -> RenderedMail:
    try:
        return render(facts, incidents, full_list=uri)
    except (PipelineError, OSError):
        raise
    except Exception as error:  # a fault of ours must not be the reason that nobody hears of the run
        _log.critical("summary of %s could not be drawn, a bare one is sent: %r", facts.backfill_id, error)
        return render_bare(facts, error, uri)


def _last_run(store: ObjectStore, entry: OutboxEntry) -> tuple[dict[str, Any], list[str]]:
    """What to compare with, and what to say when it cannot be read: no mail waits for a comparison."""
    name = memory_name(entry.source)
    try:
        found = json.loads(store.read(name)[0])
    except ObjectMissing:
        return {}, []
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return {}, [f"Not compared with the last run: {store.root_uri}/{name} could not be read and is replaced."]
    return found, []


def _remember(store: ObjectStore, entry: OutboxEntry, memory: dict[str, Any]) -> None:
    """Best effort by design: without it the next mail only lacks its comparison."""
    try:
        store.write(memory_name(entry.source), json.dumps(memory).encode(), content_type="application/json")
    except PipelineError as error:
        _log.warning("comparison for the next run of %s not kept: %s", entry.source, redact(str(error)))


def severity_of(mail: EmailMessage) -> Severity:
    """The routing severity of a summary: a run that died is critical, FAILED and STOPPED are errors, gaps and a pause
    a warning, the rest information."""
    if mail[_DIED]:
        return "CRITICAL"
    outcome = str(mail["X-Backfill-Outcome"])
    return {"FAILED": "ERROR", "STOPPED": "ERROR", PAUSED: "WARNING", "OK-WITH-GAPS": "WARNING"}.get(outcome, "INFO")  # type: ignore[return-value]


def mail_name(entry: OutboxEntry) -> str:
    """Where the rendered mail of this attempt lies."""
    return f"{alerts_prefix(entry.backfill_id)}mail-{entry.attempt}.eml"


def memory_name(source: str) -> str:
    """Where the last run of a source left what the next one compares itself with."""
    return f"alert-state/last-run/source={path_part(source or 'unknown')}.json"
