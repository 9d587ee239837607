"""Alerts outside backfill mode: routed by severity, limited per cause over all processes, collected for a digest."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alerting.channels import Channel, DeliveryFailed
from alerting.errors import PipelineError
from alerting.fingerprint import group_incidents
from alerting.incident import Incident, Severity
from alerting.journal import with_fingerprint
from alerting.limiter import Limiter, Permit
from alerting.live_texts import alert_text, digest_text
from alerting.message import plain_mail
from alerting.notices import deliver
from alerting.object_store import ObjectStore
from alerting.pending_alerts import PendingAlerts
from alerting.redaction import redact

_log = logging.getLogger("gapless.alerting")
CRITICALS_OF_A_CAUSE, CRITICALS_WITHIN_MINUTES = 5, 60.0
"""Beyond these they are counted: an error that nobody has classified is CRITICAL, and a loop may meet it 600 times."""


@dataclass(frozen=True, slots=True)
class SeverityRule:
    """How one severity travels: at once to channels of these kinds, at most once per cooldown and cause.

    No kinds: only in the digest. A kind without a channel falls back to mail.
    """

    kinds: tuple[str, ...] = ()
    cooldown_minutes: float = 60.0


def _default_rules() -> dict[Severity, SeverityRule]:
    return {
        "CRITICAL": SeverityRule(("mail", "chat", "console"), 0.0),
        "ERROR": SeverityRule(("chat", "console"), 60.0),
        "WARNING": SeverityRule(("chat", "console"), 180.0),
        "INFO": SeverityRule((), 360.0),
    }


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """``batch_threshold`` alerts within ``batch_window_s`` are a storm: what is not critical then waits for the digest.

    ``mail_host`` is the right side of Message-IDs; the same on every machine. ``progress_mail_hours`` opts into a
    heartbeat mail of long backfills, ``start_mail`` into one when a backfill begins. Backfills of ``quiet_sources``
    send no summary when everything is there. ``retry_waits_s`` are the pauses
    before a run tries its summary again; after them it is left to the watchdog.
    """

    rules: Mapping[Severity, SeverityRule] = field(default_factory=_default_rules)
    batch_threshold: int = 10
    batch_window_s: float = 300.0
    subject_prefix: str = "[gapless]"
    mail_host: str = "gapless.local"
    progress_mail_hours: float | None = None
    start_mail: bool = False
    quiet_sources: frozenset[str] = frozenset()
    retry_waits_s: tuple[float, ...] = (2.0, 8.0)


class LiveAlerts:
    """Live mode of one store and its channels."""

    def __init__(
        self, store: ObjectStore, channels: Sequence[Channel], settings: AlertSettings, clock: Callable[[], dt.datetime]
    ) -> None:
        self._channels, self._settings, self._clock = tuple(channels), settings, clock
        self._limiter = Limiter(store, clock)
        self._pending = PendingAlerts(store, self._limiter.now)

    def alert(self, incident: Incident, *, is_unlimited: bool = False) -> bool:
        """Keeps the alert for the digest and sends it if its rule and the limiter let it; True when it went out.

        ``is_unlimited``: whoever reports it has called it CRITICAL, rather than an error that nobody has classified.
        """
        incident = with_fingerprint(incident)
        rule = self._settings.rules[incident.severity]
        try:
            self._pending.keep(incident)
        except (PipelineError, OSError) as error:
            _log.error("alert not kept for the digest: %s: %s", redact(str(error)), incident.message)
        channels = self._channels_for(rule)
        if not channels:
            return False
        try:
            permit = self._permit_for(incident, rule, is_unlimited)
        except (PipelineError, OSError) as error:
            # A limiter that cannot be read must not silence: one mail too many is the smaller harm.
            _log.error("alert limiter unavailable, sending unlimited: %s", redact(str(error)))
            permit = Permit(incident.fingerprint, 0, None)
        return permit is not None and self._send(incident, channels, permit)

    def may_send(self, error_type: str, cooldown_minutes: float, source: str = "") -> bool:
        """Whether nothing of this type and source was sent within the cooldown; changes nothing."""
        return self._limiter.free(type_key(error_type, source), cooldown_minutes)

    def _channels_for(self, rule: SeverityRule) -> list[Channel]:
        chosen = [channel for channel in self._channels if channel.kind in rule.kinds]
        if rule.kinds and not any(channel.kind != "console" for channel in chosen):
            chosen += [channel for channel in self._channels if channel.kind == "mail"]
        return chosen

    def _permit_for(self, incident: Incident, rule: SeverityRule, is_unlimited: bool) -> Permit | None:
        key, kind = incident.fingerprint, type_key(incident.error_type, incident.source)
        if is_unlimited:
            return self._limiter.ask(key, 0.0, type_key=kind)
        if incident.severity == "CRITICAL":
            return self._limiter.ask_among(key, CRITICALS_OF_A_CAUSE, CRITICALS_WITHIN_MINUTES, type_key=kind)
        permit = self._limiter.ask(key, rule.cooldown_minutes, type_key=kind)
        return permit if permit is None else self._unless_storm(permit)

    def _unless_storm(self, permit: Permit) -> Permit | None:
        count = self._limiter.recent(self._settings.batch_window_s)
        if count <= self._settings.batch_threshold:
            return permit
        self._limiter.release(permit)
        storm = self._limiter.ask("storm", 60.0)
        if storm is not None:
            text = (
                f"More than {self._settings.batch_threshold} alerts within {self._settings.batch_window_s:.0f} s. "
                "Alerts that are not critical now wait for the digest; none is lost."
            )
            self._post(f"{self._settings.subject_prefix} alert storm", text, self._channels, "ERROR", storm)
        return None

    def _send(self, incident: Incident, channels: Sequence[Channel], permit: Permit) -> bool:
        name = f"{incident.severity} {incident.source}: {incident.error_type}"
        cooldown = self._settings.rules[incident.severity].cooldown_minutes
        text = alert_text(incident, held_back=permit.suppressed, since=permit.since, cooldown_minutes=cooldown)
        subject = f"{self._settings.subject_prefix} {name}".strip()
        return self._post(subject, text, channels, incident.severity, permit, incident.source)

    def _post(
        self, subject: str, text: str, channels: Sequence[Channel], severity: Severity, permit: Permit, source: str = ""
    ) -> bool:
        now = self._limiter.now()
        mail = plain_mail(subject, text, source=source, now=now)
        mail["Message-ID"] = f"<gapless.alert.{uuid.uuid4().hex}@{self._settings.mail_host}>"
        if permit.type_key:
            # What is told again about a cause stands below what was told first.
            mail["References"] = f"<gapless.cause.{permit.key.replace(':', '.')}@{self._settings.mail_host}>"
        delivered, problems = deliver(mail, channels, severity, {}, now)
        if problems:
            _log.error("alert not delivered: %s\n%s\n%s", "; ".join(problems), subject, text)
        try:
            (self._limiter.confirm if delivered else self._limiter.failed)(permit)
        except (PipelineError, OSError) as error:
            _log.error("alert limiter not updated: %s", redact(str(error)))
        return bool(delivered)

    # -- digest ----------------------------------------------------------------------------------------------

    def pending(self, hours: float) -> Iterator[Incident]:
        """Live alerts reported in the last ``hours``; one that cannot be read is told as an alert of its own."""
        return self._pending.since(hours, self._clock())

    def send_digest(self, hours: float) -> bool:
        """One mail over all causes of the last ``hours``, criticals first; False without alerts. ``DeliveryFailed``.

        It reaches back to the digest before it, should that be longer ago: what came between the two is in this one.
        """
        due = self._pending.due(hours)
        causes = group_incidents(self._pending.read(due.names, due.at))
        if causes.groups:
            self._send_digest(digest_text(causes, round(due.hours, 1)))
        try:
            self._pending.tell(due)
        except (PipelineError, OSError) as error:
            _log.error("the next digest will tell the same alerts again: %s", redact(str(error)))
        return bool(causes.groups)

    def _send_digest(self, text: str) -> None:
        mails = [channel for channel in self._channels if channel.kind == "mail"] or list(self._channels)
        subject = f"{self._settings.subject_prefix} digest: {text.partition(chr(10))[0]}"
        if not self._post(subject, text, mails, "INFO", Permit("", 0, None)):
            raise DeliveryFailed("the digest reached no channel; its alerts are kept", stage="alert")

    def summary_of(self, incidents: Iterable[Incident], hours: float) -> dict[str, Any]:
        """Counts of what occurred within ``hours``, by type, scraper and severity. Reads ``incidents`` once."""
        since = self._clock() - dt.timedelta(hours=hours)
        counts: dict[str, Counter[str]] = {"by_type": Counter(), "by_scraper": Counter(), "by_severity": Counter()}

        def counted() -> Iterator[Incident]:
            for incident in incidents:
                if incident.occurred_at >= since:
                    counts["by_type"][incident.error_type] += 1
                    counts["by_scraper"][incident.source or "unknown"] += 1
                    counts["by_severity"][incident.severity] += 1
                    yield incident

        causes = len(group_incidents(counted()).groups)
        return {
            "total_errors": counts["by_type"].total(),
            **{name: dict(count) for name, count in counts.items()},
            "causes": causes,
        }


def type_key(error_type: str, source: str) -> str:
    """Two scrapers' ConnectionErrors do not silence each other."""
    return f"type:{source}:{error_type}"
