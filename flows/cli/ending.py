"""What a command says of a run that it followed to its end: how it ended, why, and what a person has to do."""

from __future__ import annotations

from alerting.errors import PipelineError
from alerting.fingerprint import group_incidents
from alerting.instant import utc_now
from alerting.journal import IncidentJournal
from alerting.outbox import Outbox
from alerting.redaction import printable
from alerting.wording import cut_items, plural
from flows.views.situation import situation_of
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
        lines += _causes(services, backfill_id)
        situation = None if owed.covers else situation_of(services, name, utc_now())
        next_step = situation.next_step_after(backfill_id) if situation else f"look: gapless status {name}"
    except PipelineError as error:  # the run has ended as it did, whatever cannot be read now
        next_step = str(error)
    is_whole = owed.run_facts.verdict == "COMPLETE"
    return [*lines, *([] if is_whole else [f"next: {next_step}"]), f"record: gapless record {backfill_id}"]


def _causes(services: Services, backfill_id: str) -> list[str]:
    groups = group_incidents(IncidentJournal(services.store).read(backfill_id)).groups
    lines = []
    for group in groups[:_SHOWN_CAUSES]:
        ranges = cut_items(group.ranges.split(", "), _SHOWN_RANGES) if group.ranges else "the run"
        told = " ".join(group.sample.message.split())[:_SHOWN_CHARS]
        lines.append(printable(f"{group.cause_id}: {group.sample.error_type}, {ranges}: {told}"))
    if len(groups) > _SHOWN_CAUSES:
        lines.append(f"and {plural(len(groups) - _SHOWN_CAUSES, 'more cause')}")
    return lines
