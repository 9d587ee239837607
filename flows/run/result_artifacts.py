"""What a person sees of an ended run in the Prefect UI: the coverage calendar, what needs attention, the mail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote
from uuid import UUID

from prefect.client.schemas.actions import ArtifactCreate

from alerting.coverage import Coverage, build_coverage, coverage_text
from alerting.redaction import printable
from alerting.run_facts import GOOD_VERDICTS, RunFacts
from alerting.wording import plural
from flows.ledger.ledger import LedgerEntry
from flows.pages import artifact_key

MOST_ROWS = 500
_SQUARES = {
    "verified": "🟩",
    "proven empty": "🟢",
    "not at source": "▫️",
    "not attempted": "⬜",
    "incomplete": "🟨",
    "waits for approval": "🟦",
    "failed": "🟥",
    "blocked": "🟪",
    "empty for too long": "🟧",
    "rest": "🔹",
    "before the first date": "▪️",
}


def result_artifacts(facts: RunFacts, ledger: Mapping[str, LedgerEntry], inbox_url: str = "") -> list[ArtifactCreate]:
    """Calendar, table of what needs attention, and link to the inbox, for the page of the run of ``facts``."""
    calendar = ("coverage", "markdown", f"{facts.verdict}: coverage calendar", printable(calendar_markdown(facts)))
    made = [calendar]
    if missing := len(_not_good(facts.calendar)):
        told = f"{plural(missing, 'partition', 'needs', 'need')} attention"
        made.append(("attention", "table", told, json.dumps(attention_rows(facts.calendar, ledger))))
    if inbox_url:
        made.append(("mail", "markdown", "Mail", f"[The mail of this run]({inbox_url})"))
    return [
        ArtifactCreate(
            key=artifact_key(kind, facts.source),
            type=form,
            description=told,
            data=data,
            flow_run_id=UUID(facts.flow_run_id) if facts.flow_run_id else None,
        )
        for kind, form, told, data in made
    ]


def attention_rows(calendar: Mapping[str, str], ledger: Mapping[str, LedgerEntry]) -> list[dict[str, str | int]]:
    """One row per partition without a good verdict: the oldest `MOST_ROWS`, as each is looked through for secrets."""
    rows: list[dict[str, str | int]] = []
    for key in _not_good(calendar)[:MOST_ROWS]:
        entry = ledger.get(key)
        rows.append(
            {
                "partition": key,
                "verdict": calendar[key],
                "error": printable(entry.error_type) if entry else "",
                "message": printable(entry.error[:160]) if entry else "not attempted",
                "attempts": entry.attempts if entry else 0,
            }
        )
    return rows


def _not_good(calendar: Mapping[str, str]) -> list[str]:
    return sorted(key for key, verdict in calendar.items() if verdict not in GOOD_VERDICTS)


def calendar_markdown(facts: RunFacts) -> str:
    """The coverage calendar as a table of squares, with verdict, links and legend around it."""
    coverage = build_coverage(facts.calendar)
    lines = [f"## {facts.source} {facts.start_date} to {facts.end_date}: {facts.verdict}", ""]
    lines += [f"* {name}: {_link(target)}" for name, target in facts.links.items()]
    # The same as letters, for who does not tell the squares apart.
    return "\n".join([*lines, *squares(coverage), "", "```text", *coverage_text(coverage), "```", ""])


def squares(coverage: Coverage) -> list[str]:
    """The coverage as tables of Markdown, with its legend."""
    lines = []
    for block in coverage.blocks:
        lines += ["", f"**{block.title or 'by month'}**", "", "| | |", "|---|---|"]
        for row in block.rows:
            cells = "".join((_SQUARES[run.look.label] if run.look else "·") * run.length for run in row.runs)
            lines.append(f"| {row.label} | {cells} |")
    legend = " · ".join(f"{_SQUARES[look.label]} {look.label} {count:,}" for look, count in coverage.legend)
    return [*lines, "", legend]


def _link(target: str) -> str:
    if target.startswith("gs://"):
        return f"[{target}](https://console.cloud.google.com/storage/browser/{quote(target.removeprefix('gs://'))})"
    return f"[{target}]({target})" if target.startswith("http") else f"`{target}`"
