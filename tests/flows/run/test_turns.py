"""Windows begin in the order of the plan, however long each takes to be created."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from flows.run.plain_orchestrator import PlainOrchestrator
from flows.run.turns import Turns

if TYPE_CHECKING:
    from .conftest import Place, Ran

SOURCE = "bdl_box_scores"


@pytest.mark.parametrize(
    ("order", "single_up_to"), [("oldest_first", "0"), ("oldest_first", "9"), ("newest_first", "9")]
)
def test_windows_are_asked_for_in_the_order_of_the_plan_though_the_first_is_created_last(
    place: Place, ran: Ran, order: str, single_up_to: str
) -> None:
    place.services.settings = place.services.settings.model_copy(update={"single_window_up_to": int(single_up_to)})

    class SlowerForEarlierOnes(PlainOrchestrator):
        waiting = 4

        async def subflow(self, flow: Any, *rest: Any) -> None:
            if flow.name == "dates":
                self.waiting -= 1
                await asyncio.sleep(0.1 * self.waiting)
            await super().subflow(flow, *rest)

    ran("2025-01-30", "2025-02-02", max_concurrency=1, order=order, orchestrator=SlowerForEarlierOnes())
    asked = [one["date"] for one in place.upstream.calls.report()["requests"]]
    assert asked == sorted(asked, reverse=order == "newest_first")
    assert len(asked) == 4


def test_a_window_that_never_begins_lets_the_next_one_begin() -> None:
    async def story() -> None:
        turns = Turns([["a", "b"], ["c"]])
        await turns.wait("a")
        await turns.wait("of no window")
        waiting = asyncio.create_task(turns.wait("c"))
        await asyncio.sleep(0)
        assert not waiting.done()
        turns.begun("b")
        await asyncio.wait_for(waiting, 5)

    asyncio.run(story())
