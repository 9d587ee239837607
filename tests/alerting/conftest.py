"""Real servers for the alerting tests: an SMTP server whose moods a test sets, and an HTTP server that notes posts."""

from __future__ import annotations

import datetime as dt
import email
import email.policy
import http.server
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from smtp_channels import smtp_channel

from alerting.channels import Delivery, DeliveryFailed, Kind, SmtpChannel
from alerting.incident import Severity
from alerting.live_alerts import AlertSettings
from alerting.local_store import FileObjectStore
from alerting.memory_store import MemoryObjectStore
from alerting.run_facts import RunFacts
from alerting.smart_alert_manager import SmartAlertManager
from deployments.local.processes import free_port


class Inbox:
    """aiosmtpd handler; ``data_answer`` and ``refused`` make it as unfriendly as real servers are."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.recipients: list[list[str]] = []
        self.senders: list[str] = []
        self.data_answer = "250 OK"
        self.refused: dict[str, str] = {}

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.data_answer.startswith("250"):
            self.raw.append(envelope.content)
            self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
            self.recipients.append(list(envelope.rcpt_tos))
            self.senders.append(envelope.mail_from)
        return self.data_answer


class MailServer:
    """An SMTP server on a free port of 127.0.0.1 that can go down and come back on the same port."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.port = free_port()
        self._controller: Controller | None = None
        self.up()

    def up(self) -> None:
        self._controller = Controller(self.inbox, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def down(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def channel(self, **options: Any) -> SmtpChannel:
        return smtp_channel(self.port, **options)


class Clock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.now = dt.datetime(2026, 1, 10, 2, 0, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.now

    def tick(self, **by: float) -> None:
        self.now += dt.timedelta(**by)


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.down()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryObjectStore:
    """Its clock is right, and so is that of this machine; no two writes are at the same instant."""
    writes = itertools.count(1)
    return MemoryObjectStore(now=lambda: clock() + dt.timedelta(microseconds=next(writes)))


@pytest.fixture(params=["memory", "file"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> MemoryObjectStore | FileObjectStore:
    return MemoryObjectStore() if request.param == "memory" else FileObjectStore(tmp_path / "objects")


@pytest.fixture
def make_manager(store: MemoryObjectStore, clock: Clock, tmp_path: Path) -> Callable[..., SmartAlertManager]:
    def make(*channels: Any, **options: Any) -> SmartAlertManager:
        settings = options.pop("settings", AlertSettings(retry_waits_s=()))
        given = {"store": store, "spool_folder": tmp_path / "spool", "clock": clock, "settings": settings}
        return SmartAlertManager(channels=channels, **{**given, **options})

    return make


RUNNING = "nba-2024"


class Recorder:
    """A channel that keeps what it gets, and fails while ``broken``."""

    kind: Kind = "mail"

    def __init__(self, name: str = "recorder") -> None:
        self.name, self.broken = name, False
        self.mails: list[EmailMessage] = []
        self.severities: list[Severity] = []

    def preflight(self) -> None:
        pass

    def send(self, mail: EmailMessage, *, severity: Severity = "INFO") -> Delivery:
        if self.broken:
            raise DeliveryFailed("451 later")
        self.mails.append(mail)
        self.severities.append(severity)
        return Delivery()


@pytest.fixture
def channel() -> Recorder:
    return Recorder()


@pytest.fixture
def running(make_manager: Callable[..., SmartAlertManager], channel: Recorder) -> SmartAlertManager:
    """A manager in backfill mode, with one error journaled."""
    manager = make_manager(channel)
    manager.enable_backfill_mode(
        RUNNING, source="nba", ttl_s=600, facts=RunFacts(planned=3, start_date="2024-01-01", owner="maria")
    )
    manager.record_error({"scraper": "nba", "date": "2024-01-02", "error_type": "Timeout", "error": "slow"})
    manager.flush("2024-01", 1)
    return manager


class Posts:
    """What an HTTP endpoint received; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.status = 200
        self.location = ""
        self.url = ""

    @property
    def address(self) -> str:
        """As Apprise writes it."""
        return self.url.replace("http://", "json://")


@pytest.fixture
def posts() -> Iterator[Posts]:
    seen = Posts()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            seen.bodies.append(json.loads(self.rfile.read(length)))
            self.send_response(seen.status)
            if seen.location:
                self.send_header("Location", seen.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    seen.url = f"http://127.0.0.1:{server.server_address[1]}/services/T000/B000/planted-hook-secret"
    yield seen
    server.shutdown()
    server.server_close()
    thread.join()
