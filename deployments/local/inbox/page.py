"""The web side of the inbox: pages for people, JSON for tests.

    GET    /                            the list, newest first
    GET    /messages/<id>               one mail; /html, /raw and /attachments/<n> below it
    GET    /calendar                    the history of all sources; /<source> and /<source>/<partition> below it
    GET    /api/messages                JSON list; /api/messages/<id> with text, html, headers, attachments
    DELETE /api/messages                deletes all mails
    GET, POST /api/trouble              see `deployments.local.inbox.smtp`

Pages of other origins are refused, see `deployments.local.browser_guard`. A mail is written by strangers: its HTML is
shown from a URL of its own whose policy allows no script, no form and no request to anywhere, inside a sandboxed frame;
links open in a new tab. Everything else is escaped by Jinja2. The calendar reads the bucket of the process's settings.
"""

from __future__ import annotations

import importlib
import json
import re
from datetime import datetime
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import ValidationError

from alerting.errors import PipelineError, WrongUsage
from deployments.local.browser_guard import GuardedHandler
from deployments.local.inbox.smtp import Trouble, Troubles
from deployments.local.inbox.store import Mail, MailStore

_NOTHING_BUT_LOOKS = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'"
_PAGE_POLICY = f"{_NOTHING_BUT_LOOKS}; base-uri 'none'; frame-src 'self'"
_MAIL_POLICY = f"{_NOTHING_BUT_LOOKS}; frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"


def size_in_words(size_bytes: int) -> str:
    """Bytes for people.

    >>> size_in_words(900), size_in_words(20_480)
    ('900 B', '20 KB')
    """
    return f"{size_bytes} B" if size_bytes < 1024 else f"{size_bytes / 1024:.0f} KB"


def moment_in_words(moment: datetime) -> str:
    """An aware UTC moment for people, zone named.

    >>> from datetime import UTC
    >>> moment_in_words(datetime(2026, 3, 1, 14, 5, tzinfo=UTC))
    '1 Mar 2026, 14:05 UTC'
    """
    return f"{moment.day} {moment:%b %Y, %H:%M} UTC"


def linked(text: str) -> Markup:
    """Text, escaped, whose addresses are links.

    >>> linked("<b> http://run?a&b")
    Markup('&lt;b&gt; <a href="http://run?a&amp;b" target="_blank" rel="noreferrer">http://run?a&amp;b</a>')
    """
    made = Markup('<a href="{0}" target="_blank" rel="noreferrer">{0}</a>')
    parts = re.split(r"(https?://[^\s<>\"']+)", text)
    return Markup().join(made.format(part) if number % 2 else part for number, part in enumerate(parts))


def _templates() -> Environment:
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(size=size_in_words, moment=moment_in_words, linked=linked)
    return made


class Inbox(ThreadingHTTPServer):
    """The HTTP server; one thread per request."""

    daemon_threads = True

    def __init__(self, port: int, store: MailStore, troubles: Troubles, smtp_port: int) -> None:
        self.store = store
        self.troubles = troubles
        self.smtp_port = smtp_port
        self.templates = _templates()
        super().__init__(("127.0.0.1", port), _Request)

    def page(self, name: str, **values: Any) -> bytes:
        """A rendered template."""
        return self.templates.get_template(name).render(smtp_port=self.smtp_port, **values).encode()


class _Request(GuardedHandler):
    server: Inbox

    def log_message(self, format: str, *args: Any) -> None:
        """No line per request: a page reload would fill the log."""

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/") if part]
        match parts:
            case []:
                self._send(self.server.page("inbox.html", mails=self.server.store.mails()))
            case ["healthz"]:
                self._json({"status": "ok"})
            case ["api", "messages"]:
                self._json([mail.summary() for mail in self.server.store.mails()])
            case ["api", "trouble"]:
                self._json(self.server.troubles.now.model_dump())
            case ["api", "messages", mail_id] if mail := self.server.store.mail(mail_id):
                self._json(mail.details())
            case ["calendar", *names] if len(names) <= 2:
                self._calendar(*names)
            case ["messages", mail_id, *rest] if mail := self.server.store.mail(mail_id):
                self._mail(mail, rest)
            case _:
                self._not_found()

    def do_POST(self) -> None:
        if urlsplit(self.path).path != "/api/trouble":
            return self._not_found()
        try:
            trouble = Trouble.model_validate(json.loads(self.body()))
        except (ValidationError, ValueError) as error:
            return self._json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        self.server.troubles.order(trouble)
        return self._json(trouble.model_dump())

    def do_DELETE(self) -> None:
        if urlsplit(self.path).path != "/api/messages":
            return self._not_found()
        return self._json({"deleted": self.server.store.clear()})

    def _mail(self, mail: Mail, rest: list[str]) -> None:
        attachments = mail.attachments()
        match rest:
            case []:
                has_html = bool(mail.part("html"))
                self._send(self.server.page("mail.html", mail=mail, has_html=has_html, attachments=attachments))
            case ["html"]:
                self._send(_for_frame(mail.html_with_images()).encode(), policy=_MAIL_POLICY)
            case ["raw"]:
                self._send(mail.raw, "message/rfc822", download=f"{mail.id}.eml")
            case ["attachments", number] if number.isdigit() and 0 < int(number) <= len(attachments):
                chosen = attachments[int(number) - 1]
                self._send(chosen.data, "application/octet-stream", download=chosen.name)
            case _:
                self._not_found()

    def _calendar(self, source: str = "", partition: str = "") -> None:
        # Prefect, the Google clients and every source: too much for those who only read mails.
        calendars = importlib.import_module("deployments.local.inbox.calendars")
        try:
            html, policy = calendars.page(source, partition)
        except PipelineError as error:
            code = HTTPStatus.NOT_FOUND if isinstance(error, WrongUsage) else HTTPStatus.SERVICE_UNAVAILABLE
            return self._json({"error": str(error)}, code)
        return self._send(html.encode(), policy=policy)

    def _not_found(self) -> None:
        self._json({"error": f"nothing at {self.path}"}, HTTPStatus.NOT_FOUND)

    def _json(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(value).encode(), "application/json", status=status)

    def _send(
        self,
        body: bytes,
        content_type: str = "text/html; charset=utf-8",
        *,
        status: HTTPStatus = HTTPStatus.OK,
        policy: str = _PAGE_POLICY,
        download: str = "",
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        if download:
            self.send_header("Content-Disposition", f"attachment; filename*=UTF-8''{quote(download, safe='')}")
        self.end_headers()
        self.wfile.write(body)


def _for_frame(html: str) -> str:
    """The mail's own HTML, with links that leave the frame."""
    base = '<base target="_blank">'
    placed, count = re.subn(r"(<head\b[^>]*>)", lambda found: found.group(1) + base, html, count=1, flags=re.IGNORECASE)
    return placed if count else base + html
