"""A stored plan that is applied to a world that has moved on touches only what still needs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from alerting.errors import CriticalError
from flows.parameters import Mode
from flows.planning.stored_plan import plan_name, read_plan

if TYPE_CHECKING:
    from flows.run.run import Run

    from .conftest import Place, Ran

SOURCE = "bdl_box_scores"
FIRST, LAST = "2025-01-10", "2025-01-15"


def stopped_at_once(run: Run) -> None:
    run.stop(CriticalError("a plan, and nothing done", source=SOURCE), "scrape")


def of_dates(objects: dict[str, int], *dates: str) -> dict[str, int]:
    """Landed payloads and ledger entries of some dates, with their generations."""
    return {name: generation for name, generation in objects.items() if any(date in name for date in dates)}


def content(place: Place, *dates: str) -> list[dict[str, Any]]:
    wanted = ", ".join(f"DATE '{date}'" for date in dates)
    return place.sql(f"SELECT TO_JSON_STRING(t) AS j FROM {{lines}} t WHERE game_date IN ({wanted}) ORDER BY j")


def test_dates_loaded_by_other_means_between_plan_and_apply_are_not_touched(place: Place, ran: Ran) -> None:
    planner, facts = ran(FIRST, LAST, then=stopped_at_once)
    assert facts.verdict == "ABORTED(critical)"
    stored = read_plan(place.store, planner.backfill_id)
    assert [item.path.value for item in stored.items] == ["fetch"] * 6
    as_stored = place.store.read(plan_name(planner.backfill_id))

    # The world moves: two dates are filled, one is landed only, one fails, and one outside the plan fails too.
    place.fill("2025-01-11", 2)
    (landed,) = place.land("2025-01-13")
    place.fail("2025-01-14")
    place.fail("2025-01-20")
    before, rows = place.objects(), content(place, "2025-01-11", "2025-01-12")

    run, facts = ran(FIRST, "2025-01-20", plan_of=planner.backfill_id)
    assert facts.verdict == "COMPLETE"
    assert run.tally.calls == 3, "2025-01-10, -14 and -15; -13 is only loaded"
    assert run.ledger.refresh()["2025-01-13"].attempt == landed.attempt
    after = place.objects()
    done = ("2025-01-11", "2025-01-12")
    assert of_dates(after, *done) == of_dates(before, *done)
    assert of_dates(after, "2025-01-20") == of_dates(before, "2025-01-20")
    assert content(place, *done) == rows
    assert [sorted(receipt.partitions) for receipt in run.tally.receipts] == [
        ["2025-01-10", "2025-01-13", "2025-01-14", "2025-01-15"]
    ]
    assert place.store.read(plan_name(planner.backfill_id)) == as_stored
    assert json.loads(as_stored[0])["hash"] == stored.hash != facts.plan_hash


def test_an_unmoved_world_gives_the_same_plan_and_hash_again(place: Place, ran: Ran) -> None:
    planner, facts = ran(FIRST, LAST, then=stopped_at_once)
    again, found = ran(FIRST, LAST, then=stopped_at_once, plan_of=planner.backfill_id)
    assert found.plan_hash == facts.plan_hash
    assert list(again.work.partitions) == list(planner.work.partitions)


def test_an_older_plan_of_a_full_run_still_fetches_again_what_it_was_to_fetch(place: Place, ran: Ran) -> None:
    place.fill("2025-01-10", 1)
    planner, _ = ran(FIRST, "2025-01-11", then=stopped_at_once, mode=Mode.FULL)
    run, facts = ran(FIRST, LAST, plan_of=planner.backfill_id, mode=Mode.FULL)
    assert facts.verdict == "COMPLETE"
    assert list(run.work.partitions) == ["2025-01-10", "2025-01-11"]
    assert run.tally.calls == 2
