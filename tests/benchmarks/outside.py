"""What a process asks of the servers beside it: how often, how long it waits, and what the wall clock is spent on.

Patches the one place where each client sends, so that retries and polls count and no code of the product is changed.
"""

from __future__ import annotations

import functools
import json
import os
import re
import smtplib
import threading
import time
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from requests.adapters import HTTPAdapter

from deployments.local.weather import asks_without_job

MAIL = "mail"
ORDER = ("source", "BigQuery job", "BigQuery query", "BigQuery request", "storage", "Prefect", MAIL)
"""A moment counts for the first of these that is under way; without any, for the process's own work."""

_DRY_RUN = re.compile(rb'"dryRun": ?true')
_NAME = re.compile(rb'"name": ?"([^"]+)"')


def kind_of_google(method: str, url: str, body: bytes) -> str:
    """What a request to Google is, as "BigQuery job: load" or "storage write: ledger"."""
    parts = urllib.parse.urlsplit(url)
    if "/bigquery/v2/" in parts.path:
        starts = method == "POST" and parts.path.endswith(("/jobs", "/queries"))
        if starts and asks_without_job(f"POST {parts.path} ".encode() + body):
            return "BigQuery query"
        if starts and not _DRY_RUN.search(body):
            return "BigQuery job: load" if b'"load": {' in body or b'"load":{' in body else "BigQuery job: query"
        return "BigQuery request: dry run" if starts else f"BigQuery request: {method.lower()}"
    asked = urllib.parse.parse_qs(parts.query)
    named = _NAME.search(body) if method == "POST" else None
    name = named[1].decode() if named else urllib.parse.unquote(parts.path.rpartition("/o/")[2])
    if method == "GET" and parts.path.endswith("/o"):
        kind, name = "list", asked.get("prefix", [""])[0]
    elif method == "GET":
        kind = "read" if "alt" in asked else "stat"
    else:
        kind = "delete" if method == "DELETE" else "write"
    folder, _, rest = name.partition("/")
    return f"storage {kind}: {'pending' if rest.startswith('pending/') else folder}"


