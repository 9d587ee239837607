"""What the summary says, before it is drawn: every sentence, number and row, in order of use to a tired person."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alerting.advice import Step, advice_for, estimate, retry_all_step, retry_step
from alerting.coverage import Coverage, build_coverage
from alerting.fingerprint import Causes, IncidentGroup
from alerting.incident import shorten
from alerting.ranges import compress_dates, compressed_items, unit_name
from alerting.redaction import one_line, redact
from alerting.run_facts import GOOD_VERDICTS, RunFacts
from alerting.summary_rows import VERDICT_LABELS, audit_rows, cost_rows, data_rows, diff_rows, table_row
from alerting.wording import cut_items, moment, plural, span

MAX_CAUSES = 10
MAX_STEPS = 3
_TEXT_RANGE_ITEMS = 2_000
_HTML_RANGE_ITEMS = 40


@dataclass(frozen=True, slots=True)
class CauseView:
    """One cause as shown. ``all_ranges`` is exact; ``ranges`` is cut for the HTML page."""

    cause_id: str
    critical: bool
    error_type: str
    message: str
    ranges: tuple[str, ...]
    all_ranges: str
    count_text: str
    period: str
    attempts: str
    status: str
    advice: str
    where: str
    samples: tuple[str, ...]
    traceback: str
    step: Step | None


@dataclass(frozen=True, slots=True)
class SummaryView:
    """The whole mail. Pairs are (label, value)."""

    subject: str
    outcome: str
    tone: str
    headline: str
    verdict: str
    place: str
    steps: tuple[Step, ...]
    causes: tuple[CauseView, ...]
    more_causes: tuple[str, ...]
    cause_count: int
    not_attempted: str
    tables: tuple[tuple[str, ...], ...]
    mismatches: tuple[tuple[str, str], ...]
    data: tuple[tuple[str, str], ...]
    coverage: Coverage | None
    cost: tuple[tuple[str, str], ...]
    diff: tuple[tuple[str, str], ...]
    audit: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]
    contacts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    failed_ranges: str
    full_list: str = ""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Tally:
    planned: int
    good: int
    missing: int
    known: bool
    unit: str


def build_view(facts: RunFacts, causes: Causes) -> SummaryView:
    """Derives everything from facts and causes; nothing else is looked at."""
    failed = {key for group in causes.groups for key in group.partitions}
    tally = _tally(facts, failed | causes.not_attempted)
    outcome = _outcome(facts, causes, tally)
    retries = {group.cause_id: retry_step(facts, group) for group in causes.groups}
    steps = _steps(facts, causes, retries)
    shown = {step.cause_id for step in steps}
    # Ten samples at most, one per cause, the rest spread evenly.
    samples = min(2, MAX_CAUSES // len(causes.groups) - 1) if 0 < len(causes.groups) <= MAX_CAUSES else 0
    place = f"{facts.source or 'backfill'} {span(facts.start_date, facts.end_date)}".strip()
    return SummaryView(
        subject=_subject(facts, causes, outcome, tally, len(steps)),
        outcome=outcome,
        tone={"OK": "good", "OK-WITH-GAPS": "fair"}.get(outcome, "bad"),
        headline=_headline(outcome, tally),
        verdict=_verdict(facts, causes, tally, outcome),
        place=place,
        steps=steps,
        causes=tuple(
            _cause(facts, group, None if group.cause_id in shown else retries[group.cause_id], samples)
            for group in causes.groups[:MAX_CAUSES]
        ),
        more_causes=_more_causes(causes),
        cause_count=len(causes.groups),
        not_attempted=compress_dates(causes.not_attempted, counts=True),
        tables=tuple(table_row(table) for table in facts.tables),
        mismatches=tuple((t.name, compress_dates(t.mismatching, counts=True)) for t in facts.tables if t.mismatching),
        data=data_rows(facts),
        coverage=build_coverage(facts.calendar) if facts.calendar else None,
        cost=cost_rows(facts),
        diff=diff_rows(facts, causes, failed),
        audit=audit_rows(facts),
        links=tuple((redact(name), redact(url)) for name, url in facts.links.items()),
        contacts=tuple(facts.contacts.items()) if any(group.critical for group in causes.groups) else (),
        notes=tuple(redact(note) for note in facts.notes),
        failed_ranges=compress_dates(failed),
    )


def _tally(facts: RunFacts, touched: set[str]) -> _Tally:
    counts = facts.verdict_counts
    planned = facts.planned if facts.planned is not None else sum(counts.values()) or len(facts.calendar)
    good = sum(counts.get(verdict, 0) for verdict in GOOD_VERDICTS)
    known = bool(counts) or facts.planned == 0
    missing = max(planned - good, 0) if known else len(touched)
    return _Tally(planned, good, missing, known, unit_name(list(facts.calendar) or touched or ["2000-01-01"], 1))


def _outcome(facts: RunFacts, causes: Causes, tally: _Tally) -> str:
    if facts.outcome:
        return facts.outcome
    if not causes.groups and not tally.missing:
        return "OK"
    return "OK-WITH-GAPS" if facts.verdict == "ACCEPTABLE" else "FAILED"


def _subject(facts: RunFacts, causes: Causes, outcome: str, tally: _Tally, actions: int) -> str:
    number = tally.good if outcome == "OK" else tally.missing
    count = f" {number}/{tally.planned}" if tally.known else (f" {number}" if number else "")
    place = f"{facts.source or facts.backfill_id} {span(facts.start_date, facts.end_date)}"
    parts = [f"[backfill][{outcome}{count}] {place}".strip()]
    if causes.groups:
        parts.append(plural(len(causes.groups), "cause"))
    if actions:
        parts.append(plural(actions, "action"))
    return one_line(" · ".join(parts))[:200]


def _headline(outcome: str, tally: _Tally) -> str:
    if tally.known and not tally.planned:
        return "Nothing to do"
    if outcome == "OK":
        return "All there"
    if outcome == "STOPPED":
        return "Stopped before the end"
    if outcome == "CANCELLED":
        return "Cancelled"
    if tally.missing:
        return f"{plural(tally.missing, tally.unit)} missing"
    return "Failed" if outcome == "FAILED" else "Done, with gaps"


def _verdict(facts: RunFacts, causes: Causes, tally: _Tally, outcome: str) -> str:
    counts, said = facts.verdict_counts, []
    if not tally.known:
        said.append("The run ended without a last word; what follows is what it had written down.")
        if tally.missing:
            said.append(f"{plural(tally.missing, tally.unit)} failed for certain; the ledger knows the others.")
    elif not tally.planned:
        said.append("Every partition of the range was done before; nothing was asked, nothing was written.")
    elif counts.get("verified", 0) == tally.good:
        said.append(f"{tally.good:,} of {plural(tally.planned, tally.unit)} loaded and verified.")
    else:
        parts = [f"{counts[verdict]:,} {VERDICT_LABELS[verdict]}" for verdict in GOOD_VERDICTS if counts.get(verdict)]
        said.append(f"{tally.good:,} of {plural(tally.planned, tally.unit)} done ({', '.join(parts)}).")
    if tally.known and tally.missing:
        why = f", {plural(len(causes.groups), 'cause')}" if causes.groups else ""
        said.append(f"{tally.missing:,} missing{why}.")
    elif causes.groups and tally.known:
        said.append(f"{plural(len(causes.groups), 'cause')} of trouble on the way.")
    if facts.verdict.startswith("ABORTED"):
        said.append(f"The run stopped itself: {facts.verdict}.")
    if causes.not_attempted:
        said.append(f"{plural(len(causes.not_attempted), tally.unit)} not attempted.")
    waiting = sum(counts.get(verdict, 0) for verdict in ("landed", "loaded"))
    if waiting:
        said.append(f"{plural(waiting, tally.unit)} landed but not verified.")
    if outcome not in ("OK", "OK-WITH-GAPS") and not waiting:
        said.append("Nothing is half-written: a partition is replaced as a whole or stays as it was.")
    if tally.known and tally.missing and (needs := estimate(facts, tally.missing)):
        said.append(f"Resuming needs {needs}.")
    return " ".join(said)


def _steps(facts: RunFacts, causes: Causes, retries: Mapping[str, Step | None]) -> tuple[Step, ...]:
    """The run's own commands first; then retries of causes, the ones that need no repair before them first."""
    own = [
        Step(redact(each.text), each.units or 0, unit_name(facts.calendar, each.units), each.estimate, each.why)
        for each in facts.commands
    ]
    ordered = sorted(causes.groups, key=lambda group: (not group.sample.retryable, group.critical))
    found = [step for group in ordered if (step := retries[group.cause_id])]
    if len(found) > MAX_STEPS and (everything := retry_all_step(facts, ordered)):
        own.append(everything)
    return tuple([*own, *found][:MAX_STEPS])


