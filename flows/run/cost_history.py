"""What an ended run cost, kept for the estimates and drift checks of the next ones."""

from __future__ import annotations

from statistics import median

from alerting.errors import PipelineError
from alerting.instant import utc_now
from alerting.run_facts import RunFacts
from flows.log import partition_logger
from flows.planning.estimate import Estimate
from flows.planning.history import RunCost, add_to_history
from flows.planning.plan import Plan
from flows.planning.planner import estimate_of
from flows.run.run import Run
from flows.run.usage import used_facts


def cost_of(run: Run, facts: RunFacts) -> RunCost | None:
    """The run's cost; None when it fetched nothing in this process, because then it teaches nothing about fetching."""
    fetched = len(run.tally.answers_s)
    if not fetched:
        return None
    concurrency, used = run.asked.concurrency, run.usage
    # As many wait at once as there are slots in use.
    waited_s = (facts.waited_for_limits_s or 0.0) / min(concurrency, fetched)
    return RunCost(
        backfill_id=run.backfill_id,
        ended_at=facts.finished_at or utc_now(),
        fetched=fetched,
        calls=facts.calls or 0,
        failed_calls=facts.calls_failed or 0,
        units=facts.units or 0,
        bytes_landed=facts.bytes_landed or 0,
        rows=run.tally.rows,
        months=run.tally.months,
        bigquery_jobs=facts.bigquery_jobs or 0,
        busy_s=max((facts.wall_s or 0.0) - waited_s, 0.0),
        concurrency=concurrency,
        answer_s=median(run.tally.answers_s),
        storage_writes=used.storage_writes,
        storage_reads=used.storage_reads,
        billed_bytes=used.billed_bytes,
        sweep_pages=run.tally.sweep_pages,
    )


def remember_cost(run: Run, facts: RunFacts) -> None:
    """Adds the run to its source's history; a history that cannot be written is no reason to fail a run."""
    unknown = frozenset(name for receipt in run.tally.receipts for name in receipt.unknown_fields)
    if run.stopped_by is not None:
        # Fields that stopped a run are not yet known to be meant.
        unknown = frozenset()
    _keep(run, cost_of(run, facts), unknown)


def cost_so_far(run: Run, wall_s: float) -> RunCost | None:
    """What the run's dates until now have cost, in so many seconds and without their load."""
    return cost_of(run, RunFacts(wall_s=wall_s, **used_facts(run)))


def learn_from_canaries(run: Run, rest: Plan, fetching: RunCost | None, load_s: float) -> Estimate | None:
    """What the rest will cost by what the canaries took; None when they fetched nothing.

    They stand in the history until the run replaces them with all of itself, so a plan that somebody makes meanwhile,
    or after this run was killed, has learned from them. Blocking.

    Args:
        run: No other date is loaded.
        rest: What is left of its plan.
        fetching: What they had cost when no other date was begun.
        load_s: What came after that until their verdict.
    """
    if fetching is None:
        return None
    used = used_facts(run)
    jobs, billed = used["bigquery_jobs"], used["bigquery_bytes"]
    cost = fetching.model_copy(
        update={"busy_s": fetching.busy_s + load_s, "bigquery_jobs": jobs, "billed_bytes": billed}
    )
    _keep(run, cost)
    return estimate_of(run.services, run.asked, run.kit.scraper, rest, run.history.with_run(cost), run.ledger.entries())


def _keep(run: Run, cost: RunCost | None, unknown: frozenset[str] = frozenset()) -> None:
    try:
        add_to_history(run.services.store, run.source, cost, unknown)
    except PipelineError as error:
        partition_logger().warning("the run's cost was not kept: %s", error)
