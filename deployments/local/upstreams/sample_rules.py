"""Troubles of a sample upstream, switched on by rules; and the exact count of what was asked of it."""

from __future__ import annotations

import copy
import datetime as dt
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

TransportKind = Literal[
    "status",  # an error status in the API's own form; "code" says which, "text" what it says
    "429",
    "500",
    "401",
    "slow",  # the good answer, delay_s (or 2 s) later
    "hang",  # no byte for delay_s (or until the server stops), then the connection is closed
    "reset",  # the connection is closed without an answer
    "drip",  # the good body, one byte every 50 ms
    "truncated_gzip",  # complete by Content-Length, but the gzip stream ends in the middle
    "truncated_body",  # fewer bytes than Content-Length
    "html200",  # a challenge page with status 200
    "html403",
    "redirect",
    "bad_json",
    "raw",  # the bytes of "raw" (Latin-1), status line and headers included; then the connection is closed
]
"""What every upstream can do; a world adds kinds of its own, whose answers are well-formed and wrong."""

Kind = TypeVar("Kind", bound=str)


class Rule(BaseModel, Generic[Kind]):
    """One kind of trouble for some calls; the first rule that matches and is not used up decides.

    Without ``dates``, ``from`` and ``to`` (inclusive) a rule matches every date, and calls without one; without
    ``path`` and ``query``, which must be parts of the call's, every call. ``times`` limits how often it strikes in
    all, ``times_per_date`` how often at each date; None = for ever. ``text`` is what an error status says: ``{date}``,
    ``{request_id}`` (another one at every call) and ``{url}`` are filled in.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    kind: Kind
    path: str = ""
    query: str = ""
    dates: list[dt.date] | None = None
    from_date: dt.date | None = Field(default=None, alias="from")
    to_date: dt.date | None = Field(default=None, alias="to")
    times: int | None = None
    times_per_date: int | None = None
    code: int = 503
    text: str = ""
    raw: str = ""
    retry_after_s: float | None = None
    delay_s: float | None = None

    def matches(self, date: dt.date | None, path: str, query: str = "") -> bool:
        """Whether the rule speaks of this call."""
        if self.path not in path or self.query not in query:
            return False
        if date is None:
            return self.dates is None and self.from_date is None and self.to_date is None
        if self.dates is not None and date not in self.dates:
            return False
        return (self.from_date is None or self.from_date <= date) and (self.to_date is None or date <= self.to_date)


class Troubles(Generic[Kind]):
    """The rules in force. Thread-safe: a rule with ``times=1`` strikes exactly once, however many ask at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule[Kind]] = []
        self._strikes: Counter[tuple[int, dt.date | None]] = Counter()

    def set(self, rules: Iterable[Rule[Kind]]) -> None:
        """Replaces all rules and forgets how often the old ones struck."""
        with self._lock:
            self._rules = list(rules)
            self._strikes.clear()

    def strike(self, date: dt.date | None, path: str = "", query: str = "") -> Rule[Kind] | None:
        """The rule that decides about this call, which counts as one strike."""
        with self._lock:
            for index, rule in enumerate(self._rules):
                in_all = sum(count for (which, _), count in self._strikes.items() if which == index)
                if (
                    rule.matches(date, path, query)
                    and (rule.times is None or in_all < rule.times)
                    and (rule.times_per_date is None or self._strikes[index, date] < rule.times_per_date)
                ):
                    self._strikes[index, date] += 1
                    return rule
            return None


class Calls:
    """Counts data calls exactly: per date, path and status, how many at once, and when each one came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self.clear()

    def clear(self) -> None:
        """Starts from zero."""
        with self._lock:
            self._peak = self._running
            self._requests: list[dict[str, Any]] = []
            self._last_second: deque[float] = deque()
            self._peak_per_second = 0

    @contextmanager
    def one(self, date: str, path: str = "", query: str = "") -> Iterator[dict[str, Any]]:
        """Counts a call while it runs. The caller sets ``status`` in the yielded record (0 = no answer).

        A query with a secret in it must be given without it.
        """
        record = {"at": "", "date": date, "path": path, "query": query, "status": 0}
        with self._lock:
            # Both clocks under the lock: the order of the requests is that of their times.
            now_s = time.monotonic()
            record["at"] = dt.datetime.now(dt.UTC).isoformat()
            while self._last_second and self._last_second[0] <= now_s - 1:
                self._last_second.popleft()
            self._last_second.append(now_s)
            self._peak_per_second = max(self._peak_per_second, len(self._last_second))
            self._running += 1
            self._peak = max(self._peak, self._running)
            self._requests.append(record)
        try:
            yield record
        finally:
            with self._lock:
                self._running -= 1

    def report(self) -> dict[str, Any]:
        """The counts, and ``requests`` in order of arrival; ``peak_per_second`` is the most within any second."""
        with self._lock:
            requests = copy.deepcopy(self._requests)
            peak, peak_per_second = self._peak, self._peak_per_second
        return {
            "total": len(requests),
            "by_date": dict(Counter(request["date"] for request in requests)),
            "by_path": dict(Counter(request["path"] for request in requests)),
            "by_status": dict(Counter(str(request["status"]) for request in requests)),
            "peak_concurrency": peak,
            "peak_per_second": peak_per_second,
            "requests": requests,
        }


class CallLimit:
    """Admits so many calls in any window of ``length_s``, over all connections; those refused do not count."""

    def __init__(self, calls: float, length_s: float) -> None:
        self.calls, self.length_s = calls, length_s
        self._lock = threading.Lock()
        self._admitted: deque[float] = deque()

    def admits(self) -> bool:
        """Whether there is room for this call, which takes it; 0 calls means that there is no limit."""
        if not self.calls:
            return True
        with self._lock:
            now_s = time.monotonic()
            while self._admitted and self._admitted[0] <= now_s - self.length_s:
                self._admitted.popleft()
            if len(self._admitted) >= self.calls:
                return False
            self._admitted.append(now_s)
            return True


class CallsPerSecond(CallLimit):
    """The same by the second."""

    def __init__(self, per_second: float) -> None:
        super().__init__(per_second, 1.0)
