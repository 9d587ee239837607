"""The gate of a run: work begins only while it is open, and whoever closes it can wait until nothing is under way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Gate:
    """Closed by name, so that two reasons to pause do not open for each other. For one event loop."""

    def __init__(self) -> None:
        self._closed_by: set[str] = set()
        self._inside = 0
        self._changed = asyncio.Condition()

    @property
    def closed_by(self) -> frozenset[str]:
        """Why nothing begins; empty when the gate is open."""
        return frozenset(self._closed_by)

    @contextlib.asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Waits until the gate is open; the body is then one piece of work that a pause does not interrupt."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._closed_by)
            self._inside += 1
        try:
            yield
        finally:
            # Without awaiting: a cancelled task still has to leave.
            self._inside -= 1
            if self._closed_by and not self._inside:
                self._woken = asyncio.ensure_future(self._wake())

    async def close(self, why: str) -> None:
        """Nothing begins from here on; returns when nothing is under way any more."""
        async with self._changed:
            self._closed_by.add(why)
            await self._changed.wait_for(lambda: not self._inside)

    async def open(self, why: str) -> None:
        """Takes back one reason."""
        async with self._changed:
            self._closed_by.discard(why)
            self._changed.notify_all()

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()
