"""The places of a run at its source: a partition has one while its calls are made, and not while they are stored."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Slot:
    """One place. Its partition gives it back with its last answer, or at the latest when it is done with."""

    def __init__(self, free: asyncio.Semaphore, *, until_stored: bool) -> None:
        self._free = free
        self._until_stored = until_stored
        self._loop = asyncio.get_running_loop()
        self._is_held = True

    def give_back(self) -> None:
        """Lets the next partition ask. On the event loop; repeatable."""
        if self._is_held:
            self._is_held = False
            self._free.release()

    def answered(self) -> None:
        """As ``give_back``, from a thread; nothing where a partition keeps its place until it is stored."""
        if not self._until_stored:
            self._loop.call_soon_threadsafe(self.give_back)


class Slots:
    """So many places, given in the order in which they are asked for. For one event loop.

    Args:
        count: How many.
        until_stored: A partition keeps its place until it is stored, too.
    """

    def __init__(self, count: int, *, until_stored: bool = False) -> None:
        self._free = asyncio.Semaphore(count)
        self._until_stored = until_stored

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[Slot]:
        """One of them; what fails keeps it to the end, so that the next call is made by who knows of the failure."""
        await self._free.acquire()
        slot = Slot(self._free, until_stored=self._until_stored)
        try:
            yield slot
        finally:
            slot.give_back()
