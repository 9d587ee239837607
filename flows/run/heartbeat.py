"""The heartbeat of a run: it keeps the lease, and what is known so far, for as long as the run lives."""

from __future__ import annotations

import asyncio
import contextlib

from alerting.errors import LeaseHeld
from alerting.instant import utc_now
from alerting.redaction import redact
from flows.coordination.lease import Lease
from flows.log import partition_logger
from flows.run.run import Run


async def keep_alive(run: Run, lease: Lease) -> None:
    """Heartbeats of lease and alert mode, until cancelled; at once when there is something to say.

    A lost lease stops the run: what it wrote so far is recorded, nothing more is begun. Nor is anything as long as it
    cannot tell: a process that was frozen for longer than its lease first looks whether it still has it.
    """
    await run.gate.keep_open(lease.held_until)
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(run.heartbeat_due.wait(), run.services.settings.heartbeat_s)
        run.heartbeat_due.clear()
        try:
            await run.in_thread(lease.heartbeat, utc_now())
            await run.gate.keep_open(lease.held_until)
            await run.in_thread(run.services.alerts.heartbeat, run.facts_so_far())
        except LeaseHeld as error:
            run.lose_source(error)
            # What waits there must see that the run is over.
            await run.gate.keep_open(None)
            return
        except Exception as error:  # whatever it is: a run whose heartbeat has ended would wait at its gate for ever
            partition_logger().warning("heartbeat failed, trying again: %s", redact(f"{type(error).__name__}: {error}"))
