"""Prefect as the orchestrator of a run: subflows, tasks with retries, runs of deployments."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

from prefect import Flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, WorkerStatus
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment
from prefect.states import Cancelled
from prefect.tasks import Task
from pydantic import Field

from flows.log import lets_out_redacted, retry_transient
from flows.run.orchestrator import Child, ChildRequest, Decided, Decision, Part
from flows.run.quick_steps import first_try
from flows.run.step_rows import StepRow, rows_told_together, tell_completed

R = TypeVar("R")

_LOOKED_AT_EVERY_S = 1.0

# Parameters of a flow are JSON at the server; clients and manifests go beside them, in the context of the caller.
_PART: ContextVar[Part | None] = ContextVar("part", default=None)


def handed_over() -> Part | None:
    """What the flow that is beginning is to do; None when it was not begun by a run of this process."""
    return _PART.get()


@lets_out_redacted
@task(
    task_run_name="{label}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retry_condition_fn=retry_transient,
    retry_jitter_factor=0.3,
)
async def _step(label: str, work: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ARG001 - the name of the task run
    return await work()


async def _by_engine(task: Task[..., Any], label: str, work: Callable[[], Awaitable[R]]) -> R | BaseException:
    try:
        state: Any = await task(label, work, return_state=True)
    except Exception as error:  # Prefect passes on what its HTTP library raises when the server is down
        return error
    result: R | BaseException = await state.aresult(raise_on_failure=False)
    return result


class ReviewForm(RunInput):
    """What Resume asks for."""

    decision: Decided = Field(title="decision")
    by: str = Field(min_length=1, title="by (your name)")
    reason: str = Field("", title="reason")


def _shown(told: Sequence[str]) -> str:
    """Markdown over the form: what is not indented, so that its fields and buttons stay on a phone's screen.

    >>> print(_shown(["games: 9 rows removed", "  2024-11  -9"]))
    The rows wait beside the tables. Publishing would change:
    <BLANKLINE>
    * games: 9 rows removed
    <BLANKLINE>
    Months and samples are in the mail and in the log of the run.
    """
    lines = "\n".join(f"* {one}" for one in told if not one.startswith(" "))
    return (
        f"The rows wait beside the tables. Publishing would change:\n\n{lines}\n\n"
        "Months and samples are in the mail and in the log of the run."
    )


class PrefectOrchestrator:
    """See `flows.run.orchestrator.Orchestrator`."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task[..., Any]] = {}

    async def subflow(self, flow: Flow[..., Any], parameters: Mapping[str, Any], part: Part) -> None:
        """A subflow run in this process."""

        async def with_rows() -> State[Any]:
            async with rows_told_together():
                return await part()

        before = _PART.set(with_rows)
        try:
            running: Any = flow(**parameters, return_state=True)
            await running
        finally:
            _PART.reset(before)

    async def step(
        self, name: str, label: str, work: Callable[[], Awaitable[R]], retry_delays_s: Sequence[float]
    ) -> R | BaseException:
        """A task run in this process; see `flows.run.quick_steps` and `flows.run.step_rows`."""
        if name not in self._tasks:
            # Once for all: a copy of a task costs 3 ms, as Prefect reads its source again.
            self._tasks[name] = _step.with_options(
                name=name, retries=len(retry_delays_s), retry_delay_seconds=list(retry_delays_s)
            )
        async with first_try(work) as tried:
            if tried.is_well:
                await tell_completed(self._tasks[name], StepRow(label, tried.began_at, dt.datetime.now(dt.UTC)))
                return await tried.again()
            return await _by_engine(self._tasks[name], label, tried.again)

    async def decision(self, round_: int, told: Sequence[str], timeout_s: float) -> Decision | None:
        """Resume in the UI asks for it with a form; without a deployment Prefect could not begin the run again."""
        if not deployment.id:
            return None
        form = await asuspend_flow_run(
            wait_for_input=ReviewForm.with_initial_data(description=_shown(told)),
            key=f"review-{round_}",
            timeout=math.ceil(timeout_s),
        )
        return Decision(form.decision, form.by, form.reason)

    async def workers(self, deployment: str) -> int | None:
        """Those online in its work pool; a pool of another type than ``process`` begins what it needs."""
        async with get_client() as client:
            try:
                name = (await client.read_deployment_by_name(deployment)).work_pool_name or ""
                pool = await client.read_work_pool(name)
                workers = await client.read_workers_for_work_pool(name)
            except ObjectNotFound:
                return 0
        if pool.type != "process":
            return None
        return sum(worker.status is WorkerStatus.ONLINE for worker in workers)

    async def child(self, request: ChildRequest) -> Child:
        """A flow run of a deployment, looked at every second; Late and Pending are waited for like Running."""
        try:
            run = await arun_deployment(
                request.deployment,
                parameters=dict(request.parameters),
                flow_run_name=request.label,
                idempotency_key=request.idempotency_key,
                timeout=0,
            )
        except ObjectNotFound as error:
            raise ValueError(f"there is no deployment {request.deployment}") from error
        window_id = str(run.id)
        async with get_client() as client:
            while run.state is None or not run.state.is_final():
                if why := request.given_up(window_id):
                    # Not Cancelling: there may be no worker left to answer that.
                    await client.set_flow_run_state(run.id, Cancelled(message=why), force=True)
                    return Child(window_id, "given up", why)
                await asyncio.sleep(_LOOKED_AT_EVERY_S)
                try:
                    run = await client.read_flow_run(run.id)
                except ObjectNotFound:
                    return Child(window_id, "deleted", "its flow run was deleted")
        state = run.state
        return Child(window_id, state.name or "", state.message or "", is_cancelled=state.is_cancelled())
