"""The record of a run, kept in object storage when the worker that ran it is gone.

runs/backfill=<id>/record.md      date, scope, reason, results, failed dates with cause, lessons
summary.json   everything the recount found
errors.jsonl   every incident, one a line
mail.html, mail.txt   the summary as it was rendered
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from alerting.advice import advice_for
from alerting.delivery import SendResult
from alerting.errors import PipelineError
from alerting.fingerprint import IncidentGroup, group_incidents
from alerting.incident import Incident
from alerting.journal import IncidentJournal
from alerting.message import from_bytes
from alerting.object_store import ObjectMissing, ObjectStore
from alerting.ranges import compress_dates
from alerting.run_facts import GOOD_VERDICTS, RunFacts
from alerting.wording import dollars, plural
from scrapers.threads import threads

_IN_MEMORY_BYTES = 1_000_000
LOG = logging.getLogger("gapless.record")


def keep_record(store: ObjectStore, prefix: str, facts: RunFacts) -> None:
    """Writes record, summary and errors under ``prefix``; a later closer overwrites them with its own recount.

    What cannot be written is logged: the mail has still to leave.
    """
    redacted = facts.redacted()
    try:
        summary = json.dumps(redacted.to_dict(), indent=1, default=str).encode()
        # Beyond that on disk, because there may be a hundred thousand of them.
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as lines, threads(2, "record") as beside:
            writing = [beside.submit(store.write, f"{prefix}summary.json", summary, content_type="application/json")]
            groups = group_incidents(_written(IncidentJournal(store).read(facts.backfill_id), lines)).groups
            text = render_record(redacted, groups).encode()
            kind = "text/markdown; charset=utf-8"
            writing.append(beside.submit(store.write, f"{prefix}record.md", text, content_type=kind))
            store.write(f"{prefix}errors.jsonl", lines, content_type="application/x-ndjson")
        for one in writing:
            one.result()
    except (PipelineError, OSError) as error:
        LOG.error("the record of %s was not kept: %s", facts.backfill_id, error)


def _written(incidents: Iterable[Incident], lines: IO[bytes]) -> Iterator[Incident]:
    """Passes incidents on, and writes each as a line; tracebacks stay in the journal."""
    for incident in incidents:
        lines.write(incident.to_json(("traceback",)) + b"\n")
        yield incident


def keep_mail(store: ObjectStore, prefix: str, sent: SendResult) -> None:
    """Copies text and HTML of the rendered summary beside the record."""
    try:
        mail = sent.mail or from_bytes(store.read(sent.mail_object)[0])
        for kind, name in (("plain", "mail.txt"), ("html", "mail.html")):
            part = mail.get_body((kind,))
            if part is not None:
                data = part.get_content().encode()
                store.write(f"{prefix}{name}", data, content_type=f"text/{kind}; charset=utf-8")
    except (ObjectMissing, PipelineError) as error:
        LOG.error("the mail %s was not kept beside its record: %s", sent.mail_object, error)


def render_record(facts: RunFacts, groups: Sequence[IncidentGroup]) -> str:
    """The run in the shape that teams write down by hand: Markdown."""
    return "\n".join(
        [
            f"# Backfill {facts.backfill_id}: {facts.title or facts.source}",
            "",
            f"**Date**: {_moment(facts)}",
            f"**Scope**: {facts.start_date} to {facts.end_date} inclusive, {facts.zone}; "
            f"{facts.planned or 0:,} planned, mode {facts.mode}, plan {facts.plan_hash}",
            f"**Reason**: {facts.reason}",
            f"**Run by**: {facts.owner}, code {facts.code_version}",
            "",
            "## Results",
            "",
            f"**{facts.verdict}**",
            "",
            *_results(facts),
            "",
            "## Failed dates",
            "",
            *(_failed(facts, groups) or ["None."]),
            "",
            "## Lessons",
            "",
            *_lessons(facts, groups),
            "",
        ]
    )


def _moment(facts: RunFacts) -> str:
    began = f"{facts.started_at:%Y-%m-%d %H:%M}" if facts.started_at else "?"
    ended = f"{facts.finished_at:%Y-%m-%d %H:%M} UTC" if facts.finished_at else "?"
    return f"{began} to {ended}"


def _results(facts: RunFacts) -> list[str]:
    lines = [f"* {count:,} {verdict}" for verdict, count in facts.verdict_counts.items()]
    lines += [
        f"* {table.name}: {plural(table.landed or 0, 'row')} landed, {table.loaded or 0:,} loaded, "
        f"{table.verified or 0:,} verified{f' ({table.changed})' if table.changed else ''}"
        for table in facts.tables
    ]
    promised = {name: f" (estimate {value:,.0f})" for name, value in facts.estimate.items()}
    if (existing := facts.estimate.get("bigquery_bytes")) is not None:
        # Not what would be billed: BigQuery has a minimum for each query.
        promised["bigquery_bytes"] = f" billed (the dry run counted {existing:,.0f} of existing rows)"
    spent = (
        ("calls", facts.calls),
        ("wall_s", facts.wall_s),
        ("bigquery_jobs", facts.bigquery_jobs),
        ("bigquery_bytes", facts.bigquery_bytes),
    )
    lines += [f"* {name} {value:,.0f}{promised.get(name, '')}" for name, value in spent if value is not None]
    if facts.cost_usd is not None:
        estimated = facts.estimate.get("cost_usd")
        lines.append(f"* cost {dollars(facts.cost_usd)}" + (f" (estimate {dollars(estimated)})" if estimated else ""))
    return lines


def _failed(facts: RunFacts, groups: Sequence[IncidentGroup]) -> list[str]:
    lines = [
        f"* {group.ranges or 'the run'}: {group.sample.error_type} in {group.sample.stage or 'run'}: "
        f"{group.sample.message[:300]}"
        for group in groups
    ]
    explained = {key for group in groups for key in group.partitions}
    by_verdict: dict[str, list[str]] = {}
    for key, verdict in facts.calendar.items():
        if verdict not in GOOD_VERDICTS and key not in explained:
            by_verdict.setdefault(verdict, []).append(key)
    return lines + [f"* {compress_dates(keys)}: {verdict}" for verdict, keys in sorted(by_verdict.items())]


def _lessons(facts: RunFacts, groups: Sequence[IncidentGroup]) -> list[str]:
    lines = [f"* {note}" for note in facts.notes]
    lines += [f"* {group.sample.error_type}: {advice_for(group)}" for group in groups]
    return lines or ["Nothing unusual."]
