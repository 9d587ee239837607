"""The places of a run at its source: a partition has one while its calls are made, and not while they are stored."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator


class Slot:
    """One place. Its partition gives it back with its last answer, or at the latest when it is done with."""

    def __init__(self, free: Callable[[], None], *, until_stored: bool) -> None:
        self._free = free
        self._until_stored = until_stored
        self._is_held = True

    def give_back(self) -> None:
        """Lets the next partition ask. Repeatable, of one thread at a time."""
        if self._is_held:
            self._is_held = False
            self._free()

    def answered(self) -> None:
        """As ``give_back``; nothing where a partition keeps its place until it is stored."""
        if not self._until_stored:
            self.give_back()


class Slots:
    """So many places, given to threads in the order in which they ask for them.

    Whoever has one makes its call at once, and gives it back with the answer: it passes to the next thread without a
    turn of the event loop, which is late while a batch is read.

    Args:
        count: How many.
        until_stored: A partition keeps its place until it is stored, too.
    """

    def __init__(self, count: int, *, until_stored: bool = False) -> None:
        self._free = count
        self._until_stored = until_stored
        self._lock = threading.Lock()
        self._in_line: deque[threading.Lock] = deque()

    @contextlib.contextmanager
    def taken(self) -> Iterator[Slot]:
        """One of them; what fails keeps it to the end, so that the next call is made by who knows of the failure."""
        self._take()
        slot = Slot(self._give_back, until_stored=self._until_stored)
        try:
            yield slot
        finally:
            slot.give_back()

    def _take(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._in_line.append(turn)
        turn.acquire()

    def _give_back(self) -> None:
        with self._lock:
            if self._in_line:
                self._in_line.popleft().release()
            else:
                self._free += 1


class Begun:
    """So many partitions are begun and not answered, given in the order in which they are asked for.

    For one event loop. See `Slots` for the arguments.
    """

    def __init__(self, count: int, *, until_stored: bool = False) -> None:
        self._free = asyncio.Semaphore(count)
        self._until_stored = until_stored

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[Slot]:
        """As `Slots.taken`; its slot is given back by any thread."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()

        def free() -> None:
            loop.call_soon_threadsafe(self._free.release)

        slot = Slot(free, until_stored=self._until_stored)
        try:
            yield slot
        finally:
            slot.give_back()
