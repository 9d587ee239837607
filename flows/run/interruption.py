"""How a flow run was interrupted, and what happens to the runs it had begun.

Prefect ends a cancelled or killed process run without a word to the subflows inside it: they would stay Running for
ever (measured with 3.8.8). So whoever ends the parent ends its children too: the flow itself, its state hooks, and the
watchdog. Everything here blocks, because a cancelled task may not await again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound, Pause
from prefect.runtime import deployment, flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Cancelling, Completed, Crashed

LOG = logging.getLogger("gapless.interruption")
UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING]
PAGE = 200
# A run may try a call for two hours; what is asked here, the mail waits for.
FEW_TRIES = {PREFECT_CLIENT_MAX_RETRIES: 3}


@contextlib.contextmanager
def impatient_client() -> Iterator[SyncPrefectClient]:
    """A client that gives up on a busy server after 14 s."""
    with temporary_settings(FEW_TRIES), get_client(sync_client=True) as client:
        yield client


def reason_of(error: BaseException) -> str:
    """Why a flow function was left by ``error``: ``user``, ``paused`` or ``crashed``.

    A task that is cancelled does not learn why: a cancel from the UI, a worker that gives up its machine, and Ctrl+C
    all look alike; and a child that is about to be created when its parent is cancelled is refused with an error of its
    own kind. So the run's state at the server tells.
    """
    if isinstance(error, Pause):
        return "paused"
    if isinstance(error, KeyboardInterrupt):
        return "user"
    if not deployment.id or not flow_run.id:
        return "user" if isinstance(error, asyncio.CancelledError) else "crashed"
    try:
        with impatient_client() as client:
            is_cancelled = _is_cancelled(client, UUID(str(flow_run.id)))
    except Exception as problem:  # Prefect passes on what its HTTP library raises, which is not imported here
        LOG.warning("the server does not say why the run ends: %s", problem)
        return "crashed"
    return "user" if is_cancelled else "crashed"


def _is_cancelled(client: SyncPrefectClient, flow_run_id: UUID) -> bool:
    """Whether the run or one that it is a step of is cancelled: a subflow stays Running then."""
    run = client.read_flow_run(flow_run_id)
    if run.state and run.state.type in (StateType.CANCELLING, StateType.CANCELLED):
        return True
    if run.parent_task_run_id is None:
        return False
    parent = client.read_task_run(run.parent_task_run_id).flow_run_id
    return parent is not None and _is_cancelled(client, parent)


def deployment_id_of(name: str) -> str:
    """The id of the deployment ``flow/name``; "" where the server does not tell. Blocking."""
    try:
        with impatient_client() as client:
            return str(client.read_deployment_by_name(name).id)
    except Exception as problem:  # Prefect passes on what its HTTP library raises, which is not imported here
        LOG.warning("deployment %s is not found: %s", name, problem)
        return ""


def end_children(parent_id: str | UUID, aborted: str) -> int:
    """Ends every unfinished child of a flow run, and theirs; returns how many children there were. Repeatable.

    Subflows inside the dead process become Cancelled or Crashed at once. Children with a deployment of their own still
    work somewhere: they become Cancelling, so that their workers stop them. A server that does not answer is logged:
    the watchdog comes back to it.
    """
    if not parent_id:
        return 0
    try:
        with impatient_client() as client:
            children = _unfinished_children(client, UUID(str(parent_id)))
            for child in children:
                client.set_flow_run_state(child.id, _end_state(child, aborted), force=True)
    except Exception as problem:  # Prefect passes on what its HTTP library raises, which is not imported here
        LOG.warning("children of flow run %s are not ended: %s", parent_id, problem)
        return 0
    for child in children:
        if child.deployment_id is None:
            end_children(child.id, aborted)
    return len(children)


def end_run(flow_run_id: str | UUID, message: str) -> None:
    """Sets a run without heartbeat, and its children, to Crashed; one that Prefect forgot is left alone."""
    end_children(flow_run_id, "crashed")
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(UUID(str(flow_run_id)))
        except ObjectNotFound:
            return
        if run.state_type in UNFINISHED:
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)


def end_suspended(flow_run_id: str, message: str, *, completed: bool) -> None:
    """Ends a run whose decision was made elsewhere; one that goes on, or is forgotten, is left alone."""
    if not flow_run_id:
        return
    state: State[None] = Completed(message=message) if completed else Cancelled(message=message)
    try:
        with impatient_client() as client:
            found = client.read_flow_run(UUID(flow_run_id))
            if found.state is not None and found.state.is_paused():
                client.set_flow_run_state(found.id, state, force=True)
    except Exception as problem:  # Prefect passes on what its HTTP library raises, which is not imported here
        LOG.warning("flow run %s is not ended: %s", flow_run_id, problem)


def is_over(flow_run_id: str | UUID) -> bool:
    """Whether a flow run has ended, or is not known any more."""
    with get_client(sync_client=True) as client:
        try:
            return client.read_flow_run(UUID(str(flow_run_id))).state_type not in UNFINISHED
        except ObjectNotFound:
            return True


def _unfinished_children(client: SyncPrefectClient, parent_id: UUID) -> list[FlowRun]:
    found: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent_id]),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)),
            ),
            limit=PAGE,
            offset=len(found),
        )
        found += page
        if len(page) < PAGE:
            return found


def _end_state(child: FlowRun, aborted: str) -> State[None]:
    message = f"ended with its parent ({aborted})"
    if child.deployment_id is not None:
        return Cancelling(message=message)
    return Crashed(message=message) if aborted == "crashed" else Cancelled(message=message)
