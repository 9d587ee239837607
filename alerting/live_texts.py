"""The words of a live alert and of the digest. Pure."""

from __future__ import annotations

import datetime as dt

from alerting.fingerprint import Causes, IncidentGroup
from alerting.incident import Incident
from alerting.wording import cut_items, moment, plural, shorten

MAX_CAUSES = 30


def alert_text(incident: Incident, *, held_back: int, since: dt.datetime | None, cooldown_minutes: float) -> str:
    """What happened, what to do, the evidence; how many more there were ``since`` the last mail of this cause."""
    where = " ".join(part for part in (incident.source, incident.partition) if part)
    seen = [f"At: {moment(incident.occurred_at)}", f"stage: {incident.stage}" if incident.stage else ""]
    seen.append(f"attempts: {incident.attempts}" if incident.attempts > 1 else "")
    more = ""
    if held_back:
        more = f"{plural(held_back, 'more error')} of this cause since {moment(since)} {_was(held_back)} not mailed."
    quiet = plural(round(cooldown_minutes), "minute")
    paragraphs = (
        f"{where or 'gapless'}: {incident.error_type}",
        incident.message,
        f"Do this: {incident.hint}" if incident.hint else "",
        more,
        "\n".join([", ".join(filter(None, seen)), *(f"{name}: {value}" for name, value in incident.facts.items())]),
        f"Similar errors are counted, not mailed, for {quiet}." if cooldown_minutes else "",
    )
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def digest_text(causes: Causes, hours: float) -> str:
    """All causes, criticals first, thirty in full; the first line is the whole in short."""
    counts = f"{plural(causes.incidents, 'alert')}, {plural(len(causes.groups), 'cause')}"
    head = f"{counts} in the last {plural(hours, 'hour')}"
    blocks = [_cause(group) for group in causes.groups[:MAX_CAUSES]]
    if len(causes.groups) > MAX_CAUSES:
        blocks.append(f"and {plural(len(causes.groups) - MAX_CAUSES, 'cause')} more")
    return "\n\n".join([head, *blocks])


def _cause(group: IncidentGroup) -> str:
    sample = group.sample
    lines = [f"{group.cause_id} {sample.severity} {sample.source} {sample.error_type} ×{group.count:,}"]
    lines += [f"   {shorten(text, 300)}" for text in (group.messages if group.many_wordings else [sample.message])]
    period = moment(group.first_at)
    lines.append(f"   {period}" + (f" to {moment(group.last_at)}" if moment(group.last_at) != period else ""))
    if group.partitions:
        lines.append(f"   {cut_items(group.ranges.split(', '), 20)}")
    if sample.hint:
        lines.append(f"   Do this: {sample.hint}")
    return "\n".join(lines)


def _was(count: int) -> str:
    return "was" if count == 1 else "were"
