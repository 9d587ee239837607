"""Backfill mode of one backfill in one process: collect, stay alive, end with one mail."""

from __future__ import annotations

import datetime as dt
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from alerting.channels import Channel
from alerting.delivery import SendResult, send_claimed, send_owed_summary
from alerting.errors import PipelineError, TransientError
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.live_alerts import AlertSettings
from alerting.notices import send_progress, send_start, tell_human
from alerting.object_store import ObjectStore
from alerting.outbox import Outbox, OutboxEntry, sender_name
from alerting.owed_mail import untold
from alerting.redaction import redact
from alerting.run_facts import RunFacts
from alerting.spool import Spool

_log = logging.getLogger("gapless.alerting")
_HUMAN_RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class AlertContext:
    """What alerts are made with: where they are kept, who is told, how, and what time it is (aware UTC).

    Incidents wait in ``spool_folder`` until the store has them.
    """

    store: ObjectStore
    channels: tuple[Channel, ...]
    settings: AlertSettings
    clock: Callable[[], dt.datetime]
    spool_folder: Path | str | None = None


class BackfillMode:
    """Between ``begin`` (or a join, without it) and ``end``. Safe to use from many threads."""

    def __init__(
        self,
        backfill_id: str,
        context: AlertContext,
        *,
        source: str = "",
        ttl_s: float = 3600.0,
    ) -> None:
        self.backfill_id, self.source, self.ttl_s = backfill_id, source, ttl_s
        self._store, self._channels = context.store, context.channels
        self._settings, self._clock, self._spool_folder = context.settings, context.clock, context.spool_folder
        self._outbox = Outbox(context.store)
        self._spool = Spool(IncidentJournal(context.store), backfill_id, context.spool_folder)
        self._lock = threading.Lock()
        self._beaten_at = context.clock()
        self._is_owner = False
        self._human_noticed = False
        self._untold: Incident | None = None
        self._human_tried_at: dt.datetime | None = None

    @property
    def expired(self) -> bool:
        """No heartbeat of this process for ``ttl_s``."""
        return self._clock() >= self._beaten_at + dt.timedelta(seconds=self.ttl_s)

    def begin(self, facts: RunFacts | None, *, told_by: str = "", covers: Sequence[RunFacts] = ()) -> None:
        """Opens the outbox entry, joins that of a living run, or begins the next attempt of one that has ended.

        The mail of an attempt is drawn once: what a channel has not taken of it by then is told by the next one.
        """
        now = self._clock()
        owner = (facts.owner if facts else "") or socket.gethostname()
        saved = facts.redacted().to_dict() if facts else {}
        covered = [each.redacted().to_dict() for each in covers]

        begun = False

        def opened(entry: OutboxEntry) -> OutboxEntry:
            nonlocal begun
            if entry.closed or entry.has_ended:
                entry = OutboxEntry(self.backfill_id, attempt=entry.attempt + 1)
            begun = entry.opened_at is None
            entry.source, entry.owner = self.source or entry.source, entry.owner or redact(owner)
            entry.quiet_if_ok = self.source in self._settings.quiet_sources
            entry.mail_host, entry.ttl_s = self._settings.mail_host, self.ttl_s
            entry.opened_at, entry.heartbeat_at, entry.finished_at = entry.opened_at or now, now, None
            entry.facts = saved or entry.facts
            entry.told_by, entry.covers = told_by, covered or entry.covers
            return entry

        entry = self._outbox.update(self.backfill_id, opened, create=lambda: OutboxEntry(self.backfill_id))
        self._is_owner = True
        if entry and begun and self._settings.start_mail and not told_by:
            send_start(self._channels, entry, now)

    def heartbeat(self, facts: RunFacts | None = None) -> bool:
        """Extends the mode and retries what waits; False when the store is down. Raises ``StateUnreadable``.

        Who joined only reads the entry: a store takes one write of an object a second, and sixty windows are more.
        """
        now = self._clock()
        saved = facts.redacted().to_dict() if facts else None

        def beat(entry: OutboxEntry) -> OutboxEntry | None:
            if entry.closed or entry.finished_at is not None:
                return None
            entry.heartbeat_at = now
            entry.facts = entry.facts if saved is None else saved
            return entry

        try:
            if self._is_owner:
                entry = self._outbox.update(self.backfill_id, beat)
            else:
                entry = self._outbox.read(self.backfill_id)
        except (TransientError, OSError) as error:
            _log.warning("no heartbeat for backfill %s: %s", self.backfill_id, redact(str(error)))
            return False
        with self._lock:
            self._beaten_at = now
        stored = self.flush()
        waiting = entry.human.incident if entry and entry.human and entry.human.sent_at is None else self._untold
        if waiting:
            self._tell_human(waiting)
        if entry and self._is_owner and self._settings.progress_mail_hours and not entry.told_by:
            hours = self._settings.progress_mail_hours
            send_progress(self._store, self._channels, self.backfill_id, hours, now)
        return stored

    def record(self, incident: Incident) -> None:
        """Keeps the incident; the first CRITICAL one is stored and told at once. Never raises."""
        self._spool.add(incident if incident.source else replace(incident, source=self.source))
        if incident.severity == "CRITICAL":
            self.call_for_a_human(incident)

    def call_for_a_human(self, incident: Incident) -> None:
        """Stores what waits and tells a human, unless that was done; ``incident`` is not kept. Never raises."""
        if self._human_is_due():
            self.flush()
            self._tell_human(incident if incident.source else replace(incident, source=self.source))

    def flush(self, window: str = "", attempt: int | str = 1) -> bool:
        """Stores what waits as one journal object; False when the store did not take it (it keeps waiting)."""
        try:
            self._spool.flush(window, attempt)
        except Exception as error:
            _log.error("incidents wait on local disk, the store did not take them: %s", redact(str(error)))
            return False
        return True

    def untold(self) -> list[Incident]:
        """What this process recorded too late for the mail, which another one has sent. Never raises."""
        writer = self._spool.writer
        try:
            return untold(self._store, self.backfill_id, writer) if writer else []
        except (PipelineError, OSError) as error:
            _log.error("not known whether the mail of %s told all: %s", self.backfill_id, redact(str(error)))
            return []

    def incidents(self) -> Iterator[Incident]:
        """Journaled and waiting ones, as a stream."""
        self.flush()
        yield from IncidentJournal(self._store).read(self.backfill_id)
        yield from self._spool.waiting()

    def end(self, send_summary: bool, run_facts: RunFacts | None) -> SendResult:
        """Stores the rest, marks the run as finished, and sends. Raises what the store raises; may be called again."""
        now = self._clock()
        self._spool.flush("final")
        facts = RunFacts(finished_at=now).merged(run_facts.redacted() if run_facts else RunFacts())

        def end(entry: OutboxEntry) -> None:
            entry.finished_at = entry.finished_at or now
            entry.facts = entry.run_facts.merged(facts).to_dict()
            entry.state = entry.state if send_summary else "archived"

        def finished(entry: OutboxEntry) -> OutboxEntry | None:
            if entry.closed:
                return None
            end(entry)
            return entry

        claimed = self._outbox.claim(self.backfill_id, sender_name(), now, end) if send_summary else None
        if claimed is None:
            # Nothing is to be sent, or it was sent, or somebody else is at it.
            self._outbox.update(self.backfill_id, finished)
        if not send_summary:
            return SendResult("archived", self.backfill_id)
        result = self._send(claimed)
        for wait_s in self._settings.retry_waits_s:
            if result.status != "failed":
                break
            time.sleep(wait_s)
            result = self._send()
        return result

    def _send(self, claimed: OutboxEntry | None = None) -> SendResult:
        now, folder = self._clock(), self._spool_folder
        if claimed is not None:
            return send_claimed(self._outbox, claimed, self._channels, run_facts=None, now=now, spool_folder=folder)
        return send_owed_summary(self._store, self._channels, self.backfill_id, now=now, spool_folder=folder)

    def _human_is_due(self) -> bool:
        """Not told yet, and not tried a moment ago: no thousand errors may wait for a dead store one by one."""
        tried = self._human_tried_at
        just_tried = tried is not None and self._clock() < tried + dt.timedelta(seconds=_HUMAN_RETRY_S)
        return not self._human_noticed and not just_tried

    def _tell_human(self, incident: Incident) -> None:
        self._untold, self._human_tried_at = self._untold or incident, self._clock()
        try:
            tell_human(self._store, self._channels, self.backfill_id, self._untold, self._clock())
            # From here on the outbox entry knows; what a channel refused is tried again by the heartbeat.
            self._human_noticed, self._untold = True, None
        except (PipelineError, OSError) as error:
            _log.critical("a human is needed: %s (not mailed: %s)", incident.message, redact(str(error)))
