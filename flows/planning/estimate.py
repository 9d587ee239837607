"""What a plan will cost: calls, quota days, bytes, BigQuery operations and time, learned from earlier runs. Pure."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass

from alerting.wording import dollars, plural
from flows.planning.batching import jobs_for
from flows.planning.duration import CALIBRATED_RUNS, SMALL_SOURCE, Work, learn, turns
from flows.planning.history import MINIMUM_BILLED_BYTES, SourceHistory
from flows.planning.plan import Plan
from flows.prices import Prices, Usage
from processors.load_plan import MAX_DAYS_PER_BATCH
from processors.table_budget import STOP_AT
from scrapers.partition import Partition, spans
from scrapers.rate import Rate

MODIFICATIONS_PER_DAY = 1_500
PARTITION_MODIFICATIONS_PER_DAY = 30_000
DAY_S = 86_400.0
GUESS_COUNTS_AS = 30
"""Partitions: with fewer known ones, what a source declares of a usual one is still part of an estimate."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Times are wall time: P10, P50 and P90 of runs like this one. ``learned_from`` is the number of earlier runs.

    Where nothing tells how many pages an entity has, ``is_known`` is False, and ``calls`` is only the fewest possible.
    """

    calls: int
    quota_days: int
    bytes_landed: int
    rows: int
    bigquery_jobs: int
    modifications: int
    partition_modifications: int
    optimistic_s: float
    realistic_s: float
    pessimistic_s: float
    learned_from: int
    cost_usd: float = 0.0
    is_known: bool = True
    units: int = 0
    cost_unit: str = ""
    quota_months: int = 0
    ends_on: dt.date | None = None

    def describe(self) -> str:
        """Everything, on five short lines."""
        if not self.is_known:
            return "\n".join(
                (
                    f"calls      unknown, at least {self.calls:,}: pages per entity are unknown",
                    "cost       unknown",
                    "time       unknown",
                    "basis      no earlier run; the next estimate learns from this one",
                )
            )
        told = []
        if self.cost_unit:
            guess = "" if self.learned_from else "; a guess until the first run"
            told = [f"{f'{self.cost_unit}s':<10} {self.units:,}{self._months_text()}{guess}"]
        learned = f"learned from {plural(self.learned_from, 'run')}" if self.learned_from else "guessed, no earlier run"
        if self.learned_from < CALIBRATED_RUNS:
            learned += f"; P90 holds from {CALIBRATED_RUNS} runs on"
        quota = f", {self.quota_days} quota days" if self.quota_days else ""
        volume = f", about {_bytes(self.bytes_landed)} and {plural(self.rows, 'row')}" if self.bytes_landed else ""
        spans = " / ".join(_span(seconds) for seconds in (self.optimistic_s, self.realistic_s, self.pessimistic_s))
        return "\n".join(
            (
                f"calls      {self.calls:,}{quota}{volume}",
                *told,
                f"BigQuery   {plural(self.bigquery_jobs, 'job')}; per table {self.modifications:,} of"
                f" {int(MODIFICATIONS_PER_DAY * STOP_AT):,} modifications a day and {self.partition_modifications:,} of"
                f" {int(PARTITION_MODIFICATIONS_PER_DAY * STOP_AT):,} partition modifications",
                f"cost       {dollars(self.cost_usd)}: calls, Cloud Storage operations, BigQuery queries",
                f"time       {spans} (optimistic / realistic / pessimistic: P10 / P50 / P90)",
                f"basis      {learned}",
            )
        )

    def _months_text(self) -> str:
        if not self.quota_months or self.ends_on is None:
            return ""
        if self.quota_months == 1:
            return f", within this month's quota: it would end on {self.ends_on}"
        return f", {self.quota_months} months of its quota: it would end on {self.ends_on}"

    def promised(self) -> dict[str, float]:
        """Under the names of ``RunFacts``, so that the mail sets them against what came of it; nothing if unknown."""
        if not self.is_known:
            return {}
        return {
            "calls": float(self.calls),
            **({"units": float(self.units)} if self.cost_unit else {}),
            "wall_s": round(self.realistic_s, 1),
            "bytes_landed": float(self.bytes_landed),
            "bigquery_jobs": float(self.bigquery_jobs),
            "cost_usd": self.cost_usd,
        }


FREE = Prices()


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a run works with.

    Args:
        rate: The source's limits.
        left: Units that it may still spend before the nearer wall; None without a wall, or where nobody looked.
        quota_share: Share of its day and month limits that this run may use.
        concurrency: Dates in flight.
        tables: Tables of the source; each needs a load and a replace per batch.
        partitions_per_job: Largest batch of what is fetched; what is landed already is loaded in the largest possible.
        days_per_call: Most consecutive dates that one call of the source covers.
        is_swept: One reading of all that the source has fills every partition: ``calls_guess`` is of that reading.
        cost_unit: What the source counts instead of calls, "" for calls.
        calls_guess: Calls a partition, as long as runs have shown few of them.
        guess_counts_as: For as many partitions the guess stands until runs have shown them: a month of dates; of what
            keeps no history one look at all entities, as tomorrow's is like today's.
        units_guess: Units a partition, likewise; 0 are as many as calls.
        oracles: Each is one query of what it expects; what is found is part of the recount.
        listed: Items by partition that another source lists and this one has not fetched: a call each; None where none
            lists them.
        today: The day on which it would begin, to tell on which it would end.
        prices: What calls and operations cost.
    """

    rate: Rate
    quota_share: float
    concurrency: int
    tables: int
    partitions_per_job: int
    days_per_call: int = 1
    is_swept: bool = False
    cost_unit: str = ""
    calls_guess: float = 1.0
    guess_counts_as: int = GUESS_COUNTS_AS
    units_guess: float = 0.0
    oracles: int = 0
    left: int | None = None
    listed: Mapping[str, int] | None = None
    today: dt.date | None = None
    prices: Prices = FREE