class Outside:
    """Every request of this process from ``begin`` on."""

    def __init__(self) -> None:
        self._sources = tuple(json.loads(os.environ.get("GAPLESS_SOURCE_URLS", "{}")).values())
        self._lock = threading.Lock()
        self.spans: list[tuple[str, float, float]] = []
        self._patch()

    def begin(self) -> None:
        """Forgets what was so far."""
        with self._lock:
            self.spans.clear()
        self.began_s = time.monotonic()

    def report(self) -> dict[str, Any]:
        """Requests and seconds waited by kind, and seconds of the wall clock by what was under way."""
        ended_s = time.monotonic()
        with self._lock:
            spans = list(self.spans)
        waited: dict[str, float] = defaultdict(float)
        for kind, began, ended in spans:
            waited[kind] += ended - began
        calls = [(began, ended) for kind, began, ended in spans if kind == "source"] or [(self.began_s, ended_s)]
        mailed_s = max((ended for kind, _, ended in spans if kind == MAIL), default=ended_s)
        return {
            "requests": dict(Counter(kind for kind, _, _ in spans)),
            "waited_s": dict(waited),
            "wall_s": wall_by_kind(spans, self.began_s, ended_s),
            "before_calls_s": min(calls)[0] - self.began_s,
            "after_calls_s": ended_s - max(ended for _, ended in calls),
            "mailed_s": mailed_s - self.began_s,
            "calling_s": max(ended for _, ended in calls) - min(calls)[0],
            "last_chain_s": last_chain_s(spans),
        }

    def _took(self, kind: str, began_s: float) -> None:
        with self._lock:
            self.spans.append((kind, began_s, time.monotonic()))

    def _read(self, kind: str, began_s: float, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """A streamed answer: its call is over with its last byte, and not with its headers."""
        yield from pieces
        self._took(kind, began_s)

    def _asked_over_httpx(self, url: httpx.URL) -> str:
        return "source" if str(url).startswith(self._sources) else "Prefect"

    def _patch(self) -> None:
        of_requests, of_httpx, of_httpx_async = HTTPAdapter.send, httpx.Client.send, httpx.AsyncClient.send
        of_smtp = smtplib.SMTP.data

        @functools.wraps(of_requests)
        def send(adapter: HTTPAdapter, request: Any, *args: Any, **kwargs: Any) -> Any:
            body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
            kind, began_s = kind_of_google(str(request.method), str(request.url), body), time.monotonic()
            try:
                return of_requests(adapter, request, *args, **kwargs)
            finally:
                self._took(kind, began_s)

        @functools.wraps(of_httpx)
        def ask(client: httpx.Client, request: httpx.Request, **kwargs: Any) -> httpx.Response:
            kind, began_s, is_over = self._asked_over_httpx(request.url), time.monotonic(), True
            try:
                response = of_httpx(client, request, **kwargs)
                if kwargs.get("stream"):
                    is_over = False
                    pieces = response.iter_raw
                    response.iter_raw = lambda *given: self._read(kind, began_s, pieces(*given))  # type: ignore[method-assign]
                return response
            finally:
                if is_over:
                    self._took(kind, began_s)

        @functools.wraps(of_httpx_async)
        async def tell(client: httpx.AsyncClient, request: httpx.Request, **kwargs: Any) -> httpx.Response:
            began_s = time.monotonic()
            try:
                return await of_httpx_async(client, request, **kwargs)
            finally:
                self._took("Prefect", began_s)

        @functools.wraps(of_smtp)
        def mail(session: smtplib.SMTP, *args: Any) -> Any:
            began_s = time.monotonic()
            try:
                return of_smtp(session, *args)
            finally:
                self._took(MAIL, began_s)

        smtplib.SMTP.data = mail  # type: ignore[method-assign, assignment]
        HTTPAdapter.send = send  # type: ignore[method-assign, assignment]
        httpx.Client.send = ask  # type: ignore[method-assign, assignment]
        httpx.AsyncClient.send = tell  # type: ignore[method-assign, assignment]


def last_chain_s(spans: list[tuple[str, float, float]]) -> float:
    """Seconds from the last batch's load job to the end of the last query: load, MERGE, recount; 0 without a job.

    >>> load, merge, query = "BigQuery job: load", "BigQuery job: query", "BigQuery query"
    >>> last_chain_s([(load, 0.0, 3.0), (load, 4.0, 7.0), (load, 4.2, 7.5), (merge, 8.0, 11.0), (query, 12.0, 13.0)])
    9.0
    """
    asked = ("BigQuery job", "BigQuery query")
    jobs = sorted((began, ended, kind) for kind, began, ended in spans if kind.startswith(asked))
    loads = [(began, ended) for began, ended, kind in jobs if kind.endswith("load")]
    if not loads:
        return 0.0
    # Tables of one batch are loaded side by side.
    begins = min(began for began, ended in loads if ended > loads[-1][0])
    return max(ended for _, ended, _ in jobs) - begins


def wall_by_kind(spans: list[tuple[str, float, float]], began_s: float, ended_s: float) -> Mapping[str, float]:
    """Seconds by the first kind of `ORDER` that is under way; "none" while nothing is.

    >>> found = wall_by_kind([("source", 0.0, 2.0), ("storage write", 1.0, 3.0)], 0.0, 4.0)
    >>> {what: spent_s for what, spent_s in found.items() if spent_s}
    {'source': 2.0, 'storage': 1.0, 'none': 1.0}
    """
    found = dict.fromkeys((*ORDER, "none"), 0.0)
    changes = sorted(
        (at, place, step)
        for kind, began, ended in spans
        for place in [next(number for number, name in enumerate(ORDER) if kind.startswith(name))]
        for at, step in ((max(began, began_s), 1), (min(ended, ended_s), -1))
        if ended > began_s and began < ended_s
    )
    open_, before = [0] * len(ORDER), began_s
    for at, place, step in [*changes, (ended_s, 0, 0)]:
        under_way = next((ORDER[number] for number, count in enumerate(open_) if count), "none")
        found[under_way] += at - before
        open_[place] += step
        before = at
    return found
