"""The end of a run whose own process cannot close it: Prefect calls this, in a new process after ``kill -9``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import FlowStateHook
from prefect.states import Failed

from alerting.instant import utc_now
from flows.closing.close import close_backfill
from flows.run.interruption import end_children, impatient_client
from flows.run_id import backfill_id_of
from flows.wiring import build_services

_ABORTED = {"Crashed": "crashed", "Cancelled": "user", "Cancelling": "user", "TimedOut": "deadline"}


def unfit_parameters(flow: Flow[..., Any], given: Mapping[str, Any]) -> str:
    """Which parameters the flow cannot be called with, "" where it can be."""
    try:
        inspect.signature(flow.fn).bind(**given)
    except TypeError as error:
        return f"{error}. Nothing was done. Next: run it by its form, or correct the schedule that began it"
    return ""


def close_after_state_change(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Sends the mail that the run itself could not send.

    Without a parameter that it needs, a run ends before its flow begins, and Prefect says "exited with status code 1".
    """
    aborted = _ABORTED.get(state.name or "", "")
    if state.is_crashed() and (unfit := unfit_parameters(flow, flow_run.parameters)):
        with impatient_client() as client:
            client.set_flow_run_state(flow_run.id, Failed(message=unfit), force=True)
        return
    if aborted:
        end_children(flow_run.id, aborted)
    close_backfill(build_services(), backfill_id_of(flow_run.id, flow_run.run_count), aborted=aborted, now=utc_now())


HOOKS: list[FlowStateHook[..., Any]] = [close_after_state_change]
