"""What the sample upstreams have in common: a server on 127.0.0.1 with control calls and troubles of transport.

Everything under ``/gapless/`` needs no key: ``POST trouble`` (a list of `sample_rules.Rule` with the kinds of the
world), ``DELETE trouble``, ``GET`` and ``DELETE calls``, ``POST latency`` (``{"latency_ms": 50}``), and what the world
adds. ``GET /healthz`` tells that it is up.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import socket
import sys
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Generic, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import TypeAdapter, ValidationError

from deployments.local.browser_guard import GuardedHandler
from deployments.local.upstreams.sample_rules import Calls, Kind, Rule, Troubles

_CHALLENGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>cf-chl</body></html>"
_JSON = "application/json; charset=utf-8"
_SECRETS = frozenset({"apiKey", "api_key"})


@dataclass(frozen=True)
class Call:
    """A data call.

    Attributes:
        params: In the order of the query, repeated ones too.
        headers: By lower-case name.
        body: Of a POST.
    """

    path: str
    params: tuple[tuple[str, str], ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def get(self, name: str) -> str | None:
        """The last value of a parameter; None = not there."""
        return next((value for given, value in reversed(self.params) if given == name), None)

    def all(self, name: str) -> list[str]:
        """All values of a parameter, lists with commas taken apart."""
        return [part for given, value in self.params if given == name for part in value.split(",") if part]

    @property
    def shown_query(self) -> str:
        """The query without keys."""
        return urlencode([(name, value) for name, value in self.params if name not in _SECRETS])


@dataclass(frozen=True)
class Answer:
    """What is said to a call.

    Attributes:
        document: Becomes JSON; bytes are sent as they are.
        is_packed: The bytes are in gzip, and are unpacked for those who do not take it.
    """

    status: int
    document: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = _JSON
    is_packed: bool = False

    @property
    def body(self) -> bytes:
        """What is sent, unpacked."""
        if not isinstance(self.document, bytes):
            return json.dumps(self.document, separators=(",", ":"), ensure_ascii=False).encode()
        return gzip.decompress(self.document) if self.is_packed else self.document

    @property
    def packed_body(self) -> bytes:
        """What is sent, in gzip."""
        if self.is_packed:
            packed: bytes = self.document
            return packed
        return gzip.compress(self.body, compresslevel=1, mtime=0)


class SampleUpstream(ABC, Generic[Kind]):
    """A world behind a server, in a thread of this process or in its own. Use as a context manager.

    Args:
        port: On 127.0.0.1; 0 takes a free one.
        latency_ms: Added to every data answer; can be changed while it runs.
        listener: Takes its connections instead of those of ``port``.

    Attributes:
        controls: What ``POST /gapless/<name>`` of the world's own does with the body; it may raise ``ValueError``.
        shows: What ``GET /gapless/<name>`` of the world's own answers.
        posts: Paths of data calls by POST, as a token endpoint is.
    """

    rules: ClassVar[TypeAdapter[Any]]
    posts: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, port: int = 0, *, latency_ms: float = 0.0, listener: socket.socket | None = None) -> None:
        self.latency_ms = latency_ms
        self.troubles: Troubles[Kind] = Troubles()
        self.calls = Calls()
        self.stopping = threading.Event()
        self.controls: dict[str, Callable[[Any], object]] = {}
        self.shows: dict[str, Callable[[], Any]] = {}
        handler = type("Handler", (SampleHandler,), {"upstream": self})
        self._server = _Server(port, handler, listener)
        self._thread: threading.Thread | None = None

    @abstractmethod
    def refusal(self, call: Call) -> Answer | None:
        """Who may not ask, or asks too often."""

    @abstractmethod
    def date_of(self, call: Call) -> dt.date | None:
        """What the rules' dates are compared with."""

    @abstractmethod
    def answer(self, call: Call, kind: Kind | None) -> Answer:
        """The good answer, or with one of the world's own troubles in it."""

    @abstractmethod
    def error(self, status: int, text: str) -> Answer:
        """An error in the API's own form."""

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def trouble(self, *rules: Rule[Any] | dict[str, Any]) -> None:
        """Replaces the rules in force; none = all is well."""
        given = [rule.model_dump(by_alias=True) if isinstance(rule, Rule) else rule for rule in rules]
        self.troubles.set(self.rules.validate_python(given))

    def serve(self) -> None:
        """Serves until ``stop``."""
        self._server.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """Ends hanging answers, the server and its thread."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve, name=type(self).__name__, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    """A thread for each connection; hanging answers do not keep it from closing."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, port: int, handler: type[GuardedHandler], listener: socket.socket | None) -> None:
        super().__init__(("127.0.0.1", port), handler, bind_and_activate=listener is None)
        if listener is not None:
            self.socket.close()
            self.socket = listener
            self.server_name, self.server_port = self.server_address = listener.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news; anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class SampleHandler(GuardedHandler):
    """One connection. A subclass sets ``upstream``."""

    upstream: SampleUpstream[Any]
    protocol_version = "HTTP/1.1"
    # Headers and body leave in two small packets otherwise, and wait 40 ms for each other.
    disable_nagle_algorithm = True
    wbufsize = -1
    server_version = "sample-upstream"

    def do_GET(self) -> None:
        """Data, ``/gapless/...`` and ``/healthz``."""
        url = urlsplit(self.path)
        name = url.path.removeprefix("/gapless/")
        if url.path == "/healthz":
            self._json(Answer(200, {"status": "ok"}))
        elif url.path == "/gapless/calls":
            self._json(Answer(200, self.upstream.calls.report()))
        elif name != url.path:
            shown = self.upstream.shows.get(name)
            self._json(Answer(404, {"error": "Not Found"}) if shown is None else Answer(200, shown()))
        else:
            self._counted(b"")

    def do_POST(self) -> None:
        """Data of ``posts``, ``/gapless/...``; there 400 with the reason for a body that it does not understand."""
        body = self.body()
        if urlsplit(self.path).path in self.upstream.posts:
            self._counted(body)
            return
        name = self.path.removeprefix("/gapless/")
        try:
            if name == "trouble":
                self.upstream.troubles.set(self.upstream.rules.validate_json(body))
            elif name == "latency":
                self.upstream.latency_ms = float(json.loads(body)["latency_ms"])
            elif name != self.path and name in self.upstream.controls:
                self.upstream.controls[name](json.loads(body))
            else:
                self._json(Answer(404, {"error": "Not Found"}))
                return
        except ValidationError as error:
            wrong = error.errors(include_url=False)
            told = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}, got {one['input']!r:.80}" for one in wrong)
            self._json(Answer(400, {"error": "; ".join(told)}))
            return
        except (ValueError, KeyError, TypeError) as error:
            self._json(Answer(400, {"error": str(error)}))
            return
        self._json(Answer(200, {"status": "ok"}))

    def do_DELETE(self) -> None:
        """``/gapless/trouble`` and ``/gapless/calls``."""
        if self.path == "/gapless/trouble":
            self.upstream.troubles.set([])
        elif self.path == "/gapless/calls":
            self.upstream.calls.clear()
        else:
            self._json(Answer(404, {"error": "Not Found"}))
            return
        self._json(Answer(200, {"status": "ok"}))

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: the calls are counted instead."""

    def _counted(self, body: bytes) -> None:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(url.path, tuple(parse_qsl(url.query, keep_blank_values=True)), headers, body)
        date = self.upstream.date_of(call)
        with self.upstream.calls.one(str(date or ""), url.path, call.shown_query) as record:
            self._data(call, date, record)

    def _data(self, call: Call, date: dt.date | None, record: dict[str, Any]) -> None:
        self.upstream.stopping.wait(self.upstream.latency_ms / 1000)
        refused = self.upstream.refusal(call)
        if refused is not None:
            self._json(refused, record)
            return
        rule = self.upstream.troubles.strike(date, call.path, call.shown_query)
        if rule is None:
            self._json(self.upstream.answer(call, None), record)
        elif not self._refuse(rule, date, record) and not self._break(rule, call, record):
            self._json(self.upstream.answer(call, rule.kind), record)

    def _refuse(self, rule: Rule[Any], date: dt.date | None, record: dict[str, Any]) -> bool:
        """Troubles that are an answer of another kind. Returns whether this was one."""
        extra = {} if rule.retry_after_s is None else {"Retry-After": f"{rule.retry_after_s:g}"}
        if rule.kind in ("429", "500", "401", "status"):
            code = rule.code if rule.kind == "status" else int(rule.kind)
            said = rule.text or {429: "Too many requests", 401: "Unauthorized"}.get(code, "Server error")
            url = f"https://api.example.test{urlsplit(self.path).path}"
            said = said.format(date=date, request_id=uuid.uuid4().hex[:12], url=url)
            error = self.upstream.error(code, said)
            self._json(replace(error, headers={**error.headers, **extra}), record)
        elif rule.kind in ("html200", "html403"):
            self._send(int(rule.kind[-3:]), _CHALLENGE, "text/html; charset=utf-8", record=record)
        elif rule.kind == "redirect":
            self._send(302, b"", "text/html", {"Location": "https://example.com/?api_key=leaked"}, record)
        elif rule.kind == "bad_json":
            self._send(200, b'{"data":[{"id":1,', "application/json", record=record)
        else:
            return False
        return True

    def _break(self, rule: Rule[Any], call: Call, record: dict[str, Any]) -> bool:
        """Troubles of time and transport. Returns whether this was one."""
        if rule.kind == "slow":
            self.upstream.stopping.wait(2.0 if rule.delay_s is None else rule.delay_s)
            self._json(self.upstream.answer(call, None), record)
        elif rule.kind in ("hang", "reset"):
            if rule.kind == "hang":
                self.upstream.stopping.wait(rule.delay_s)
            self._hang_up()
        elif rule.kind == "raw":
            self.wfile.write(rule.raw.encode("latin-1"))
            self._hang_up()
        elif rule.kind in ("truncated_gzip", "truncated_body", "drip"):
            good = self.upstream.answer(call, None)
            body = good.packed_body
            extra = {**good.headers, "Content-Encoding": "gzip"}
            if rule.kind == "truncated_gzip":
                self._send(200, body[: len(body) // 2], _JSON, extra, record)
            elif rule.kind == "truncated_body":
                self._send(200, body[: len(body) // 2], _JSON, extra, record, length=len(body))
                self._hang_up()
            else:
                self._drip(body, extra, record)
        else:
            return False
        return True

    def _drip(self, body: bytes, extra: Mapping[str, str], record: dict[str, Any]) -> None:
        self._send(200, b"", _JSON, extra, record, length=len(body))
        for byte in body:
            if self.upstream.stopping.wait(0.05):
                break
            self.wfile.write(bytes([byte]))
            self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def _json(self, answer: Answer, record: dict[str, Any] | None = None) -> None:
        if answer.status == 200 and "gzip" in self.headers.get("Accept-Encoding", ""):
            extra = {**answer.headers, "Content-Encoding": "gzip"}
            self._send(answer.status, answer.packed_body, answer.media_type, extra, record)
        else:
            self._send(answer.status, answer.body, answer.media_type, answer.headers, record)

    def _send(
        self,
        status: int,
        body: bytes,
        media_type: str,
        extra: Mapping[str, str] | None = None,
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
