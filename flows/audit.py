"""The audit: the whole inventory of every source, compared level by level. Scheduled, and read-only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run as current
from prefect.states import Completed, Failed

from alerting.errors import PipelineError
from alerting.instant import utc_now
from alerting.wording import plural
from flows.calendar_dates import CalendarDate
from flows.log import failed, lets_out_redacted, partition_logger
from flows.run.calendar_artifact import calendar_artifacts
from flows.run.progress_artifact import end_progress
from flows.truth.auditing import audit_sources, tell
from flows.truth.deficits import Deficit, summarised
from flows.truth.kept_look import keep_looks_at_families
from flows.wiring import build_services
from scrapers.registry import sources as known_sources


@lets_out_redacted
@flow(name="audit", flow_run_name="audit", retries=0, persist_result=False)
def audit(sources: list[str] | None = None, first_date: CalendarDate | None = None, alert: bool = True) -> State[Any]:
    """Compares ledger, landed payloads and BigQuery of whole sources: never attempted, lost, stale.

    Makes no call to a source and changes no verdict and no row of a source. `gapless repair` runs exactly what it
    finds. An audit of all sources also refreshes the coverage tables.

    Args:
        sources: Names of sources; all when empty.
        first_date: First date; every date since then must be there. When empty: all known dates, and those that runs,
            the daily run or GAPLESS_AUDIT_FROM requested must be there.
        alert: Alert when something was found.
    """
    try:
        services = build_services()
        findings = audit_sources(services, sources or [], utc_now(), first_date)
        if not sources:
            keep_looks_at_families(services, utc_now())
    except PipelineError as error:
        return failed(error)
    lines: Sequence[dict[str, Any]] = summarised(findings)
    create_table_artifact(
        key="audit", table=list(lines) or [{"source": "all", "deficit": "none", "count": 0}], description="Deficits"
    )
    run_id = str(current.id or "")
    end_progress(run_id, "", calendar_artifacts(services, sources or known_sources(), utc_now(), run_id))
    for line in lines:
        partition_logger().warning("%(source)s: %(count)s %(deficit)s: %(ranges)s (%(why)s)", line)
    in_work = sum(line["count"] for line in lines if line["deficit"] == Deficit.IN_WORK)
    lines = [line for line in lines if line["deficit"] != Deficit.IN_WORK]
    if not lines:
        beside = f" but for {plural(in_work, 'partition')} in work" if in_work else ""
        return Completed(message=f"clean: every partition is done at every level{beside}")
    if alert:
        tell(services, lines)
    message = "; ".join(f"{line['source']}: {line['count']} {line['deficit']}" for line in lines[:10])
    return Failed(
        message=f"{plural(len(findings) - in_work, 'deficit')}. {message}. Next: gapless repair SOURCE --reason audit"
    )
