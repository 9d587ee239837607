"""What the parent flow and its subflows share inside one process: clients, limits, the ledger, and the stop switch.

Subflows get plain strings as parameters and find this object by backfill id; in a process of its own (a worker of a
distributed run) a subflow builds one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from alerting.errors import CriticalError, PipelineError
from alerting.incident import Incident
from alerting.run_facts import RunFacts
from flows.closing import close_backfill, run_prefix
from flows.lease import pause_lease
from flows.ledger import Ledger, Verdict
from flows.plan import Plan
from flows.wiring import Services
from processors.process import Receipt
from scrapers.landing import Manifest
from scrapers.partition import Partition
from scrapers.scrape import scrape, utc_now

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# Beyond this many single objects the journal is written once per window, so that a run whose every date fails does
# not pay a write for each.
PROMPT_FLUSHES = 50


class RunContext:
    """One backfill's shared state in this process. Thread-safe where threads meet it."""

    def __init__(self, services: Services, source: str, backfill_id: str, max_concurrency: int) -> None:
        self.services = services
        self.source = source
        self.backfill_id = backfill_id
        self.scraper = services.scraper(source)
        self.processor = services.processor(source)
        self.budget = services.budget(source)
        self.client = services.client(source, self.budget)
        self.ledger = Ledger(services.store, source)
        self.partitions: dict[str, Partition] = {}
        self.manifests: dict[str, Manifest] = {}
        self.receipts: list[Receipt] = []
        self.tries: dict[str, int] = {}
        self.facts = RunFacts()
        self.slots = asyncio.Semaphore(max_concurrency)
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

    def begin(self, plan: Plan, facts: RunFacts) -> None:
        """Stores the plan and owes the mail: from here on some process will send it. Blocking."""
        self.partitions = {item.partition.key: item.partition for item in plan.items}
        self.ledger.refresh(*(plan.keys[0], plan.keys[-1]) if plan.keys else ())
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

    def finish(self, aborted: str) -> RunFacts:
        """Sends the one mail and frees the lease. Blocking; returns the recounted facts."""
        self.services.alerts.flush("end", "final")
        facts = dataclasses.replace(
            self.facts,
            calls=self.client.calls,
            waited_for_limits_s=self.budget.waited_s,
            bytes_landed=self.client.received_bytes,
            bigquery_jobs=sum(2 * len(receipt.tables) for receipt in self.receipts),
        )
        closed = close_backfill(self.services, self.backfill_id, aborted=aborted, now=utc_now(), facts=facts)
        return closed.facts if closed else facts

    def pause(self) -> None:
        """Leaves the source free and the mail owed: Resume starts this run again, and it sends the mail. Blocking."""
        self.services.alerts.flush("pause", self.backfill_id)
        pause_lease(self.services.store, self.source, self.backfill_id, utc_now())

    def done_count(self) -> int:
        """Partitions of the plan with a good verdict, as this process knows them."""
        entries = (self.ledger.get(key) for key in self.partitions)
        return sum(1 for entry in entries if entry is not None and entry.verdict.is_good)

    def land(self, key: str) -> Manifest:
        """Scrapes one partition and records it as landed. Blocking."""
        self.tries[key] = self.tries.get(key, 0) + 1
        manifest = scrape(
            self.partitions[key],
            scraper=self.scraper,
            client=self.client,
            landing=self.services.landing,
            backfill_id=self.backfill_id,
            code_version=self.services.code_version,
        )
        if not manifest.unsettled:
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
        )
        self.manifests[manifest.partition] = manifest

    def record_failure(self, key: str, error: BaseException, stage: str, window: str) -> Verdict:
        """Journals the incident, then writes the ledger: a verdict never stands without its reason. Blocking."""
        return self._record(key, verdict_of(error), error, stage, window)

    def record_batch_failure(self, key: str, error: BaseException, stage: str, window: str) -> Verdict:
        """As ``record_failure`` for a failed load or verification: the payload is landed, so a rerun needs no call."""
        return self._record(key, Verdict.LANDED if stage == "load" else Verdict.LOADED, error, stage, window)

    def _record(self, key: str, verdict: Verdict, error: BaseException, stage: str, window: str) -> Verdict:
        tries = self.tries.get(key, 1)
        self.services.alerts.record_error(
            Incident.from_error(error, source=self.source, partition=key, stage=stage, attempts=tries)
        )
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
        )
        if not isinstance(error, PipelineError):
            error = unknown_is_critical(error, self.source, key, stage)
        if isinstance(error, CriticalError):
            self.stop(error, stage)
        return verdict

    def close(self) -> None:
        """Lets running threads end and gives connections back."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self.client.close()


def unknown_is_critical(error: BaseException, source: str, partition: str, stage: str) -> CriticalError:
    """What is not in the taxonomy is not understood, so it is not retried."""
    return CriticalError(f"unexpected {type(error).__name__}: {error}", source=source, partition=partition, stage=stage)


def verdict_of(error: BaseException) -> Verdict:
    """The partition verdict that an error leaves behind."""
    for name, verdict in _VERDICT_BY_ERROR.items():
        if any(kind.__name__ == name for kind in type(error).__mro__):
            return verdict
    return Verdict.FAILED_PERMANENT


# Most specific first.
_VERDICT_BY_ERROR = {
    "PartitionUnavailable": Verdict.UNAVAILABLE,
    "Truncated": Verdict.TRUNCATED,
    "NotSettled": Verdict.PARTIAL,
    "CoverageLow": Verdict.PARTIAL,
    "NothingPublished": Verdict.FAILED_RETRYABLE,
    "BlockedBySource": Verdict.BLOCKED,
    "AuthenticationError": Verdict.BLOCKED,
    "BudgetExhausted": Verdict.PAUSED,
    "TransientError": Verdict.FAILED_RETRYABLE,
}

_RUNS: dict[str, RunContext] = {}


def register(run: RunContext) -> None:
    """Makes ``run`` findable by the subflows of this process."""
    _RUNS[run.backfill_id] = run


def unregister(run: RunContext) -> None:
    """The opposite of ``register``; closes the run."""
    _RUNS.pop(run.backfill_id, None)
    run.close()


def current_run(backfill_id: str) -> RunContext:
    """The run of this process; ``KeyError`` when the parent is elsewhere."""
    return _RUNS[backfill_id]
