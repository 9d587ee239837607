"""What Prefect is told of a step, and how often its work is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prefect.client.schemas.objects import TaskRun
from prefect.states import Completed, Failed

from flows.run import quick_steps, step_rows
from flows.run.prefect_orchestrator import PrefectOrchestrator

Work = Callable[[], Awaitable[str]]


class Engine:
    """Prefect's, which tries twice, and knows what it was given."""

    def __init__(self) -> None:
        self.labels: list[str] = []

    def with_options(self, **_: Any) -> Engine:
        return self

    async def __call__(self, label: str, work: Work, *, return_state: bool) -> Any:
        self.labels.append(label)
        for left in (1, 0):
            try:
                return Completed(data=await work())
            except ValueError as error:
                if not left:
                    return Failed(data=error)
        return None

    async def create_local_run(self, parameters: dict[str, Any]) -> TaskRun:
        return TaskRun(name="task", task_key="task", dynamic_key="0", task_inputs={name: [] for name in parameters})


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    monkeypatch.setattr("flows.run.prefect_orchestrator._step", made)
    return made


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    runs: list[Any] = []
    monkeypatch.setattr(step_rows, "emit_task_run_state_change_event", lambda **event: runs.append(event["task_run"]))
    return runs


def step(work: Work) -> Any:
    return asyncio.run(PrefectOrchestrator().step("scrape", "scrape 2025-01-03", work, [0.1]))


def test_a_step_that_is_well_at_once_is_one_event_with_all_that_a_row_shows(engine: Engine, told: list[Any]) -> None:
    async def work() -> str:
        await asyncio.sleep(0.01)
        return "landed"

    assert (step(work), engine.labels) == ("landed", [])
    (run,) = told
    assert (run.name, run.run_count, run.state_name, run.state_id) == (
        "scrape 2025-01-03",
        1,
        "Completed",
        run.state.id,
    )
    assert run.total_run_time == run.end_time - run.start_time
    assert run.total_run_time.total_seconds() >= 0.01


def test_a_first_try_that_fails_is_the_engines_first_and_the_work_is_done_once_a_try(
    engine: Engine, told: list[Any]
) -> None:
    tries = iter(range(1, 9))

    async def work() -> str:
        raise ValueError(next(tries))

    found = step(work)
    assert (str(found), engine.labels, told) == ("2", ["scrape 2025-01-03"], [])


def test_a_step_that_takes_longer_is_shown_while_its_work_goes_on(
    engine: Engine, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quick_steps, "SHOWN_AFTER_S", 0.01)
    begun = []

    async def work() -> str:
        begun.append(True)
        while not engine.labels:
            await asyncio.sleep(0.01)
        return "landed"

    assert (step(work), len(begun), told) == ("landed", 1, [])


def test_work_that_is_well_is_so_though_the_server_cannot_be_told(engine: Engine, monkeypatch: Any) -> None:
    async def refuse(**_: Any) -> TaskRun:
        raise ConnectionError

    async def work() -> str:
        return "landed"

    monkeypatch.setattr(engine, "create_local_run", refuse)
    assert step(work) == "landed"


def test_a_cancelled_step_leaves_no_work_behind(engine: Engine) -> None:
    ended = []

    async def work() -> str:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)
        return "landed"

    async def cancelled() -> None:
        running = asyncio.ensure_future(PrefectOrchestrator().step("scrape", "scrape", work, []))
        await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.sleep(0)

    asyncio.run(cancelled())
    assert (ended, engine.labels) == ([True], [])
