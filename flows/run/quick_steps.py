"""A step that is well at once reaches Prefect as one event.

Prefect's engine sends three a task run, each 1.5 ms of the server's CPU. What a person sees of a run that is Completed
within seconds is its row, and one event makes that whole: name, begin, end, duration, state. A step that takes longer,
or whose first try fails, is handed to the engine as it stands, which shows it Running, tries again, and logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from prefect.context import FlowRunContext

R = TypeVar("R")

SHOWN_AFTER_S = 3.0
"""A step at work for longer is seen as Running; rows come to the server's database seconds late anyway."""


class FirstTry(Generic[R]):
    """The first try of a step, which has begun."""

    def __init__(self, work: Callable[[], Awaitable[R]]) -> None:
        self._work = work
        self._is_taken = False
        self.began_at = dt.datetime.now(dt.UTC)
        self.running = asyncio.ensure_future(work())

    @property
    def is_well(self) -> bool:
        """It has ended, and not by an error."""
        return self.running.done() and not self.running.cancelled() and self.running.exception() is None

    async def again(self) -> R:
        """First what the try that has begun gives or raises, then another try each time."""
        if self._is_taken:
            return await self._work()
        self._is_taken = True
        return await self.running


@contextlib.asynccontextmanager
async def first_try(work: Callable[[], Awaitable[R]]) -> AsyncIterator[FirstTry[R]]:
    """The first try, ended or `SHOWN_AFTER_S` old. Raises ``Pause`` where the flow run was suspended, like a task."""
    _raise_if_suspended()
    tried = FirstTry(work)
    try:
        await asyncio.wait({tried.running}, timeout=SHOWN_AFTER_S)
        yield tried
    finally:
        tried.running.cancel()
    _raise_if_suspended()


def _raise_if_suspended() -> None:
    if context := FlowRunContext.get():
        context.flow_run_suspension_request.raise_if_requested()
