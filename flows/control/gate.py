"""The gate of a run: work begins only while it is open, and whoever shuts it sees when nothing is under way."""

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

    @property
    def is_idle(self) -> bool:
        """Nothing that passed the gate is under way."""
        return self._inside == 0

    @contextlib.asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Waits until the gate is open; the body is then one piece of work that a pause does not interrupt."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._closed_by)
            self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def until_open(self) -> None:
        """Waits without passing: for work that stands still by itself while the gate is closed."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._closed_by)

    async def shut(self, why: str) -> None:
        """Nothing begins from here on; what is under way goes on, see ``is_idle``."""
        async with self._changed:
            self._closed_by.add(why)

    async def open(self, why: str) -> None:
        """Takes back one reason."""
        async with self._changed:
            self._closed_by.discard(why)
            self._changed.notify_all()
