"""What a command says of a run that it followed to its end: how it ended, why, and what a person has to do."""

from __future__ import annotations

from collections.abc import Sequence

from alerting.advice import heals
from alerting.errors import PipelineError
from alerting.fingerprint import IncidentGroup, group_incidents
from alerting.instant import utc_now
from alerting.journal import IncidentJournal
from alerting.outbox import Outbox, OutboxEntry
from alerting.ranges import expand_dates
from alerting.redaction import printable
from alerting.wording import cut_items, plural
from flows.views.situation import situation_of
from flows.views.stored_runs import stored_work
from flows.wiring import Services

_SHOWN_CAUSES, _SHOWN_RANGES, _SHOWN_CHARS = 3, 8, 300


def ending_lines(services: Services, name: str, backfill_id: str, state: str, message: str) -> list[str]:
    """State, causes, next step and record of a run of ``name`` (source or family). Reads storage only.

    A run that was refused has no record, and its message says what to do.
    """
    lines = [f"{state}: {message}" if message else state]
    owed = Outbox(services.store).read(backfill_id)
    if owed is None:
        return lines
    try:
        groups = group_incidents(IncidentJournal(services.store).read(backfill_id)).groups
        lines += _causes(groups)
        next_step = f"look: gapless status {name}" if owed.covers else _next_step(services, name, owed, groups)
    except PipelineError as error:  # the run has ended as it did, whatever cannot be read now
        next_step = str(error)
    is_whole = owed.run_facts.verdict == "COMPLETE"
    return [*lines, *([] if is_whole else [f"next: {next_step}"]), f"record: gapless record {backfill_id}"]


def _next_step(services: Services, name: str, owed: OutboxEntry, groups: Sequence[IncidentGroup]) -> str:
    """Only of what the run itself was asked for, as in its mail; what a person decides about is no retry's."""
    facts, now = owed.run_facts, situation_of(services, name, utc_now())
    planned = stored_work(services.store, owed.backfill_id) or facts.calendar or now.entries
    decided = set(expand_dates(facts.left_to_a_person))
    left = now.after(owed, planned.keys() - decided)
    if decided and not left.open_keys:
        return f"see gapless reviews --source {name}"
    is_in_vain = left.next_step == left.again and groups and not any(map(heals, groups))
    return f"fix first, then {left.again}" if is_in_vain else left.next_step


def _causes(groups: Sequence[IncidentGroup]) -> list[str]:
    lines = []
    for group in groups[:_SHOWN_CAUSES]:
        ranges = cut_items(group.ranges.split(", "), _SHOWN_RANGES) if group.ranges else "the run"
        told = " ".join(group.sample.message.split())[:_SHOWN_CHARS]
        lines.append(printable(f"{group.cause_id}: {group.sample.error_type}, {ranges}: {told}"))
    if len(groups) > _SHOWN_CAUSES:
        lines.append(f"and {plural(len(groups) - _SHOWN_CAUSES, 'more cause')}")
    return lines
