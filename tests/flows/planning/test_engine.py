"""``engine=auto``: other processes only where this one is the slowest part, and the reason in words."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from alerting.instant import utc_now
from alerting.summary import render
from flows.asked import Asked
from flows.backfill import _engine_for
from flows.parameters import Engine
from flows.planning.engine import LEAST_S_A_PART, PROCESS_S_A_DATE, Load, Spread, spread
from flows.planning.planner import plan_asked
from flows.run.starting_facts import starting_facts

if TYPE_CHECKING:
    from ..conftest import Place

HUGE = Load(partitions=2_000_000, calls=2_000_000, calls_per_s=0.0, answer_s=0.05, concurrency=64)
PARTS = 64
"""Of ``HUGE``: as many as there may be."""


def chosen(parallel: int = 0, **changed: Any) -> Spread:
    return spread(Engine.AUTO, parallel, dataclasses.replace(HUGE, **changed))


@pytest.mark.parametrize("engine", [Engine.INLINE, Engine.DISTRIBUTED])
def test_what_a_person_asked_for_is_taken_without_a_word(engine: Engine) -> None:
    found = spread(engine, 3, HUGE)
    assert (found.engine, found.parts, found.describe()) == (engine, 3, "")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"calls_per_s": 10.0}, "more processes would wait for it"),
        ({"answer_s": 10.0}, "more processes would wait for it"),
        ({"partitions": 31, "calls": 31}, "parts of less than 30 min do not pay off"),
        ({"is_swept": True}, "one reading of the source"),
        ({"workers": 0}, "0 workers are online"),
        ({"workers": 1}, "1 worker is online"),
        ({"concurrency": 1, "answer_s": 0.0}, "parts of less than"),
    ],
)
def test_one_process_does_it_where_others_would_not_make_it_quicker(changed: dict[str, Any], why: str) -> None:
    found = chosen(**changed)
    assert not found.is_distributed
    assert why in found.why
    assert found.describe().startswith("auto: inline, because ")


@pytest.mark.parametrize(
    ("parallel", "changed", "parts"),
    [
        (0, {}, PARTS),
        (0, {"answer_s": 0.0}, PARTS),
        (3, {}, 3),
        (0, {"concurrency": 5, "answer_s": 0.0}, 5),
        (0, {"workers": 7}, 7),
        # Not quite twice as fast as one process: the source gives no more.
        (0, {"calls_per_s": 1.9 / PROCESS_S_A_DATE}, 2),
        (0, {"partitions": 3 * int(LEAST_S_A_PART / PROCESS_S_A_DATE)}, 3),
    ],
)
def test_parts_are_as_many_as_make_it_quicker_and_as_workers_and_parameters_allow(
    parallel: int, changed: dict[str, Any], parts: int
) -> None:
    found = chosen(parallel, **changed)
    assert (found.engine, found.parts) == (Engine.DISTRIBUTED, parts)
    assert found.describe().startswith(f"auto: distributed, {parts} parts, because one process needs ")


def test_plan_and_mail_say_what_was_chosen_and_why(place: Place) -> None:
    asked = Asked(
        source="bdl_box_scores", start_date=dt.date(2025, 1, 3), end_date=dt.date(2025, 1, 5), engine=Engine.AUTO
    )
    planned = plan_asked(place.services, asked, utc_now())
    told = planned.spread.describe()
    assert told.startswith("auto: inline, because one process needs under a second for 3 partitions")
    assert planned.describe().endswith(f"\nengine     {told}")
    facts = starting_facts(place.services, planned.plan, {}, "bf-1", asked, told)
    assert facts.flags == {"engine": told}
    assert f"engine={told}" in " ".join(render(facts, []).text.split())
    of_person = plan_asked(place.services, asked.model_copy(update={"engine": Engine.INLINE}), utc_now())
    assert "engine" not in of_person.describe()


@pytest.mark.parametrize(("workers", "parts"), [(5, 5), (1, 0), (None, PARTS)])
def test_the_workers_are_counted_when_the_run_begins(workers: int | None, parts: int) -> None:
    asked_for = list[str]()

    class Pool:
        async def workers(self, deployment: str) -> int | None:
            asked_for.append(deployment)
            return workers

    run: Any = SimpleNamespace(orchestrator=Pool(), source="toy", asked=Asked(source="toy", engine=Engine.AUTO))
    planned: Any = SimpleNamespace(load=HUGE, spread=chosen())
    assert asyncio.run(_engine_for(run, planned)).parts == parts
    assert asked_for == ["dates/toy"]
    planned.spread = chosen(is_swept=True)
    assert not asyncio.run(_engine_for(run, planned)).is_distributed
    assert len(asked_for) == 1, "what is done in this process asks no server"
