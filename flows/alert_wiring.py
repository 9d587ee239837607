"""How people are told: channels and the settings of alerts, from the settings of the application."""

from __future__ import annotations

import re

from alerting.channels import Channel, FileChannel, LogChannel, SmtpChannel
from alerting.chat_channels import AppriseChannel
from alerting.errors import ConfigurationError
from alerting.live_alerts import AlertSettings
from alerting.smtp_session import SmtpServer
from flows.settings import Settings


def build_channels(settings: Settings) -> list[Channel]:
    """Mail, chat and file channels that are set; the log alone counts only when ``console_only`` says so.

    Raises ``ConfigurationError`` when there is no transport and nobody asked for the console.
    """
    channels: list[Channel] = []
    if settings.smtp_host:
        if not settings.mail_to:
            raise ConfigurationError(
                "a mail server is set but no recipient", stage="settings", hint="export GAPLESS_MAIL_TO=you@example.org"
            )
        channels.append(
            SmtpChannel(
                SmtpServer(
                    settings.smtp_host,
                    settings.smtp_port,
                    security=settings.smtp_security,
                    username=settings.smtp_user,
                    password=settings.secret("smtp_password") if settings.smtp_user else "",
                ),
                sender=settings.mail_from,
                recipients=_addresses(settings.mail_to),
                by_severity={"CRITICAL": _addresses(f"{settings.mail_to_critical},{settings.mail_to}")},
            )
        )
    channels += [
        AppriseChannel(url.get_secret_value(), name="apprise" if position == 1 else f"apprise-{position}")
        for position, url in enumerate(settings.apprise_urls, start=1)
    ]
    if settings.mail_folder:
        channels.append(FileChannel(settings.mail_folder))
    if settings.console_only:
        channels.append(LogChannel())
    if not channels:
        raise ConfigurationError(
            "nobody would receive the summary: no mail server and no other channel is set. Nothing was done",
            stage="settings",
            hint="export GAPLESS_SMTP_HOST=... and GAPLESS_MAIL_TO=..., or GAPLESS_CONSOLE_ONLY=true",
        )
    return channels


def build_alert_settings(settings: Settings) -> AlertSettings:
    """How alerts, and the mails beside the summary, behave."""
    return AlertSettings(
        subject_prefix=settings.alert_subject_prefix,
        mail_host=settings.mail_host,
        progress_mail_hours=settings.progress_mail_hours or None,
        start_mail=settings.start_mail,
        quiet_sources=frozenset(settings.quiet_sources),
    )


def _addresses(text: str) -> list[str]:
    """Commas separate, but not within the quotes of a display name."""
    found = re.split(r',(?=(?:[^"]*"[^"]*")*[^"]*$)', text)
    return list(dict.fromkeys(address.strip() for address in found if address.strip()))
