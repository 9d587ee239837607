"""The end of a run whose own process cannot close it: Prefect calls this, in a new process after ``kill -9``."""

from __future__ import annotations

from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import FlowStateHook

from flows.closing.close import close_backfill
from flows.run.interruption import end_children
from flows.run_id import backfill_id_of
from flows.wiring import build_services
from scrapers.scrape import utc_now

_ABORTED = {"Crashed": "crashed", "Cancelled": "user", "Cancelling": "user", "TimedOut": "deadline"}


def close_after_state_change(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Sends the mail that the run itself could not send."""
    aborted = _ABORTED.get(state.name or "", "")
    if aborted:
        end_children(flow_run.id, aborted)
    close_backfill(build_services(), backfill_id_of(flow_run.id, flow_run.run_count), aborted=aborted, now=utc_now())


HOOKS: list[FlowStateHook[..., Any]] = [close_after_state_change]
