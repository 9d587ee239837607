"""Keeps web pages of other origins out of the servers of the local stack.

Any page in a browser may send requests to every port of the machine that the browser runs on. It cannot read most
answers, but a POST or a DELETE has done its work by then; and after its own name was made to mean 127.0.0.1 (DNS
rebinding) it can read them too. Each server of the stack therefore refuses a request

* whose ``Host`` is not a name of this machine, which defeats rebinding;
* whose ``Origin`` is another one than the server's own;
* that a browser marks as begun by another site (``Sec-Fetch-Site``), unless somebody follows a link to a page;
* whose body is larger than the server takes, or whose length is no number.

Programs send neither ``Origin`` nor ``Sec-Fetch-Site``: against those of other users of the machine there is the
password of the Prefect server, see docs/security.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Refusal:
    """Why a request is not served; the reason repeats nothing of the request.

    Attributes:
        status: HTTP status.
        reason: One line for people.
    """

    status: int
    reason: str


def refusal(
    method: str,
    headers: Iterable[tuple[str, str]],
    *,
    max_body_bytes: int,
    names: Collection[str] = LOOPBACK_NAMES,
) -> Refusal | None:
    """Judges a request by its head; None lets it pass.

    Args:
        method: In upper case.
        headers: All of them, repeated ones too.
        max_body_bytes: Largest ``Content-Length``. A chunked body has none: whoever reads it counts.
        names: Host names without a port that mean this server.

    >>> refusal("GET", [("Host", "127.0.0.1:8025")], max_body_bytes=0)
    >>> refusal("GET", [("Host", "rebound.example:8025")], max_body_bytes=0).status
    421
    >>> refusal("DELETE", [("Host", "127.0.0.1:8025"), ("Origin", "http://127.0.0.1:9")], max_body_bytes=0).status
    403
    >>> refusal("POST", [("Host", "127.0.0.1:8025"), ("Content-Length", "-1")], max_body_bytes=10).status
    400
    """
    given: dict[str, list[str]] = {}
    for name, value in headers:
        given.setdefault(name.lower(), []).append(value.strip())
    hosts, origins, lengths = (given.get(name, []) for name in ("host", "origin", "content-length"))
    host = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if host is None or host[1].lower() not in names:
        return Refusal(421, f"this server answers as {', '.join(sorted(names))} only")
    if origins and any(origin.lower() not in _own(hosts[0]) for origin in origins):
        return Refusal(403, "web pages of other origins are not served")
    if _is_foreign(method, given):
        return Refusal(403, "requests that another site begins are not served")
    if lengths and ("transfer-encoding" in given or len(lengths) > 1 or not _is_number(lengths[0])):
        return Refusal(400, "the length of the body is no single number")
    if lengths and int(lengths[0]) > max_body_bytes:
        return Refusal(413, f"a body here has at most {max_body_bytes} bytes")
    return None


def _own(host: str) -> tuple[str, str]:
    return f"http://{host.lower()}", f"https://{host.lower()}"


def _is_foreign(method: str, given: dict[str, list[str]]) -> bool:
    """Whether a browser says that another site began it. Following a link to a page is what a link is for."""
    if all(site in ("same-origin", "none") for site in given.get("sec-fetch-site", [])):
        return False
    follows_link = given.get("sec-fetch-mode") == ["navigate"] and given.get("sec-fetch-dest") == ["document"]
    return not (follows_link and method in ("GET", "HEAD"))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


class GuardedApp:
    """An ASGI application behind `refusal`; a body that grows over its bound is answered by 413 and read no further.

    Args:
        app: The application.
        max_body_bytes: See `refusal`.
        names: See `refusal`.
    """

    def __init__(self, app: App, *, max_body_bytes: int, names: Collection[str] = LOOPBACK_NAMES) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves or refuses one request or websocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        method = scope.get("method", "GET")
        refused = refusal(method, headers, max_body_bytes=self._max_body_bytes, names=self._names)
        if refused is None:
            await self._bounded(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refused.reason})
        else:
            await _answer(send, refused)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        size_bytes, is_refused = 0, False

        async def counted() -> Message:
            nonlocal size_bytes, is_refused
            message = await receive()
            size_bytes += len(message.get("body", b"")) if message["type"] == "http.request" else 0
            if size_bytes > self._max_body_bytes and not is_refused:
                is_refused = True
                await _answer(send, Refusal(413, f"a body here has at most {self._max_body_bytes} bytes"))
            return {"type": "http.disconnect"} if is_refused else message

        async def unless_refused(message: Message) -> None:
            if not is_refused:
                await send(message)

        try:
            await self._app(scope, counted, unless_refused)
        except Exception:
            # The application was told that the client is gone, and says so in its own way.
            if not is_refused:
                raise


async def _answer(send: Send, refused: Refusal) -> None:
    body = json.dumps({"error": refused.reason}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class GuardedHandler(BaseHTTPRequestHandler):
    """A handler of `http.server` behind `refusal`. It takes no chunked bodies.

    Attributes:
        max_body_bytes: See `refusal`; a subclass may set another one.
    """

    max_body_bytes = 64 * 1024

    def parse_request(self) -> bool:
        """Whether the request is to be served; if not, it has been answered."""
        if not super().parse_request():
            return False
        refused = refusal(self.command, self.headers.items(), max_body_bytes=self.max_body_bytes)
        if refused is None and "Transfer-Encoding" in self.headers:
            refused = Refusal(411, "a body needs a Content-Length here")
        if refused is not None:
            # What is left of the request must not be read as the next one.
            self.close_connection = True
            self.send_error(refused.status, refused.reason)
        return refused is None

    def body(self) -> bytes:
        """The whole body; at most ``max_body_bytes``."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))
