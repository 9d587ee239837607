"""Is there a transport that works? Asked before a run enters backfill mode, and by ``gapless test-alert``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from alerting.channels import Channel
from alerting.errors import ConfigurationError
from alerting.message import plain_mail
from alerting.notices import deliver


def require_transport(channels: Sequence[Channel]) -> None:
    """Raises ``ConfigurationError`` without any channel, and what the preflight of a channel raises."""
    if not channels:
        raise ConfigurationError(
            "no alert channel: a backfill would fail in silence",
            stage="alert",
            hint="configure SMTP or Apprise, or choose console only",
        )
    for channel in channels:
        channel.preflight()


def try_channels(channels: Sequence[Channel], subject_prefix: str, now: dt.datetime) -> dict[str, str]:
    """Sends a test mail through every channel; returns channel name -> problem ("" when everybody has it)."""
    text = "This is a test: this channel works. No action is needed."
    problems: dict[str, str] = {}
    for channel in channels:
        mail = plain_mail(f"{subject_prefix} test alert ({channel.name})", text, now=now)
        delivered, errors = deliver(mail, (channel,), "INFO", {}, now)
        refused = [f"{who}: {answer}" for each in delivered.values() for who, answer in each.refused.items()]
        cut = [each.cut for each in delivered.values() if each.cut]
        problems[channel.name] = "; ".join([*errors, *refused, *cut])
    return problems