def estimate(
    plan: Plan, history: SourceHistory, capacity: Capacity, rows_before: Mapping[str, int] | None = None
) -> Estimate:
    """The cost of ``plan``.

    Args:
        plan: What is to be done.
        history: What earlier runs of the source cost.
        capacity: What the run works with.
        rows_before: Rows of whole entities as they were last landed: big ones need more calls than small ones.
    """
    fetch = len(plan.to_fetch)
    load = fetch + len(plan.to_reload) + len(plan.to_call_empty)
    known = [run for run in history.runs if run.fetched]
    # fsum, because ten times 0.4 are not more than four.
    of_one = calls_of_one(history, capacity.calls_guess, capacity.guess_counts_as)
    calls = math.ceil(
        math.fsum(_calls_of(partition, history, rows_before or {}, of_one) for partition in plan.to_fetch)
    )
    is_known = bool(known) or not any(partition.is_whole for partition in plan.to_fetch)
    if capacity.days_per_call > 1:
        # Scattered dates need more calls than the same number in a row, whatever earlier runs were like.
        whole = len(spans(plan.to_fetch, capacity.days_per_call))
        calls = max(whole, calls) if known else whole
    if capacity.listed is not None:
        calls = sum(capacity.listed.get(partition.key, 0) for partition in plan.to_fetch)
    if capacity.is_swept:
        calls = history.sweep_calls or math.ceil(capacity.calls_guess) if fetch else 0
    reloaded_days = sum(max(partition.days, 1) for partition in (*plan.to_reload, *plan.to_call_empty))
    loads = jobs_for(fetch, capacity.partitions_per_job) + math.ceil(reloaded_days / MAX_DAYS_PER_BATCH)
    jobs = 2 * capacity.tables * loads
    guessed = math.ceil(fetch * capacity.units_guess) if capacity.units_guess else calls
    units = math.ceil(calls * history.units_per_call) if history.units_per_call else guessed
    days = quota_days(units, capacity.rate, capacity.quota_share)
    months, today = quota_months(units, capacity.rate, capacity.quota_share, capacity.left), capacity.today
    goes_on = _month_later(today, months - 1) if today and months > 1 else today
    paced_s = calls / calls_per_s(capacity.rate) if calls_per_s(capacity.rate) else 0.0
    paced_s = max(paced_s, calls * sum(capacity.rate.pause_s) / 2)

    coming = Work(turns(fetch, capacity.concurrency), jobs)
    learned = learn([run.as_sample() for run in known], coming)

    def wall_s(factor: float) -> float:
        slots_s = factor * SMALL_SOURCE.slot_s * coming.turns
        rest_s = factor * (SMALL_SOURCE.fixed_s + SMALL_SOURCE.job_s * coming.jobs)
        waits_days = max(days - 1, (goes_on - today).days if today and goes_on else 0, 0)
        return max(slots_s, paced_s) + rest_s + DAY_S * waits_days

    used = Usage(
        calls=calls,
        storage_writes=math.ceil(load * history.storage_writes_per_partition),
        storage_reads=math.ceil(load * history.storage_reads_per_partition),
        billed_bytes=math.ceil(jobs * history.billed_bytes_per_job + capacity.oracles * MINIMUM_BILLED_BYTES),
    )
    return Estimate(
        calls=calls,
        quota_days=days,
        bytes_landed=int(fetch * history.bytes_per_partition),
        rows=int(fetch * history.rows_per_partition),
        bigquery_jobs=jobs,
        modifications=jobs // (2 * capacity.tables) if capacity.tables else 0,
        partition_modifications=load,
        optimistic_s=wall_s(learned.low),
        realistic_s=wall_s(learned.middle),
        pessimistic_s=wall_s(learned.high),
        learned_from=len(known),
        cost_usd=capacity.prices.total_usd(used),
        is_known=is_known,
        units=units,
        cost_unit=capacity.cost_unit,
        quota_months=months,
        ends_on=today + dt.timedelta(days=int(wall_s(learned.middle) // DAY_S)) if today else None,
    )


def calls_of_one(history: SourceHistory, guess: float, counts_as: int) -> float:
    """Calls a partition by what is known of few of them: the declared guess stands for the rest of ``counts_as``.

    Three canaries with two games each say little of dates that have seven as a rule. A guess of one call is none.
    """
    known = sum(run.fetched for run in history.runs)
    missing = max(counts_as - known, 0) if guess != 1.0 or not known else 0
    return (history.calls_per_partition * known + guess * missing) / (known + missing)


def _calls_of(partition: Partition, history: SourceHistory, rows_before: Mapping[str, int], of_one: float) -> float:
    """Calls for one partition: of an entity that was landed before by its rows then, of others as the mean."""
    rows = rows_before.get(partition.key) if partition.is_whole else None
    if rows is not None and history.runs:
        return 1.0 + rows * history.calls_per_row
    return of_one


def quota_months(units: int, rate: Rate, share: float, left: int | None = None) -> int:
    """Months in which so many units are spent, at ``share`` of the limit a month; 0 without a month limit.

    The present one counts with what is ``left`` of it, None for all of its share.

    >>> quota_months(3_000, Rate(per_month=500), 0.7), quota_months(3_000, Rate(per_month=500), 0.7, left=0)
    (9, 10)
    """
    if rate.per_month is None or not units:
        return 0
    a_month = max(int(rate.per_month * share), 1)
    this_month = a_month if left is None else min(max(left, 0), a_month)
    return 1 + math.ceil(max(units - this_month, 0) / a_month)


def _month_later(day: dt.date, months: int) -> dt.date:
    """The first day of the month that begins so many months later."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return dt.date(year, month + 1, 1)


def quota_days(calls: int, rate: Rate, share: float) -> int:
    """Days until so many calls are made, at ``share`` of the limit a day; 0 without a day limit.

    >>> quota_days(18_260, Rate(per_day=10_000), 0.7)
    3
    """
    if rate.per_day is None or not calls:
        return 0
    return math.ceil(calls / max(int(rate.per_day * share), 1))


def calls_per_s(rate: Rate) -> float:
    """What the rate allows in the long run; 0.0 without a limit by second or minute."""
    limits = [rate.per_second or 0.0, (rate.per_minute or 0) / 60.0]
    return min((limit for limit in limits if limit), default=0.0)


def _span(seconds: float) -> str:
    return str(dt.timedelta(seconds=round(seconds)))


def _bytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
