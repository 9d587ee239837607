"""Ends a run of a family of sources: every step has its last word, then the sums, and the one mail with all of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Sequence

from alerting.errors import PipelineError
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.outbox import Outbox, OutboxEntry
from alerting.owed_mail import covered_facts
from alerting.run_facts import RunFacts
from alerting.verdict import NOT_BEGUN
from alerting.wording import plural
from flows.asked import Asked
from flows.ledger.ledger import Verdict
from flows.ledger.verdicts import backfill_verdict, exit_code, mail_outcome
from flows.wiring import Services

_SUMS = ("calls", "bytes_landed", "bigquery_jobs", "bigquery_bytes", "cost_usd", "waited_for_limits_s")


def family_facts(
    known: RunFacts, steps: Sequence[RunFacts], *, aborted: str, acceptable_share: float, now: dt.datetime
) -> RunFacts:
    """``known`` with the verdict and the counts of all steps. Pure.

    Args:
        known: What the family run stored at its start.
        steps: The last word of each, in their order; what was planned of one that never began.
        aborted: Why the family run ended early, "" when it did not.
        acceptable_share: Of partitions that have to be good.
        now: Aware UTC.
    """
    counts: Counter[str] = Counter()
    for step in steps:
        counts.update(step.verdict_counts)
    verdict = backfill_verdict({Verdict(name): count for name, count in counts.items()}, acceptable_share, aborted)
    paused = [step for step in steps if step.resumes_at]
    if paused and not aborted:
        # Of the one that goes on first: whether its quota is used up or it was blocked.
        verdict = min(paused, key=lambda step: step.resumes_at or now).verdict
    elif not aborted and exit_code(verdict) == 0 and any(exit_code(step.verdict or NOT_BEGUN) for step in steps):
        verdict = "FAILED"
    sums = {
        name: sum(values)
        for name in _SUMS
        if (values := [value for step in steps if (value := getattr(step, name)) is not None])
    }
    return dataclasses.replace(
        known,
        planned=sum(step.planned or 0 for step in steps),
        verdict=verdict,
        outcome=mail_outcome(verdict),
        verdict_counts={name: count for name, count in sorted(counts.items()) if count},
        finished_at=now,
        wall_s=(now - known.started_at).total_seconds() if known.started_at else known.wall_s,
        **sums,
    )


def told_steps(services: Services, family_run: str) -> list[RunFacts]:
    """What is known at this moment of every step of a family run, in their order. Raises ``StateUnreadable``."""
    entry = Outbox(services.store).read(family_run)
    return covered_facts(services.store, entry) if entry is not None else []


def tell_not_begun(services: Services, asked: Asked, backfill_id: str, error: PipelineError, now: dt.datetime) -> None:
    """Leaves for the family's mail why one of its steps never began. Blocking; raises what the store raises."""
    incident = Incident.from_error(error, source=asked.source)
    IncidentJournal(services.store).append(backfill_id, "start", 1, [incident])
    # Without `opened_at`: it was not begun.
    facts = RunFacts(backfill_id=backfill_id, source=asked.source, verdict=NOT_BEGUN, outcome="STOPPED")

    def closed(entry: OutboxEntry) -> OutboxEntry | None:
        return None if entry.opened_at else entry

    entry = OutboxEntry(
        backfill_id, state="archived", source=asked.source, finished_at=now, facts=facts.to_dict(),
        told_by=asked.part_of,
    )  # fmt: skip
    Outbox(services.store).update(backfill_id, closed, create=lambda: entry)


def family_ending(facts: RunFacts, steps: Sequence[RunFacts]) -> str:
    """How the family run ended, in one line for its state.

    >>> one = RunFacts(source="a", verdict="COMPLETE")
    >>> family_ending(RunFacts(verdict="FAILED"), [one, RunFacts(source="b", verdict="FAILED")])
    'FAILED: 1 of 2 sources complete; b FAILED'
    """
    complete = sum(step.verdict == "COMPLETE" for step in steps)
    rest = [f"{step.source} {step.verdict or NOT_BEGUN}" for step in steps if step.verdict != "COMPLETE"]
    told = f"{facts.verdict}: {complete} of {plural(len(steps), 'source')} complete"
    return "; ".join([told, *rest])
