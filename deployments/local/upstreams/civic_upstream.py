"""The sample of civic.band: a real Datasette per town, behind the access rules of the real one.

The towns share one host: base URL ``http://127.0.0.1:8081/{site}``. Without a key 15 calls a minute (402 beyond) and
pages of 100 rows; an unknown town is redirected; a browser gets a challenge; every 404 is a web page. The rules are
those of https://github.com/civicband/corkboard. Everything under ``/gapless/`` needs no key: ``POST trouble`` (a list
of `civic_trouble.Trouble`), ``DELETE trouble``, ``GET`` and ``DELETE calls``, ``POST limit`` (``{"per_minute": 15}``);
``GET /healthz`` tells that it is up.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import uvicorn
from datasette.app import Datasette

from deployments.local.browser_guard import GuardedApp
from deployments.local.processes import free_port
from deployments.local.upstreams.civic_answers import (
    CHALLENGE,
    NOT_FOUND,
    Receive,
    Scope,
    Send,
    answer,
    answer_html,
    cut_size,
    feed,
    start_answer,
    themed,
)
from deployments.local.upstreams.civic_towns import LOCAL_CIVIC_KEY, SAMPLE_TOWNS, TABLES, change, make_town, page_ids
from deployments.local.upstreams.civic_trouble import TROUBLES, Trouble, failure_due

_SETTINGS = {"max_returned_rows": 1000, "default_page_size": 100, "sql_time_limit_ms": 3000, "num_sql_threads": 2}
_MAX_BODY_BYTES = 1024 * 1024
_BROWSER = re.compile("Mozilla|Opera")


class CivicUpstream:
    """The server in a thread of this process, or in its own. Use as a context manager.

    Args:
        port: On 127.0.0.1; 0 takes a free one.
        data_dir: Takes the towns' databases; one that is there already is kept. None is a folder of its own.
        towns: Pages of agendas and of minutes by town.
        per_minute: Calls a minute without a key.
        listener: Takes its connections instead of those of ``port``.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        data_dir: Path | None = None,
        towns: Mapping[str, tuple[int, int]] = SAMPLE_TOWNS,
        per_minute: int = 15,
        listener: socket.socket | None = None,
    ) -> None:
        self.per_minute = per_minute
        self.calls: Counter[str] = Counter()
        self._troubles: list[Trouble] = []
        self._anonymous: deque[float] = deque()
        self._own_dir = tempfile.TemporaryDirectory(prefix="civic-") if data_dir is None else None
        self._dir = data_dir or Path(self._own_dir.name if self._own_dir else "")
        self._apps = {town: self._town(town, sizes) for town, sizes in towns.items()}
        self._listener = listener
        self.port = free_port(port) if listener is None else int(listener.getsockname()[1])
        guarded = GuardedApp(self._app, max_body_bytes=_MAX_BODY_BYTES)
        config = uvicorn.Config(
            guarded, host="127.0.0.1", port=self.port, log_level="warning", lifespan="off", interface="asgi3"
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """With the place of the town in it, as a setting of the source."""
        return f"http://127.0.0.1:{self.port}/{{site}}"

    def trouble(self, *troubles: Trouble | dict[str, Any]) -> None:
        """Replaces what is to happen; none = all is well. Calls are counted from zero again."""
        self._troubles = [Trouble.model_validate(one) for one in troubles]
        self.calls.clear()

    def ids(self, town: str, table: str = "agendas") -> list[str]:
        """The ids that the town has at this moment, in order."""
        return page_ids(self._path(town), table)

    def change(self, town: str, do: Literal["delete", "add", "alter"], rows: int = 1, seed: int = 0) -> None:
        """Changes agendas now."""
        change(self._path(town), town, "agendas", do, rows, seed)

    def serve(self) -> None:
        """Serves until it is stopped."""
        self._server.run(None if self._listener is None else [self._listener])

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve, name="civic", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise TimeoutError("the civic upstream did not start")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=10)
        if self._own_dir is not None:
            self._own_dir.cleanup()

    def _path(self, town: str) -> Path:
        return self._dir / town / "meetings.db"

    def _town(self, town: str, sizes: tuple[int, int]) -> Callable[..., Awaitable[None]]:
        path = self._path(town)
        if not path.exists():
            # In one step: whoever kills the stack at this moment finds no half town the next time.
            unfinished = path.with_suffix(".unfinished")
            unfinished.parent.mkdir(parents=True, exist_ok=True)
            unfinished.unlink(missing_ok=True)
            make_town(unfinished, town, sizes)
            unfinished.replace(path)
        datasette = Datasette([str(path)], settings=_SETTINGS)
        app: Callable[..., Awaitable[None]] = datasette.app()
        starting = asyncio.Lock()

        async def started(scope: Scope, receive: Receive, send: Send) -> None:
            # Datasette starts with its first call; two of them at once would register everything twice, and answer 500.
            async with starting:
                await datasette.invoke_startup()
            await app(scope, receive, send)

        return started

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if path == "/healthz":
            await answer(send, 200, {"status": "ok"})
        elif path == "/rss.xml":
            self.calls["feed"] += 1
            await answer_html(send, 200, feed(self._apps))
        elif path.startswith("/gapless/"):
            await self._control(scope["method"], path.removeprefix("/gapless/"), receive, send)
        else:
            await self._guarded(scope, path, receive, send)

    async def _guarded(self, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        """The access rules, in the order of the real server."""
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        _, town, rest = (path + "/").split("/", 2)
        key = headers.get("authorization", "").removeprefix("Bearer ") or headers.get("x-api-key", "")
        table = rest.rstrip("/").rpartition("/")[2].removesuffix(".json")
        call = self.calls[f"{town}~{table}"] = self.calls[f"{town}~{table}"] + 1
        if _BROWSER.search(headers.get("user-agent", "")):
            await answer_html(send, 200, CHALLENGE)
        elif key and key != LOCAL_CIVIC_KEY:
            await answer(send, 401, {"error": "API key required", "docs": "https://civic.band/"})
        elif not key and not self._has_room():
            body = {
                "error": "rate_limit_exceeded",
                "message": "Too many requests",
                "get_api_key": "https://civic.band/",
            }
            await answer(send, 402, body)
        elif town not in self._apps:
            await start_answer(send, 302, {"location": "https://civic.band/"})
            await send({"type": "http.response.body", "body": b""})
        elif (failing := failure_due(self._troubles, town, table, call, self._do)) is not None:
            if failing.html:
                await answer_html(send, failing.status, NOT_FOUND)
            else:
                await answer(send, failing.status, {"ok": False, "error": "planted", "status": failing.status})
        elif table not in TABLES:
            await answer_html(send, 404, NOT_FOUND)
        else:
            inner = "/" + rest.rstrip("/")
            query = scope["query_string"] if key else cut_size(scope["query_string"])
            passed = {**scope, "path": inner, "raw_path": inner.encode(), "query_string": query}
            await self._apps[town](passed, receive, themed(send))

    def _has_room(self) -> bool:
        now_s = time.monotonic()
        while self._anonymous and self._anonymous[0] <= now_s - 60:
            self._anonymous.popleft()
        if len(self._anonymous) >= self.per_minute:
            return False
        self._anonymous.append(now_s)
        return True

    def _do(self, due: Trouble) -> None:
        if due.do != "fail":
            change(self._path(due.town), due.town, due.table, due.do, due.rows, due.seed)

    async def _control(self, method: str, what: str, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if (method, what) == ("POST", "trouble"):
            self.trouble(*TROUBLES.validate_json(body))
        elif (method, what) == ("DELETE", "trouble"):
            self.trouble()
        elif (method, what) == ("DELETE", "calls"):
            self.calls.clear()
        elif (method, what) == ("POST", "limit"):
            self.per_minute = int(json.loads(body)["per_minute"])
            self._anonymous.clear()
        elif (method, what) != ("GET", "calls"):
            await answer(send, 404, {"error": "Not Found"})
            return
        await answer(send, 200, dict(self.calls))
