"""What a person sees of a live run in the Prefect UI: its progress. The rest is in `flows.run.result_artifacts`.

A run of ten years makes as few calls to the server as a run of ten days: at most one every ``ARTIFACT_EVERY_S``.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.runtime import flow_run

from alerting.instant import utc_now
from alerting.redaction import printable
from flows.ledger.ledger import Ledger
from flows.log import partition_logger
from flows.run.progress import Progress, progress_of
from flows.run.progress_artifact import artifact_name
from flows.run.run import Run

LOOK_EVERY_S = 1.0
_SHARE_OF_LOOKING = 0.05
"""Of the event loop: a look goes through the whole plan, 0.2 s for 100,000 partitions."""
ARTIFACT_EVERY_S = 5.0


def now_of(run: Run, ledger: Ledger | None = None) -> Progress:
    """The run's progress as this process knows it, or as ``ledger`` does."""
    found = progress_of(
        run.work.planned,
        (ledger or run.ledger).known_of(run.work.planned),
        run.backfill_id,
        since=run.begun_at,
        elapsed_s=(utc_now() - run.begun_at).total_seconds(),
        unchanged=run.work.unchanged,
    )
    return replace(found, calls=run.tally.calls, calls_left=_calls_left(run))


def _calls_left(run: Run) -> int | None:
    if run.kit.budget.rate.per_day is None:
        return None
    return max(0, run.kit.budget.rate.per_day - int(run.kit.budget.export_state()["day_spent"]))


async def report_progress(run: Run) -> None:
    """Logs and shows progress every ``progress_every`` partitions and ``progress_minutes``, until cancelled."""
    settings, log = run.services.settings, partition_logger()
    artifact_id: UUID | None = None
    # Of a distributed run other processes write the entries; its own ledger is not to be listed under its writes.
    seen = run.services.source_kit(run.source).ledger if run.windows is not None else run.ledger
    logged, shown = 0, ""
    logged_s = time.monotonic()
    shown_s = looked_s = logged_s - ARTIFACT_EVERY_S
    while True:
        now_s = time.monotonic()
        if seen is not run.ledger and now_s - looked_s >= ARTIFACT_EVERY_S:
            await run.in_thread(seen.refresh, min(run.work.planned), max(run.work.planned))
            looked_s = now_s
        began_s = time.monotonic()
        at, still = now_of(run, seen), run.standing_still
        took_s = time.monotonic() - began_s
        if at.handled - logged >= settings.progress_every or now_s - logged_s >= 60 * settings.progress_minutes:
            log.info("progress: %s", at.describe())
            logged, logged_s = at.handled, now_s
        told = f"{at.counts} {still}"
        if told != shown and now_s - shown_s >= ARTIFACT_EVERY_S:
            text = printable(f"{still.describe()}; {at.counts}" if still else at.describe())
            artifact_id = await show_progress(artifact_name(run.backfill_id), artifact_id, at.percent, text)
            shown, shown_s = told, now_s
        # While dates land, nothing is shown before the next update is due.
        await asyncio.sleep(max(LOOK_EVERY_S, shown_s + ARTIFACT_EVERY_S - now_s, took_s / _SHARE_OF_LOOKING))


async def show_progress(key: str, artifact_id: UUID | None, percent: float, text: str) -> UUID | None:
    """Creates or updates a progress artifact and returns its id.

    What the server refuses is logged, because a picture ends no run. Without a flow run there is no page to show it on.
    """
    if not flow_run.id:
        return None
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
