"""Keeps writes to one object name apart: Cloud Storage takes about one a second, and answers 429 beyond.

https://docs.cloud.google.com/storage/quotas#objects: "Maximum rate of writes to the same object name: one write per
second". A wait that we know beats a refusal, after which the client backs off for seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SAME_NAME_INTERVAL_S = 1.0
_MOST_NAMES = 4096


class WritePace:
    """Of one process; others are not known, and for them there is the 429. Safe to use from many threads.

    Args:
        interval_s: Least time between the end of a write to a name and the next one; 0 never waits.
        monotonic: Clock in seconds.
        sleep: Takes seconds.
    """

    def __init__(
        self,
        interval_s: float = SAME_NAME_INTERVAL_S,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval_s = interval_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._begins_s: dict[str, float] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Around one write: begins when ``name`` may be written; each caller of one name gets an instant of its own."""
        self._wait(name)
        try:
            yield
        finally:
            self._ended(name)

    def _ended(self, name: str) -> None:
        """The service counts from when it has the write, which is before its answer is here."""
        if self._interval_s > 0:
            with self._lock:
                self._begins_s[name] = max(self._begins_s.get(name, 0.0), self._monotonic())

    def _wait(self, name: str) -> None:
        if self._interval_s <= 0:
            return
        with self._lock:
            now_s = self._monotonic()
            before_s = self._begins_s.get(name)
            begin_s = now_s if before_s is None else max(now_s, before_s + self._interval_s)
            self._begins_s[name] = begin_s
            if len(self._begins_s) > _MOST_NAMES:
                self._forget(now_s)
        if begin_s > now_s:
            self._sleep(begin_s - now_s)

    def _forget(self, now_s: float) -> None:
        recent = {name: begin_s for name, begin_s in self._begins_s.items() if begin_s + self._interval_s > now_s}
        self._begins_s = recent
