"""The SMTP side of the inbox, with trouble to order.

Modes of trouble: ``none``; ``down`` drops every connection; ``451`` defers each mail; ``refuse_recipient`` answers 550
to the recipients named, or to all; ``hang`` never answers a mail; ``lost_answer`` keeps the mail and drops the
connection before saying so: the sender cannot know, and what it sends next must bear the same Message-ID.

A web page can post to this port too, with SMTP commands in the body: a connection that speaks HTTP is dropped at its
first line.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Literal, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from pydantic import BaseModel, ConfigDict, Field

from deployments.local.inbox.store import MailStore

_MAX_MAIL_BYTES = 32 * 1024 * 1024
Mode = Literal["none", "down", "451", "refuse_recipient", "hang", "lost_answer"]


class Trouble(BaseModel):
    """What goes wrong, and for how long.

    Attributes:
        mode: See the module.
        times: How often; None = until changed.
        recipients: For ``refuse_recipient``: whom; empty = everybody.
        seen: How often it struck.
    """

    model_config = ConfigDict(extra="forbid")

    mode: Mode = "none"
    times: int | None = Field(default=None, ge=1)
    recipients: list[str] = []
    seen: int = 0


class Troubles:
    """The trouble in force; set by the web thread, struck by the SMTP thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = Trouble()

    @property
    def now(self) -> Trouble:
        """A copy of the trouble in force."""
        with self._lock:
            return self._now.model_copy()

    def order(self, trouble: Trouble) -> None:
        """Replaces the trouble in force."""
        with self._lock:
            self._now = trouble

    def strikes(self, *modes: Mode, recipient: str = "") -> bool:
        """Whether one of these modes strikes here; counts it, and ends the trouble after its last time."""
        with self._lock:
            now = self._now
            if now.mode not in modes or (recipient and now.recipients and recipient not in now.recipients):
                return False
            now.seen += 1
            if now.times is not None and now.seen >= now.times:
                self._now = Trouble()
            return True


class _Handler:
    def __init__(self, store: MailStore, troubles: Troubles) -> None:
        self.store = store
        self.troubles = troubles

    async def handle_RCPT(
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.troubles.strikes("refuse_recipient", recipient=address):
            return "550 5.1.1 No such mailbox here (trouble was ordered)"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        if self.troubles.strikes("451"):
            return "451 4.3.0 Try again later (trouble was ordered)"
        if self.troubles.strikes("hang"):
            await asyncio.Event().wait()
        content = cast("bytes", envelope.content)
        try:
            mail_id = await asyncio.to_thread(
                self.store.keep, content, envelope.mail_from or "", list(envelope.rcpt_tos)
            )
        except OSError as error:
            # What aiosmtpd would answer, 500, is for ever: its sender gives the mail up.
            return f"452 4.3.1 Not kept: {error.strerror}"
        if self.troubles.strikes("lost_answer"):
            cast("asyncio.Transport", server.transport).abort()
        return f"250 2.0.0 Kept as {mail_id}"


class _Server(SMTP):
    troubles: Troubles

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.troubles.strikes("down"):
            cast("asyncio.Transport", transport).abort()

    async def smtp_POST(self, _argument: str) -> None:
        """Every method of HTTP that a browser sends ends the connection."""
        cast("asyncio.Transport", self.transport).abort()

    smtp_GET = smtp_HEAD = smtp_PUT = smtp_PATCH = smtp_DELETE = smtp_OPTIONS = smtp_CONNECT = smtp_POST


class SmtpServer(Controller):
    """SMTP on 127.0.0.1 in a thread of its own: ``start()``, ``stop()``. Any login is accepted."""

    def __init__(self, store: MailStore, troubles: Troubles, port: int) -> None:
        self._troubles = troubles
        super().__init__(_Handler(store, troubles), hostname="127.0.0.1", port=port)

    def factory(self) -> SMTP:
        """One protocol per connection."""
        server = _Server(
            self.handler,
            hostname="localhost",
            data_size_limit=_MAX_MAIL_BYTES,
            enable_SMTPUTF8=True,
            auth_require_tls=False,
            authenticator=_accept,
        )
        server.troubles = self._troubles
        return server


def _accept(*_: Any) -> AuthResult:
    return AuthResult(success=True)
