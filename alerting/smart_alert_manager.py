"""SmartAlertManager: no flood, nothing lost, one mail.

In backfill mode every error goes to the journal and the run ends in one summary mail. Outside of it an error is an
alert: limited per cause, and collected for the digest (``live_alerts``).
"""

from __future__ import annotations

import datetime as dt
import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from alerting.channels import Channel, FileChannel, LogChannel
from alerting.delivery import SendResult, send_owed_summary
from alerting.errors import ConfigurationError, PipelineError, TransientError
from alerting.incident import Incident, Severity
from alerting.journal import IncidentJournal
from alerting.live_alerts import AlertSettings, LiveAlerts
from alerting.local_store import FileObjectStore
from alerting.message import plain_mail
from alerting.notices import deliver, send_progress, tell_human
from alerting.object_store import ObjectStore
from alerting.outbox import Outbox, OutboxEntry
from alerting.redaction import redact
from alerting.run_facts import Outcome, RunFacts
from alerting.spool import Spool

_log = logging.getLogger("gapless.alerting")
Reported = Incident | BaseException | Mapping[str, Any]


def as_incident(reported: Reported, source: str = "") -> Incident:
    """An incident, an exception, or a dictionary of the old callers, as an incident."""
    if isinstance(reported, Incident):
        return reported
    if isinstance(reported, BaseException):
        return Incident.from_error(reported, source=source)
    return Incident.from_mapping({"source": source, **reported} if source else reported)


