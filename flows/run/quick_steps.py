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
from typing import Any, Generic, TypeVar

from prefect.context import FlowRunContext
from prefect.states import Completed, Running
from prefect.tasks import Task
from prefect.utilities.engine import emit_task_run_state_change_event

from flows.log import partition_logger

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


async def tell_completed(task: Task[..., Any], label: str, tried: FirstTry[Any]) -> None:
    """Shows a run of ``task`` that was well at its first try. What the server refuses is logged: a row ends no run."""
    try:
        await _tell(task, label, tried)
    except Exception as problem:  # Prefect passes on what its HTTP library raises, which is not imported here
        partition_logger().warning("%s is not shown: %s", label, problem)


async def _tell(task: Task[..., Any], label: str, tried: FirstTry[Any]) -> None:
    run: Any = await task.create_local_run(parameters={"label": label})
    began: Any = Running(timestamp=tried.began_at)
    ended: Any = Completed()
    for state in (began, ended):
        state.state_details.task_run_id, state.state_details.flow_run_id = run.id, run.flow_run_id
    if (context := FlowRunContext.get()) and context.flow_run:
        run.flow_run_run_count = context.flow_run.run_count
    run.name, run.run_count = label, 1
    run.expected_start_time = run.start_time = began.timestamp
    run.end_time, run.total_run_time = ended.timestamp, ended.timestamp - began.timestamp
    run.state, run.state_id, run.state_type, run.state_name = ended, ended.id, ended.type, ended.name
    emit_task_run_state_change_event(task_run=run, initial_state=began, validated_state=ended)


def _raise_if_suspended() -> None:
    if context := FlowRunContext.get():
        context.flow_run_suspension_request.raise_if_requested()
