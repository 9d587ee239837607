"""Threads that store an answer are kept waiting neither by one that computes nor by the verdicts of a batch."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from flows.asked import Asked
from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.run import Run
from flows.run.thread_turns import TURN_S, short_turns

if TYPE_CHECKING:
    from ..conftest import Place


def test_turns_are_short_while_a_run_works_and_as_before_after_it_however_it_ends() -> None:
    before_s = sys.getswitchinterval()

    def fails() -> None:
        with short_turns():
            assert before_s > TURN_S
            assert sys.getswitchinterval() == pytest.approx(TURN_S)
            raise RuntimeError("the run failed")

    with pytest.raises(RuntimeError, match="the run failed"):
        fails()
    assert sys.getswitchinterval() == before_s


def test_a_date_does_not_stand_in_line_behind_the_verdicts_of_a_batch(place: Place) -> None:
    day, is_stored = dt.date(2025, 1, 3), threading.Event()
    asked = Asked(source="bdl_box_scores", start_date=day, end_date=day)

    async def both() -> list[bool]:
        with Run(place.services, asked, "bf-1", PlainOrchestrator()) as run:
            verdicts = asyncio.create_task(run.in_thread_each(lambda _: is_stored.wait(20), range(500)))
            await asyncio.sleep(0)
            await run.in_thread(is_stored.set)
            return await verdicts

    assert all(asyncio.run(both()))
