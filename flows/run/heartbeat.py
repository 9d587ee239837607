"""The heartbeat of a run: it keeps the lease, and what is known so far, for as long as the run lives."""

from __future__ import annotations

import asyncio
import contextlib

from alerting.errors import LeaseHeld, PipelineError
from flows.coordination.lease import Lease
from flows.log import partition_logger
from flows.run.run import Run
from scrapers.scrape import utc_now


async def keep_alive(run: Run, lease: Lease) -> None:
    """Heartbeats of lease and alert mode, until cancelled; at once when there is something to say.

    A lost lease stops the run: what it wrote so far is recorded, nothing more is begun.
    """
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(run.heartbeat_due.wait(), run.services.settings.heartbeat_s)
        run.heartbeat_due.clear()
        try:
            await run.in_thread(lease.heartbeat, utc_now())
            await run.in_thread(run.services.alerts.heartbeat, run.facts_so_far())
        except LeaseHeld as error:
            run.stop(error, "scrape")
            run.stop(error, "load")
            return
        except PipelineError as error:
            partition_logger().warning("heartbeat failed, trying again: %s", error)
