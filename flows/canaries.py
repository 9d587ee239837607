"""Runs the canaries of a plan: fetched, loaded and verified before any other date is begun."""

from __future__ import annotations

import dataclasses
import time
from functools import partial

from alerting.errors import CriticalError
from flows.dates import dates, land_window
from flows.log import partition_logger
from flows.planning.canary import CanaryResult, canary_size, choose_canaries, drift
from flows.planning.plan import Plan
from flows.process import load_batch, process_landed, to_load
from flows.run.cost_history import learn_from_canaries
from flows.run.run import Run
from flows.run.work_set import Landed
from processors.load_plan import pack


async def try_canaries(run: Run, plan: Plan) -> Plan:
    """The plan without the dates that went first. At drift the run is stopped, and nothing of the rest is begun.

    A canary costs the calls of its own dates and no more: there is no retry of what the source refuses for good. Those
    of a distributed run are tried in the parent's process, before any window is begun.
    """
    # A sweep is one reading: none of its partitions can go first.
    count = 0 if run.kit.scraper.sweeps else canary_size(run.asked.canary, len(plan.to_fetch))
    if not count:
        return plan
    chosen = [partition.key for partition in choose_canaries(plan.to_fetch, count, plan.hash)]
    partition_logger().info("canary: %s go first", ", ".join(chosen))
    began_s = time.monotonic()
    run.in_canary = True
    landed = await _land_and_load(run, chosen)
    run.in_canary = False
    found = drift(_result(run, chosen, landed), run.history)
    if found:
        error = CriticalError(f"canary: {found}", source=run.source, stage="canary", abort="red_flag")
        run.note(f"red flag, canary: {found}; {len(chosen)} of {len(plan.to_fetch):,} dates tried, no other one")
        run.stop(error, "scrape")
    rest = dataclasses.replace(plan, items=tuple(item for item in plan.items if item.partition.key not in chosen))
    learned = await run.in_thread(learn_from_canaries, run, rest, time.monotonic() - began_s)
    if learned is not None and not found:
        partition_logger().info("canary: all is well; the others\n%s", learned.describe())
    return rest


async def _land_and_load(run: Run, keys: list[str]) -> list[Landed]:
    """What was landed of ``keys``; loading was tried, unless it was stopped."""
    landed: list[Landed] = []
    await run.subflow(dates, keys, partial(land_window, run, keys, landed.append))
    if run.loading_stopped_by is None:
        for batch in pack(await to_load(run, landed)):
            staged = partial(_note_staged, run, run.services.clock.monotonic())
            part = partial(load_batch, run, batch, staged)
            await run.subflow(process_landed, [one.partition for one in batch], part)
    return landed


def _note_staged(run: Run, began_s: float) -> None:
    run.stage_s = run.services.clock.monotonic() - began_s


def _result(run: Run, chosen: list[str], landed: list[Landed]) -> CanaryResult:
    rows = {one.key: sum(one.manifest.counts.values()) for one in landed}
    good: dict[str, int] = {}
    failures: dict[str, str] = {}
    for key in chosen:
        entry = run.ledger.get(key)
        if entry is not None and entry.verdict.is_good:
            good[key] = rows.get(key, 0)
        else:
            failures[key] = (entry.error_type or entry.verdict.value) if entry else "not attempted"
    unknown = {name for receipt in run.tally.receipts for name in receipt.unknown_fields}
    return CanaryResult(good, failures, frozenset(unknown))
