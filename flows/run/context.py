"""What the parent flow and its subflows share inside one process: clients, limits, the ledger, and the stop switch.

Subflows get plain strings as parameters and find this object by backfill id; in a process of its own (a worker of a
distributed run) a subflow builds one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, Protocol, Self, TypeVar

from alerting.errors import CriticalError, PipelineError, TransientError
from alerting.run_facts import RunFacts
from flows.coordination.standstill import Standstill
from flows.ledger.ledger import Verdict
from flows.log import partition_logger
from flows.parameters import Asked
from flows.planning.history import SourceHistory
from flows.planning.plan import Plan
from flows.planning.planner import Planned
from flows.planning.stored_plan import plan_metadata, plan_name
from flows.prices import Usage
from flows.run.circuit_breaker import Action, Breaker, Trip, breaker_limits
from flows.run.data_facts import balance_facts
from flows.run.gate import TROUBLE, Gate
from flows.run.progress import work_of
from flows.run.turns import Turns
from flows.run.usage import money_facts
from flows.wiring import Services
from processors.process import Receipt
from scrapers.landing import Manifest
from scrapers.pace.quota import Purpose
from scrapers.partition import Partition
from scrapers.scrape import utc_now

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class WindowsElsewhere(Protocol):
    """What a run sees of its windows in other processes."""

    @property
    def are_idle(self) -> bool:
        """Whether every living window has seen the pause and has nothing under way."""

    def look(self) -> None:
        """Reads what the windows have reported. Blocking."""

    def tell(self) -> None:
        """Writes what the windows are to do. Blocking."""

    def ended(self, window_id: str) -> None:
        """The child run of this id has ended."""

    def unchanged(self) -> dict[str, str]:
        """Partitions that came again as they were, with the attempt that shows it."""


class RunContext:
    """One backfill's shared state in this process. Thread-safe where threads meet it.

    A context: its threads, its connections and the calls that it reserved are given back however it is left.
    """

    def __init__(self, services: Services, asked: Asked, backfill_id: str, purpose: Purpose = "backfill") -> None:
        source, max_concurrency = asked.source, asked.concurrency
        self.services = services
        self.asked = asked
        self.source = source
        self.backfill_id = backfill_id
        kit = self.kit = services.source_kit(source, purpose)
        self.scraper, self.processor = kit.scraper, kit.processor
        self.quota, self.budget, self.prices = kit.quota, kit.budget, kit.prices
        self._executor = ThreadPoolExecutor(max_workers=max_concurrency + 4, thread_name_prefix="gapless")
        self._counting = threading.Lock()
        # Without a client no code path of a mode that must not ask the source can ask it.
        self.client = kit.client if asked.mode.may_fetch else None
        self.ledger = kit.ledger
        self.partitions: dict[str, Partition] = {}
        # Every key of the plan, and whether this run is to do something about it.
        self.work: dict[str, bool] = {}
        self.manifests: dict[str, Manifest] = {}
        self.receipts: list[Receipt] = []
        self.tries: dict[str, int] = {}
        self.facts = RunFacts()
        self.slots = asyncio.Semaphore(max_concurrency)
        # A date that waits for its next try has no slot, so that it starves nobody. But where every date fails, the
        # breaker has to hear of the first ones before all of a window have been asked for.
        self.begun = asyncio.Semaphore(2 * max_concurrency)
        self.turns = Turns()
        self.history = SourceHistory()
        self.gate = Gate()
        self.breaker = Breaker(breaker_limits(services.settings, asked), utc_now())
        self.notes: list[str] = []
        self.resumes = ""
        self.answers_s: list[float] = []
        self.landed_rows = 0
        self.in_canary = False
        # The daily run reads good partitions again and touches only what has changed.
        self.reread = False
        self.unchanged: set[str] = set()
        # A full run recounts good partitions that came again as they were, and loads only those that are not right.
        self.to_recount: dict[str, Manifest] = {}
        # What a live run did while this one had paused for it.
        self.done_elsewhere: set[str] = set()
        self.spent_elsewhere: Counter[str] = Counter()
        # Of a distributed run, in its parent only; attached by whoever starts it.
        self.windows: WindowsElsewhere | None = None
        # What the supervisor finds, and what wakes the heartbeat that tells it.
        self.standing_still: Standstill | None = None
        self.heartbeat_due = asyncio.Event()
        self.begun_at = utc_now()
        self.began = f"{utc_now():%Y%m%dT%H%M%S}"
        self.stopped_by: CriticalError | None = None
        self.loading_stopped_by: CriticalError | None = None
        self._prompt_flushes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def in_thread(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs blocking work on this run's own threads (the default pool has six on two cores)."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, functools.partial(work, *args, **kwargs))

    async def in_thread_each(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Runs ``work`` on every item, in parallel on this run's threads; results in the items' order."""
        return list(await asyncio.gather(*(self.in_thread(work, item) for item in items)))

    def stop(self, error: CriticalError, stage: str) -> None:
        """The first critical error ends its stage.

        Scraping stops with partitions not yet begun left pending. A load that BigQuery refuses stops loading only:
        landing goes on, so that no quota is spent twice once the processor is mended.
        """
        if stage == "scrape":
            self.stopped_by = self.stopped_by or error
        else:
            self.loading_stopped_by = self.loading_stopped_by or error

    def note(self, text: str) -> None:
        """One sentence that the mail and the record show above everything else."""
        self.notes.append(text)
        partition_logger().warning("%s", text)

    def obey(self, trip: Trip | None) -> None:
        """Does what the breaker says: a note, a pause, no more loading, or no more of anything."""
        if trip is None:
            return
        self.note(f"{trip.flag}: {trip.message}")
        if trip.action is Action.WAIT:
            self.gate.shut_now(TROUBLE)
        elif trip.action is not Action.WARN:
            error = CriticalError(f"{trip.flag}: {trip.message}", source=self.source, abort=trip.reason)
            self.stop(error, "load" if trip.action is Action.STOP_LOADING else "scrape")

    def probed(self, number: int, error: BaseException | None) -> None:
        """Tells the breaker how the date ended that was let through as probe ``number``; 0 is an ordinary date."""
        if number:
            is_down = isinstance(error, TransientError)
            self.obey(self.breaker.probed(number, utc_now(), answered=not is_down))

    def count_landed(self, rows: int) -> None:
        """Adds rows that were landed, by this process or a window of the run."""
        with self._counting:
            self.landed_rows += rows

    def takes_prompt_flush(self, most: int) -> bool:
        """Whether one of the first ``most`` single objects of the journal may still be written."""
        with self._counting:
            self._prompt_flushes += 1
            return self._prompt_flushes <= most

    def count_loaded(self, partitions: int) -> None:
        """Tells the breaker of partitions whose rows were loaded."""
        for _ in range(partitions):
            self.obey(self.breaker.succeeded("load", utc_now()))

    def begin(self, planned: Planned, facts: RunFacts) -> None:
        """Stores the plan and opens the outbox entry: from here on some process will send it. Blocking."""
        plan = planned.plan
        self.ledger, self.history = planned.ledger, planned.history
        self.partitions = {item.partition.key: item.partition for item in plan.items}
        self.work = work_of(plan)
        self.begun_at = facts.started_at or self.begun_at
        name = plan_name(self.backfill_id)
        told = plan_metadata(self.source, self.partitions)
        self.services.store.write(name, plan.to_json(), content_type="application/json", metadata=told)
        self.facts = facts
        self.services.alerts.enable_backfill_mode(
            self.backfill_id,
            source=self.source,
            owner=facts.owner,
            ttl_s=self.services.settings.lease_ttl_s,
            facts=facts,
        )

    def begin_live(self, plan: Plan) -> None:
        """Begins a run without a summary: its errors are alerts, and good partitions are read again. Blocking."""
        self.reread = True
        self.partitions = {item.partition.key: item.partition for item in plan.items}
        self.work = work_of(plan)
        rests = self.scraper.rests
        around = rests.widened(self.partitions.values(), self.scraper.step) if rests else []
        keys = [*plan.keys, *(partition.key for partition in around)]
        self.ledger.refresh(min(keys), max(keys))

    @property
    def calls(self) -> int:
        """Calls to the source so far, those of other processes included when their windows have ended."""
        return (self.client.calls if self.client else 0) + self.spent_elsewhere["calls"]

    @property
    def usage(self) -> Usage:
        """Everything so far that is paid for, that of other processes included when their windows have ended."""
        elsewhere = self.spent_elsewhere
        used = Usage(self.calls, int(elsewhere["storage_writes"]), int(elsewhere["storage_reads"]))
        return self.services.cloud_usage() + used

    @property
    def cost_usd(self) -> float:
        """US dollars so far."""
        return self.prices.total_usd(self.usage)

    def keep_budget(self) -> None:
        """Stops the run when its calls or its money are used up. Asked before every partition."""
        self.obey(self.breaker.spent(self.calls, self.cost_usd))

    def facts_so_far(self) -> RunFacts:
        """What is known at this moment; kept with every heartbeat, it is all that a killed run can still say."""
        entries = (self.ledger.get(key) for key in self.partitions)
        counts = Counter(entry.verdict.value if entry else Verdict.PLANNED.value for entry in entries)
        return dataclasses.replace(
            self.facts,
            calls=self.calls,
            verdict_counts=dict(counts),
            warnings=balance_facts(self.receipts),
            notes=list(self.notes),
            **money_facts(self),
        )

    def close(self) -> None:
        """Lets running threads end and gives connections and unused calls back. May be called again."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        try:
            self.kit.close()
        except PipelineError as error:
            partition_logger().warning("unused calls were not given back: %s", error)
