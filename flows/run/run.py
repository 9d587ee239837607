"""One live backfill in one process: what the parent flow and its subflows share.

In a process of its own (a worker of a distributed run) a subflow builds one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import functools
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar

from prefect import Flow

from alerting.errors import (
    AuthenticationError,
    BlockedBySource,
    CriticalError,
    LeaseHeld,
    PipelineError,
    TransientError,
)
from alerting.instant import Instant, utc_now
from alerting.run_facts import RunFacts
from flows.asked import Asked
from flows.coordination.standstill import Standstill
from flows.ledger.cooldowns import cooling_until
from flows.ledger.ledger import Ledger
from flows.ledger.reviews import Review, ReviewState, begin_review
from flows.ledger.verdicts import count_verdicts
from flows.log import partition_logger
from flows.parameters import Order
from flows.planning.engine import Spread
from flows.planning.expectations import Expected
from flows.planning.history import SourceHistory
from flows.planning.plan import Plan
from flows.planning.planner import Planned
from flows.planning.stored_plan import plan_metadata, plan_name
from flows.prices import Usage
from flows.run.breaker_limits import breaker_limits
from flows.run.canary_trial import CanaryTrial
from flows.run.circuit_breaker import Breaker
from flows.run.data_facts import balance_facts
from flows.run.decision import Action, Decision
from flows.run.gate import SOURCE_DOWN, Gate
from flows.run.orchestrator import Orchestrator, Part
from flows.run.slots import Begun, Slots
from flows.run.tally import Tally
from flows.run.turns import Turns
from flows.run.work_set import WorkSet
from flows.wiring import Services
from processors.vacancy import WrittenLately
from processors.warehouse import BigQueryWarehouse
from scrapers.pace.quota import Purpose
from scrapers.registry import sources_of

_STORING_PER_SLOT = 3
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

    def replaced(self, window_id: str) -> None:
        """Others do what is missing of this child run; should it live after all, it is told to end."""

    def given_up(self, window_id: str) -> str:
        """Why the child run of this id is not waited for any more; "" while it is."""

    def unchanged(self) -> dict[str, str]:
        """Partitions that came again as they were, with the attempt that shows it."""


class Run:
    """One backfill in this process: what it works with, how far it is, and what may begin.

    A context: its threads, its connections and the calls that it reserved are given back however it is left.
    """

    def __init__(
        self,
        services: Services,
        asked: Asked,
        backfill_id: str,
        orchestrator: Orchestrator,
        purpose: Purpose = "backfill",
    ) -> None:
        self.services = services
        self.orchestrator = orchestrator
        self.asked = asked
        self.backfill_id = backfill_id
        self._begun = Instant.now()
        self.kit = services.source_kit(asked.source, purpose)
        self.kit.budget  # noqa: B018 - a rate that nobody can keep is refused here
        # Without a client no code path of a mode that must not ask the source can ask it.
        self.client = self.kit.client if asked.mode.may_fetch else None
        self._refuse_cooling_hosts()
        self.ledger = self.kit.ledger
        # Of ``auto``, until the plan is known: in this process.
        self.spread = Spread(asked.engine, asked.parallel)
        self.tally = Tally(
            lambda: self.client.calls if self.client else 0, lambda: self.client.units if self.client else 0
        )
        self.work = WorkSet()
        # Where rows are loaded that wait for approval; None when they go into the tables at once.
        self.review_id = asked.resume_of or backfill_id
        self.review = services.review_dataset(self.review_id) if asked.is_reviewed else None
        self.history = SourceHistory()
        # What oracles say of its partitions, as the plan has it.
        self.expected: Expected = {}
        # What may begin.
        self.gate = Gate()
        limits = dataclasses.replace(breaker_limits(services.settings, asked), cost_unit=self.kit.scraper.cost_unit)
        self.breaker = Breaker(limits, self.created_at)
        self.turns = Turns()
        one_by_one = asked.order is Order.SEQUENTIAL
        self.slots = Slots(asked.concurrency, until_stored=one_by_one)
        # A date that waits for its next try has no slot, so that it starves nobody. But where every date fails, the
        # breaker has to hear of the first ones before all of a window have been asked for.
        self.begun = Begun(2 * asked.concurrency, until_stored=one_by_one)
        self.stopped_by: CriticalError | None = None
        self.loading_stopped_by: CriticalError | None = None
        # A table has one writer; the next batch is staged meanwhile.
        self.writing = asyncio.Lock()
        self.written_lately = WrittenLately()
        # A payload may show that one of another batch is not to be believed: not while that is given its verdict.
        self.judging = asyncio.Lock()
        self.canary_trial = CanaryTrial()
        # What people are told.
        self.facts = RunFacts()
        self.notes: list[str] = []
        self.resumes = ""
        # Of a distributed run, in its parent only; attached by whoever starts it.
        self.windows: WindowsElsewhere | None = None
        # One of those windows, in its own process.
        self.is_window = False
        # What the supervisor finds, and what wakes the heartbeat that tells it.
        self.standing_still: Standstill | None = None
        self.heartbeat_due = asyncio.Event()
        # An answer is stored by three writes, one after the other: in Cloud Storage's 50 ms each that takes as long as
        # three quick calls, and the slot is free meanwhile.
        self._executor = ThreadPoolExecutor(
            max_workers=(1 + _STORING_PER_SLOT) * asked.concurrency + 4, thread_name_prefix="gapless"
        )
        # The verdicts of a batch are hundreds of writes at once, and a date that has a slot must not wait for them.
        self._verdicts = ThreadPoolExecutor(
            max_workers=_STORING_PER_SLOT * asked.concurrency, thread_name_prefix="gapless-each"
        )

    @property
    def source(self) -> str:
        """The name of the source."""
        return self.asked.source

    @property
    def is_live(self) -> bool:
        """A live run reads good partitions again, and touches only what has changed."""
        return self.kit.purpose == "live"

    @property
    def warehouse(self) -> BigQueryWarehouse:
        """Where this run loads: the tables, or what stands beside them until it is approved."""
        return self.review or self.services.warehouse

    @property
    def begun_at(self) -> dt.datetime:
        """Its first begin, also of a run that was suspended meanwhile; aware UTC."""
        return self.facts.started_at or self.created_at

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
        """Runs ``work`` on every item, in parallel on threads of their own; results in the items' order."""
        loop = asyncio.get_running_loop()

        async def one(item: T) -> R:
            return await loop.run_in_executor(self._verdicts, work, item)

        return list(await asyncio.gather(*map(one, items)))

    async def subflow(self, flow: Flow[..., Any], keys: Sequence[str], part: Part) -> None:
        """Does ``part`` of these partitions, seen as a subflow run; what it raises stops nobody beside it."""
        parameters = {"source": self.source, "backfill_id": self.backfill_id, "partitions": list(keys)}
        await self.orchestrator.subflow(flow, parameters, part)

    async def step(self, name: str, label: str, work: Callable[[], Awaitable[R]]) -> R | BaseException:
        """The result of ``work``, or what it raised when every try that the settings allow had failed."""
        result = await self.orchestrator.step(name, label, work, self.services.settings.retry_delays_s)
        # It may have been frozen meanwhile, and what came of it is recorded by whoever has the source.
        await self.gate.until_kept()
        return result

    def stop(self, error: CriticalError, stage: str) -> None:
        """The first critical error ends its stage.

        Scraping stops with partitions not yet begun left pending. After a refusal no call is made any more, not even
        one that waits for its turn: it would be refused, too, and an account that goes on may be locked. A load that
        BigQuery refuses stops loading only: landing continues, so that no quota is spent twice once the processor is
        mended.
        """
        if stage == "scrape":
            if self.stopped_by is None and isinstance(error, AuthenticationError | BlockedBySource):
                told = f"{error.message}; an earlier call was told so, and this one was not made"
                self.kit.end_calls(type(error)(told, source=self.source, stage="scrape", not_attempted=True))
            self.stopped_by = self.stopped_by or error
        else:
            self.loading_stopped_by = self.loading_stopped_by or error

    def lose_source(self, error: LeaseHeld) -> None:
        """Another run has it by now: nothing is begun or loaded any more, and no answer under way is recorded.

        A record of ours would stop that run, which takes whoever writes beside it for its own successor. It makes the
        calls, too, for which threads of ours wait.
        """
        self.ledger.is_lost = True
        self.kit.end_calls(error)
        self.stop(error, "scrape")
        self.stop(error, "load")

    def note(self, text: str) -> None:
        """One sentence that the mail and the record show above everything else."""
        self.notes.append(text)
        partition_logger().warning("%s", text)

    def obey(self, decision: Decision | None) -> None:
        """Does what the breaker says: a note, a pause, no more loading, or no more of anything."""
        if decision is None:
            return
        self.note(decision.told)
        if decision.action is Action.WAIT:
            self.gate.shut_now(SOURCE_DOWN)
        elif decision.action is not Action.WARN:
            error = CriticalError(decision.told, source=self.source, abort=decision.reason)
            self.stop(error, "load" if decision.action is Action.STOP_LOADING else "scrape")

    @property
    def created_at(self) -> dt.datetime:
        """Aware UTC."""
        return self._begun.at

    def steady_now(self) -> dt.datetime:
        """Aware UTC as if nobody had set the clock since: what the breaker goes by, and whoever tells it of time."""
        return self.created_at + dt.timedelta(seconds=self._begun.since_s)

    def probed(self, number: int, error: BaseException | None) -> None:
        """Tells the breaker how the date ended that was let through as probe ``number``; 0 is an ordinary date."""
        if number:
            is_down = isinstance(error, TransientError)
            self.obey(self.breaker.probed(number, self.steady_now(), answered=not is_down))

    def count_loaded(self, partitions: int) -> None:
        """Tells the breaker of partitions whose rows were loaded."""
        for _ in range(partitions):
            self.obey(self.breaker.succeeded("load", self.steady_now()))

    def begin(self, planned: Planned, facts: RunFacts) -> None:
        """Stores the plan and opens the outbox entry: from here on some process will send it. Blocking."""
        plan = planned.plan
        self.ledger, self.history, self.expected = planned.ledger, planned.history, plan.expected
        self.work.take_up(plan)
        name = plan_name(self.backfill_id)
        told = plan_metadata(self.source, self.work.partitions)
        self.services.store.write(name, plan.to_json(), content_type="application/json", metadata=told)
        self.facts = facts
        if self.review is not None:
            self._begin_review(planned.ledger)
        self.services.alerts.enable_backfill_mode(
            self.backfill_id,
            source=self.source,
            ttl_s=self.services.settings.lease_ttl_s,
            facts=facts,
            told_by=self.asked.part_of,
        )

    def _begin_review(self, ledger: Ledger) -> None:
        now = utc_now()
        review = Review(
            review_id=self.review_id,
            source=self.source,
            backfill_id=self.backfill_id,
            flow_run_id=self.facts.flow_run_id,
            state=ReviewState.STAGING,
            begun_at=now,
            expires_at=now + dt.timedelta(days=self.services.settings.review_days),
        )
        begin_review(self.services.store, review, ledger.known_of(self.work.planned))

    def _refuse_cooling_hosts(self) -> None:
        """Hosts whose account is in cooldown are not asked; dates that do not need them are fetched."""
        scraper = self.kit.scraper
        for site, account in scraper.hosts.items() if self.client is not None else ():
            if account == scraper.account_name:
                continue
            until = cooling_until(self.services.store, sources_of(account)[0], self.created_at)
            if until is not None and self.client is not None:
                self.client.refuse(site, f"the account {account} is in cooldown until {until:%Y-%m-%d %H:%M} UTC")

    def begin_live(self, plan: Plan) -> None:
        """Begins a run without a summary: its errors are alerts, and good partitions are read again. Blocking."""
        self.work.take_up(plan)
        self.expected = plan.expected
        rests = self.kit.scraper.rests
        around = rests.widened(self.work.partitions.values(), self.kit.scraper.step) if rests else []
        keys = [*plan.keys, *(partition.key for partition in around)]
        self.ledger.refresh(min(keys), max(keys))

    @property
    def usage(self) -> Usage:
        """Everything so far that is paid for, that of other processes included when their windows have ended."""
        tally = self.tally
        used = Usage(tally.calls, int(tally.elsewhere("storage_writes")), int(tally.elsewhere("storage_reads")))
        beside = Usage(billed_bytes=self.review.billed_bytes if self.review else 0)
        return self.services.cloud_usage() + used + beside

    @property
    def cost_usd(self) -> float:
        """US dollars so far."""
        return self.kit.prices.total_usd(self.usage)

    def money_facts(self) -> dict[str, Any]:
        """US dollars so far, in all and by what they were paid for."""
        by = self.kit.prices.cost_usd(self.usage)
        return {"cost_usd": sum(by.values()), "cost_usd_by": by}

    def units_facts(self) -> dict[str, Any]:
        """What the calls cost so far where the source counts something else; nothing where it counts calls."""
        unit = self.kit.scraper.cost_unit
        return {"units": self.tally.units, "cost_unit": unit} if unit else {}

    def keep_budget(self) -> None:
        """Stops the run when its calls or its money are used up. Asked before every partition."""
        if self.breaker.limits.are_of_budget:
            self.obey(self.breaker.spent(self.tally.units, self.cost_usd))

    def calls_of(self, most: int) -> int:
        """How many of ``most`` calls may follow each other before `keep_budget` is asked again; at least one."""
        allowed = self.breaker.limits.max_calls
        return max(1, min(most, allowed - self.tally.units)) if allowed else most

    def facts_so_far(self) -> RunFacts:
        """What is known at this moment; kept with every heartbeat, it is all that a killed run can still say."""
        keys = self.work.partitions
        counts = count_verdicts(keys, self.ledger.known_of(keys))
        return dataclasses.replace(
            self.facts,
            calls=self.tally.calls,
            **self.units_facts(),
            verdict_counts={verdict.value: count for verdict, count in counts.items()},
            warnings=balance_facts(self.tally.receipts),
            notes=list(self.notes),
            **self.money_facts(),
        )

    def close(self) -> None:
        """Lets running threads end and gives connections and unused calls back. May be called again.

        What they still come to is not recorded: the source may be another run's by then. A call for which they wait is
        not made.
        """
        self.ledger.is_lost = True
        ended = LeaseHeld(
            f"backfill {self.backfill_id} has ended; no call was made", source=self.source, stage="scrape"
        )
        self.kit.end_calls(ended)
        for executor in (self._executor, self._verdicts):
            executor.shutdown(wait=False, cancel_futures=True)
        try:
            self.kit.close()
        except PipelineError as error:
            partition_logger().warning("unused calls were not given back: %s", error)
