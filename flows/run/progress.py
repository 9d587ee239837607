"""How far a run is, in numbers and in words: the one count behind status, artifact, bar, log and mail. Pure."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Container, Mapping
from dataclasses import dataclass

from alerting.ranges import unit_name
from alerting.run_facts import RunFacts
from alerting.wording import dollars, plural, span
from flows.ledger.ledger import LedgerEntry, Verdict
from flows.ledger.verdicts import describe_counts


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment. ``skipped`` of ``planned`` were not its work (done before, or left); rate and ETA are about
    the rest."""

    planned: int
    skipped: int
    landed: int
    verified: int
    failed: int
    elapsed_s: float
    calls: int = 0
    calls_left: int | None = None
    unit: str = "date"

    @property
    def handled(self) -> int:
        """Partitions this run brought as far as landing, or to a failure."""
        return self.landed + self.verified + self.failed

    @property
    def percent(self) -> float:
        """Landing and loading count half each.

        >>> Progress(planned=10, skipped=4, landed=2, verified=2, failed=1, elapsed_s=60).percent
        80.0
        """
        if not self.planned:
            return 100.0
        return min(100.0, 100.0 * (self.skipped + self.verified + self.failed + self.landed / 2) / self.planned)

    @property
    def eta_s(self) -> float | None:
        """Seconds until all is landed, at the mean rate so far; None before the first one."""
        if not self.handled or self.elapsed_s <= 0:
            return None
        return (self.planned - self.skipped - self.handled) * self.elapsed_s / self.handled

    @property
    def counts(self) -> str:
        """How many dates, and what became of them.

        >>> Progress(planned=31, skipped=1, landed=10, verified=0, failed=2, elapsed_s=24).counts
        '13/31 dates (1 before), 10 landed, 0 verified, 2 failed'
        """
        before = f" ({self.skipped:,} before)" if self.skipped else ""
        return (
            f"{self.skipped + self.handled:,}/{plural(self.planned, self.unit)}{before}, {self.landed:,} landed, "
            f"{self.verified:,} verified, {self.failed:,} failed"
        )

    @property
    def pace(self) -> str:
        """Rate and time to go, "" before the first date.

        >>> Progress(planned=31, skipped=1, landed=10, verified=0, failed=2, elapsed_s=24).pace
        '30 a minute, ETA 36 s'
        """
        if not self.handled or self.elapsed_s <= 0:
            return ""
        eta = f", ETA {duration(self.eta_s)}" if self.eta_s else ""
        return f"{60 * self.handled / self.elapsed_s:,.0f} a minute{eta}"

    def describe(self) -> str:
        """One line, for log and artifact.

        >>> Progress(planned=31, skipped=1, landed=10, verified=0, failed=2, elapsed_s=24, calls=14).describe()
        '13/31 dates (1 before), 10 landed, 0 verified, 2 failed, 30 a minute, ETA 36 s, 14 calls'
        """
        left = f"{self.calls_left:,} left today" if self.calls_left is not None else ""
        return ", ".join(part for part in (self.counts, self.pace, f"{plural(self.calls, 'call')}", left) if part)


def progress_of(
    work: Mapping[str, bool],
    ledger: Mapping[str, LedgerEntry],
    backfill_id: str,
    *,
    since: dt.datetime,
    elapsed_s: float,
    unchanged: Container[str] = (),
) -> Progress:
    """Counts the plan's partitions: those that are the run's work by what it made of them, the others as skipped.

    Calls are the caller's to add.

    Args:
        work: Every key of the plan, and whether the run is to do something about it.
        ledger: What is known of them.
        backfill_id: The run.
        since: Its begin (aware). A good verdict of somebody else from then on (a live run) is done too; one from
            before is not, because a run in mode ``full`` does good dates again.
        elapsed_s: Its seconds so far.
        unchanged: Keys that it read and found as they were, without a new entry.
    """
    planned = skipped = landed = verified = failed = 0
    for key, is_work in work.items():
        planned += 1
        entry = ledger.get(key)
        if not is_work:
            skipped += 1
        elif key in unchanged:
            verified += 1
        elif entry is None or entry.verdict in (Verdict.PLANNED, Verdict.PAUSED):
            continue
        elif entry.verdict.is_good:
            verified += entry.backfill_id == backfill_id or entry.updated_at >= since
        elif entry.backfill_id != backfill_id:
            continue
        elif entry.verdict in (Verdict.LANDED, Verdict.LOADED, Verdict.STAGED):
            landed += 1
        else:
            failed += 1
    unit = unit_name(itertools.islice(work, 1), 1)
    unit = "date" if unit == "day" else unit
    return Progress(planned, skipped, landed, verified, failed, elapsed_s, unit=unit)


def ending_of(facts: RunFacts) -> str:
    """How a run ended, in one line: for the state of its flow run, its progress artifact and its log."""
    at = facts.resumes_at
    resumes = f"; resumes at {at:%Y-%m-%d %H:%M} UTC automatically as flow run {facts.resumes_as}" if at else ""
    return f"{facts.verdict}: {describe_counts(facts.verdict_counts)}{resumes}"


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> [duration(s) for s in (9.6, 75, 4000)]
    ['10 s', '1 min 15 s', '1 h 6 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def final_block(facts: RunFacts) -> str:
    """The last lines of a run's log: verdict, dates, rows, calls, and where to look."""
    lines = [
        f"verdict  {facts.verdict}",
        f"results  {describe_counts(facts.verdict_counts)}",
        *(
            f"rows     {table.name}: {table.landed or 0:,} landed, {table.loaded or 0:,} loaded, "
            f"{table.verified or 0:,} verified{f' ({table.changed})' if table.changed else ''}"
            for table in facts.tables
        ),
        f"cost     {plural(facts.calls or 0, 'call')}, {facts.bytes_landed or 0:,} bytes, "
        f"{facts.bigquery_jobs or 0:,} BigQuery jobs, {dollars(facts.cost_usd or 0.0)}, "
        f"{duration(facts.wall_s or 0.0)}",
        *(f"see      {name}: {link}" for name, link in facts.links.items()),
    ]
    place = f"{facts.source} {span(facts.start_date, facts.end_date)}".strip()
    return "\n".join([f"{place} ({facts.backfill_id})", *lines])
