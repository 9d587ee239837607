"""A mail channel to a server of this machine, with everything else as most tests want it."""

from __future__ import annotations

import dataclasses
from typing import Any

from alerting.channels import SmtpChannel
from alerting.smtp_session import SmtpServer

_OF_SERVER = {field.name for field in dataclasses.fields(SmtpServer)}


def smtp_channel(port: int, **options: Any) -> SmtpChannel:
    """From gapless to ops, without encryption, unless ``options`` (of server or channel) say otherwise."""
    reached = {name: value for name, value in options.items() if name in _OF_SERVER}
    given = {name: value for name, value in options.items() if name not in _OF_SERVER}
    server = SmtpServer("127.0.0.1", port, **{"security": "none", "timeout_s": 5.0, **reached})
    return SmtpChannel(server, **{"sender": "gapless@example.org", "recipients": ["ops@example.org"], **given})
