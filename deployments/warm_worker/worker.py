"""The worker: as Prefect's process worker, with a forked process in the place of a started one."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
from prefect._internal.observers import FlowRunCancellingObserver
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger
from prefect.runner._control_channel import ControlChannel
from prefect.runner._flow_run_executor import FlowRunExecutionResult, FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle
from prefect.settings import get_current_settings
from prefect.states import Cancelled
from prefect.utilities.processutils import sanitize_subprocess_env
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from deployments.warm_worker.flow_run import run_engine, run_hooks

WARM = "gapless-warm"

_SERVER_IS_GONE = 255
"""Exit code of a process whose fork server died before it could say how the process ended."""


@dataclass
class Forked:
    """A forked process as Prefect looks at one."""

    pid: int
    returncode: int | None = None


class ForkServer:
    """Forks from a process that has loaded `deployments.warm_worker.preload` and has one thread."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["deployments.warm_worker.preload"])
        # One thread for all of it: two that ask how a process ended would take the answer from each other.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fork")

    async def warm_up(self) -> None:
        """Starts the server; otherwise the first fork does."""
        await self._in_thread(forkserver.ensure_running)

    async def run(
        self, target: Callable[..., None], *args: Any, started: Callable[[Forked], object] = lambda _: None
    ) -> Forked:
        """Runs ``target`` in a forked process to its end; tells ``started`` of it as soon as it lives."""
        process: BaseProcess = self._context.Process(target=target, args=args, daemon=False)
        await self._in_thread(process.start)
        assert process.pid is not None
        forked = Forked(process.pid)
        started(forked)
        await anyio.wait_readable(process.sentinel)
        forked.returncode = await self._in_thread(lambda: process.exitcode)
        if forked.returncode == _SERVER_IS_GONE:
            # What is said to have crashed must not go on.
            with contextlib.suppress(ProcessLookupError):
                os.kill(forked.pid, signal.SIGKILL)
        await self._in_thread(process.close)
        return forked

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a flow run lives: its environment, without what belongs to one process of it, and its folder."""

    environment: Mapping[str, str | None]
    folder: Path

    def environment_of(self, flow_run: FlowRun, **more: str) -> dict[str, str]:
        """All of it, as Prefect's own worker hands it over."""
        return sanitize_subprocess_env(
            {
                **get_current_settings().to_environment_variables(exclude_unset=True),
                **self.environment,
                "PREFECT__FLOW_RUN_ID": str(flow_run.id),
                # The worker runs them, as a killed process cannot.
                "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
                **more,
            }
        )


