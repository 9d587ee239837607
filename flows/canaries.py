"""Runs the canaries of a plan.

No other date is begun before they are landed and read, which shows a broken parser and every drift of the source. While
the others are fetched, the canaries are loaded and verified; nothing else is written to the tables before that.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

from alerting.errors import CriticalError
from flows.dates import dates, land_window
from flows.ledger.ledger import Verdict
from flows.log import partition_logger
from flows.planning.canary import CanaryResult, canary_size, choose_canaries, drift, passes_by_itself, unlike
from flows.planning.plan import Plan
from flows.process import Told, load_batch, to_load
from flows.run.cost_history import cost_so_far, learn_from_canaries
from flows.run.run import Run
from flows.run.work_set import Landed
from processors.batch_reading import BatchRows
from processors.load_plan import pack
from scrapers.manifest import Manifest


async def try_canaries(run: Run, plan: Plan) -> Plan:
    """The plan without the dates that went first, whose trial goes on (`Run.canary_trial`) until they are verified.

    At drift the run is stopped, and nothing of the rest is begun. A canary costs the calls of its own dates and no
    more: there is no retry of what the source refuses for good. Those of a distributed run are tried in the parent's
    process, before any window is begun.
    """
    # A sweep is one reading: none of its partitions can go first.
    count = 0 if run.kit.scraper.sweeps else canary_size(run.asked.canary, len(plan.to_fetch))
    if not count:
        return plan
    chosen = [partition.key for partition in choose_canaries(plan.to_fetch, count, plan.hash)]
    rest = dataclasses.replace(plan, items=tuple(item for item in plan.items if item.partition.key not in chosen))
    partition_logger().info("canary: %s go first", ", ".join(chosen))
    canaries = _Canaries(run, chosen, rest)
    run.canary_trial.begin(chosen)
    try:
        await canaries.land_and_read()
        read = canaries.read_result()
        found = drift(read, run.history)
        if found:
            await canaries.loaded()
    except BaseException:
        run.canary_trial.end()
        raise
    if found:
        run.canary_trial.end()
        run.note(f"red flag, canary: {found}; {len(chosen)} of {len(plan.to_fetch):,} dates tried, no other one")
        run.stop(_flag(run, found), "scrape")
    else:
        if odd := unlike(read, run.history):
            run.note(f"canary: {odd}")
        partition_logger().info("canary: landed and read as expected; the others begin")
        run.canary_trial.go_on(canaries.verify())
    return rest


@dataclass(slots=True)
class _Reading:
    """What reading the canaries has shown: who may be loaded, causes of the others, fields no row model knows."""

    admitted: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)
    unknown_fields: set[str] = field(default_factory=set)

    def add(self, batch: BatchRows) -> None:
        """One batch, whose good rows are complete."""
        self.admitted.update(batch.admitted)
        self.failures |= {key: type(error).__name__ for key, error in batch.failures.items()}
        self.unknown_fields.update(batch.unknown_fields)


class _Canaries:
    """Those of one run, on their way."""

    def __init__(self, run: Run, keys: list[str], rest: Plan) -> None:
        self._run, self._keys, self._rest = run, keys, rest
        self._began_s = time.monotonic()
        self._rows: dict[str, int] = {}
        self._reading = _Reading()
        self._loading: list[asyncio.Task[None]] = []

    async def land_and_read(self) -> None:
        """Returns when each batch of what was landed is read, or has ended without. They go on."""
        run, landed = self._run, list[Landed]()
        await run.subflow(dates, self._keys, partial(land_window, run, self._keys, landed.append))
        self._rows = {one.key: sum(one.manifest.counts.values()) for one in landed}
        if run.loading_stopped_by is None:
            for batch in pack(await to_load(run, landed)):
                await self._begin(batch)

    async def _begin(self, batch: Sequence[Manifest]) -> None:
        run, now_s, loop = self._run, self._run.services.clock.monotonic, asyncio.get_running_loop()
        began_s, known = now_s(), asyncio.Event()

        def read(rows: BatchRows) -> None:
            self._reading.add(rows)
            loop.call_soon_threadsafe(known.set)

        def staged() -> None:
            run.canary_trial.stage_s = now_s() - began_s

        loading = asyncio.create_task(load_batch(run, batch, Told(read, staged)))
        loading.add_done_callback(lambda _: known.set())
        self._loading.append(loading)
        try:
            await known.wait()
        except asyncio.CancelledError:
            loading.cancel()
            raise

    async def loaded(self) -> None:
        """Every batch has come to its end; what one raises is raised then."""
        if self._loading:
            await asyncio.wait(self._loading)
        for one in self._loading:
            one.result()

    async def verify(self) -> None:
        """The rest of their trial. What fails here stops the run, whose other dates are under way.

        Where BigQuery only was not to be had, that says nothing of the source: landing goes on, as at
        ``red_flag:load_errors``.
        """
        run, read_s = self._run, time.monotonic()
        fetching = cost_so_far(run, read_s - self._began_s)
        try:
            await self.loaded()
            result = self._result(frozenset(name for one in run.tally.receipts for name in one.unknown_fields))
            found = "" if run.ledger.is_lost else drift(result, run.history)
            if found and passes_by_itself(result):
                self._stop(f"{found}; loading stops, landing continues", "load")
            elif found:
                self._stop(f"{found}; what was landed meanwhile is kept, and nothing of it is loaded", "load", "scrape")
        except BaseException as error:
            for stage in ("load", "scrape"):
                run.stop(_flag(run, f"not loaded: {type(error).__name__}"), stage)
            raise
        finally:
            run.canary_trial.end()
        load_s = time.monotonic() - read_s
        learned = await run.in_thread(learn_from_canaries, run, self._rest, fetching, load_s)
        if learned is not None and not found and not run.ledger.is_lost:
            partition_logger().info("canary: all is well; the others\n%s", learned.describe())

    def _stop(self, told: str, *stages: str) -> None:
        self._run.note(f"red flag, canary: {told}")
        for stage in stages:
            self._run.stop(_flag(self._run, told), stage)

    def read_result(self) -> CanaryResult:
        """As far as it is known now that they are read."""
        return self._result(frozenset(self._reading.unknown_fields), self._reading.admitted)

    def _result(self, unknown_fields: frozenset[str], good_so_far: Collection[str] = ()) -> CanaryResult:
        run, good, failures = self._run, dict[str, int](), dict[str, str]()
        for key in self._keys:
            entry = run.ledger.get(key)
            # The payload of another date may have shown meanwhile that it is not to be believed: that is not about it.
            is_doubted = key in self._reading.admitted and key in run.work.quarantined
            is_staged = run.review is not None and entry is not None and entry.verdict is Verdict.STAGED
            if key in good_so_far or is_doubted or is_staged or (entry is not None and entry.verdict.is_good):
                good[key] = self._rows.get(key, 0)
            elif key in self._reading.failures:
                failures[key] = self._reading.failures[key]
            else:
                failures[key] = (entry.error_type or entry.verdict.value) if entry else "not attempted"
        return CanaryResult(good, failures, unknown_fields)


def _flag(run: Run, found: str) -> CriticalError:
    return CriticalError(f"canary: {found}", source=run.source, stage="canary", abort="red_flag")
