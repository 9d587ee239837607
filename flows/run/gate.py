"""The gate of a run: work begins only while it is open, and whoever shuts it sees when nothing is under way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Set

from alerting.instant import Instant
from flows.coordination.standstill import SOURCE_DOWN

__all__ = ["SOURCE_DOWN", "Gate"]


class Gate:
    """Closed by name, so that two reasons to pause do not open for each other. For one event loop.

    ``SOURCE_DOWN`` holds dates back, and nothing that makes no call: loading goes on. Where it has to be kept open
    (``keep_open``), a process that was frozen begins nothing when it wakes until whoever does that has looked around.
    """

    def __init__(self) -> None:
        self._closed_by: set[str] = set()
        self._inside = 0
        self._probe = 0
        self._probe_is_inside = False
        self._kept_until: Instant | None = None
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
    async def passed(self, despite: Set[str] = frozenset()) -> AsyncIterator[int]:
        """Waits until the gate is open; the body is then one piece of work that a pause does not interrupt.

        Yields the number of the probe when it is the one that was admitted (``admit_probe``), else 0. ``despite`` names
        reasons that this work does not mind.
        """
        probe = 0
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_open(despite) or self._may_probe(despite))
            if not self._is_open(despite):
                probe, self._probe, self._probe_is_inside = self._probe, 0, True
            self._inside += 1
        try:
            yield probe
        finally:
            self._inside -= 1
            if probe:
                self._probe_is_inside = False

    def _is_open(self, despite: Set[str]) -> bool:
        return self._closed_by <= despite and self.is_kept

    def _may_probe(self, despite: Set[str]) -> bool:
        return bool(self._probe) and not despite and self._closed_by == {SOURCE_DOWN} and self.is_kept

    def lets_begin(self, probe: int) -> bool:
        """Whether work that has passed, as the probe of that number or as none, may still begin. Of any thread."""
        return self._is_open({SOURCE_DOWN} if probe else set())

    @property
    def is_kept(self) -> bool:
        """Whether whoever has to keep it open (``keep_open``) has done so lately."""
        return self._kept_until is None or not self._kept_until.is_over

    async def until_kept(self) -> None:
        """Waits for that, whatever else keeps the gate shut."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.is_kept)

    async def until_open(self, despite: Set[str] = frozenset()) -> None:
        """Waits without passing: for work that stands still by itself while the gate is closed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_open(despite))

    async def keep_open(self, until: Instant | None) -> None:
        """Nothing begins after ``until`` unless it is kept open again; None: no one has to."""
        async with self._changed:
            self._kept_until = until
            self._changed.notify_all()

    async def shut(self, why: str) -> None:
        """Nothing begins from here on; what is under way goes on, see ``is_idle``."""
        self.shut_now(why)

    def shut_now(self, why: str) -> None:
        """As ``shut``, from any thread: nobody waits for a gate to close."""
        self._closed_by.add(why)

    async def open(self, why: str) -> None:
        """Takes back one reason."""
        async with self._changed:
            self._closed_by.discard(why)
            if why == SOURCE_DOWN:
                self._probe = 0
            self._changed.notify_all()

    async def admit_probe(self, probe: int) -> None:
        """Admits one half-open probe while only the source keeps the gate shut. Repeatable: never two at once."""
        async with self._changed:
            if not self._probe_is_inside:
                self._probe = probe
                self._changed.notify_all()
