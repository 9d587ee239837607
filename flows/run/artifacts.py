"""What a person sees of a run in the Prefect UI: live progress, the coverage calendar, what needs attention, links.

A run of ten years makes as few calls to the server as a run of ten days: progress is written at most every
``ARTIFACT_EVERY_S``, the rest once at the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from urllib.parse import quote
from uuid import UUID

from prefect.artifacts import (
    acreate_link_artifact,
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)

from alerting.coverage import build_coverage
from alerting.redaction import printable
from alerting.run_facts import GOOD_VERDICTS, RunFacts
from alerting.wording import plural
from flows.ledger.ledger import Ledger, LedgerEntry
from flows.log import partition_logger
from flows.run.context import RunContext
from flows.run.progress import Progress, progress_of
from flows.run.progress_artifact import artifact_name
from scrapers.scrape import utc_now

LOOK_EVERY_S = 1.0
ARTIFACT_EVERY_S = 5.0
MOST_ROWS = 500
_SQUARES = {
    "verified": "🟩",
    "proven empty": "🟢",
    "not at source": "▫️",
    "not attempted": "⬜",
    "incomplete": "🟨",
    "failed": "🟥",
    "blocked": "🟪",
}


def now_of(run: RunContext, ledger: Ledger | None = None) -> Progress:
    """The run's progress as this process knows it, or as ``ledger`` does."""
    known = ledger or run.ledger
    return progress_of(
        run.work,
        {key: entry for key in run.work if (entry := known.get(key)) is not None},
        run.backfill_id,
        since=run.begun_at,
        elapsed_s=(utc_now() - run.begun_at).total_seconds(),
        unchanged=run.unchanged,
        calls=run.calls,
        calls_left=_calls_left(run),
    )


def _calls_left(run: RunContext) -> int | None:
    if run.budget.rate.per_day is None:
        return None
    return max(0, run.budget.rate.per_day - int(run.budget.export_state()["day_spent"]))


async def report_progress(run: RunContext) -> None:
    """Logs and shows progress every ``progress_every`` partitions and ``progress_minutes``, until cancelled."""
    settings, log = run.services.settings, partition_logger()
    artifact_id: UUID | None = None
    # Of a distributed run other processes write the entries; its own ledger is not to be listed under its writes.
    seen = Ledger(run.services.store, run.source) if run.windows is not None else run.ledger
    logged, shown = 0, ""
    logged_s = time.monotonic()
    shown_s = looked_s = logged_s - ARTIFACT_EVERY_S
    while True:
        now_s = time.monotonic()
        if seen is not run.ledger and now_s - looked_s >= ARTIFACT_EVERY_S:
            await run.in_thread(seen.refresh, min(run.work), max(run.work))
            looked_s = now_s
        at, still = now_of(run, seen), run.standing_still
        if at.handled - logged >= settings.progress_every or now_s - logged_s >= 60 * settings.progress_minutes:
            log.info("progress: %s", at.describe())
            logged, logged_s = at.handled, now_s
        told = f"{at.counts} {still}"
        if told != shown and now_s - shown_s >= ARTIFACT_EVERY_S:
            text = printable(f"{still.describe()}; {at.counts}" if still else at.describe())
            artifact_id = await _show(artifact_name(run.backfill_id), artifact_id, at.percent, text)
            shown, shown_s = told, now_s
        await asyncio.sleep(LOOK_EVERY_S)


async def _show(key: str, artifact_id: UUID | None, percent: float, text: str) -> UUID | None:
    """Creates or updates the artifact; what the server refuses is logged, because a picture ends no run."""
    try:
        if artifact_id is None:
            created: UUID = await acreate_progress_artifact(progress=percent, key=key, description=text)
            return created
        await aupdate_progress_artifact(artifact_id, progress=percent, description=text)
    except Exception as problem:  # Prefect passes on what its HTTP library raises, which is not imported here
        partition_logger().warning("progress is not shown: %s", problem)
    return artifact_id


async def ended(reporting: asyncio.Task[None]) -> None:
    """Stops ``report_progress`` and waits until it writes nothing more."""
    reporting.cancel()
    await asyncio.gather(reporting, return_exceptions=True)


def artifact_key(kind: str, source: str) -> str:
    """The key of a source's artifact; the UI shows its newest version at ``/artifacts/key/<key>``.

    >>> artifact_key("coverage", "bdl_box_scores")
    'coverage-bdl-box-scores'
    """
    return f"{kind}-{source.replace('_', '-')}"


async def publish_result(run: RunContext, facts: RunFacts) -> None:
    """The finished picture: calendar, table of what needs attention, links to mail and record."""
    await acreate_markdown_artifact(
        printable(calendar_markdown(facts)),
        key=artifact_key("coverage", run.source),
        description=f"{facts.verdict}: coverage calendar",
    )
    rows = attention_rows(facts.calendar, {name: entry for name in facts.calendar if (entry := run.ledger.get(name))})
    if rows:
        await acreate_table_artifact(
            rows[:MOST_ROWS],
            key=artifact_key("attention", run.source),
            description=f"{plural(len(rows), 'partition', 'needs', 'need')} attention",
        )
    if inbox := run.services.settings.inbox_url:
        await acreate_link_artifact(
            inbox, link_text="The mail of this run", key=artifact_key("mail", run.source), description="Mail"
        )


def attention_rows(calendar: Mapping[str, str], ledger: Mapping[str, LedgerEntry]) -> list[dict[str, str | int]]:
    """One row per partition without a good verdict, oldest first."""
    rows: list[dict[str, str | int]] = []
    for key in sorted(key for key, verdict in calendar.items() if verdict not in GOOD_VERDICTS):
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


def calendar_markdown(facts: RunFacts) -> str:
    """The coverage calendar as a table of squares, with verdict, links and legend around it."""
    coverage = build_coverage(facts.calendar)
    lines = [f"## {facts.source} {facts.start_date} to {facts.end_date}: {facts.verdict}", ""]
    lines += [f"* {name}: {_link(target)}" for name, target in facts.links.items()]
    for block in coverage.blocks:
        lines += ["", f"**{block.title or 'by month'}**", "", "| | |", "|---|---|"]
        for row in block.rows:
            cells = "".join((_SQUARES[run.look.label] if run.look else "·") * run.length for run in row.runs)
            lines.append(f"| {row.label} | {cells} |")
    legend = " · ".join(f"{_SQUARES[look.label]} {look.label} {count:,}" for look, count in coverage.legend)
    return "\n".join([*lines, "", legend, ""])


def _link(target: str) -> str:
    if target.startswith("gs://"):
        return f"[{target}](https://console.cloud.google.com/storage/browser/{quote(target.removeprefix('gs://'))})"
    return f"[{target}]({target})" if target.startswith("http") else f"`{target}`"


__all__ = ["attention_rows", "calendar_markdown", "now_of", "publish_result", "report_progress"]
