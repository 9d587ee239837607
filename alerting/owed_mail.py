"""The mail that an outbox entry owes: drawn once from the journal, then always the same bytes."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

from alerting.errors import PipelineError
from alerting.family_summary import render_family
from alerting.family_view import Section
from alerting.incident import Incident, Severity
from alerting.journal import IncidentJournal, alerts_prefix, path_part
from alerting.message import from_bytes, message_id, summary_mail, to_bytes
from alerting.object_store import GenerationConflict, ObjectMissing, ObjectStore
from alerting.outbox import Outbox, OutboxEntry
from alerting.redaction import redact
from alerting.run_facts import RunFacts
from alerting.summary import RenderedMail, render, render_bare
from alerting.verdict import PAUSED

_DIED = "X-Backfill-Died"
_JOURNALED, _NOTHING = "journaled", "nothing"
_log = logging.getLogger("gapless.alerting")


def mail_of(store: ObjectStore, entry: OutboxEntry, run_facts: RunFacts | None, now: dt.datetime) -> EmailMessage:
    """The mail of this attempt. A run that never ended, and of which nothing else is known, is called STOPPED.

    Raises ``StateUnreadable`` and what the store raises.
    """
    name = mail_name(entry)
    try:
        return from_bytes(store.read(name)[0])
    except ObjectMissing:
        pass
    facts = entry.run_facts.merged(run_facts) if run_facts else entry.run_facts
    died = facts.verdict == "ABORTED(crashed)" or (entry.finished_at is None and not facts.verdict)
    facts.outcome = facts.outcome or ("" if entry.finished_at else "STOPPED")
    facts.finished_at = facts.finished_at or entry.finished_at or now
    journal = IncidentJournal(store)
    rendered = _rendered_family(journal, entry, facts) if entry.covers else _rendered_alone(journal, entry, facts)
    mail = summary_mail(entry, rendered, now)
    if died:
        mail[_DIED] = "yes"
    try:
        store.write(
            name,
            to_bytes(mail),
            if_generation=0,
            content_type="message/rfc822",
            metadata={
                "message_id": message_id(entry, "final"),
                _JOURNALED: journal.read_up_to.isoformat() if journal.read_up_to else _NOTHING,
            },
        )
    except GenerationConflict:
        return from_bytes(store.read(name)[0])
    _remember(store, rendered.memories)
    return mail


def untold(store: ObjectStore, backfill_id: str, writer: str) -> list[Incident]:
    """What ``writer`` gave to the journal after the mail that tells of the backfill was drawn; none while one is owed.

    Raises what the store raises, and ``StateUnreadable``.
    """
    outbox = Outbox(store)
    entry = outbox.read(backfill_id)
    teller = outbox.read(entry.told_by) if entry is not None and entry.told_by else entry
    if teller is None or not teller.closed:
        return []
    name = mail_name(teller)
    mail = next((one for one in store.list(name) if one.name == name), None)
    if mail is None or _JOURNALED not in mail.metadata:
        return []
    until = mail.metadata[_JOURNALED]
    instant = None if until == _NOTHING else dt.datetime.fromisoformat(until)
    return list(IncidentJournal(store).after(backfill_id, instant, writer))


def _rendered_alone(journal: IncidentJournal, entry: OutboxEntry, facts: RunFacts) -> RenderedMail:
    facts, incidents = _compared(journal.store, facts), journal.read(entry.backfill_id)
    uri = f"{journal.store.root_uri}/{alerts_prefix(entry.backfill_id)}incidents/"
    return _or_bare(facts, uri, lambda: render(facts, incidents, full_list=uri))


def _rendered_family(journal: IncidentJournal, entry: OutboxEntry, facts: RunFacts) -> RenderedMail:
    """Every section is drawn from what its own run left: the last word, or what was known when it was planned."""
    store = journal.store
    told = [_compared(store, each) for each in covered_facts(store, entry)]
    sections = [Section(each, journal.read(each.backfill_id)) for each in told]
    uri = f"{store.root_uri}/{alerts_prefix(entry.backfill_id)}"
    return _or_bare(facts, uri, lambda: render_family(facts, sections))


def covered_facts(store: ObjectStore, entry: OutboxEntry) -> list[RunFacts]:
    """What is known at this moment of every backfill of which the mail of ``entry`` tells, in their order.

    One that never began has the facts of its plan. Raises ``StateUnreadable``.
    """
    outbox = Outbox(store)
    planned = [RunFacts.from_dict(each) for each in entry.covers]
    begun = [outbox.read(each.backfill_id) for each in planned]
    return [
        facts.merged(own.run_facts) if own is not None else facts for facts, own in zip(planned, begun, strict=True)
    ]


def _or_bare(facts: RunFacts, uri: str, draw: Callable[[], RenderedMail]) -> RenderedMail:
    try:
        return draw()
    except (PipelineError, OSError):
        raise
    except Exception as error:  # a fault of ours must not be the reason that nobody hears of the run
        _log.critical("summary of %s could not be drawn, a bare one is sent: %r", facts.backfill_id, error)
        return render_bare(facts, error, uri)


def _compared(store: ObjectStore, facts: RunFacts) -> RunFacts:
    """The facts beside those of the last run of the source, or a note that there was something unreadable."""
    if facts.previous_run:
        return facts
    previous, trouble = _last_run(store, facts.source)
    return replace(facts, previous_run=previous, notes=[*facts.notes, *trouble])


def _last_run(store: ObjectStore, source: str) -> tuple[dict[str, Any], list[str]]:
    """What to compare with, and what to say when it cannot be read: no mail waits for a comparison."""
    name = memory_name(source)
    try:
        found = json.loads(store.read(name)[0])
    except ObjectMissing:
        return {}, []
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return {}, [f"Not compared with the last run: {store.root_uri}/{name} could not be read and is replaced."]
    return found, []


def _remember(store: ObjectStore, memories: Mapping[str, dict[str, Any]]) -> None:
    """Best effort by design: without it the next mail only lacks its comparison."""
    for source, memory in memories.items():
        try:
            store.write(memory_name(source), json.dumps(memory).encode(), content_type="application/json")
        except PipelineError as error:
            _log.warning("comparison for the next run of %s not kept: %s", source, redact(str(error)))


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
