"""Starts deployments and follows their runs, through the Prefect API."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings, temporary_settings
from prefect.states import Cancelling
from tqdm import tqdm

from alerting.errors import AuthenticationError, ConfigurationError, PipelineError, TransientError
from alerting.instant import utc_now
from alerting.outbox import Outbox
from flows.cli.waiting import WaitingSteps, steps_that_wait
from flows.closing.mailing import FOLLOWED
from flows.pages import run_page
from flows.parameters import ASKED_BY, Engine, Publish, flat
from flows.run.interruption import FEW_TRIES
from flows.run_id import backfill_id_of
from flows.settings import code_version
from flows.views.stored_runs import stored_progress, stored_work
from flows.wiring import Services

T = TypeVar("T")

POLL_S = 1.0
CANCEL_PATIENCE_S = 120.0
_RETRIES = 30
_BAR = "{percentage:3.0f}%|{bar}| {desc}"


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """A run that was asked for."""

    flow_run_id: UUID
    backfill_id: str
    name: str
    deployment: str
    parameters: Mapping[str, Any]
    url: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**dataclasses.asdict(self), "flow_run_id": str(self.flow_run_id)}


def ended(state: State[Any]) -> dict[str, Any]:
    """A state as its name, message and exit code: 0 completed or waits for approval, 130 cancelled, 1 anything else."""
    code = 0 if state.is_completed() or state.is_paused() else 130 if state.is_cancelled() else 1
    return {"state": state.type.value, "message": state.message or "", "exit_code": code}


def start(deployment: str, parameters: Mapping[str, Any], asked_by: str = "", followed: bool = False) -> Started:
    """Creates a flow run of ``deployment`` (``flow/name``), as ``prefect deployment run`` would.

    Parameters that the deployment does not have are refused before anything starts. Raises ``ConfigurationError``
    for an unknown deployment or parameter. ``followed``: somebody reads at a terminal how it ends.
    """
    given = {name: value for name, value in parameters.items() if value not in (None, "")}
    return _answer(_start(deployment, given, asked_by, followed))


async def _start(deployment: str, parameters: Mapping[str, Any], asked_by: str, followed: bool) -> Started:
    async with get_client() as client:
        try:
            found = await client.read_deployment_by_name(deployment)
        except ObjectNotFound:
            raise ConfigurationError(
                f"there is no deployment {deployment!r} on this server. Nothing was done",
                stage="start",
                hint="python -m deployments.provision",
            ) from None
        known = found.parameter_openapi_schema.get("properties", {}) if found.parameter_openapi_schema else {}
        unknown = sorted(set(parameters) - set(known))
        if unknown:
            raise ConfigurationError(
                f"{deployment} has no parameter {', '.join(unknown)}. Nothing was done",
                stage="start",
                hint=f"this command is {code_version()}; deploy the same version: python -m deployments.provision",
            )
        tags = [*([f"{ASKED_BY}{asked_by}"] if asked_by else []), *([FOLLOWED] if followed else [])]
        run = await client.create_flow_run_from_deployment(found.id, parameters=dict(parameters), tags=tags)
    return Started(run.id, backfill_id_of(run.id, 1), run.name, deployment, parameters, _url(run.id))


def _url(flow_run_id: UUID) -> str:
    ui_url = get_current_settings().ui_url
    return run_page(ui_url, flow_run_id) if ui_url else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """How far a run is at this moment, for a line and a bar."""

    percent: float
    counts: str
    pace: str = ""


def watched_run(services: Services, source: str, started: Started) -> Callable[[], Look | None]:
    """Looks at the backfill of one source; None until it has a plan."""
    return _watched(services, source, started.backfill_id)


def _watched(services: Services, source: str, backfill_id: str) -> Callable[[], Look | None]:
    ledger = services.source_kit(source).ledger
    work: dict[str, bool] | None = None

    def look() -> Look | None:
        nonlocal work
        owed = Outbox(services.store).read(backfill_id)
        work = work or stored_work(services.store, backfill_id)
        if owed is None or work is None:
            return None
        at = stored_progress(owed, work, ledger.refresh(min(work), max(work)), utc_now())
        return Look(at.percent, at.counts, at.pace)

    return look


def watched_family(services: Services, started: Started) -> Callable[[], Look | None]:
    """Looks at the step of a family that is at work; None until the family has a plan."""
    steps: dict[str, Callable[[], Look | None]] = {}

    def look() -> Look | None:
        outbox = Outbox(services.store)
        family = outbox.read(started.backfill_id)
        if family is None or not family.covers:
            return None
        for number, planned in enumerate(family.covers, start=1):
            backfill_id, source = str(planned["backfill_id"]), str(planned["source"])
            step = outbox.read(backfill_id)
            if step is not None and step.closed:
                continue
            of = len(family.covers)
            watch = steps.setdefault(source, _watched(services, source, backfill_id))
            seen = watch() if step is not None else None
            percent = (100.0 * (number - 1) + (seen.percent if seen else 0.0)) / of
            return Look(
                percent, f"{number} of {of}, {source}: {seen.counts if seen else 'begins'}", seen.pace if seen else ""
            )
        return Look(100.0, "every source has ended")

    return look


def follow(watch: Callable[[], Look | None], started: Started, say: Callable[[str], None]) -> State[Any]:
    """Waits for the end of a run; a bar on a terminal, a line per change elsewhere, and one for each standstill that a
    step makes which is tried again later. Returns the final state.

    Ctrl+C asks the server to cancel the run, waits until it has ended, and passes ``KeyboardInterrupt`` on: its mail
    is sent and its state is saved. A second Ctrl+C stops waiting.
    """
    try:
        return _follow(watch, started, say)
    except KeyboardInterrupt:
        say("cancelling the run; what is done stays done ...")
        _answer(_cancel(started.flow_run_id))
        deadline = time.monotonic() + CANCEL_PATIENCE_S
        while time.monotonic() < deadline:
            state = _answer(_read(started.flow_run_id)).state
            if state is not None and state.is_final():
                say(f"{state.name}: {state.message or ''}")
                break
            time.sleep(POLL_S)
        raise


def _follow(watch: Callable[[], Look | None], started: Started, say: Callable[[str], None]) -> State[Any]:
    at: Look | None = None
    shown, failures, windows = "", 0, 0
    waiting = WaitingSteps(lambda: _answer(steps_that_wait(started.flow_run_id)))
    # The rate of tqdm would count what was done before the run began.
    with tqdm(total=100.0, bar_format=_BAR, disable=not sys.stderr.isatty(), leave=True, dynamic_ncols=True) as bar:
        while True:
            try:
                run = _answer(_read(started.flow_run_id))
                for window in (begun := child_runs(started, windows)):
                    say(f"window {window['name']}: flow run {window['flow_run_id']} {window['url']}".rstrip())
                windows += len(begun)
                at = watch() or at
                line = f"{run.state_name}: {at.counts}" if at else f"{run.state_name}"
                waits = waiting.line(line)
                failures = 0
            except TransientError:
                failures += 1
                if failures > _RETRIES:
                    raise
                time.sleep(POLL_S)
                continue
            bar.n = at.percent if at else 0.0
            bar.set_description_str(", ".join(part for part in (line, at.pace if at else "") if part))
            if bar.disable and line != shown:
                say(line)
                shown = line
            if waits:
                say(waits)
            if run.state is not None and (run.state.is_final() or _waits_for_approval(run.state, started)):
                return run.state
            time.sleep(POLL_S)


def _waits_for_approval(state: State[Any], started: Started) -> bool:
    """It may wait for days, and a person decides elsewhere."""
    return state.is_paused() and started.parameters.get("publish") == Publish.AFTER_APPROVAL.value


def run_state(flow_run_id: str) -> StateType | None:
    """The state that Prefect knows of a run, None when it does not know the run."""
    try:
        return _answer(_read(UUID(flow_run_id))).state_type
    except (ConfigurationError, ValueError):
        return None


async def _read(flow_run_id: UUID) -> FlowRun:
    async with get_client() as client:
        try:
            return await client.read_flow_run(flow_run_id)
        except ObjectNotFound:
            raise ConfigurationError(f"Prefect knows no flow run {flow_run_id}", stage="start") from None


def child_runs(started: Started, known: int = 0) -> list[dict[str, str]]:
    """The child runs of a distributed run in the order of their start, without the first ``known``; none for others."""
    if flat(started.parameters).get("engine", Engine.INLINE) == Engine.INLINE:
        return []
    found: list[FlowRun] = []
    while page := _answer(_deployed_children(started.flow_run_id, known + len(found))):
        found += page
    return [
        {"name": run.name, "flow_run_id": str(run.id), "url": _url(run.id), "state": run.state_name or ""}
        for run in found
    ]


async def _deployed_children(flow_run_id: UUID, known: int) -> list[FlowRun]:
    """The windows of a distributed run in the order of their start, without the first ``known``."""
    async with get_client() as client:
        return await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run_id]),
                deployment_id=FlowRunFilterDeploymentId(is_null_=False),
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            offset=known,
        )


async def _cancel(flow_run_id: UUID) -> None:
    async with get_client() as client:
        await client.set_flow_run_state(flow_run_id, Cancelling(message="Ctrl+C"), force=False)


def _answer(asked: Coroutine[Any, Any, T]) -> T:
    """Runs one conversation with the server; what its HTTP library raises becomes ``TransientError``.

    Without an address Prefect would start a server of its own in this process, which knows no deployment.
    """
    if not get_current_settings().api.url:
        asked.close()
        raise ConfigurationError(
            "PREFECT_API_URL is not set. Nothing was done", stage="start", hint="source .gapless/env, or export it"
        )
    try:
        with temporary_settings(FEW_TRIES):
            return asyncio.run(asked)
    except PipelineError:
        raise
    except Exception as error:  # Prefect passes on what its HTTP library raises, which is not imported here
        raise _unreachable(error) from error


def _unreachable(error: Exception) -> PipelineError:
    if getattr(getattr(error, "response", None), "status_code", 0) == 401:
        return AuthenticationError(
            "the Prefect API answers 401: PREFECT_API_AUTH_STRING is not the server's PREFECT_SERVER_API_AUTH_STRING. "
            "Nothing was done",
            stage="start",
            hint="source .gapless/env, or export PREFECT_API_AUTH_STRING=...",
        )
    return TransientError(
        f"the Prefect API did not do it: {type(error).__name__}: {str(error)[:300]}",
        stage="start",
        hint="gapless preflight; check PREFECT_API_URL and that the server is up",
    )
