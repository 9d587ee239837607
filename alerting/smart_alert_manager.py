"""SmartAlertManager: no flood, nothing lost, one mail.

In backfill mode every error goes to the journal and the run ends in one summary mail. Outside of it an error is an
alert: limited per cause, and collected for the digest (``live_alerts``).
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from alerting.backfill_mode import AlertContext, BackfillMode
from alerting.channels import Channel
from alerting.delivery import SendResult
from alerting.incident import Incident, Reported, Severity
from alerting.live_alerts import AlertSettings, LiveAlerts
from alerting.local_store import FileObjectStore
from alerting.object_store import ObjectStore
from alerting.redaction import redact
from alerting.run_facts import RunFacts
from alerting.transports import require_transport, try_channels

_log = logging.getLogger("gapless.alerting")


class SmartAlertManager:
    """Who is told what, and when. Safe to use from many threads.

    Args:
        bucket_name: Folder where it keeps what it has to tell, unless there is a ``store``; made at first use.
        store: Object store to use.
        channels: Transports. None at all means ``enable_backfill_mode`` refuses.
        settings: Cooldowns, routing, thresholds.
        spool_folder: Where incidents wait on local disk until the store has them.
        clock: Aware UTC now.
    """

    def __init__(
        self,
        bucket_name: Path | str = "gapless-alerts",
        *,
        store: ObjectStore | None = None,
        channels: Sequence[Channel] = (),
        settings: AlertSettings | None = None,
        spool_folder: Path | str | None = None,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self.bucket_name, self.channels, self.clock = bucket_name, tuple(channels), clock
        self.settings = settings or AlertSettings()
        self._store = store
        self._spool_folder = spool_folder
        self._lock = threading.RLock()
        self._source = ""
        self._mode: BackfillMode | None = None
        self._unfinished: BackfillMode | None = None
        self._live: LiveAlerts | None = None
        self.last_result: SendResult | None = None

    # -- wiring ----------------------------------------------------------------------------------------------

    @property
    def store(self) -> ObjectStore:
        """The object store, made at first use."""
        with self._lock:
            if self._store is None:
                self._store = FileObjectStore(self.bucket_name)
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
        return self._mode.backfill_id if self._mode else ""

    @property
    def is_backfill_mode(self) -> bool:
        """False again when the mode has expired for want of a heartbeat."""
        return self._mode is not None and not self._mode.expired

    def __enter__(self) -> SmartAlertManager:
        if self._mode is None:
            self.enable_backfill_mode()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._mode:
            self.record_error(error)
        outcome = RunFacts(outcome="FAILED") if error is not None else None
        self.disable_backfill_mode(run_facts=outcome)

    def test_alert(self) -> dict[str, str]:
        """Sends a test mail through every channel; returns channel name -> problem ("" when it was accepted)."""
        return try_channels(self.channels, self.settings.subject_prefix, self.clock())

    def preflight(self) -> None:
        """Raises ``ConfigurationError`` or ``DeliveryFailed`` unless a person can be told, or console only is explicit
        (a ``LogChannel``)."""
        require_transport(self.channels)

    # -- backfill mode ---------------------------------------------------------------------------------------

    def enable_backfill_mode(
        self,
        backfill_id: str | None = None,
        *,
        source: str = "",
        ttl_s: float = 3600.0,
        facts: RunFacts | None = None,
        told_by: str = "",
        covers: Sequence[RunFacts] = (),
    ) -> str:
        """From here on errors of this backfill are collected, and its summary is owed. Returns the backfill id.

        Enabling an open backfill joins it; enabling one whose mail is out begins its next attempt. Without heartbeat
        for ``ttl_s`` the mode ends by itself. ``told_by`` is the backfill whose mail tells of this one, which sends
        none of its own then; ``covers`` are what is known of those that the mail of this one is to tell. Raises what
        ``preflight`` raises.
        """
        self.preflight()
        backfill_id = backfill_id or f"manual-{self.clock():%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        mode = self._make_mode(backfill_id, source, ttl_s)
        mode.begin(facts, told_by=told_by, covers=covers)
        with self._lock:
            self._mode, self._source = mode, source
        _log.info("backfill mode enabled: errors of %s are collected for one summary mail", backfill_id)
        return backfill_id

    def join_backfill(self, backfill_id: str, *, source: str = "", ttl_s: float = 3600.0) -> None:
        """Collects errors for a backfill that another process owns: no preflight, no change to its entry."""
        with self._lock:
            self._mode, self._source = self._make_mode(backfill_id, source, ttl_s), source

    def heartbeat(self, facts: RunFacts | None = None) -> bool:
        """A sign of life: extends the mode, retries what could not be stored or sent, saves fresher facts.

        False in live mode, and when the store is down (the mode then goes on until its time is over).
        Raises ``StateUnreadable``.
        """
        return self._mode.heartbeat(facts) if self._mode else False

    def record_error(self, error_data: Reported) -> Incident:
        """Never raises for a store or channel that is down: the error waits in memory and on local disk.

        In backfill mode it is collected; a CRITICAL one is stored at once and sends the backfill's only "a human is
        needed now". In live mode it is an alert, sent at once unless its cause is cooling down.
        """
        return self._report(error_data)

    def call_for_a_human(self, error_data: Reported) -> Incident:
        """Says that the run stopped for errors which others have recorded: it is told, and counted nowhere.

        In backfill mode it is the "a human is needed now", unless that is out; in live mode an alert. Never raises.
        """
        return self._report(error_data, BackfillMode.call_for_a_human)

    def flush(self, window: str = "", attempt: int | str = 1) -> bool:
        """Stores what is waiting as one journal object; False when the store is down (it keeps waiting)."""
        return self._mode.flush(window, attempt) if self._mode else True

    def disable_backfill_mode(self, send_summary: bool = True, run_facts: RunFacts | None = None) -> SendResult | None:
        """Ends the mode and sends the one summary; the mode ends also when sending fails.

        A second call does nothing, unless the mail could not be sent: then it tries again. ``send_summary=False``
        archives the incidents with the run. Returns what became of the mail, None when there was no mode.
        Raises what the store raises, after the mode has ended.
        """
        with self._lock:
            mode = self._mode or self._unfinished
            self._mode, self._unfinished = None, mode
        if mode is None:
            return None
        self.last_result = mode.end(send_summary, run_facts)
        with self._lock:
            self._unfinished = mode if self.last_result.status == "failed" else None
        if self.last_result.status == "already_sent":
            self._tell_untold(mode)
        _log.info("backfill mode disabled for %s: summary %s", mode.backfill_id, self.last_result.status)
        return self.last_result

    def leave_backfill(self, window: str = "", attempt: int | str = 1) -> None:
        """The end of what `join_backfill` began: stores what waits. Never raises.

        What came after the mail of a backfill that has ended meanwhile is told as alerts.
        """
        with self._lock:
            mode, self._mode = self._mode, None
        if mode is not None and mode.flush(window, attempt):
            self._tell_untold(mode)

    # -- live mode -------------------------------------------------------------------------------------------

    def should_send_alert(self, error_type: str, cooldown_minutes: float = 60, *, source: str = "") -> bool:
        """False in backfill mode; else whether ``error_type`` of ``source`` was not sent within the cooldown."""
        return not self.is_backfill_mode and self.live.may_send(
            error_type, cooldown_minutes, source=source or self._source
        )

    def send_alert(
        self, source: str, message: str, severity: Severity = "ERROR", metadata: Mapping[str, Any] | None = None
    ) -> Incident:
        """One alert of one's own words, routed and limited by ``severity``; ``metadata`` as in ``record_error``.

        A CRITICAL one always goes out: who calls a system down means it.
        """
        data = {"error_type": "Alert", **(metadata or {}), "source": source, "message": message, "severity": severity}
        return self._report(data, is_unlimited=severity == "CRITICAL")

    def send_digest(self, hours: float = 24) -> bool:
        """One mail about every alert of the last ``hours``; False when there was none. Raises ``DeliveryFailed``."""
        return self.live.send_digest(hours)

    def get_error_summary(self, hours: float = 24) -> dict[str, Any]:
        """Counts of this backfill or of live alerts: ``total_errors``, ``by_type``, ``by_scraper``, ``by_severity``."""
        mode = self._mode
        return self.live.summary_of(mode.incidents() if mode else self.live.pending(hours), hours)

    # -- inside ----------------------------------------------------------------------------------------------

    def _report(
        self,
        error_data: Reported,
        in_mode: Callable[[BackfillMode, Incident], None] = BackfillMode.record,
        *,
        is_unlimited: bool = False,
    ) -> Incident:
        incident = Incident.of(error_data, self._source)
        self._end_expired_mode()
        mode = self._mode
        if mode is not None:
            in_mode(mode, incident)
        else:
            self._alert(incident, is_unlimited=is_unlimited)
        return incident

    def _tell_untold(self, mode: BackfillMode) -> None:
        for incident in mode.untold():
            self._alert(incident)

    def _make_mode(self, backfill_id: str, source: str, ttl_s: float) -> BackfillMode:
        context = AlertContext(self.store, self.channels, self.settings, self.clock, self._spool_folder)
        return BackfillMode(backfill_id, context, source=source, ttl_s=ttl_s)

    def _end_expired_mode(self) -> None:
        """Ends a mode nobody kept alive, and says so. Its summary stays owed: the watchdog or next start sends it."""
        with self._lock:
            mode = self._mode
            if mode is None or not mode.expired:
                return
            self._mode, self._unfinished = None, mode
        mode.flush("expired")
        message = f"backfill mode of {mode.backfill_id} expired: no heartbeat for {mode.ttl_s:.0f} s; alerts are on"
        self._alert(Incident(source=mode.source, error_type="StaleBackfillMode", message=message, severity="CRITICAL"))

    def _alert(self, incident: Incident, *, is_unlimited: bool = False) -> None:
        try:
            self.live.alert(incident, is_unlimited=is_unlimited)
        except Exception as error:  # the caller is already handling an error: it must not get ours instead
            _log.critical("alert not sent (%s): %s: %s", redact(str(error)), incident.error_type, incident.message)