class SmartAlertManager:
    """Who is told what, and when. Safe to use from many threads.

    Args:
        bucket_name: Name of the store when ``store_factory`` makes it; without one, a folder of that name.
        store: Object store to use.
        store_factory: Makes the store from the bucket name at first use, so that construction needs no network.
        channels: Transports. None at all means ``enable_backfill_mode`` refuses.
        settings: Cooldowns, routing, thresholds.
        spool_folder: Where incidents wait on local disk until the store has them.
        clock: Aware UTC now.
    """

    def __init__(
        self,
        bucket_name: str = "gapless-alerts",
        *,
        store: ObjectStore | None = None,
        store_factory: Callable[[str], ObjectStore] | None = None,
        channels: Sequence[Channel] = (),
        settings: AlertSettings | None = None,
        spool_folder: Path | str | None = None,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self.bucket_name, self.channels, self.clock = bucket_name, tuple(channels), clock
        self.settings = settings or AlertSettings()
        self._store, self._store_factory = store, store_factory
        self._spool_folder = spool_folder
        self._lock = threading.RLock()
        self._backfill_id = ""
        self._unfinished_id = ""
        self._source = ""
        self._expires_at: dt.datetime | None = None
        self._beaten_at: dt.datetime | None = None
        self._ttl_s = 3600.0
        self._spool: Spool | None = None
        self._live: LiveAlerts | None = None
        self.last_result: SendResult | None = None

    # -- wiring ----------------------------------------------------------------------------------------------

    @property
    def store(self) -> ObjectStore:
        """The object store, made at first use."""
        with self._lock:
            if self._store is None:
                self._store = (
                    self._store_factory(self.bucket_name) if self._store_factory else FileObjectStore(self.bucket_name)
                )
            return self._store

    @property
    def live(self) -> LiveAlerts:
        """Alerts outside backfill mode."""
        with self._lock:
            if self._live is None:
                self._live = LiveAlerts(self.store, self.channels, self.settings, self.clock)
            return self._live

    @property
    def backfill_id(self) -> str:
        """The backfill whose errors are collected, "" in live mode."""
        return self._backfill_id

    @property
    def is_backfill_mode(self) -> bool:
        """False again when the mode has expired for want of a heartbeat."""
        return bool(self._backfill_id) and not self._expired()

    def __enter__(self) -> SmartAlertManager:
        if not self._backfill_id:
            self.enable_backfill_mode()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._backfill_id:
            self.record_error(error)
        outcome = RunFacts(outcome="FAILED") if error is not None else None
        self.disable_backfill_mode(run_facts=outcome)

    def test_alert(self) -> dict[str, str]:
        """Sends a test mail through every channel; returns channel name -> problem ("" when it was accepted)."""
        now = self.clock()
        text = "This is a test: this channel works. No action is needed."
        problems: dict[str, str] = {}
        for channel in self.channels:
            mail = plain_mail(f"{self.settings.subject_prefix} test alert ({channel.name})", text, now=now)
            delivered, errors = deliver(mail, (channel,), "INFO", set(), now)
            refused = [f"{who}: {answer}" for each in delivered.values() for who, answer in each.refused.items()]
            problems[channel.name] = "; ".join([*errors, *refused])
        return problems

    def preflight(self) -> None:
        """Raises ``ConfigurationError`` or ``DeliveryFailed`` unless a person can be told, or console only is explicit
        (a ``LogChannel``)."""
        if not self.channels:
            raise ConfigurationError(
                "no alert channel: a backfill would fail in silence",
                stage="alert",
                hint="configure SMTP or a webhook, or choose console only",
            )
        for channel in self.channels:
            channel.preflight()

    # -- backfill mode ---------------------------------------------------------------------------------------

    def enable_backfill_mode(
        self,
        backfill_id: str | None = None,
        *,
        source: str = "",
        owner: str = "",
        ttl_s: float = 3600.0,
        facts: RunFacts | None = None,
    ) -> str:
        """From here on errors of this backfill are collected, and its summary is owed. Returns the backfill id.

        Enabling an open backfill joins it; enabling one whose mail is out begins its next attempt. Without heartbeat
        for ``ttl_s`` the mode ends by itself. Raises what ``preflight`` raises.
        """
        self.preflight()
        now = self.clock()
        backfill_id = backfill_id or f"manual-{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        owner = owner or socket.gethostname()
        saved = facts.redacted().to_dict() if facts else {}

        def begin(entry: OutboxEntry) -> OutboxEntry:
            if entry.closed:
                entry = OutboxEntry(backfill_id, attempt=entry.attempt + 1)
            entry.source, entry.owner = source or entry.source, entry.owner or owner
            entry.mail_host, entry.ttl_s = self.settings.mail_host, ttl_s
            entry.opened_at, entry.heartbeat_at, entry.finished_at = entry.opened_at or now, now, None
            entry.facts = saved or entry.facts
            return entry

        Outbox(self.store).update(backfill_id, begin, create=lambda: OutboxEntry(backfill_id))
        with self._lock:
            self._backfill_id, self._source, self._ttl_s = backfill_id, source, ttl_s
            self._spool = Spool(IncidentJournal(self.store), backfill_id, self._spool_folder)
            self._mark_alive(now)
        _log.info("backfill mode enabled: errors of %s are collected for one summary mail", backfill_id)
        return backfill_id

    def join_backfill(self, backfill_id: str, *, source: str = "", ttl_s: float = 3600.0) -> None:
        """Collects errors for a backfill that another process owns: no preflight, no change to its entry."""
        with self._lock:
            self._backfill_id, self._source, self._ttl_s = backfill_id, source, ttl_s
            self._spool = Spool(IncidentJournal(self.store), backfill_id, self._spool_folder)
            self._mark_alive(self.clock())

    def heartbeat(self, facts: RunFacts | None = None) -> bool:
        """A sign of life: extends the mode, retries what could not be stored or sent, saves fresher facts.

        False when the store is down (the mode goes on until its time is over). Raises ``StateUnreadable``.
        """
        backfill_id = self._backfill_id
        if not backfill_id:
            return False
        now = self.clock()
        saved = facts.redacted().to_dict() if facts else None

        def beat(entry: OutboxEntry) -> OutboxEntry | None:
            if entry.closed or entry.finished_at is not None:
                return None
            entry.heartbeat_at = now
            entry.facts = entry.facts if saved is None else saved
            return entry

        try:
            entry = Outbox(self.store).update(backfill_id, beat)
        except (TransientError, OSError) as error:
            _log.warning("no heartbeat for backfill %s: %s", backfill_id, redact(str(error)))
            return False
        with self._lock:
            self._mark_alive(now)
        stored = self.flush()
        if entry and entry.human and entry.human.sent_at is None:
            self._tell_human(entry.human.incident)
        if entry and self.settings.progress_mail_hours:
            send_progress(self.store, self.channels, backfill_id, self.settings.progress_mail_hours, now)
        return stored

    def record_error(self, error_data: Reported) -> Incident:
        """Never raises for a store or channel that is down: the error waits in memory and on local disk.

        In backfill mode it is collected; a CRITICAL one is stored at once and sends the backfill's only "a human is
        needed now". In live mode it is an alert, mailed at once unless its cause is cooling down.
        """
        incident = as_incident(error_data, self._source)
        if self._backfill_id and self._expired():
            self._expire()
        if not self._backfill_id:
            self.live.alert(incident)
            return incident
        assert self._spool is not None
        self._spool.add(incident)
        if incident.severity == "CRITICAL":
            self.flush()
            self._tell_human(incident)
        return incident

    def flush(self, window: str = "", attempt: int | str = 1) -> bool:
        """Stores what is waiting as one journal object; False when the store is down (it keeps waiting)."""
        if self._spool is None:
            return True
        try:
            self._spool.flush(window, attempt)
        except Exception as error:
            _log.error("incidents kept on local disk, the store did not take them: %s", redact(str(error)))
            return False
        return True

    def disable_backfill_mode(self, send_summary: bool = True, run_facts: RunFacts | None = None) -> SendResult | None:
        """Ends the mode and sends the one summary. A second call does nothing; the mode ends also when sending fails.

        ``send_summary=False`` archives the incidents with the run and sends nothing. Returns what became of the
        mail, None in live mode. Raises what the store raises, after the mode has ended.
        """
        with self._lock:
            backfill_id, spool = self._backfill_id or self._unfinished_id, self._spool
            if not backfill_id or spool is None:
                return None
            self._backfill_id, self._unfinished_id, self._expires_at = "", backfill_id, None
        now = self.clock()
        spool.flush("final")
        saved = run_facts.redacted() if run_facts else None

        def end(entry: OutboxEntry) -> OutboxEntry | None:
            if entry.closed:
                return None
            entry.finished_at = entry.finished_at or now
            if saved:
                entry.facts = entry.run_facts.merged(saved).to_dict()
            if not send_summary:
                entry.state = "archived"
            return entry

        Outbox(self.store).update(backfill_id, end)
        known = RunFacts(finished_at=now).merged(saved) if saved else RunFacts(finished_at=now)
        derived = "" if not saved or not saved.outcome else saved.outcome
        self.last_result = (
            send_owed_summary(
                self.store, self.channels, backfill_id, outcome_if_unknown=derived, run_facts=known, now=now
            )
            if send_summary
            else SendResult("archived", backfill_id)
        )
        _log.info("backfill mode disabled for %s: summary %s", backfill_id, self.last_result.status)
        return self.last_result

    def _send_summary(self, backfill_id: str, outcome: Outcome, facts: RunFacts) -> SendResult:
        for wait_s in (*self.settings.retry_waits_s, None):
            result = send_owed_summary(
                self.store,
                self.channels,
                backfill_id,
                outcome_if_unknown=outcome,
                run_facts=facts,
                now=self.clock(),
                spool_folder=self._spool_folder,
            )
            if result.status != "failed" or wait_s is None:
                break
            time.sleep(wait_s)
        return result

    # -- live mode -------------------------------------------------------------------------------------------

    def should_send_alert(self, error_type: str, cooldown_minutes: float = 60, *, source: str = "") -> bool:
        """False in backfill mode; else whether ``error_type`` of ``source`` was not sent within the cooldown."""
        return not self.is_backfill_mode and self.live.may_send(
            error_type, cooldown_minutes, source=source or self._source
        )

    def send_alert(
        self, source: str, message: str, severity: Severity = "ERROR", metadata: Mapping[str, Any] | None = None
    ) -> Incident:
        """One alert of one's own words, routed and limited by ``severity``; ``metadata`` as in ``record_error``."""
        data = {"error_type": "Alert", **(metadata or {}), "source": source, "message": message, "severity": severity}
        return self.record_error(data)

    def send_digest(self, hours: float = 24) -> bool:
        """One mail about every alert of the last ``hours``; False when there was none. Raises ``DeliveryFailed``."""
        return self.live.send_digest(hours)

    def get_error_summary(self, hours: float = 24) -> dict[str, Any]:
        """Counts of this backfill or of live alerts: ``total_errors``, ``by_type``, ``by_scraper``, ``by_severity``."""
        if self._backfill_id:
            self.flush()
            found = list(IncidentJournal(self.store).read(self._backfill_id))
            waiting = self._spool.waiting() if self._spool else []
            return self.live.summary_of([*found, *waiting], hours)
        return self.live.summary_of(self.live.pending(hours), hours)

    # -- inside ----------------------------------------------------------------------------------------------

    def _mark_alive(self, now: dt.datetime) -> None:
        self._beaten_at, self._expires_at = now, now + dt.timedelta(seconds=self._ttl_s)

    def _expired(self) -> bool:
        return self._expires_at is not None and self.clock() >= self._expires_at

    def _expire(self) -> None:
        """Ends a mode nobody kept alive, and says so. Its summary stays owed: the watchdog or next start sends it."""
        with self._lock:
            backfill_id, self._backfill_id, self._expires_at = self._backfill_id, "", None
            if not backfill_id:
                return
            self._unfinished_id = backfill_id
        self.flush("expired")
        message = (
            f"backfill mode of {backfill_id} expired: no sign of life for {self._ttl_s:.0f} s; alerts are live again"
        )
        self.live.alert(
            Incident(source=self._source, error_type="StaleBackfillMode", message=message, severity="CRITICAL")
        )

    def _tell_human(self, incident: Incident) -> None:
        try:
            tell_human(self.store, self.channels, self._backfill_id, incident, self.clock())
        except (PipelineError, OSError) as error:
            _log.critical("a human is needed: %s (not mailed: %s)", incident.message, redact(str(error)))


def console_only() -> tuple[Channel, ...]:
    """The explicit choice to tell nobody but the log."""
    return (LogChannel(),)


__all__ = ["AlertSettings", "FileChannel", "LogChannel", "SmartAlertManager", "as_incident", "console_only"]
