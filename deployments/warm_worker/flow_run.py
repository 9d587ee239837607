"""What a forked process does: it becomes what the worker would have started, and runs a flow run or its hooks."""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID


def run_engine(environment: Mapping[str, str], folder: str) -> None:
    """``python -m prefect.engine`` in ``folder``; the flow run is named by ``environment``."""
    with _becoming(environment, folder):
        try:
            runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if not _told_parameters(end.__context__):
                raise


def _told_parameters(error: BaseException | None) -> bool:
    """Whether a run ended because its flow has other parameters than it was given, which its state says by now.

    Prefect checks their values in the run, and their names before it: of these it tells nobody (measured with 3.8.8).
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ParameterBindError, SignatureMismatchError
    from prefect.states import Failed

    if not isinstance(error, ParameterBindError | SignatureMismatchError):
        return False
    with get_client(sync_client=True) as client:
        message = f"{str(error).splitlines()[0]}. Nothing was done"
        client.set_flow_run_state(UUID(os.environ["PREFECT__FLOW_RUN_ID"]), Failed(message=message), force=True)
    return True


def run_hooks(environment: Mapping[str, str], folder: str, flow_run_json: str, state_json: str) -> None:
    """The hooks that a flow has for this state, where the flow's own process could not run them."""
    with _becoming(environment, folder):
        import anyio
        from prefect.client.schemas.objects import FlowRun, State
        from prefect.flows import load_flow_from_flow_run
        from prefect.runner._hook_runner import HookRunner

        hooks = HookRunner(resolve_flow=load_flow_from_flow_run)
        flow_run = FlowRun.model_validate_json(flow_run_json)
        state: State = State.model_validate_json(state_json)
        run = hooks.run_cancellation_hooks if state.is_cancelling() else hooks.run_crashed_hooks
        anyio.run(run, flow_run, state)


@contextmanager
def _becoming(environment: Mapping[str, str], folder: str) -> Iterator[None]:
    # Ctrl-C in the terminal of the worker is the worker's.
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = [sys.executable]
    sys.path.insert(0, folder)

    import prefect.context
    from prefect.logging.configuration import setup_logging

    # Loaded with the environment of the fork server.
    prefect.context.refresh_global_settings_context()
    setup_logging(incremental=False)
    try:
        yield
    finally:
        # A forked process ends without what any other one does at its end: logs and events that wait are sent there.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
