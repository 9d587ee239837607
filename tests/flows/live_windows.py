"""A parent with its lease and windows beside it, each an asyncio task in the place of a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alerting.instant import utc_now
from flows.asked import Asked
from flows.child_runs.messages import (
    Report,
    read_report,
    report_name,
)
from flows.child_runs.parent import attach_windows
from flows.child_runs.window import Window, joined
from flows.coordination.lease import Holder, Lease
from flows.dates import land_window
from flows.parameters import Engine
from flows.planning.planner import plan_asked
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.run.starting_facts import starting_facts
from flows.run.supervisor import Supervisor
from flows.wiring import build_services

if TYPE_CHECKING:
    pass

SOURCE = "bdl_box_scores"
PARENT = "bf-parent000001"
PATIENCE_S = 60.0


@dataclass
class Fleet:
    """A parent with its lease, and windows beside it."""

    run: Run
    lease: Lease
    supervisor: Supervisor
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def window(self, *keys: str, slots: int = 1) -> asyncio.Task[None]:
        """Begins a window, as a worker does."""

        async def work() -> None:
            one = Window(SOURCE, PARENT, list(keys), slots, keys[0])
            async with joined(PlainOrchestrator(), one, build_services()) as run:
                await land_window(run, list(keys), lambda _: None)

        task = asyncio.create_task(work())
        self.tasks.append(task)
        return task

    async def until(self, true: Callable[[], Any]) -> Any:
        """Supervises until something is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := true()):
                await self.supervisor.step()
                await asyncio.sleep(0.02)
        return found

    def report(self, window: str) -> Report:
        return read_report(self.run.services.store, report_name(PARENT, window))

    def is_idle(self, window: str) -> bool:
        """It says so; one that has just begun has said nothing yet."""
        return any(self.run.services.store.list(report_name(PARENT, window))) and self.report(window).is_idle


@asynccontextmanager
async def fleet(first: str, last: str, **rest: Any) -> AsyncIterator[Fleet]:
    services = build_services()
    given = {"source": SOURCE, "start_date": first, "end_date": last, "engine": Engine.DISTRIBUTED, **rest}
    asked = Asked.model_validate(given)
    lease = Lease.acquire(services.store, SOURCE, Holder(PARENT), now=utc_now(), ttl_s=120)
    run = Run(services, asked, PARENT, PlainOrchestrator())
    attach_windows(run)
    planned = plan_asked(services, asked, utc_now(), PARENT)
    run.begin(planned, starting_facts(services, planned.plan, {}, PARENT, asked))
    supervisor = Supervisor(run, lease)
    await supervisor.step()
    made = Fleet(run, lease, supervisor)
    try:
        yield made
    finally:
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)
        run.close()


def days(first: int, last: int) -> list[str]:
    return [f"2025-01-{day:02d}" for day in range(first, last + 1)]
