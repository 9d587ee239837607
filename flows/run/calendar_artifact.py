"""The calendar of a whole source as an artifact of Prefect: every run and every audit makes its newest version."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable
from uuid import UUID

from prefect.client.schemas.actions import ArtifactCreate

from alerting.coverage import build_coverage, coverage_text
from alerting.errors import PipelineError
from alerting.redaction import printable
from alerting.wording import cut_items, plural
from flows.pages import artifact_key
from flows.run.result_artifacts import squares
from flows.truth.whole_history import History, read_histories
from flows.wiring import Services

LOG = logging.getLogger("gapless.calendar")
MOST_GROUPS = 20


def calendar_artifacts(
    services: Services, sources: Iterable[str], now: dt.datetime, flow_run_id: str = ""
) -> list[ArtifactCreate]:
    """One for each of ``sources`` of which anything is known. What cannot be read is logged: a picture stops no run."""
    made = []
    for source in sources:
        try:
            (history,) = read_histories(services, [source], now)
        except PipelineError as error:
            LOG.warning("the calendar of %s is not brought up to date: %s", source, error)
            continue
        for told in history.unreadable:
            LOG.warning("the calendar of %s is not whole: %s", source, told)
        if history.cells:
            made.append(calendar_artifact(history, flow_run_id))
    return made


def calendar_artifact(history: History, flow_run_id: str = "") -> ArtifactCreate:
    """The whole history of a source; each run and each audit makes a newer version of the same key."""
    return ArtifactCreate(
        key=artifact_key("calendar", history.source),
        type="markdown",
        description=f"Whole history: {history.headline}",
        data=printable(calendar_markdown(history)),
        flow_run_id=UUID(flow_run_id) if flow_run_id else None,
    )


def calendar_markdown(history: History) -> str:
    """Squares for the years, letters for the months that are not whole, and what needs attention."""
    coverage = build_coverage(history.states, most_day_years=0)
    lines = [f"## {history.source}: {history.headline}", *squares(coverage)]
    lines += ["", "```text", *coverage_text(build_coverage(history.states, most_day_years=1_000)), "```", ""]
    for one in history.attention()[:MOST_GROUPS]:
        told = f"{plural(len(one.cells), 'partition')} `{one.state}`{f' ({one.why})' if one.why else ''}"
        lines.append(f"* {told}: {cut_items(one.ranges.split(', '), MOST_GROUPS)}")
    lines += ["", f"Attempts, run and command of every cell: `gapless calendar {history.source} --html FILE`"]
    return "\n".join(lines)
