"""How the sample upstream answers: the contract of the box scores, its troubles, and the control calls."""

from __future__ import annotations

import datetime as dt
import functools
import gzip
import json
import socket
import sys
import threading
import uuid
from http.server import ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError

from deployments.local.browser_guard import GuardedHandler
from deployments.local.upstreams.box_scores_trouble import Calls, Rule, Troubles, spoiled
from deployments.local.upstreams.season import games_on, late_game

_PATHS = ("/v1/box_scores", "/nba/v1/box_scores")
_RULES = TypeAdapter(list[Rule])
_CHALLENGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>cf-chl</body></html>"


class State(Protocol):
    """What all answers share."""

    latency_ms: float
    api_key: str
    troubles: Troubles
    calls: Calls
    stopping: threading.Event


class Server(ThreadingHTTPServer):
    """A thread for each connection; hanging answers do not keep it from closing."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news; anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(GuardedHandler):
    """One connection. A subclass sets ``upstream``."""

    upstream: State
    protocol_version = "HTTP/1.1"
    # Headers and body leave in two small packets otherwise, and wait 40 ms for each other.
    disable_nagle_algorithm = True
    wbufsize = -1
    server_version = "sample-upstream"

    def do_GET(self) -> None:
        """Box scores, ``/gapless/calls`` and ``/healthz``."""
        url = urlsplit(self.path)
        if url.path == "/healthz":
            self._json(200, {"status": "ok"})
        elif url.path == "/gapless/calls":
            self._json(200, self.upstream.calls.report())
        elif url.path in _PATHS:
            date = parse_qs(url.query).get("date", [""])[0]
            with self.upstream.calls.one(date) as record:
                self._box_scores(date, record)
        else:
            self._json(404, {"error": "Not Found"})

    def do_POST(self) -> None:
        """``/gapless/trouble`` and ``/gapless/latency``; 400 with the reason for a body they do not understand."""
        body = self.body()
        try:
            if self.path == "/gapless/trouble":
                self.upstream.troubles.set(_RULES.validate_json(body))
            elif self.path == "/gapless/latency":
                self.upstream.latency_ms = float(json.loads(body)["latency_ms"])
            else:
                self._json(404, {"error": "Not Found"})
                return
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            self._json(400, {"error": str(error)})
            return
        self._json(200, {"status": "ok"})

    def do_DELETE(self) -> None:
        """``/gapless/trouble`` and ``/gapless/calls``."""
        if self.path == "/gapless/trouble":
            self.upstream.troubles.set([])
        elif self.path == "/gapless/calls":
            self.upstream.calls.clear()
        else:
            self._json(404, {"error": "Not Found"})
            return
        self._json(200, {"status": "ok"})

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: the calls are counted instead."""

    def _box_scores(self, text: str, record: dict[str, Any]) -> None:
        self.upstream.stopping.wait(self.upstream.latency_ms / 1000)
        if self.headers.get("Authorization") != self.upstream.api_key:
            self._send(401, b"Unauthorized", "text/plain; charset=utf-8", record=record)
            return
        try:
            date = dt.date.fromisoformat(text)
        except ValueError:
            self._json(400, {"error": f"date {text[:40]!r} is not YYYY-MM-DD"}, record=record)
            return
        rule = self.upstream.troubles.strike(date)
        if rule is None:
            self._good(date, record)
        elif not self._refuse(rule, date, record) and not self._break(rule, date, record):
            yesterday = games_on(date - dt.timedelta(days=1))
            games = [*games_on(date), *([late_game(date)] if rule.kind == "late_game" else [])]
            self._json(200, {"data": spoiled(games, rule.kind, yesterday)}, record=record)

    def _good(self, date: dt.date, record: dict[str, Any]) -> None:
        body = _packed(date, _is_over(date))
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            self._send(200, body, "application/json; charset=utf-8", {"Content-Encoding": "gzip"}, record=record)
        else:
            self._send(200, gzip.decompress(body), "application/json; charset=utf-8", record=record)

    def _refuse(self, rule: Rule, date: dt.date, record: dict[str, Any]) -> bool:
        """Troubles that are an answer of another kind. Returns whether this was one."""
        extra = {} if rule.retry_after_s is None else {"Retry-After": f"{rule.retry_after_s:g}"}
        if rule.kind in ("429", "500", "status"):
            code = rule.code if rule.kind == "status" else int(rule.kind)
            said = rule.text or ("Too many requests" if code == 429 else "Server error")
            url = f"https://api.example.test{self.path}"
            said = said.format(date=date, request_id=uuid.uuid4().hex[:12], url=url)
            self._json(code, {"error": said}, extra, record)
        elif rule.kind == "401":
            self._send(401, b"Unauthorized", "text/plain; charset=utf-8", record=record)
        elif rule.kind in ("html200", "html403"):
            self._send(int(rule.kind[-3:]), _CHALLENGE, "text/html; charset=utf-8", record=record)
        elif rule.kind == "redirect":
            self._send(302, b"", "text/html", {"Location": "https://example.com/?api_key=leaked"}, record=record)
        elif rule.kind == "bad_json":
            self._send(200, b'{"data":[{"id":1,', "application/json", record=record)
        else:
            return False
        return True

    def _break(self, rule: Rule, date: dt.date, record: dict[str, Any]) -> bool:
        """Troubles of time and transport. Returns whether this was one."""
        body = _packed(date, True)
        packed = {"Content-Encoding": "gzip"}
        if rule.kind == "slow":
            self.upstream.stopping.wait(2.0 if rule.delay_s is None else rule.delay_s)
            self._good(date, record)
        elif rule.kind in ("hang", "reset"):
            if rule.kind == "hang":
                self.upstream.stopping.wait(rule.delay_s)
            self._hang_up()
        elif rule.kind == "raw":
            self.wfile.write(rule.raw.encode("latin-1"))
            self._hang_up()
        elif rule.kind == "truncated_gzip":
            self._send(200, body[: len(body) // 2], "application/json", packed, record=record)
        elif rule.kind == "truncated_body":
            self._send(200, body[: len(body) // 2], "application/json", packed, record, length=len(body))
            self._hang_up()
        elif rule.kind == "drip":
            self._send(200, b"", "application/json", packed, record, length=len(body))
            for byte in body:
                if self.upstream.stopping.wait(0.05):
                    break
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
        else:
            return False
        return True

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def _json(
        self, status: int, document: Any, extra: dict[str, str] | None = None, record: dict[str, Any] | None = None
    ) -> None:
        body = json.dumps(document, separators=(",", ":")).encode()
        self._send(status, body, "application/json; charset=utf-8", extra, record)

    def _send(
        self,
        status: int,
        body: bytes,
        media_type: str,
        extra: dict[str, str] | None = None,
        record: dict[str, Any] | None = None,
        length: int | None = None,
    ) -> None:
        if record is not None:
            record["status"] = status
        self.send_response(status)
        for name, value in {"Content-Type": media_type, **(extra or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


@functools.lru_cache(maxsize=4096)
def _packed(date: dt.date, is_over: bool) -> bytes:
    """The whole good answer in gzip, about 15 kB."""
    document = {"data": games_on(date, is_over=is_over)}
    return gzip.compress(json.dumps(document, separators=(",", ":")).encode(), compresslevel=1, mtime=0)


def _is_over(date: dt.date) -> bool:
    return date < dt.datetime.now(ZoneInfo("America/New_York")).date()
