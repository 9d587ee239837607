"""Windows begin in the order of the plan, although several are created at once and none is created faster for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence


class Turns:
    """Every window waits until the one before it has begun, or has come to its end without. For one event loop."""

    def __init__(self, windows: Iterable[Sequence[str]] = ()) -> None:
        self._begun: dict[str, asyncio.Event] = {}
        self._before: dict[str, asyncio.Event] = {}
        before: asyncio.Event | None = None
        for window in windows:
            begun = asyncio.Event()
            for key in window:
                self._begun[key] = begun
                if before is not None:
                    self._before[key] = before
            before = begun

    async def wait(self, key: str) -> None:
        """Until the window of ``key`` may begin; a key of no window may at once."""
        if before := self._before.get(key):
            await before.wait()

    def begun(self, key: str) -> None:
        """The window of ``key`` has begun, or will not any more. Repeatable."""
        if begun := self._begun.get(key):
            begun.set()
