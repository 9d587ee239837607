"""The rate batcher of a process: it takes calls of a rate that several processes share, in batches for all who wait.

The shared limit is a bucket on a server, a round trip away. A look tells how many calls it has and when there will be
more, and one request takes them for all threads that wait in this process. Two processes that asked for every call by
itself got 4 of 9.5 calls a second on a busy server.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from scrapers.pace.budget import Clock

# A call taken for a thread that has given up meanwhile is not kept for a burst later.
SPARE_LIFE_S = 1.0
# Spreads processes that wait for the same room, in parts of the time that one call takes to get free.
_SPREAD = 0.25
_SHORTEST_SLEEP_S = 0.001


@dataclass(frozen=True, slots=True)
class Room:
    """What a look at the shared limit shows.

    Attributes:
        free: Calls that may be taken at this instant; parts of a call count.
        most: Calls that are free when nobody has called for a while; at least 1.
        call_s: Seconds in which one more gets free.
    """

    free: float
    most: int
    call_s: float


class SharedLimit(Protocol):
    """A rate that is kept elsewhere, for all processes. Both methods may block for a round trip."""

    def look(self) -> Room:
        """Changes nothing there."""

    def take(self, calls: int) -> bool:
        """Takes all of them, or none and returns False."""


class RateBatcher:
    """Lets the threads of one process through as fast as the shared limit gives calls; thread-safe.

    Args:
        limit: Called by one thread at a time.
        clock: Replaced in tests.
        chance: Spreads the looks of several processes; replaced in tests.
    """

    def __init__(self, limit: SharedLimit, *, clock: Clock | None = None, chance: random.Random | None = None) -> None:
        self._limit = limit
        self._clock = clock or Clock()
        self._chance = chance or random.Random(random.getrandbits(64))  # noqa: S311 - no secret
        self._gate = threading.Lock()
        self._counting = threading.Lock()
        self._waiting = 0
        self._spare = 0
        self._spare_until_s = -math.inf

    @property
    def waiting(self) -> int:
        """Threads that wait at this instant."""
        with self._counting:
            return self._waiting

    def wait(self, timeout_s: float | None = None) -> float:
        """Waits for one call and returns the seconds it took. Raises ``TimeoutError``, and what the limit raises."""
        started_s = self._clock.monotonic()
        with self._counting:
            self._waiting += 1
        try:
            if not self._gate.acquire(timeout=-1 if timeout_s is None else timeout_s):
                raise TimeoutError
            try:
                self._pass(math.inf if timeout_s is None else started_s + timeout_s)
            finally:
                self._gate.release()
        finally:
            with self._counting:
                self._waiting -= 1
        return self._clock.monotonic() - started_s

    def batch(self, wanted: Callable[[], int], ends_s: float = math.inf) -> int:
        """Takes at least one call and at most ``wanted()``, and returns how many.

        It aims at half of what the limit holds at most: the other half goes on filling while it waits and asks, so
        that a late look loses nothing. With every look in vain it aims at less, or processes that want little would
        leave nothing for one that wants much. Raises ``TimeoutError`` as soon as it is known that ``ends_s``
        (monotonic) will not do.
        """
        looks = 0
        while True:
            looks += 1
            room = self._limit.look()
            aim = max(1, min(wanted(), room.most // 2) // looks)
            if room.free >= aim:
                calls = min(wanted(), math.floor(room.free))
                if self._limit.take(calls):
                    return calls
            missing_s = max(0.0, aim - room.free) * room.call_s
            spread = max(_SPREAD, (room.most - aim) / 2)
            wait_s = missing_s + self._chance.uniform(0, spread * room.call_s)
            if self._clock.monotonic() + wait_s > ends_s:
                raise TimeoutError
            self._clock.sleep(max(wait_s, _SHORTEST_SLEEP_S))

    def _pass(self, ends_s: float) -> None:
        """Needs the gate."""
        if self._spare and self._clock.monotonic() < self._spare_until_s:
            self._spare -= 1
            return
        self._spare = self.batch(lambda: self.waiting, ends_s) - 1
        self._spare_until_s = self._clock.monotonic() + SPARE_LIFE_S
