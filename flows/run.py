"""What the parent flow and its subflows share inside one process: clients, limits, the ledger, and the stop switch.

Subflows get plain strings as parameters and find this object by backfill id; in a process of its own (a worker of a
distributed run) a subflow builds one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from alerting.errors import ConfigurationError, CriticalError, PipelineError, RateLimited
from alerting.fingerprint import fingerprint
from alerting.incident import Incident
from alerting.run_facts import RunFacts
from flows.breaker import Action, Breaker, Trip
from flows.closing import close_backfill, run_prefix
from flows.gate import Gate
from flows.history import SourceHistory
from flows.lease import pause_lease
from flows.ledger import Ledger, Verdict
from flows.log import partition_logger
from flows.outcome import concerns_one_entity, reached, resumes_at, unknown_is_critical, verdict_of
from flows.parameters import Asked
from flows.plan import Plan
from flows.planning import Planned
from flows.thresholds import breaker_limits
from flows.wiring import Services
from processors.process import Receipt
from scrapers.landing import Manifest
from scrapers.partition import Partition
from scrapers.quota import Purpose
from scrapers.scrape import scrape, utc_now

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# Beyond this many single objects the journal is written once per window, so that a run whose every date fails does
# not pay a write for each.
PROMPT_FLUSHES = 50


class RunContext:
    """One backfill's shared state in this process. Thread-safe where threads meet it."""

    def __init__(self, services: Services, asked: Asked, backfill_id: str, purpose: Purpose = "backfill") -> None:
        source, max_concurrency = asked.source, asked.concurrency
        self.services = services
        self.asked = asked
        self.source = source
        self.backfill_id = backfill_id
        self.scraper = services.scraper(source)
        self.processor = services.processor(source)
        self.quota = services.quota(source, purpose)
        self.budget = services.budget(source, self.quota)
        # Without a client no code path of a mode that must not ask the source can ask it.
        self.client = services.client(source, self.budget) if asked.mode.may_fetch else None
        self.ledger = Ledger(services.store, source)
        self.partitions: dict[str, Partition] = {}
        self.manifests: dict[str, Manifest] = {}
        self.receipts: list[Receipt] = []
        self.tries: dict[str, int] = {}
        self.facts = RunFacts()
        self.slots = asyncio.Semaphore(max_concurrency)
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
        # What a live run did while this one had paused for it.
        self.done_elsewhere: set[str] = set()
        self.spent_elsewhere: Counter[str] = Counter()
        self.progress_artifact: tuple[UUID, float] | None = None
        self.began = f"{utc_now():%Y%m%dT%H%M%S}"
        self.stopped_by: CriticalError | None = None
        self.loading_stopped_by: CriticalError | None = None
        self._flushes = 0
        self._executor = ThreadPoolExecutor(max_workers=max_concurrency + 4, thread_name_prefix="gapless")

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
        """Does what the breaker says: a note, no more loading, or no more of anything."""
        if trip is None:
            return
        self.note(f"{trip.flag}: {trip.message}")
        if trip.action is not Action.WARN:
            error = CriticalError(f"{trip.flag}: {trip.message}", source=self.source, abort=trip.reason)
            self.stop(error, "load" if trip.action is Action.STOP_LOADING else "scrape")

    def count_loaded(self, partitions: int) -> None:
        """Tells the breaker of partitions whose rows were loaded."""
        for _ in range(partitions):
            self.obey(self.breaker.succeeded("load", utc_now()))

    def begin(self, planned: Planned, facts: RunFacts) -> None:
        """Stores the plan and owes the mail: from here on some process will send it. Blocking."""
        plan = planned.plan
        self.ledger, self.history = planned.ledger, planned.history
        self.partitions = {item.partition.key: item.partition for item in plan.items}
        name = f"{run_prefix(self.backfill_id)}plan.json"
        self.services.store.write(name, plan.to_json(), content_type="application/json")
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
        self.ledger.refresh(min(plan.keys), max(plan.keys))

    @property
    def calls(self) -> int:
        """Calls to the source so far, those of other processes included when their windows have ended."""
        return (self.client.calls if self.client else 0) + self.spent_elsewhere["calls"]

    def finish(self, aborted: str) -> RunFacts:
        """Sends the one mail and frees the lease. Blocking; returns the recounted facts."""
        self.services.alerts.flush("end", "final")
        facts = dataclasses.replace(
            self.facts,
            calls=self.calls,
            waited_for_limits_s=self.budget.waited_s + self.spent_elsewhere["waited_s"],
            bytes_landed=(self.client.received_bytes if self.client else 0) + self.spent_elsewhere["bytes_landed"],
            bigquery_jobs=sum(receipt.job_count for receipt in self.receipts),
            notes=[*self.facts.notes, *self.notes],
            **self._quota_facts(),
        )
        closed = close_backfill(self.services, self.backfill_id, aborted=aborted, now=utc_now(), facts=facts)
        return closed.facts if closed else facts

    def _quota_facts(self) -> dict[str, Any]:
        """Gives unused calls back; the mail must leave also when the shared counts cannot be read."""
        rate = self.quota.rate
        unit, limit = ("day", rate.per_day) if rate.per_day is not None else ("month", rate.per_month)
        try:
            self.budget.close()
            left = self.quota.left()
        except PipelineError as error:
            partition_logger().warning("quota not settled: %s", error)
            return {}
        if limit is None:
            return {}
        return {"calls_left": left, "calls_budget": limit, "budget_resets_at": self.budget.next_reset(unit)}

    def pause(self) -> None:
        """Leaves the source free and the mail owed: Resume starts this run again, and it sends the mail. Blocking."""
        self.services.alerts.flush("pause", self.backfill_id)
        pause_lease(self.services.store, self.source, self.backfill_id, utc_now())

    def facts_so_far(self) -> RunFacts:
        """What is known at this moment; kept with every heartbeat, it is all that a killed run can still say."""
        entries = (self.ledger.get(key) for key in self.partitions)
        counts = Counter(entry.verdict.value if entry else Verdict.PLANNED.value for entry in entries)
        calls = self.client.calls if self.client else 0
        return dataclasses.replace(self.facts, calls=calls, verdict_counts=dict(counts), notes=list(self.notes))

    def done_count(self) -> int:
        """Partitions of the plan with a good verdict, as this process knows them."""
        entries = (self.ledger.get(key) for key in self.partitions)
        return sum(1 for entry in entries if entry is not None and entry.verdict.is_good)

    def land(self, key: str) -> Manifest:
        """Scrapes one partition and records it as landed. Blocking."""
        if self.client is None:
            raise ConfigurationError(
                f"mode {self.asked.mode.value} makes no call", source=self.source, partition=key, stage="scrape"
            )
        self.tries[key] = self.tries.get(key, 0) + 1
        manifest = scrape(
            self.partitions[key],
            scraper=self.scraper,
            client=self.client,
            landing=self.services.landing,
            backfill_id=self.backfill_id,
            code_version=self.services.code_version,
            resume_within=dt.timedelta(hours=self.services.settings.checkpoint_max_age_h),
        )
        before = self.ledger.get(key)
        if self.reread and before and before.verdict.is_good and before.content_hash == manifest.content_hash:
            self.unchanged.add(key)
        elif not manifest.unsettled:
            self.record_landed(manifest)
        return manifest

    def record_landed(self, manifest: Manifest) -> None:
        """Writes verdict ``landed`` and keeps the manifest for the processor."""
        before = self.ledger.get(manifest.partition)
        self.ledger.advance(
            manifest.partition,
            Verdict.LANDED,
            self.backfill_id,
            utc_now(),
            attempt=manifest.attempt,
            attempts=(before.attempts if before else 0) + 1,
            content_hash=manifest.content_hash,
            landed=manifest.counts,
            evidence=manifest.empty_evidence,
            last_cursor=manifest.last_cursor,
            pages_fetched=manifest.counts.get(self.scraper.tables[0], 0),
            expected=manifest.source_total,
        )
        self.manifests[manifest.partition] = manifest
        answer_s = sum(page.elapsed_s for page in manifest.pages)
        self.answers_s.append(answer_s)
        self.landed_rows += sum(manifest.counts.values())
        self.obey(self.breaker.succeeded("scrape", utc_now(), answer_s))

    def record_failure(self, key: str, error: BaseException, stage: str, window: str) -> Verdict:
        """Journals the incident, then writes the ledger: a verdict never stands without its reason. Blocking."""
        return self._record(key, verdict_of(error), error, stage, window)

    def record_batch_failure(self, key: str, error: BaseException, stage: str, window: str) -> Verdict:
        """As ``record_failure`` for a failed load or verification: the payload is landed, so a rerun needs no call."""
        return self._record(key, Verdict.LANDED if stage == "load" else Verdict.LOADED, error, stage, window)

    def _record(self, key: str, verdict: Verdict, error: BaseException, stage: str, window: str) -> Verdict:
        tries = self.tries.get(key, 1)
        incident = Incident.from_error(error, source=self.source, partition=key, stage=stage, attempts=tries)
        if self.in_canary:
            # The summary leaves in a moment: nobody has to be told twice.
            incident = dataclasses.replace(incident, severity="ERROR")
        # A wall that a later run passes by itself is a note, not a failure.
        if resumes_at(error) is None:
            self.services.alerts.record_error(incident)
            self._tell_breaker(incident, error, verdict, stage)
        if self._flushes < PROMPT_FLUSHES:
            self._flushes += 1
            self.services.alerts.flush(window, str(tries))
        before = self.ledger.get(key)
        self.ledger.advance(
            key,
            verdict,
            self.backfill_id,
            utc_now(),
            attempts=(before.attempts if before else 0) + (stage == "scrape"),
            error_type=type(error).__name__,
            error=str(error),
            **reached(error),
        )
        if not isinstance(error, PipelineError):
            error = unknown_is_critical(error, self.source, key, stage)
        if isinstance(error, CriticalError) and not concerns_one_entity(error, self.partitions.get(key)):
            self.stop(error, stage)
        return verdict

    def _tell_breaker(self, incident: Incident, error: BaseException, verdict: Verdict, stage: str) -> None:
        now = utc_now()
        if verdict.is_good:
            self.obey(self.breaker.succeeded(stage, now))
            return
        cause = f"{incident.error_type} {fingerprint(incident)}"
        self.obey(self.breaker.failed(stage, cause, now, rate_limited=isinstance(error, RateLimited)))

    def close(self) -> None:
        """Lets running threads end and gives connections back."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        try:
            self.budget.close()
        except PipelineError as error:
            partition_logger().warning("unused calls were not given back: %s", error)
        if self.client:
            self.client.close()


_RUNS: dict[str, RunContext] = {}


def register(run: RunContext) -> None:
    """Makes ``run`` findable by the subflows of this process."""
    _RUNS[run.backfill_id] = run


def unregister(run: RunContext) -> None:
    """The opposite of ``register``; closes the run."""
    _RUNS.pop(run.backfill_id, None)
    run.close()


def is_here(backfill_id: str) -> bool:
    """Whether the run's parent is this process."""
    return backfill_id in _RUNS


def current_run(backfill_id: str) -> RunContext:
    """The run of this process; ``KeyError`` when the parent is elsewhere."""
    return _RUNS[backfill_id]
