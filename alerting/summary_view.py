"""What the summary says, before it is drawn: every sentence, number and row, in order of use to a tired person."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alerting.advice import Action, Step, actions_of, advice_for, go_on_step, heals, rest_step, retry_step, state_of
from alerting.coverage import Coverage, build_coverage
from alerting.fingerprint import MAX_WORDINGS, Causes, IncidentGroup
from alerting.incident import Incident
from alerting.ranges import compress_dates, compressed_items, unit_name
from alerting.redaction import redact
from alerting.run_facts import RunFacts
from alerting.summary_rows import audit_rows, compared_dates, cost_rows, data_rows, diff_rows, table_row, table_state
from alerting.verdict import PAUSED, headline_of, outcome_of, subject_of, tally_of, verdict_of
from alerting.wording import cut_items, moment, plural, shorten, span

MAX_CAUSES = 10
_TONES = {"OK": "good", "OK-WITH-GAPS": "fair", PAUSED: "fair"}
MAX_STEPS = 3
_TEXT_RANGE_ITEMS = 2_000
_HTML_RANGE_ITEMS = 24
_DATE = re.compile(r"\d{4}-\d\d(?:-\d\d)?")


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
    evidence: str
    samples: tuple[str, ...]
    traceback: str
    step: Step | None
    step_title: str


@dataclass(frozen=True, slots=True)
class MailView:
    """How every mail about a backfill begins: verdict, where to look, what to do next."""

    subject: str
    outcome: str
    tone: str
    headline: str
    verdict: str
    place: str
    actions: tuple[Action, ...]
    steps: tuple[Step, ...]
    steps_title: str


@dataclass(frozen=True, slots=True)
class SummaryView(MailView):
    """The whole mail. Pairs are (label, value). ``works_from`` and ``sooner`` stand beside every command of a step."""

    works_from: str
    sooner: str
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


_NOT_HEALED_BY_A_RETRY = ("SourceContractError",)


def build_view(facts: RunFacts, causes: Causes) -> SummaryView:
    """Derives everything from facts and causes; nothing else is looked at."""
    failed = {key for group in causes.groups for key in group.partitions}
    tally = tally_of(facts, failed | causes.not_attempted)
    outcome = outcome_of(facts, causes, tally)
    differing = any(table_state(table) for table in facts.tables)
    retries = {group.cause_id: retry_step(facts, group) for group in causes.groups}
    steps = _steps(facts, causes, retries)
    shown = {cause for step in steps for cause in (step.cause_id, *step.instead_of)}
    if outcome == PAUSED:
        # The run itself retries them; who wants it sooner has one command for all.
        shown |= {group.cause_id for group in causes.groups if heals(group)}
    # Ten samples at most, one per cause, the rest spread evenly.
    samples = min(2, MAX_CAUSES // len(causes.groups) - 1) if 0 < len(causes.groups) <= MAX_CAUSES else 0
    place = f"{facts.source or 'backfill'} {span(facts.start_date, facts.end_date)}".strip()
    return SummaryView(
        subject=subject_of(facts, causes, outcome, tally, len(steps)),
        outcome=outcome,
        tone="fair" if outcome == "OK" and (differing or facts.warnings) else _TONES.get(outcome, "bad"),
        headline=headline_of(facts, outcome, tally, differing),
        verdict=verdict_of(facts, causes, tally, outcome),
        place=place,
        actions=actions_of(facts, steps),
        steps=steps,
        steps_title="To resume sooner" if outcome == PAUSED else "Do this next",
        works_from=f"Works from {moment(facts.commands_work_from, facts.zone)} on" if facts.commands_work_from else "",
        sooner=redact(facts.command_to_begin_sooner) if facts.commands_work_from else "",
        causes=tuple(
            _cause(
                facts,
                group,
                None if group.cause_id in shown else retries[group.cause_id],
                samples,
                calm=outcome == PAUSED,
            )
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
        notes=_notes(facts),
        failed_ranges=compress_dates(failed),
    )


def _notes(facts: RunFacts) -> tuple[str, ...]:
    """Warnings, then notes; of red flags that differ in their numbers alone the last, and how often it was raised."""
    latest: dict[str, tuple[str, int]] = {}
    for note in (*facts.warnings, *facts.notes):
        alike = re.sub(r"\d+", "0", note) if note.startswith("red flag") else note
        latest[alike] = note, latest[alike][1] + 1 if alike in latest else 1
    return tuple(redact(note) + (f" ({plural(count, 'time')})" if count > 1 else "") for note, count in latest.values())


def _steps(facts: RunFacts, causes: Causes, retries: Mapping[str, Step | None]) -> tuple[Step, ...]:
    """The run's own commands first; then retries of causes, the ones that need no repair before them first.

    Dates that broke the source's contract are in none of them: no retry heals those, and the command that retries them
    after a repair stands beside their cause.
    """
    own = [
        Step(redact(each.text), each.units or 0, unit_name(facts.calendar, each.units), each.estimate, each.why)
        for each in facts.commands
    ]
    ordered = sorted(causes.groups, key=lambda group: (not group.sample.retryable, group.critical))
    ordered = [group for group in ordered if group.sample.error_type not in _NOT_HEALED_BY_A_RETRY]
    found = [step for group in ordered if (step := retries[group.cause_id])]
    failed = {key for group in causes.groups for key in group.partitions}
    rest = rest_step(facts, failed)
    healing = sum(heals(group) and retries[group.cause_id] is not None for group in ordered)
    if healing + (rest is not None) > 1 and (everything := go_on_step(facts, ordered, failed)):
        # One paste for all of it: of several, each would have to wait for the one before.
        own.append(everything)
        rest = None
        found = [step for group in ordered if not heals(group) and (step := retries[group.cause_id])]
    steps = [*own, *found][:MAX_STEPS]
    if rest:
        steps = [*steps[: MAX_STEPS - 1], rest]
    return tuple(steps)


def _cause(facts: RunFacts, group: IncidentGroup, step: Step | None, samples: int, *, calm: bool) -> CauseView:
    items = compressed_items(group.partitions, counts=True)
    units = len(group.partitions)
    count = f"{units:,} {unit_name(group.partitions, units)}" if units else "the whole run"
    if group.count != units:
        count += f", {plural(group.count, 'error')}"
    if group.echoes:
        count += f" ({plural(group.echoes, 'consequence')})"
    if group.many_wordings:
        count += f", more than {MAX_WORDINGS} different messages"
    sample = group.sample
    known: Mapping[str, Any] = (facts.previous_run.get("causes") or {}).get(group.fingerprint) or {}
    was_asked = bool(compared_dates(facts, set(group.partitions)) & set(group.partitions))
    status = "new" if facts.previous_run and (was_asked or not group.partitions) else ""
    if known:
        status = f"recurring since {str(known.get('since', '?'))[:10]}, run {int(known.get('times', 0)) + 1}"
    answered = f" answered {sample.status}" if sample.status else ""
    others = [shorten(text, 200) for text in group.messages if _DATE.sub("", text) != _DATE.sub("", sample.message)]
    return CauseView(
        group.cause_id,
        group.critical and not (calm and heals(group)),
        sample.error_type,
        shorten(sample.message, 700),
        _shown_ranges(items),
        cut_items(items, _TEXT_RANGE_ITEMS),
        count,
        _period(group.first_at, group.last_at, facts.zone),
        _attempts(group),
        ", ".join(part for part in (status, state_of(sample)) if part),
        advice_for(group),
        ", ".join(
            part
            for part in (sample.stage, (sample.endpoint.partition("?")[0] + answered).strip(), sample.frame)
            if part
        ),
        _evidence(sample),
        tuple(others[: samples + 3 if group.many_wordings else samples]),
        sample.traceback,
        step,
        "retry" if heals(group) else "retry after the fix",
    )


def _attempts(group: IncidentGroup) -> str:
    if group.count == 1:
        return f"{group.attempts:,}"
    return f"{group.attempts / group.count:.3g} on average" if group.attempts > group.count else "one each"


def _evidence(sample: Incident) -> str:
    """Facts of the sample that neither its message nor another row says."""
    said = sample.message[-20:]
    facts = {
        name: str(value)
        for name, value in sample.facts.items()
        if name not in ("endpoint", "status", "content_type", "not_attempted") and value not in (None, "")
    }
    shown = [f"{name}={value}" for name, value in facts.items() if said not in value and value not in sample.message]
    return shorten(", ".join(shown), 240)


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
