"""How far a run is, in numbers and in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from alerting.run_facts import RunFacts
from alerting.wording import dollars
from flows.ledger import LedgerEntry, Verdict
from flows.runs.outcome import describe_counts


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment. ``skipped`` of ``planned`` were done before it; ``rate`` and ETA are about the rest."""

    planned: int
    skipped: int
    landed: int
    verified: int
    failed: int
    elapsed_s: float
    calls: int = 0
    calls_left: int | None = None

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

    def describe(self) -> str:
        """One line, for log and artifact.

        >>> Progress(planned=31, skipped=1, landed=10, verified=0, failed=2, elapsed_s=24, calls=14).describe()
        '13/31 dates (1 before), 10 landed, 0 verified, 2 failed, 30 a minute, ETA 36 s, 14 calls'
        """
        parts = [f"{self.skipped + self.handled:,}/{self.planned:,} dates"]
        parts[0] += f" ({self.skipped:,} before)" if self.skipped else ""
        parts += [f"{self.landed:,} landed", f"{self.verified:,} verified", f"{self.failed:,} failed"]
        if self.handled and self.elapsed_s > 0:
            parts.append(f"{60 * self.handled / self.elapsed_s:,.0f} a minute")
        if self.eta_s:
            parts.append(f"ETA {duration(self.eta_s)}")
        parts.append(f"{self.calls:,} calls")
        if self.calls_left is not None:
            parts.append(f"{self.calls_left:,} left today")
        return ", ".join(parts)


def progress_of(
    keys: Iterable[str],
    ledger: Mapping[str, LedgerEntry],
    backfill_id: str,
    *,
    elapsed_s: float,
    calls: int = 0,
    calls_left: int | None = None,
) -> Progress:
    """Counts the plan's partitions: this run's own by what they became, good ones of earlier runs as skipped."""
    planned = skipped = landed = verified = failed = 0
    for key in keys:
        planned += 1
        entry = ledger.get(key)
        if entry is None or entry.is_pending:
            continue
        if entry.backfill_id != backfill_id:
            skipped += entry.verdict.is_good
        elif entry.verdict.is_good:
            verified += 1
        elif entry.verdict in (Verdict.LANDED, Verdict.LOADED):
            landed += 1
        else:
            failed += 1
    return Progress(planned, skipped, landed, verified, failed, elapsed_s, calls, calls_left)


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
        f"dates    {describe_counts(facts.verdict_counts)}",
        *(
            f"rows     {table.name}: {table.landed or 0:,} landed, {table.loaded or 0:,} loaded, "
            f"{table.verified or 0:,} verified{f' ({table.changed})' if table.changed else ''}"
            for table in facts.tables
        ),
        f"cost     {facts.calls or 0:,} calls, {facts.bytes_landed or 0:,} bytes, "
        f"{facts.bigquery_jobs or 0:,} BigQuery jobs, {dollars(facts.cost_usd or 0.0)}, "
        f"{duration(facts.wall_s or 0.0)}",
        *(f"see      {name}: {link}" for name, link in facts.links.items()),
    ]
    return "\n".join([f"{facts.source} {facts.start_date}..{facts.end_date} ({facts.backfill_id})", *lines])
