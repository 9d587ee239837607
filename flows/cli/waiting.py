"""What a followed run without progress waits for: steps whose next try is due later."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateName,
)
from prefect.client.schemas.objects import StateType, TaskRun
from prefect.client.schemas.sorting import TaskRunSort

QUIET_S = 5.0
"""Without a change for so long, the server is asked; rows of tasks come to its database seconds late."""


async def steps_that_wait(flow_run_id: UUID) -> list[TaskRun]:
    """Steps of the run, or of what it has begun, that failed and are tried again later."""
    async with get_client() as client:
        running = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
        children = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run_id]), state=running
            )
        )
        # The steps of a family have windows of their own.
        parents = [flow_run_id, *(one.id for one in children)]
        return await client.read_task_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=parents)),
            task_run_filter=TaskRunFilter(
                state=TaskRunFilterState(name=TaskRunFilterStateName(any_=["AwaitingRetry"]))
            ),
            sort=TaskRunSort.EXPECTED_START_TIME_ASC,
        )


def waiting_line(steps: Sequence[tuple[str, dt.datetime | None]]) -> str:
    """What is said of steps that wait, by label and the instant of the next try.

    >>> at = dt.datetime(2025, 1, 3, 12, 0, 5, tzinfo=dt.UTC)
    >>> waiting_line([("scrape 2025-01-02", at)])
    'scrape 2025-01-02 failed and is tried again at 12:00:05 UTC'
    >>> waiting_line([("scrape 2025-01-02", at + dt.timedelta(minutes=1)), ("scrape 2025-01-03", at)])
    'scrape 2025-01-02 and 1 more failed and are tried again, the first at 12:00:05 UTC'
    """
    first, *more = (label for label, _ in steps)
    due = min((at for _, at in steps if at is not None), default=None)
    at = f"{due.astimezone(dt.UTC):%H:%M:%S} UTC" if due else ""
    if more:
        return f"{first} and {len(more):,} more failed and are tried again{f', the first at {at}' if at else ''}"
    return f"{first} failed and is tried again{f' at {at}' if at else ''}"


class WaitingSteps:
    """Tells once what is waited for, when nothing changes.

    Args:
        look: The steps that wait now.
        monotonic: The clock.
    """

    def __init__(self, look: Callable[[], Sequence[TaskRun]], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._look, self._monotonic = look, monotonic
        self._seen, self._since_s = "", monotonic()
        self._told: set[UUID] = set()

    def line(self, progress: str) -> str:
        """What to say beside ``progress``, "" for nothing new. Raises what ``look`` raises."""
        now_s = self._monotonic()
        if progress != self._seen:
            self._seen, self._since_s = progress, now_s
        if now_s - self._since_s < QUIET_S:
            return ""
        self._since_s = now_s
        found = self._look()
        if {one.id for one in found} <= self._told:
            return ""
        self._told |= {one.id for one in found}
        return waiting_line(
            [(one.name, one.state.state_details.scheduled_time if one.state else None) for one in found]
        )
