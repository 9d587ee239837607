"""Rows of steps that were well at once, told to Prefect together.

The first row of a task in a flow run is made and sent by Prefect's own functions. The next ones are that event with
a name, ids and times of their own, and many of them are one request: made and sent one by one they cost this process
1.7 ms of CPU each, more than a call to storage.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.events import Event, RelatedResource
from prefect.events.related import related_resources_from_run_context
from prefect.events.worker import EventsWorker
from prefect.states import Completed, Running
from prefect.tasks import Task
from prefect.utilities.engine import emit_task_run_state_change_event
from pydantic_core import to_json

from alerting.wording import plural
from flows.log import partition_logger

TOGETHER_S = 1.0
"""Rows come to the server's database seconds later anyway, and a request costs it as much as ten of them."""
_MOST_TOGETHER = 200
_TOLD_WITHIN_S = 5.0

_ROWS: ContextVar[StepRows | None] = ContextVar("rows", default=None)


@dataclass(frozen=True, slots=True)
class StepRow:
    """What a row shows besides its task; both instants aware UTC."""

    label: str
    began_at: dt.datetime
    ended_at: dt.datetime


class StepRows:
    """Those of one flow run. Used by the tasks of its loop."""

    def __init__(self) -> None:
        self._first: dict[str, Mapping[str, Any]] = {}
        self._waiting: list[dict[str, Any]] = []
        self._telling: set[asyncio.Task[None]] = set()
        self._is_due = asyncio.Event()
        self._has_ended = False

    async def add(self, task: Task[..., Any], row: StepRow) -> None:
        """Tells it with those that follow within `TOGETHER_S`."""
        first = self._first.get(task.name)
        if first is None:
            if (event := await _told_by_prefect(task, row)) is not None:
                self._first[task.name] = event.model_dump(mode="json")
            return
        self._waiting.append(_like(first, row))
        if len(self._waiting) == 1:
            telling = asyncio.create_task(self._tell_soon())
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)
        if len(self._waiting) >= _MOST_TOGETHER or self._has_ended:
            self._is_due.set()

    async def told(self) -> None:
        """Waits until the server has all of them; `_TOLD_WITHIN_S` at most."""
        self._has_ended = True
        self._is_due.set()
        await asyncio.gather(*self._telling)

    async def _tell_soon(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._is_due.wait(), TOGETHER_S)
        self._is_due.clear()
        rows, self._waiting = self._waiting, []
        try:
            await self._tell(rows)
        except Exception as problem:
            partition_logger().warning("%s not shown: %s", plural(len(rows), "step", "is", "are"), problem)

    async def _tell(self, rows: list[dict[str, Any]]) -> None:
        try:
            async with asyncio.timeout(_TOLD_WITHIN_S), get_client() as client:
                # Asked of the server here and not for the first row: no step waits for a server that is slow.
                of_run = await related_resources_from_run_context(client)
                content = to_json([_related_to(of_run, row) for row in rows])
                await client.request("POST", "/events", content=content, headers={"Content-Type": "application/json"})
        except Exception as problem:  # Prefect passes on what its HTTP library raises, which is not imported here
            # Prefect's queue waits for a server that is away; an event that it has already is kept once.
            partition_logger().debug("%s told one by one: %s", plural(len(rows), "step", "is", "are"), problem)
            for row in rows:
                EventsWorker.instance().send(Event(**row))


@contextlib.asynccontextmanager
async def rows_told_together() -> AsyncIterator[None]:
    """Within it the rows of this flow run's steps are told together; the server has them at its end."""
    rows = StepRows()
    before = _ROWS.set(rows)
    try:
        yield
    finally:
        _ROWS.reset(before)
        await rows.told()


async def tell_completed(task: Task[..., Any], row: StepRow) -> None:
    """Shows a run of ``task`` that was well at its first try. What the server refuses is logged: a row ends no run."""
    try:
        rows = _ROWS.get()
        if rows is not None:
            await rows.add(task, row)
        else:
            await _told_by_prefect(task, row)
    except Exception as problem:  # Prefect passes on what its HTTP library raises, which is not imported here
        partition_logger().warning("%s is not shown: %s", row.label, problem)


async def _told_by_prefect(task: Task[..., Any], row: StepRow) -> Event | None:
    run: Any = await task.create_local_run(parameters={"label": row.label})
    began: Any = Running(timestamp=row.began_at)
    ended: Any = Completed(timestamp=row.ended_at)
    for state in (began, ended):
        state.state_details.task_run_id, state.state_details.flow_run_id = run.id, run.flow_run_id
    if (context := FlowRunContext.get()) and context.flow_run:
        run.flow_run_run_count = context.flow_run.run_count
    run.name, run.run_count = row.label, 1
    run.expected_start_time = run.start_time = began.timestamp
    run.end_time, run.total_run_time = ended.timestamp, ended.timestamp - began.timestamp
    run.state, run.state_id, run.state_type, run.state_name = ended, ended.id, ended.type, ended.name
    return emit_task_run_state_change_event(task_run=run, initial_state=began, validated_state=ended)


def _related_to(of_run: Sequence[RelatedResource], row: Mapping[str, Any]) -> dict[str, Any]:
    """As Prefect's queue would send it, which names the flow run to the server behind our back."""
    related = {one["prefect.resource.id"]: one for one in (*row["related"], *(one.model_dump() for one in of_run))}
    return {**row, "related": list(related.values())}


def _like(first: Mapping[str, Any], row: StepRow) -> dict[str, Any]:
    began, ended = row.began_at.isoformat(), row.ended_at.isoformat()
    own = {
        "name": row.label,
        "dynamic_key": str(uuid4()),
        "expected_start_time": began,
        "start_time": began,
        "end_time": ended,
        "total_run_time": (row.ended_at - row.began_at).total_seconds(),
    }
    named = {
        "prefect.resource.id": f"prefect.task-run.{uuid4()}",
        "prefect.resource.name": row.label,
        "prefect.state-timestamp": ended,
    }
    return {
        **first,
        "id": str(uuid4()),
        "occurred": ended,
        "resource": {**first["resource"], **named},
        "payload": {**first["payload"], "task_run": {**first["payload"]["task_run"], **own}},
    }
