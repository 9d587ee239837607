"""A followed run that stands still says once what it waits for."""

from __future__ import annotations

import datetime as dt
from uuid import UUID, uuid4

from prefect.client.schemas.objects import TaskRun
from prefect.states import AwaitingRetry

from flows.cli.waiting import QUIET_S, WaitingSteps

DUE = dt.datetime(2025, 1, 3, 12, 0, 5, tzinfo=dt.UTC)


def step(name: str, identity: UUID | None = None) -> TaskRun:
    return TaskRun(
        id=identity or uuid4(), name=name, task_key="scrape", dynamic_key="0", state=AwaitingRetry(scheduled_time=DUE)
    )


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_nothing_is_asked_while_a_run_goes_on() -> None:
    asked, clock = list[float](), Clock()
    steps = WaitingSteps(lambda: asked.append(clock.now_s) or [], clock)
    for number in range(10):
        clock.now_s += QUIET_S - 1
        assert steps.line(f"{number} of 10") == ""
    assert asked == []


def test_a_date_that_waits_for_its_next_try_is_told_once_and_the_next_one_too() -> None:
    clock, waiting = Clock(), [step("scrape 2025-01-02")]
    steps = WaitingSteps(lambda: waiting, clock)
    said = []
    for _ in range(30):
        clock.now_s += 1
        said.append(steps.line("3 of 10"))
    assert [one for one in said if one] == ["scrape 2025-01-02 failed and is tried again at 12:00:05 UTC"]
    assert said.index(next(filter(None, said))) == QUIET_S
    waiting.append(step("scrape 2025-01-03"))
    clock.now_s += QUIET_S
    assert steps.line("3 of 10") == (
        "scrape 2025-01-02 and 1 more failed and are tried again, the first at 12:00:05 UTC"
    )