class ForkedStarter:
    """Starts a flow run and stays until it has ended: a starter as `prefect.runner` has others."""

    def __init__(self, server: ForkServer, place: Place, control_channel: ControlChannel) -> None:
        self._server, self._place, self._channel = server, place, control_channel

    async def start(
        self, flow_run: FlowRun, task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """The process takes its orders (cancel) from the control channel, and its signals."""
        control = dict[str, str]()
        # Without a channel a cancel is a plain kill.
        with contextlib.suppress(RuntimeError):
            port, token = self._channel.register(flow_run.id)
            control = {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}
        environment = self._place.environment_of(flow_run, **control)
        await self._server.run(
            run_engine,
            environment,
            str(self._place.folder),
            started=lambda forked: task_status.started(ProcessHandle(forked)),  # type: ignore[arg-type]
        )


class ForkedHooks:
    """Runs the hooks of a flow run that was killed or cancelled where the flow run itself lived."""

    def __init__(self, server: ForkServer, place: Place) -> None:
        self._server, self._place = server, place

    async def run_cancellation_hooks(self, flow_run: FlowRun, state: State) -> None:
        """As `prefect.runner._hook_runner`."""
        if state.is_cancelling():
            await self._run(flow_run, state)

    async def run_crashed_hooks(self, flow_run: FlowRun, state: State) -> None:
        """As `prefect.runner._hook_runner`."""
        if state.is_crashed():
            await self._run(flow_run, state)

    async def _run(self, flow_run: FlowRun, state: State) -> None:
        environment = self._place.environment_of(flow_run)
        given = flow_run.model_dump_json(), state.model_dump_json()
        ended = await self._server.run(run_hooks, environment, str(self._place.folder), *given)
        if ended.returncode:
            flow_run_logger(flow_run).warning("its hooks ended with exit code %s", ended.returncode)


class WarmWorker(ProcessWorker):
    """Prefect's process worker, but for the start of what needs nothing else than Prefect's engine.

    Its pools are those of type ``process``; the command ``prefect worker start`` knows it by a name of its own.
    """

    @classmethod
    def __dispatch_key__(cls) -> str:
        return WARM

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Forks it; what asks for a command or an interpreter of its own is started as ever.

        A worker that is told to end takes no more runs and stays until those it has are over. Prefect's own ends them
        by SIGTERM and leaves at once, and they stay Running for ever (3.8.8).
        """
        if not _is_forkable(configuration):
            return await super().run(flow_run, configuration, task_status)
        with anyio.CancelScope(shield=True), contextlib.ExitStack() as held:
            given = configuration.working_dir or held.enter_context(tempfile.TemporaryDirectory(suffix="prefect"))
            place = Place(configuration.env, Path(given).resolve())
            result = await self._run_forked(flow_run, place, task_status or anyio.TASK_STATUS_IGNORED)
        if result is None or result.status_code is None:
            raise RuntimeError("the flow run's process was not started")
        if result.status_code:
            try:
                await end_unbegun(self.client, flow_run.id)
            except Exception as error:  # Prefect passes on what its HTTP library raises; the run may be deleted
                flow_run_logger(flow_run).warning("whether it was cancelled is not known: %s", error)
        return ProcessWorkerResult(status_code=result.status_code, identifier=str(result.handle.pid))

    async def _run_forked(
        self, flow_run: FlowRun, place: Place, task_status: anyio.abc.TaskStatus[int]
    ) -> FlowRunExecutionResult | None:
        result: FlowRunExecutionResult | None = None

        async with FlowRunExecutorContext() as context:
            keep_looking_for_cancels(context._observer)
            executor = context.create_executor(
                flow_run,
                ForkedStarter(self._server, place, context.control_channel),
                hook_runner=ForkedHooks(self._server, place),
                propose_submitting=False,
            )

            async def execute(*, task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED) -> None:
                nonlocal result
                result = await executor.submit(task_status=task_status)

            async with anyio.create_task_group() as group:
                handle: ProcessHandle = await group.start(execute)
                task_status.started(handle.pid or 0)
        return result

    async def __aenter__(self) -> WarmWorker:
        self._server = ForkServer()
        await self._server.warm_up()
        self._folder, usual = tempfile.mkdtemp(prefix="gapless-worker-"), tempfile.tempdir
        # Prefect keeps code of its runs in a folder of one name for all users of a machine, and a worker of whoever did
        # not make it ends at its start (3.8.8).
        tempfile.tempdir = self._folder
        try:
            await super().__aenter__()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        finally:
            tempfile.tempdir = usual
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        try:
            await super().__aexit__(*exc_info)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def keep_looking_for_cancels(observer: FlowRunCancellingObserver) -> None:
    """Lets a run be cancelled also when its server was away for longer than half a minute.

    Prefect's own then looks no more: the run works on to its end, and the server calls it Cancelled after five minutes
    (3.8.8).
    """

    def look_again(flow_run_ids: set[UUID]) -> None:  # noqa: ARG001 - named by Prefect
        if observer._polling_task is not None:
            observer._start_polling_task(observer._polling_task)

    observer.on_failure = look_again


async def end_unbegun(client: PrefectClient, flow_run_id: UUID) -> None:
    """Ends a run that was cancelled while its process began: that has ended by itself, and Prefect leaves the run
    Cancelling for ever (3.8.8)."""
    found = await client.read_flow_run(flow_run_id)
    if found.run_count == 0 and found.state is not None and found.state.is_cancelling():
        await client.set_flow_run_state(found.id, Cancelled(message="cancelled before it began"), force=True)


def _is_forkable(configuration: ProcessJobConfiguration) -> bool:
    """Its command is the engine, and its interpreter is set up as this one was."""
    own = {
        name for name, value in configuration.env.items() if name.startswith("PYTHON") and value != os.environ.get(name)
    }
    return not configuration._command_configured and not own
