"""What a family's mail shows, before it is laid out: a section a source, and causes that sources share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from alerting.advice import Step, actions_of
from alerting.fingerprint import Causes, IncidentGroup, group_incidents, normalise
from alerting.incident import Incident
from alerting.ranges import compress_dates, unit_name
from alerting.redaction import one_line, redact
from alerting.run_facts import GOOD_VERDICTS, RunFacts
from alerting.summary import (
    IncidentFile,
)
from alerting.summary_rows import VERDICT_LABELS, Rows, audit_rows, cost_rows
from alerting.summary_view import MailView, SummaryView, build_view
from alerting.verdict import NOT_BEGUN, PAUSED, Tally, count_text, headline_of, outcome_of, tally_of, why_it_ended
from alerting.wording import cut_items, moment, plural, shorten, span

_SHOWN_COSTS = ("calls", "credits", "quota left", "wall time")
_SHOWN_RANGES = 600
_Same = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Section:
    """One source: what its backfill left, and its errors in any order."""

    facts: RunFacts
    incidents: Iterable[Incident]


@dataclass(frozen=True, slots=True)
class SectionView:
    """One source as shown: its row in the table of sources, and what is said below it."""

    name: str
    title: str
    planned: int
    good: int
    missing: int
    open_ranges: Rows
    view: SummaryView


@dataclass(frozen=True, slots=True)
class FamilyView(MailView):
    """The whole mail; further parts that it shares with a summary of one source have the names of ``SummaryView``."""

    notes: tuple[str, ...]
    shared: tuple[str, ...]
    sections: tuple[SectionView, ...]
    cost: Rows
    audit: Rows
    links: Rows
    contacts: Rows
    full_list: str
    works_from: str = ""
    sooner: str = ""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Read:
    """A section whose incidents were read."""

    facts: RunFacts
    causes: Causes
    view: SummaryView
    tally: Tally


def read_sections(section: Section, attached: IncidentFile) -> _Read:
    """One section with its incidents, its view and its counts."""
    facts = section.facts.redacted()
    if not facts.verdict and facts.started_at is None:
        facts = replace(facts, verdict=NOT_BEGUN, outcome="STOPPED")
    causes = group_incidents(attached.passing(section.incidents))
    failed = {key for group in causes.groups for key in group.partitions}
    return _Read(facts, causes, build_view(facts, causes), tally_of(facts, failed | causes.not_attempted))


def build_family_view(facts: RunFacts, read: Sequence[_Read], full_list: str) -> FamilyView:
    """All that the mail shows."""
    tally = Tally(
        sum(one.tally.planned for one in read),
        sum(one.tally.good for one in read),
        sum(one.tally.missing for one in read),
        all(one.tally.known for one in read),
        "partition",
        sum(one.tally.shrunk for one in read),
        sum(one.tally.not_renewed for one in read),
    )
    outcome = outcome_of(facts, Causes(tuple(group for one in read for group in one.causes.groups)), tally)
    lacking = [one for one in read if one.tally.missing or one.view.outcome not in ("OK", "OK-WITH-GAPS")]
    steps = _steps(facts, tally, read)
    warned = any(one.view.tone != "good" for one in read)
    tones = {"OK": "fair" if warned else "good", "OK-WITH-GAPS": "fair", PAUSED: "fair"}
    shared = _shared(read)
    causes = sum(len(one.causes.groups) for one in read) - sum(len(found) - 1 for found in shared.values())
    return FamilyView(
        subject=_subject(facts, outcome, tally, read, causes, len(steps)),
        outcome=outcome,
        tone=tones.get(outcome, "bad"),
        headline=_headline(facts, outcome, tally, lacking, len(read)),
        verdict=_verdict(facts, outcome, read, lacking),
        place=_place(facts),
        actions=actions_of(facts, ()),
        steps=steps,
        steps_title="To resume sooner" if outcome == PAUSED else "Do this next",
        notes=tuple(redact(note) for note in dict.fromkeys(facts.notes)),
        shared=tuple(_told_shared(found) for found in shared.values()),
        sections=tuple(_section_view(one, shared) for one in read),
        cost=cost_rows(facts),
        audit=audit_rows(facts),
        links=tuple((redact(name), redact(url)) for name, url in facts.links.items()),
        contacts=tuple(facts.contacts.items()) if any(one.view.contacts for one in read) else (),
        full_list=full_list,
    )


def _place(facts: RunFacts) -> str:
    return f"{facts.source or 'backfill'} {span(facts.start_date, facts.end_date)}".strip()


def _subject(facts: RunFacts, outcome: str, tally: Tally, read: Sequence[_Read], causes: int, actions: int) -> str:
    """Stable over the attempts of a run (no date of sending), so that threads hold."""
    done = sum(not one.tally.missing for one in read)
    parts = [
        f"[backfill][{outcome}{count_text(outcome, tally)}] {_place(facts)}",
        plural(len(read), "source") if done == len(read) else f"{done} of {plural(len(read), 'source')} complete",
    ]
    if outcome == PAUSED:
        parts.append(f"resumes {moment(facts.resumes_at)}")
        actions = 0
    if causes:
        parts.append(plural(causes, "cause"))
    if warnings := sum(len(one.facts.warnings) for one in read):
        parts.append(plural(warnings, "warning"))
    if actions:
        parts.append(plural(actions, "action"))
    return one_line(" · ".join(parts))[:200]


def _headline(facts: RunFacts, outcome: str, tally: Tally, lacking: Sequence[_Read], sources: int) -> str:
    said = headline_of(facts, outcome, tally, differing=False)
    if outcome in ("OK", PAUSED) or not tally.missing or not tally.known:
        return said
    if len(lacking) == 1:
        return f"{said} in {lacking[0].facts.source}"
    return f"{said} in {len(lacking)} of {plural(sources, 'source')}"


def _verdict(facts: RunFacts, outcome: str, read: Sequence[_Read], lacking: Sequence[_Read]) -> str:
    """Which sources are complete, what the others lack, whether anything is broken."""
    complete = [one.facts.source for one in read if one not in lacking]
    said = []
    if len(complete) == len(read):
        said.append(f"All {plural(len(read), 'source')} are complete." if len(read) != 1 else "The source is complete.")
    elif complete:
        verb = "is" if len(complete) == 1 else "are"
        said.append(f"{len(complete)} of {plural(len(read), 'source')} {verb} complete: {cut_items(complete, 12)}.")
    else:
        said.append(f"None of {plural(len(read), 'source')} is complete." if len(read) != 1 else "It is not complete.")
    said += [f"{one.facts.source}: {_lowered(one.view.headline)}." for one in lacking]
    if why := why_it_ended(facts.verdict):
        said.append(why)
    if lacking:
        said.append("Nothing is half-written: a partition is replaced as a whole or stays as it was.")
    if outcome == PAUSED:
        named = f" as flow run {facts.resumes_as}" if facts.resumes_as else ""
        said.append(f"The family resumes automatically{named}; what is done by then is skipped.")
    return " ".join(said)


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _steps(facts: RunFacts, tally: Tally, read: Sequence[_Read]) -> tuple[Step, ...]:
    """One command for everything that is missing in any source; each section has those for its own."""
    steps = [Step(redact(each.text), each.units or 0, "partitions", each.estimate, each.why) for each in facts.commands]
    if facts.range_command and tally.missing:
        why = "Everything missing, source by source; finished dates are skipped."
        keyless = any(group.sample.error_type == "AuthenticationError" for one in read for group in one.causes.groups)
        why = f"Renew or unlock the key first, then this. {why}" if keyless else why
        unit = "partition" if tally.missing == 1 else "partitions"
        steps.append(Step(facts.range_command, tally.missing, unit, "", why))
    return tuple(steps)


def _key(group: IncidentGroup) -> _Same:
    """What makes causes of two sources one: class, masked wording, class of status."""
    status = "" if group.sample.status is None else f"{group.sample.status // 100}xx"
    return group.sample.error_type, normalise(group.sample.message), status


def _shared(read: Sequence[_Read]) -> dict[_Same, list[tuple[str, IncidentGroup]]]:
    found: dict[_Same, list[tuple[str, IncidentGroup]]] = {}
    for one in read:
        for group in one.causes.groups:
            found.setdefault(_key(group), []).append((one.facts.source, group))
    return {key: where for key, where in found.items() if len({source for source, _ in where}) > 1}


def _told_shared(found: Sequence[tuple[str, IncidentGroup]]) -> str:
    where = [f"{source} ({group.cause_id}{_how_many(group)})" for source, group in found]
    sample = found[0][1].sample
    return redact(f"{sample.error_type} in {cut_items(where, 12)}: {shorten(sample.message, 200)}")


def _how_many(group: IncidentGroup) -> str:
    units = len(group.partitions)
    return f", {units:,} {unit_name(group.partitions, units)}" if units else ""


def _section_view(one: _Read, shared: dict[_Same, list[tuple[str, IncidentGroup]]]) -> SectionView:
    seen = {}
    for group in one.causes.groups:
        first_source, first = shared.get(_key(group), [(one.facts.source, group)])[0]
        if first_source != one.facts.source:
            seen[group.cause_id] = f"The same as {first.cause_id} of {first_source}."
    causes = tuple(
        replace(cause, message=seen[cause.cause_id], samples=(), traceback="", evidence="", where="")
        if cause.cause_id in seen
        else cause
        for cause in one.view.causes
    )
    open_by: dict[str, list[str]] = {}
    for key, verdict in one.facts.calendar.items():
        if verdict not in GOOD_VERDICTS:
            open_by.setdefault(verdict, []).append(key)
    return SectionView(
        name=one.facts.source,
        title=one.facts.title,
        planned=one.tally.planned,
        good=one.tally.good,
        missing=one.tally.missing,
        open_ranges=tuple(
            (VERDICT_LABELS.get(verdict, verdict), shorten(compress_dates(keys, counts=True), _SHOWN_RANGES))
            for verdict, keys in open_by.items()
        ),
        view=replace(
            one.view,
            causes=causes,
            cost=tuple(row for row in one.view.cost if row[0] in _SHOWN_COSTS),
            steps_title="To resume sooner" if one.view.outcome == PAUSED else "Next, for this source",
        ),
    )
