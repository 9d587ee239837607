"""Windows of a distributed run as processes of their own, on the loop of their parent, which they may outlive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from alerting.errors import PipelineError
from flows.child_runs.window import Window, joined
from flows.dates import land_window
from flows.run.orchestrator import Child, ChildRequest
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.simulate.faults import Killed
from flows.simulate.machine import Machines, begun_by_nobody, process_here
from flows.simulate.virtual_time import cancel_all
from flows.wiring import Services

_LOOKED_AT_EVERY_S = 1.0


class SimulatedOrchestrator(PlainOrchestrator):
    """Steps and subflows are plain calls; each run of a deployment is a process on one of two workers.

    Args:
        machines: Where windows run.
        services: Makes those of one more window of a run.
    """

    def __init__(self, machines: Machines, services: Callable[[str], Services]) -> None:
        super().__init__(tries_again=True, wait=asyncio.sleep)
        self._machines, self._services = machines, services
        self._children: dict[str, tuple[str, asyncio.Task[str]]] = {}

    async def workers(self, deployment: str) -> int | None:
        """Two."""
        return 2

    async def child(self, request: ChildRequest) -> Child:
        """See `flows.run.orchestrator.Orchestrator`."""
        key = request.idempotency_key
        if key not in self._children:
            window = Window(**request.parameters, id=f"window-{key.replace(':', '-')}")
            self._children[key] = window.id, begun_by_nobody(self._work(window))
        window_id, task = self._children[key]
        while not task.done():
            if why := request.given_up(window_id):
                # Its process may live on: it is told to end.
                return Child(window_id, "given up", why)
            await asyncio.wait([task], timeout=_LOOKED_AT_EVERY_S)
        return Child(window_id, "Crashed" if task.cancelled() else task.result())

    async def _work(self, window: Window) -> str:
        """What a worker does with a window; the state in which it ended."""
        with self._machines.process():
            # A task that is thrown away with its loop is ended wherever the next process is at work.
            here = process_here()
            try:
                async with joined(self, window, self._services(window.backfill_id)) as run:
                    state = await land_window(run, window.partitions, lambda _: None)
                return state.name or ""
            except Killed:
                return "Crashed"
            except PipelineError as error:
                return f"Failed: {type(error).__name__}"
            finally:
                with contextlib.suppress(BaseException):
                    await cancel_all(here)
