"""The trial of a run: its canaries on their way to a verdict, while the other dates are fetched."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any

from flows.log import partition_logger


class CanaryTrial:
    """While it goes on, nothing but its canaries is written to the tables. For one event loop.

    Attributes:
        keys: The canaries; empty before they are chosen and after their verdict.
        stage_s: What it took until their rows were staged; None until they are, 0 without canaries.
    """

    def __init__(self) -> None:
        self.keys = frozenset[str]()
        self.stage_s: float | None = 0.0
        self._over = asyncio.Event()
        self._over.set()
        self._going_on: asyncio.Task[None] | None = None

    def begin(self, keys: Collection[str]) -> None:
        """These go first."""
        self.keys, self.stage_s = frozenset(keys), None
        self._over.clear()

    def end(self) -> None:
        """They have their verdict, or will get none. Repeatable."""
        self.keys, self.stage_s = frozenset(), self.stage_s or 0.0
        self._over.set()

    async def until_over(self, keys: Collection[str]) -> None:
        """Waits for the verdict; the canaries themselves do not."""
        if self.keys.isdisjoint(keys):
            await self._over.wait()

    def go_on(self, rest: Coroutine[Any, Any, None]) -> None:
        """Does the rest of it beside the other dates; it has to call `end`."""
        self._going_on = asyncio.create_task(rest)

    async def ended(self) -> None:
        """Waits until nothing of it is under way; raises what it raised."""
        if self._going_on is not None:
            await self._going_on

    async def ended_somehow(self) -> None:
        """As `ended`, for whoever has an error of its own to raise."""
        try:
            await self.ended()
        except Exception as error:
            partition_logger().error("canary: %s", error)
