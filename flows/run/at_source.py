"""One piece of work at the source: past the gate and in a slot, so that no other begins before its failure is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from flows.run.recording import stop_if_critical, was_not_made
from flows.run.run import Run
from flows.run.slots import Slot

R = TypeVar("R")
D = TypeVar("D")

NOT_ATTEMPTED: Final = "not attempted"


async def at_source(run: Run, key: str, work: Callable[[Slot], R], done: Callable[[], D | None]) -> R | D | str:
    """What ``work`` comes to in a thread that has a slot; `NOT_ATTEMPTED` when the run is over by then.

    Args:
        run: The run.
        key: Of the partition that it is about, or of the first of several.
        work: Makes the calls, and gives the slot back when it makes no more.
        done: What it comes to where nothing is left to be asked; None where something is. Looked at with a slot.
    """
    while True:
        async with run.gate.passed() as probe:
            run.turns.begun(key)
            found = await run.in_thread(partial(_in_slot, run, key, probe, work, done))
        if not isinstance(found, _Shut):
            return found


class _Shut:
    """The gate was shut while it stood in line."""


def _in_slot(
    run: Run, key: str, probe: int, work: Callable[[Slot], R], done: Callable[[], D | None]
) -> R | D | str | _Shut:
    run.kit.budget.stock_up()
    with run.slots.taken() as slot:
        if not run.gate.lets_begin(probe):
            return _Shut()
        if (known := done()) is not None:
            return known
        run.keep_budget()
        if run.stopped_by is not None:
            return NOT_ATTEMPTED
        try:
            found = work(slot)
        except Exception as error:
            # Here and not when it is recorded: with the slot free, the next date would make its call before that.
            run.probed(probe, error)
            if was_not_made(error):
                return NOT_ATTEMPTED
            stop_if_critical(run, key, error, "scrape")
            raise
        run.probed(probe, None)
    return found