def _cause(facts: RunFacts, group: IncidentGroup, step: Step | None, samples: int) -> CauseView:
    items = compressed_items(group.partitions, counts=True)
    units = len(group.partitions)
    count = f"{units:,} {unit_name(group.partitions, units)}" if units else "the whole run"
    if group.count != units:
        count += f", {plural(group.count, 'error')}"
    if group.echoes:
        count += f" ({group.echoes:,} only its echo)"
    sample = group.sample
    known: Mapping[str, Any] = (facts.previous_run.get("causes") or {}).get(group.fingerprint) or {}
    status = "new" if facts.previous_run else ""
    if known:
        status = f"recurring since {str(known.get('since', '?'))[:10]}, run {int(known.get('times', 0)) + 1}"
    answered = f" answered {sample.status}" if sample.status else ""
    others = [shorten(text, 200) for text in group.messages if text != sample.message]
    return CauseView(
        group.cause_id,
        group.critical,
        sample.error_type,
        shorten(sample.message, 700),
        _shown_ranges(items),
        cut_items(items, _TEXT_RANGE_ITEMS),
        count,
        _period(group.first_at, group.last_at, facts.zone),
        f"{group.attempts / group.count:.3g} on average" if group.attempts > group.count else "one each",
        ", ".join(part for part in (status, "retryable" if sample.retryable else "needs a repair first") if part),
        advice_for(group),
        ", ".join(
            part for part in (sample.stage, sample.endpoint.partition("?")[0] + answered, sample.frame) if part.strip()
        ),
        tuple(others[:samples]),
        sample.traceback,
        step,
    )


def _shown_ranges(items: list[str]) -> tuple[str, ...]:
    rest = len(items) - _HTML_RANGE_ITEMS
    return (*items[:_HTML_RANGE_ITEMS], f"and {rest:,} more") if rest > 0 else tuple(items)


def _period(first: dt.datetime, last: dt.datetime, zone: str) -> str:
    if (last - first).total_seconds() < 60:
        return moment(first, zone)
    return f"{moment(first, zone)} to {moment(last, zone)}"


def _more_causes(causes: Causes) -> tuple[str, ...]:
    rest = causes.groups[MAX_CAUSES:]
    lines = [
        f"{group.cause_id} {group.sample.error_type} ×{group.count:,}: {shorten(group.sample.message, 100)}"
        for group in rest[:30]
    ]
    if len(rest) > 30:
        lines.append(f"and {plural(len(rest) - 30, 'cause')} more, {sum(group.count for group in rest[30:]):,} errors")
    return tuple(lines)
