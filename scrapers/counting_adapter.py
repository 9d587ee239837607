"""Counts requests to Cloud Storage by kind."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException


class CountingAdapter(HTTPAdapter):
    """Counts what really goes over the wire, so that a test can hold a plan to its number of list calls."""

    def __init__(self, **pool: Any) -> None:
        super().__init__(**pool)
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.has_answered = False
        """Whether any request had an answer below 500."""

    def counts(self) -> Mapping[str, int]:
        """Requests so far by kind: ``read``, ``write``, ``list``, ``stat``, ``delete``."""
        with self._lock:
            return dict(self._counts)

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Counts, then sends. Raises ``RequestException`` for what only something between Cloud Storage and us says.

        ``202 {}``, or an error with status 200, would read as a listing of nothing.
        """
        path, _, query = str(request.url).partition("?")
        if request.method == "GET":
            kind = "read" if "alt=media" in query else "list" if path.endswith("/o") else "stat"
        else:
            kind = {"DELETE": "delete"}.get(str(request.method), "write")
        with self._lock:
            self._counts[kind] += 1
        answer = super().send(request, *args, **kwargs)
        self.has_answered = self.has_answered or answer.status_code < 500
        if request.method == "GET" and 200 < answer.status_code < 300:
            answer.close()
            raise RequestException(f"status {answer.status_code} is no complete answer")
        if kind == "list" and answer.status_code == 200 and b'"items"' not in answer.content:
            _refuse_no_listing(answer)
        return answer


def _refuse_no_listing(answer: Response) -> None:
    found = answer.json()
    if not isinstance(found, dict) or not found.keys() <= {"kind", "nextPageToken", "prefixes"}:
        raise RequestException("the answer is no listing")
